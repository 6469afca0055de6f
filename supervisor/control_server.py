"""Answers scripts: one JSON request in, one JSON reply out, over a socket that a plain REQ speaks.

What a command means is in `commands.py`; this file only moves it.
"""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import trio
import zmq

from arriero.protocol.codec import AnyReply, encode, read_request
from arriero.protocol.control import AnyRequest, Refusal
from arriero.protocol.errors import RemoteProtocolError
from arriero.protocol.transport import FrameSocket, bound
from arriero.protocol.values import ErrorInfo

if TYPE_CHECKING:
    from zmq import Context, Socket

log = logging.getLogger(__name__)

# Requests that may be under way at once: each that waits for a swap is one task. More than that is
# a runaway script, and is told so.
MAX_UNDER_WAY = 256

# Longest request that is read; the longest honest one names a model.
MAX_REQUEST_BYTES = 64 * 1024


class ControlServer:
    """The supervisor's end of the control socket.

    Attributes:
        answered: Requests that were taken so far.
    """

    def __init__(
        self, socket: FrameSocket, answer: Callable[[AnyRequest], Awaitable[AnyReply]]
    ) -> None:
        self._socket = socket
        self._answer = answer
        self._under_way = 0
        self.answered = 0

    async def listen(self) -> None:
        """Take requests until cancelled, each in a task of its own."""
        async with trio.open_nursery() as nursery:
            while True:
                frames = await self._socket.receive()
                if len(frames) < 2:
                    continue
                envelope, data = frames[:-1], frames[-1]
                self.answered += 1
                if self._under_way >= MAX_UNDER_WAY:
                    self._reply(envelope, _refusal("busy", "too many requests are under way"))
                    continue
                try:
                    if len(data) > MAX_REQUEST_BYTES:
                        raise RemoteProtocolError(f"cannot read {len(data)} bytes: too long")
                    request = read_request(data)
                except RemoteProtocolError as exc:
                    self._reply(envelope, _refusal("bad_request", str(exc)))
                    continue
                nursery.start_soon(self._serve, envelope, request)

    async def _serve(self, envelope: list[bytes], request: AnyRequest) -> None:
        self._under_way += 1
        try:
            self._reply(envelope, await self._answer(request))
        finally:
            self._under_way -= 1

    def _reply(self, envelope: list[bytes], reply: AnyReply) -> None:
        self._socket.send([*envelope, encode(reply)])


def _refusal(code: str, message: str) -> Refusal:
    return Refusal(error=ErrorInfo(code=code, message=message))


@asynccontextmanager
async def open_control_server(
    context: "Context[Socket[bytes]]",
    path: Path,
    answer: Callable[[AnyRequest], Awaitable[AnyReply]],
) -> AsyncGenerator[ControlServer, None]:
    """Answer scripts on the unix socket `path` while the block runs."""
    with bound(context, zmq.ROUTER, path) as socket:
        server = ControlServer(socket, answer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.listen)
            yield server
            nursery.cancel_scope.cancel()
