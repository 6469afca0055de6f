"""One TCP (or unix) connection, as thin as it goes.

A write tries first and waits only when the kernel says so; a read waits first. Each read is a
point at which other tasks get their turn, so a fast peer keeps nobody waiting.

A wait has no deadline of its own: `connection` looks at all connections a few times a second and
ends those that wait for too long by shutting them down, which wakes the waiting task with an end of
file. That costs nothing per request, while a cancel scope around every wait costs about half as
much as the wait itself.

Among many connections a wait is not one of trio's: `ReadCallbacks` reads what comes, and wakes the
task with it. The socket stays registered there, which spares two thirds of the wait.
"""

import contextlib
import errno
import socket
import struct

import trio

from .read_callbacks import ReadCallbacks

# Bytes of one read. A read of a busy stream returns what has come, seldom more than this.
RECEIVE_BYTES = 64 * 1024

# Without memory: so few bytes are asked for, and again so many seconds later. The deadlines of the
# connection end that, if nothing else does.
_SCARCE_BYTES = 4 * 1024
_SCARCE_PAUSE_S = 0.05

# States of a TCP connection whose peer will say nothing more (linux/tcp_states.h): FIN_WAIT1 and 2
# are left out, because they come from our own shutdown.
_TCP_INFO_STATE_BYTES = 1
_GONE_STATES = frozenset({7, 8, 9, 11})  # CLOSE, CLOSE_WAIT, LAST_ACK, CLOSING

_RESET = struct.pack("ii", 1, 0)


class StreamBroken(Exception):
    """The peer has gone, or the connection was cut."""


class SocketStream:
    """A non-blocking socket for one reader and one writer.

    Attributes:
        kept_back: What `send_kept` sends, or `close`; nothing else may be sent before.
    """

    __slots__ = (
        "_data", "_failure", "_heard", "_is_watched", "_more", "_most", "_readers",
        "_rest", "_sock", "_task", "closed", "fd", "kept_back", "recv", "send_now",
    )  # fmt: skip

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self.fd = sock.fileno()
        self.recv = sock.recv
        self.send_now = sock.send
        self._more = False  # the last read was full
        self._heard = False
        self.kept_back = b""
        self._rest = b""  # of that: what the kernel did not take
        self._readers: ReadCallbacks | None = None
        self._is_watched = False  # by them, at this moment
        self._task: trio.lowlevel.Task | None = None  # waits for the next bytes
        self._most = 0  # of which it wants so many
        self._data: bytes | None = None  # what they have read for it
        self._failure: OSError | MemoryError | None = None  # or why they could not
        self.closed = False

    @property
    def sock(self) -> socket.socket:
        """The socket, to be asked and not to be changed."""
        return self._sock

    async def receive(self, most: int = RECEIVE_BYTES) -> bytes:
        """Wait for bytes and return them; empty at the end.

        After a read that was not full there is nothing more as a rule: so it waits first. That
        spares a call that fails, and lets a busy stream come in fewer, larger pieces.

        Raises:
            StreamBroken: The connection was reset.
        """
        fd = self.fd
        while True:
            try:
                if self._rest:
                    await self._send_rest()
                if self._more:
                    self._more = False
                    # shielded: what was read must not be lost to somebody's deadline
                    await trio.lowlevel.cancel_shielded_checkpoint()
                elif (readers := self._readers) is not None and readers.is_crowded:
                    if not self._is_watched:
                        if self.closed:
                            raise StreamBroken("it is closed")
                        readers.add(fd, self._read_for_task)
                        self._is_watched = True
                    self._most = most
                    self._task = trio.lowlevel.current_task()
                    await trio.lowlevel.wait_task_rescheduled(self._give_up)
                    data, self._data = self._data, None
                    if self._failure is not None:
                        failure, self._failure = self._failure, None
                        raise failure
                    if data is None:  # woken to look again at what there is to do
                        continue
                    return data
                else:
                    if self._is_watched:
                        self.unwatch()
                    await trio.lowlevel.wait_readable(fd)
                data = self.recv(most)
            except BlockingIOError:
                continue
            except MemoryError:
                # What came is still in the kernel; a smaller piece may do, or another moment.
                most = min(most, _SCARCE_BYTES)
                await trio.sleep(_SCARCE_PAUSE_S)
                continue
            except trio.ClosedResourceError as exc:
                if self.closed or not self._rest:
                    raise StreamBroken(str(exc)) from exc
                continue
            except OSError as exc:
                raise StreamBroken(str(exc)) from exc
            self._more = len(data) == most
            if data:
                self._heard = True
            return data

    # --- read by a callback --------------------------------------------------------------------

    def watch(self, readers: ReadCallbacks) -> None:
        """Let `readers` read what is waited for, while they have many to read."""
        if self._readers is None and readers.is_running:
            self._readers = readers
            readers.watched += 1

    def unwatch(self) -> None:
        """Be no more registered there, until the next `receive`; for somebody else who is."""
        if self._is_watched and self._readers is not None:
            self._is_watched = False
            self._readers.remove(self.fd)

    def _give_up(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _read_for_task(self, now: float) -> bool:
        task = self._task
        if task is None:  # whatever has come, nobody wants it yet
            self.unwatch()
            return False
        try:
            data = self._data = self.recv(self._most)
            self._more = len(data) == self._most
            if data:
                self._heard = True
        except BlockingIOError:
            return False
        except (OSError, MemoryError) as exc:
            self._failure = exc
        self._task = None
        trio.lowlevel.reschedule(task)
        return False

    def _wake(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def receive_now(self) -> bytes | None:
        """Return what has come: None if that is nothing; empty at the end.

        Raises:
            StreamBroken: The connection was reset.
            MemoryError: There is no room for so much; `receive` makes do with less.
        """
        try:
            data = self.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return None
        except OSError as exc:
            raise StreamBroken(str(exc)) from exc
        self._more = len(data) == RECEIVE_BYTES
        self._heard = True
        return data

    def was_heard(self) -> bool:
        """Whether the peer has said anything since the last call, or something waits to be read."""
        heard, self._heard = self._heard, False
        if heard or self.closed:
            return heard
        try:
            return bool(self._sock.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        """Hand all of `data` to the kernel.

        Raises:
            StreamBroken: The peer does not take it any more.
        """
        try:
            sent = self.send_now(data)
        except BlockingIOError:
            sent = 0
        except OSError as exc:
            raise StreamBroken(str(exc)) from exc
        if sent == len(data):
            return
        view = memoryview(data)[sent:]
        while view:
            view = view[await self.wait_and_send(view) :]

    def send_kept(self) -> None:
        """Send what was kept back.

        Whoever receives is woken if the kernel does not take all of it, and sends the rest.

        Raises:
            StreamBroken: The peer does not take it any more.
        """
        data, self.kept_back = self.kept_back, b""
        if not data:
            return  # it was closed meanwhile
        try:
            sent = self.send_now(data)
        except BlockingIOError:
            sent = 0
        except OSError as exc:
            raise StreamBroken(str(exc)) from exc
        if sent < len(data):
            self._rest = data[sent:]
            self._wake()
            trio.lowlevel.notify_closing(self.fd)
            # the loop, too, which may be about to wait
            trio.lowlevel.current_trio_token().run_sync_soon(_nothing)

    async def _send_rest(self) -> None:
        # A deadline of the receiver may end this at any wait: what is left then stays to be sent.
        while self._rest:
            sent = await self.wait_and_send(memoryview(self._rest))
            self._rest = self._rest[sent:]

    async def wait_and_send(self, view: memoryview) -> int:
        """Wait until the peer takes something of `view`; return how many bytes it took.

        Raises:
            StreamBroken: The peer does not take it any more.
        """
        while True:
            try:
                await trio.lowlevel.wait_writable(self.fd)
                return self.send_now(view)
            except BlockingIOError:
                continue
            except (OSError, trio.ClosedResourceError) as exc:
                raise StreamBroken(str(exc)) from exc

    def peer_gone(self) -> bool:
        """Whether the peer has closed its side, even behind bytes that were not read yet.

        A peer that only half-closes counts as gone, as with nginx: nobody can tell it from one
        that left, and an answer is worth minutes of a machine's time.
        """
        if self.closed:
            return True
        try:
            if self._sock.family == socket.AF_UNIX:
                return self._sock.recv(1, socket.MSG_PEEK) == b""
            state = self._sock.getsockopt(
                socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_STATE_BYTES
            )
        except BlockingIOError:
            return False
        except OSError:
            return True
        return state[0] in _GONE_STATES

    def is_stale(self) -> bool:
        """Whether an idle connection is of no use: closed, or with bytes that nobody asked for."""
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def stop_reading(self) -> None:
        """Wake whoever reads with an end of file; what was written before still goes out."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RD)

    def end_writing(self) -> None:
        """Say that nothing more will be written; the peer may go on."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """Wake whoever reads or writes: the connection is over."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it. May be called again."""
        if not self.closed:
            self._send_last_words()
            self.closed = True
            if self._readers is not None:
                self.unwatch()
                self._readers.watched -= 1
                self._wake()
            trio.lowlevel.notify_closing(self.fd)
            self._sock.close()

    def _send_last_words(self) -> None:
        data, self._rest, self.kept_back = self._rest or self.kept_back, b"", b""
        if data:
            with contextlib.suppress(OSError):
                self.send_now(data)

    def reset(self) -> None:
        """Close it so that the peer sees an error, not an end."""
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.close()

    async def linger(
        self, silent_s: float = 1.0, most: int = 4 * 1024 * 1024, seconds: float | None = None
    ) -> None:
        """Close it so that the peer can still read the last answer.

        Closing a socket with unread bytes sends a reset, which wipes an answer that the peer has
        not read yet: so what it still sends is read and dropped for a while (RFC 9112, 9.6).

        Args:
            silent_s: Until it has been silent for so long.
            most: Bytes that are read, at the most.
            seconds: For so long at the most; None: `silent_s`.
        """
        self._send_last_words()
        try:
            self._sock.shutdown(socket.SHUT_WR)
            with trio.move_on_after(seconds or silent_s), trio.CancelScope() as silence:
                silence.deadline = trio.current_time() + silent_s
                while most > 0 and (data := await self.receive()):
                    most -= len(data)
                    silence.deadline = trio.current_time() + silent_s
        except (OSError, StreamBroken):
            pass
        finally:
            self.close()


def _nothing() -> None:
    pass


def new_socket(family: int) -> socket.socket:
    """Return a stream socket for connecting."""
    return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


async def connect(family: int, address: object) -> SocketStream:
    """Connect to `address`.

    Raises:
        OSError: Nobody listens there, or it cannot be reached.
    """
    sock = new_socket(family)
    try:
        code = sock.connect_ex(address)  # type: ignore[arg-type]  # typeshed: a tuple or a string
        if code == errno.EINPROGRESS:
            await trio.lowlevel.wait_writable(sock.fileno())
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, errno.errorcode.get(code, str(code)))
        return SocketStream(sock)
    except BaseException:
        trio.lowlevel.notify_closing(sock)
        sock.close()
        raise
