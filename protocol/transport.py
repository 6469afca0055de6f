"""zmq sockets that trio can wait for, private by default. The only I/O of this package."""

import errno
import os
import socket as unix
import stat
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import trio
import zmq

from .codec import MAX_MESSAGE_BYTES
from .errors import PeerGone, TransportError

# Messages that may wait on a socket. Loading a model gives about ten events a second, so this is
# minutes; a subscriber that sleeps longer sees a gap and asks for a snapshot.
HIGH_WATER_MARK = 10_000

# Connections that wait to be accepted; more than that wait in their connect().
BACKLOG = 32

# zmq's own heartbeats are off. On unix sockets the kernel reports when a process is gone, and a
# process that was stopped for a while must not lose what was under way: silence is judged
# elsewhere. Nor are they safe: zmq 4.3.5 aborts the process when a heartbeat is due on a connection
# that was closed by the other end while more was waiting than is received ("Assertion failed:
# !_io_error").


# Milliseconds for a handshake, where there is one. A whole one takes three of them.
_HANDSHAKE_MS: Final = 5_000

# Of all sockets that ask for keys: a word for zmq, which asks nobody without one.
_KEY_DOMAIN: Final = b"arriero"


class QueueLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on the other ends' messages, for each connection.

    Attributes:
        message_bytes: Longest message that is received; a longer one ends its connection.
        received: Messages that wait to be received; more wait at their sender.
        sent: Messages that wait for the other end to read them; more are dropped.
        mandatory: A ROUTER raises when it cannot hand a message over; else it drops it.
        handover: A peer with a name that is in use takes it over, and all that is sent to it.
    """

    message_bytes: int = MAX_MESSAGE_BYTES
    received: int = HIGH_WATER_MARK
    sent: int = HIGH_WATER_MARK
    mandatory: bool = False
    handover: bool = False


DEFAULT_BOUNDS: Final = QueueLimits()


class Source(NamedTuple):
    """One connection of a socket, for as long as it lasts.

    Attributes:
        fd: zmq's descriptor. To be looked at and nothing else: zmq may close it at any time.
        inode: Of the connection; another one that gets the same descriptor has another. It is
            looked up when a frame is received, so the last frames of a connection that has just
            ended may be taken for those of its successor.
    """

    fd: int
    inode: int


class FrameSocket:
    """A zmq socket: one task receives, any task may send.

    zmq's descriptor is edge-triggered: it turns readable once per burst, not once per message,
    and any call on the socket may use the edge up. So: try first, and wait only after zmq itself
    had nothing. A send may use up the edge that a waiting receiver needs; it looks
    at the socket's events afterwards and wakes the receiver.

    Source: zmq_getsockopt(3), ZMQ_FD.

    Attributes:
        door: Its unix socket, if it is bound.
    """

    def __init__(self, socket: "zmq.Socket[bytes]", door: "UnixListener | None" = None) -> None:
        self._socket = socket
        self.door = door
        self._fd = int(socket.FD)
        self._waiting: trio.CancelScope | None = None
        self._has_waited = False  # since the last checkpoint that was for the sake of others

    async def receive(self) -> list[bytes]:
        """Wait for the next message and return its frames. For one task at a time.

        Others get their turn, but not twice for one message.
        """
        await self.wait()
        while True:
            try:
                return self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                await self._wait_until_readable()

    def receive_now(self) -> list[bytes] | None:
        """Return the frames of the next message; None if none is there."""
        try:
            return self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None

    async def wait(self) -> None:
        """Return when there may be something to receive.

        For one task at a time.
        """
        if self._has_waited:  # others have just had their turn
            self._has_waited = False
        else:
            await trio.lowlevel.checkpoint()
        while not self._has_input():
            await self._wait_until_readable()

    async def _wait_until_readable(self) -> None:
        with trio.CancelScope() as self._waiting:
            await trio.lowlevel.wait_readable(self._fd)
        self._waiting = None
        self._has_waited = True

    def _has_input(self) -> bool:
        # A look at the events, for an attempt in vain is an exception, and that costs more.
        return bool(int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)

    def receive_frame_now(self) -> tuple[Source | None, bytes] | None:
        """Return one frame of a subscriber; None if there is none.

        An XPUB gives no whole messages: it leaves out those frames that add nothing to what it
        knows, and gives those around them. zmq's own messages, such as that a topic has no
        subscriber any more, have no connection.
        """
        if not self._has_input():
            return None
        try:
            frame = self._socket.recv(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return None
        finally:
            self._wake_receiver()
        return _source_of(frame), frame.bytes

    def send(self, frames: Sequence[bytes]) -> bool:
        """Hand `frames` to zmq; False if it takes none.

        Its queue is full, or there is no other end.

        Raises:
            PeerGone: `QueueLimits.mandatory` is set, and there is no such peer (any more).
        """
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as exc:
            if exc.errno != errno.EHOSTUNREACH:
                raise
            raise PeerGone("cannot send: the peer has gone") from exc
        finally:
            self._wake_receiver()
        return True

    def ask_for_keys(self, public: bytes, secret: bytes) -> None:
        """Let in at places that are bound from now on only who proves a key that is allowed.

        `remote.curve.let_in` says which those are; while it does not run, nobody is let in. Places
        that were bound before stay as they are.

        Args:
            public: Our own key, as Z85 writes it.
            secret: The other half.

        Source: zmq_setsockopt(3): options take effect for subsequent binds.
        """
        self._socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
        self._socket.setsockopt(zmq.ZAP_DOMAIN, _KEY_DOMAIN)
        self._socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        self._socket.setsockopt(zmq.CURVE_SERVER, 1)
        self._socket.setsockopt(zmq.CURVE_PUBLICKEY, public)
        self._socket.setsockopt(zmq.CURVE_SECRETKEY, secret)

    @contextmanager
    def also_at(self, path: Path) -> Generator["UnixListener", None, None]:
        """Let others connect at another unix socket, too, while the block runs.

        Raises:
            TransportError: As for `bound`.
        """
        listener = UnixListener(path)
        try:
            listener.build(self._socket)
            yield listener
        finally:
            listener.remove()

    def _wake_receiver(self) -> None:
        if self._waiting is not None and self._has_input():
            self._waiting.cancel()


class UnixListener:
    """A unix socket, mode 0600, through which others connect to a zmq socket.

    Attributes:
        path: Of the socket.
        is_open: New connections are possible. Those that exist stay.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_open = False
        self._hidden = path.with_name(f".{path.name}.closed")

    def build(self, socket: "zmq.Socket[bytes]") -> None:
        """Let others connect to `socket`.

        Raises:
            TransportError: The path is too long for a unix socket, cannot be bound, or is not
                private after binding.
        """
        try:
            socket.bind(f"ipc://{self.path}")
        except zmq.ZMQError as exc:
            raise TransportError(f"cannot bind {self.path}: {exc.strerror}") from exc
        self.is_open = True
        self.path.chmod(0o600)
        found = self.path.lstat()
        if (
            not stat.S_ISSOCK(found.st_mode)
            or stat.S_IMODE(found.st_mode) != 0o600
            or found.st_uid != os.geteuid()
        ):
            raise TransportError(f"cannot use {self.path}: it is not a private socket of this user")

    def close(self) -> None:
        """Refuse new connections until it is opened again.

        A socket without a name is not found.

        zmq itself could only stop to listen together with ending all connections.
        """
        with suppress(OSError):
            self.path.rename(self._hidden)
            self.is_open = False

    def open(self) -> None:
        """Let others connect again."""
        with suppress(OSError):
            self._hidden.rename(self.path)
            self.is_open = True

    def remove(self) -> None:
        """Remove its files."""
        self.path.unlink(missing_ok=True)
        self._hidden.unlink(missing_ok=True)


def _source_of(frame: zmq.Frame) -> Source | None:
    try:
        fd = int(frame.get(zmq.SRCFD))
        return Source(fd, os.fstat(fd).st_ino)
    except (zmq.ZMQError, OSError):
        return None


def cut(source: Source) -> None:
    """End a connection.

    zmq, which owns it, sees that as if the other end had closed it.
    """
    with taken(source.fd) as connection, suppress(OSError):  # it has ended
        if connection is not None and os.fstat(connection.fileno()).st_ino == source.inode:
            connection.shutdown(unix.SHUT_RDWR)


@contextmanager
def taken(fd: int) -> Generator[unix.socket | None, None, None]:
    """Give a socket of our own for the connection `fd`; None if it is none.

    It stays that connection, whatever zmq, which owns `fd`, does meanwhile.
    """
    try:
        own = os.dup(fd)
    except OSError:  # closed meanwhile
        yield None
        return
    try:
        found = unix.socket(fileno=own)
    except OSError:  # no socket
        os.close(own)
        yield None
        return
    with found:
        yield found


@contextmanager
def open_context() -> Generator["zmq.Context[zmq.Socket[bytes]]", None, None]:
    """Give a zmq context; on leaving, all its sockets are closed without lingering."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        yield context
    finally:
        context.destroy(linger=0)


def new_socket(
    context: "zmq.Context[zmq.Socket[bytes]]", kind: int, bounds: QueueLimits
) -> "zmq.Socket[bytes]":
    """Return a socket of `kind` within `bounds`, for the caller to bind and to close."""
    socket = context.socket(kind)
    socket.linger = 0
    socket.sndhwm = bounds.sent
    socket.rcvhwm = bounds.received
    socket.maxmsgsize = bounds.message_bytes
    if bounds.mandatory:
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    if bounds.handover:
        # Otherwise zmq drops all messages of a peer with a name of its own that comes back before
        # its old connection has been missed, and neither side notices.
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
    return socket


@contextmanager
def bound(
    context: "zmq.Context[zmq.Socket[bytes]]",
    kind: int,
    path: Path,
    bounds: QueueLimits = DEFAULT_BOUNDS,
) -> Generator[FrameSocket, None, None]:
    """Bind a socket of `kind` (``zmq.ROUTER``, ``zmq.XPUB``) to the unix socket `path`, mode 0600.

    The folder has to be private and locked by the caller (see `supervisor.runtime`): zmq takes
    over a path that another process is bound to without a word.

    Raises:
        TransportError: The path is too long for a unix socket, cannot be bound, or is not private
            after binding.
    """
    socket = new_socket(context, kind, bounds)
    socket.setsockopt(zmq.BACKLOG, BACKLOG)
    door = UnixListener(path)
    try:
        door.build(socket)
        yield FrameSocket(socket, door)
    finally:
        socket.close(linger=0)
        door.remove()


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
        topics: Prefixes that a SUB subscribes to.
    """
    socket = new_socket(context, kind, DEFAULT_BOUNDS)
    try:
        if identity:
            socket.setsockopt(zmq.IDENTITY, identity)
        for topic in topics:
            socket.setsockopt(zmq.SUBSCRIBE, topic)
        socket.connect(f"ipc://{path}")
        yield FrameSocket(socket)
    finally:
        socket.close(linger=0)
