"""zmq sockets that trio can wait for, private by default. The only I/O of this package."""

import os
import stat
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import trio
import zmq

from .codec import MAX_MESSAGE_BYTES
from .errors import TransportError

# Messages that may wait on a socket. Loading a model gives about ten events a second, so this is
# minutes; a subscriber that sleeps longer sees a gap and asks for a snapshot.
HIGH_WATER_MARK = 10_000

# Milliseconds; zmq's own heartbeats notice a stopped peer (its I/O thread answers, not Python).
_ZMQ_HEARTBEAT_MS = 1000
_ZMQ_HEARTBEAT_TIMEOUT_MS = 5000


class FrameSocket:
    """A zmq socket: one task receives, anybody may send.

    zmq's descriptor is edge-triggered: it turns readable once per burst, not once per message,
    and any call on the socket may use the edge up. So: try first, and wait only after zmq itself
    said that there is nothing. A send may use up the edge that a waiting receiver needs; it looks
    at the socket's events afterwards and wakes the receiver.

    Source: zmq_getsockopt(3), ZMQ_FD.
    """

    def __init__(self, socket: "zmq.Socket[bytes]") -> None:
        self._socket = socket
        self._fd = int(socket.FD)
        self._waiting: trio.CancelScope | None = None

    async def receive(self) -> list[bytes]:
        """Wait for the next message and return its frames. For one task at a time."""
        await trio.lowlevel.checkpoint()
        while True:
            try:
                return self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                pass
            with trio.CancelScope() as self._waiting:
                await trio.lowlevel.wait_readable(self._fd)
            self._waiting = None

    def receive_now(self) -> list[bytes] | None:
        """Return the frames of a message that has come; None if there is none."""
        if not int(self._socket.EVENTS) & zmq.POLLIN:
            return None
        return self._socket.recv_multipart(zmq.NOBLOCK)

    def send(self, frames: Sequence[bytes]) -> bool:
        """Hand `frames` to zmq; False when its queue is full or nobody is there to get them."""
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            return False
        finally:
            if self._waiting is not None and int(self._socket.EVENTS) & zmq.POLLIN:
                self._waiting.cancel()
        return True


@contextmanager
def open_context() -> Generator["zmq.Context[zmq.Socket[bytes]]", None, None]:
    """Give a zmq context; on leaving, all its sockets are closed without lingering."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        yield context
    finally:
        context.destroy(linger=0)


def _new_socket(context: "zmq.Context[zmq.Socket[bytes]]", kind: int) -> "zmq.Socket[bytes]":
    socket = context.socket(kind)
    socket.linger = 0
    socket.sndhwm = HIGH_WATER_MARK
    socket.rcvhwm = HIGH_WATER_MARK
    socket.maxmsgsize = MAX_MESSAGE_BYTES
    socket.setsockopt(zmq.HEARTBEAT_IVL, _ZMQ_HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _ZMQ_HEARTBEAT_TIMEOUT_MS)
    return socket


@contextmanager
def bound(
    context: "zmq.Context[zmq.Socket[bytes]]", kind: int, path: Path
) -> Generator[FrameSocket, None, None]:
    """Bind a socket of `kind` (``zmq.ROUTER``, ``zmq.XPUB``) to the unix socket `path`, mode 0600.

    The folder has to be private and locked by the caller (see `supervisor.runtime`): zmq takes
    over a path that another process is bound to without a word.

    Raises:
        TransportError: The path is too long for a unix socket, cannot be bound, or is not private
            after binding.
    """
    socket = _new_socket(context, kind)
    if kind == zmq.ROUTER:
        # Who comes back is let in although its old connection has not been missed yet. Without
        # this, zmq drops all that it says, and neither side is told: as after this process was
        # stopped for longer than zmq's heartbeats wait.
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
    try:
        try:
            socket.bind(f"ipc://{path}")
        except zmq.ZMQError as exc:
            raise TransportError(f"cannot bind {path}: {exc.strerror}") from exc
        path.chmod(0o600)
        found = path.lstat()
        if (
            not stat.S_ISSOCK(found.st_mode)
            or stat.S_IMODE(found.st_mode) != 0o600
            or found.st_uid != os.geteuid()
        ):
            raise TransportError(f"cannot use {path}: it is not a private socket of this user")
        yield FrameSocket(socket)
    finally:
        socket.close(linger=0)
        path.unlink(missing_ok=True)


@contextmanager
def connected(
    context: "zmq.Context[zmq.Socket[bytes]]",
    kind: int,
    path: Path,
    *,
    identity: bytes = b"",
    topics: Sequence[bytes] = (),
) -> Generator[FrameSocket, None, None]:
    """Connect a socket of `kind` to the unix socket `path`. Connecting never fails: zmq retries.

    Args:
        context: The zmq context.
        kind: ``zmq.DEALER``, ``zmq.REQ`` or ``zmq.SUB``.
        path: The unix socket.
        identity: Name of a DEALER towards the ROUTER.
        topics: Prefixes that a SUB wants to hear.
    """
    socket = _new_socket(context, kind)
    try:
        if identity:
            socket.setsockopt(zmq.IDENTITY, identity)
        for topic in topics:
            socket.setsockopt(zmq.SUBSCRIBE, topic)
        socket.connect(f"ipc://{path}")
        yield FrameSocket(socket)
    finally:
        socket.close(linger=0)
