"""Takes connections from the listening socket that all workers share. Doing."""

import errno
import logging
import socket
from collections.abc import Awaitable, Callable

import trio

log = logging.getLogger(__name__)

# Workers wake together when a connection comes; whoever calls accept first has it. One that holds
# more waits longer before it tries, which spreads a burst evenly. The step makes a difference of
# ten connections worth the millisecond that is the kernel's shortest wait; the limit keeps a
# connection's wait short however many there are.
_PAUSE_PER_CONNECTION_S = 0.0001
_MOST_PAUSE_S = 0.003

# Connections taken after one pause: so many may the workers differ by. Fewer make a burst wait.
_ACCEPTED_AT_ONCE = 4

# Seconds until accepting is tried again when there are no file descriptors.
_EXHAUSTED_PAUSE_S = 0.1

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def open_listener(fd: int) -> socket.socket:
    """Return the inherited listening socket `fd`, ready for `accept_connections`."""
    listener = socket.socket(fileno=fd)
    listener.setblocking(False)
    return listener


async def accept_connections(
    listener: socket.socket,
    take: Callable[[socket.socket], Awaitable[None]],
    nursery: trio.Nursery,
    held: Callable[[], int],
) -> None:
    """Accept connections until cancelled.

    Args:
        listener: The listening socket; stays open.
        take: Serves one connection; it closes the socket.
        nursery: Where it runs.
        held: How many connections this worker has.
    """
    while True:
        await trio.lowlevel.wait_readable(listener)
        if (count := held()) > 0:
            await trio.sleep(min(count * _PAUSE_PER_CONNECTION_S, _MOST_PAUSE_S))
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                sock, _ = listener.accept()
            except BlockingIOError:
                break  # no more, or another worker has them
            except OSError as exc:
                if exc.errno in _EXHAUSTED:
                    log.warning("accept.exhausted errno=%s connections=%d", exc.errno, held())
                    await trio.sleep(_EXHAUSTED_PAUSE_S)
                break  # or the client has left already (ECONNABORTED): the next one
            nursery.start_soon(take, sock)
