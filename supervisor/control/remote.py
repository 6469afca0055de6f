"""The control socket and the event socket over TCP, for those who have a key.

They are the sockets that there are, with a second place each; the first places ask for no key. The
event socket has the port after that of the control socket.
"""

import errno
import logging
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from arriero.protocol.flood_log import FloodLog
from arriero.protocol.remote.curve import CurveKeys, let_in, to_hex
from arriero.protocol.transport import FrameSocket

from ..errors import SupervisorError
from ..host.listen_socket import listening_socket, where_it_listens
from ..text.addresses import Address
from .remote_door import RemoteDoor, keep_doors_open

if TYPE_CHECKING:
    from zmq import Context, Socket

log = logging.getLogger(__name__)

# The places of both within the folder for sockets.
INNER_CONTROL: Final = "far-c.sock"
INNER_EVENTS: Final = "far-e.sock"

# How often two ports beside each other are looked for, if the system chooses.
_TRIES: Final = 50


@asynccontextmanager
async def open_remote_control(
    context: "Context[Socket[bytes]]",
    address: Address,
    keys: CurveKeys,
    *,
    folder: Path,
    control: FrameSocket,
    events: FrameSocket,
    allowed: Callable[[], tuple[str, ...]],
) -> AsyncGenerator[str, None]:
    """Answer other machines while the block runs; give the address that they have to name.

    Args:
        context: Of both sockets. Has no other that asks for keys.
        address: Of the control socket; the port 0 lets the system choose.
        keys: Our own.
        folder: For sockets.
        control: The control socket.
        events: The event socket.
        allowed: Gives the public keys of those who are let in, in hexadecimal digits.

    Raises:
        SupervisorError: It cannot be opened; with the reason and the remedy.
    """
    flood = FloodLog(log)
    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        listeners = _listeners(address)
        await nursery.start(let_in, context, lambda key: to_hex(key) in allowed())
        doors = []
        for listener, frames, name in zip(
            listeners, (control, events), (INNER_CONTROL, INNER_EVENTS), strict=True
        ):
            stack.enter_context(listener)
            frames.ask_for_keys(keys.public.encode(), keys.secret.encode())
            stack.enter_context(frames.also_at(folder / name))
            doors.append(RemoteDoor(listener, folder / name, flood))
        nursery.start_soon(keep_doors_open, doors, allowed)
        nursery.start_soon(flood.flush_regularly)
        yield f"tcp://{to_hex(keys.public)}@{where_it_listens(listeners[0])[1]}"
        nursery.cancel_scope.cancel()


def _listeners(address: Address) -> tuple[socket.socket, socket.socket]:
    """Return two listening sockets, with ports beside each other.

    Raises:
        SupervisorError: There are none.
    """
    for tries_left in reversed(range(1 if address.port else _TRIES)):
        try:
            first = listening_socket(address.host, address.port, {})
            port = first.getsockname()[1]
            try:
                return first, listening_socket(address.host, port + 1, {})
            except BaseException:
                first.close()
                raise
        except SupervisorError as exc:
            cause = exc.__cause__
            is_taken = isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE
            if not tries_left or not is_taken:
                raise SupervisorError(f"control.listen: {exc}") from exc
    raise AssertionError("the last try returns or raises")
