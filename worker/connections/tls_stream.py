"""One connection with TLS over a `SocketStream`, for one reader and one writer."""

import contextlib
import ssl
from typing import Final

import trio

from .stream import RECEIVE_BYTES, SocketStream, StreamBroken

# Bytes that are encrypted at once: a long body is not held twice.
_SLICE_BYTES: Final = 256 * 1024


class CertificateRefused(StreamBroken):
    """The peer has shown a certificate that is not accepted; the text says why."""


def make_context() -> "ssl.SSLContext":
    """Return what all connections share: the system's certificates, HTTP/1.1.

    Reading them takes some 30 ms. With Python 3.11.2, which Debian 12 has, a connection that was
    cut off would pass for one that has ended.
    """
    context = ssl.create_default_context()
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    context.set_alpn_protocols(["http/1.1"])
    return context


class TlsStream:
    """Speaks TLS. As `SocketStream`, as far as upstreams and `TlsDoor` need it.

    Args:
        transport: The connection. It belongs to this object from now on.
        context: Whom to trust; of a server, what it shows.
        host: Name or address that the certificate has to show; None: this is the server.

    Attributes:
        first: What the peer said first.
    """

    __slots__ = ("_incoming", "_outgoing", "_sending", "_tls", "_transport", "first")

    def __init__(
        self, transport: SocketStream, context: "ssl.SSLContext", host: str | None = None
    ) -> None:
        self._transport = transport
        self.first = b""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._sending = trio.Lock()  # whoever reads may have to write as well
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=host is None, server_hostname=host
        )

    async def handshake(self) -> None:
        """Begin. Has no limit of its own.

        Raises:
            CertificateRefused: The certificate is not accepted.
            StreamBroken: The peer has gone, or speaks no TLS.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                data = await self._transport.receive()
                self.first = self.first or data
                self._take(data)
            except ssl.SSLCertVerificationError as exc:
                await self._flush()
                raise CertificateRefused(exc.verify_message) from exc
            except ssl.SSLError as exc:
                raise StreamBroken(str(exc)) from exc
            else:
                await self._flush()
                return

    async def receive(self, most: int = RECEIVE_BYTES) -> bytes:
        """Wait for bytes and return them; empty if the peer has said that it ends.

        Raises:
            StreamBroken: The connection was reset, or ended without a word: somebody may have cut
                off the rest.
        """
        data = self._read(most)
        if data is not None:
            # shielded: what was read must not be lost to somebody's deadline
            await trio.lowlevel.cancel_shielded_checkpoint()
        while data is None:
            await self._flush()
            self._take(await self._transport.receive())
            data = self._read(most)
        return data

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._transport.closed

    def was_heard(self) -> bool:
        """Whether the peer has said anything since the last call, or something waits to be read."""
        return self._transport.was_heard()

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        """Hand all of `data` to the kernel.

        Raises:
            StreamBroken: The peer does not take it any more.
        """
        view = memoryview(data)
        while view:
            try:
                view = view[self._tls.write(view[:_SLICE_BYTES]) :]
            except ssl.SSLError as exc:
                raise StreamBroken(str(exc)) from exc
            await self._flush()

    def is_stale(self) -> bool:
        """Whether an idle connection is of no use: closed, or with bytes that nobody asked for.

        Tickets for later connections, which servers send when they like, are no such bytes.
        """
        try:
            with contextlib.suppress(BlockingIOError):
                self._take(self._transport.recv(RECEIVE_BYTES))
            return self._read(1) is not None
        except (OSError, StreamBroken):
            return True

    def cut(self) -> None:
        """Wake whoever reads or writes: the connection is over."""
        self._transport.cut()

    def close(self) -> None:
        """Say that it ends, if that can be said at once, and close it. May be called again."""
        self._say_end()
        self._transport.close()

    async def linger(self) -> None:
        """The same; but what the peer still sends does not wipe what it was told last."""
        self._say_end()
        await self._transport.linger()

    def _say_end(self) -> None:
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        with contextlib.suppress(OSError):
            self._transport.send_now(self._outgoing.read())

    async def _flush(self) -> None:
        if self._outgoing.pending:
            async with self._sending:
                await self._transport.send(self._outgoing.read())

    def _take(self, data: bytes) -> None:
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _read(self, most: int) -> bytes | None:
        """Return what can be read without waiting; empty at the end; None if that is nothing."""
        parts: list[bytes] = []
        left = most
        try:
            while left and (part := self._tls.read(left)):
                parts.append(part)
                left -= len(part)
        except ssl.SSLWantReadError:
            return b"".join(parts) or None
        except ssl.SSLZeroReturnError:
            pass
        except ssl.SSLError as exc:
            if not parts:
                raise StreamBroken(str(exc)) from exc
        return b"".join(parts)
