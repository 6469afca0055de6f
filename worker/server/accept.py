"""Takes connections from the listening socket that all workers share."""

import errno
import logging
import os
import select
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address

import trio

from ..http.admission import Listening, listening_at
from .accept_share import PATIENCE_S, AcceptShares

log = logging.getLogger(__name__)

# Connections taken in one turn of the loop. Each has its request read in the next one.
_ACCEPTED_AT_ONCE = 64

# Seconds between two looks at whether others have taken what was left to them: the shortest wait
# that the kernel knows.
_LOOK_AGAIN_S = 0.001

# Seconds until accepting is tried again when there are no file descriptors.
_EXHAUSTED_PAUSE_S = 0.1

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def open_listener(fd: int) -> socket.socket:
    """Return the inherited listening socket `fd`, ready for `accept_connections`."""
    listener = socket.socket(fileno=fd)
    listener.setblocking(False)
    return listener


def is_unix(fd: int) -> bool:
    """Whether the listening socket `fd` is one for this machine alone."""
    with socket.socket(fileno=os.dup(fd)) as listener:
        return listener.family == socket.AF_UNIX


def where_listening(fds: Sequence[int]) -> Listening:
    """Return where clients reach the listening sockets `fds`."""
    found = [_where_listening(fd) for fd in fds]
    return Listening(
        names=frozenset().union(*(it.names for it in found)),
        any_address=any(it.any_address for it in found),
        any_host=all(it.any_host for it in found),
    )


def _where_listening(fd: int) -> Listening:
    with socket.socket(fileno=os.dup(fd)) as listener:
        if listener.family not in {socket.AF_INET, socket.AF_INET6}:
            return Listening(any_host=True)
        return listening_at(ip_address(listener.getsockname()[0]), socket.gethostname())


async def accept_connections(
    listener: socket.socket,
    take: Callable[[socket.socket], Awaitable[None]],
    nursery: trio.Nursery,
    shares: AcceptShares,
) -> None:
    """Accept connections until cancelled.

    Args:
        listener: The listening socket; stays open.
        take: Serves one connection; it closes the socket.
        nursery: Where it runs.
        shares: How many connections each worker has.
    """

    async def serve(sock: socket.socket) -> None:
        try:
            await take(sock)
        finally:
            shares.add(-1)

    shares.open()
    try:
        while True:
            await trio.lowlevel.wait_readable(listener)
            if not shares.is_next() and not await _is_left_over(listener, shares):
                continue
            for _ in range(_ACCEPTED_AT_ONCE):
                try:
                    sock, _ = listener.accept()
                except BlockingIOError:
                    break  # no more, or another worker has them
                except OSError as exc:
                    if exc.errno in _EXHAUSTED:
                        log.warning(
                            "accept.exhausted errno=%s connections=%d",
                            exc.errno,
                            shares.connections,
                        )
                        shares.close()
                        await trio.sleep(_EXHAUSTED_PAUSE_S)
                        shares.open()
                    break  # or the client has left already (ECONNABORTED): the next one
                shares.add(1)
                nursery.start_soon(serve, sock)
                if not shares.is_next():
                    break
    finally:
        shares.close()


async def _is_left_over(listener: socket.socket, shares: AcceptShares) -> bool:
    """Leave a connection to workers that have fewer; return whether it is left after all.

    As long as they take some, they are waited for.
    """
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    least = shares.least()
    until = trio.current_time() + PATIENCE_S
    while trio.current_time() < until:
        await trio.sleep(_LOOK_AGAIN_S)
        if shares.is_next() or not poll.poll(0):
            shares.note_taken()
            return shares.is_next()
        if shares.least() != least:
            least = shares.least()
            until = trio.current_time() + PATIENCE_S
    shares.note_wait(trio.current_time())
    return True
