"""TLS towards clients: a connection is decrypted into a socket pair and served from its other end.

So what serves it sees a connection like any other, HTTP/2 included, with all limits and rules, and
the fast path knows nothing of TLS. It costs two tasks and a copy of each byte, which is little
beside encrypting it. In the pair and in the tasks there are some 200 KiB at the most, each way.
"""

import logging
import os
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import trio

from arriero.protocol.worker_config import TlsFiles

from ..apis.error_response import error_answer
from ..connections.stream import SocketStream, StreamBroken
from ..connections.tls_stream import TlsStream
from ..errors import BadRequest
from ..limits import Limits

log = logging.getLogger(__name__)

Serve: TypeAlias = Callable[[SocketStream, bytes], Awaitable[None]]
"""Serves a connection, on behalf of the client with that address, and closes it. Never raises."""

# Seconds between two looks at whether there is another certificate: whoever renews it needs not
# tell anybody.
_LOOK_S: Final = 1.0

# Bytes that the kernel keeps for a socket pair, each way; it doubles the figure.
_PAIR_BYTES: Final = 64 * 1024

# A request of HTTP/1.1, or the preface of HTTP/2; and what it accepts.
_PLAIN: Final = re.compile(rb"[A-Z]{3,20} ")
_ACCEPT: Final = re.compile(rb"^accept:([^\r\n]*)", re.IGNORECASE | re.MULTILINE)

_ALPN: Final = ["h2", "http/1.1"]


class Certificate:
    """The certificate, read again when its files have changed."""

    def __init__(self) -> None:
        self._context: ssl.SSLContext | None = None
        self._seen: object = None
        self._look_at = 0.0

    def context(self, files: TlsFiles, now: float) -> "ssl.SSLContext":
        """Return what connections are begun with.

        Args:
            files: Where it is.
            now: `trio.current_time()`.

        Raises:
            OSError: It cannot be read, and never could.
        """
        if self._context is not None and now < self._look_at:
            return self._context
        self._look_at = now + _LOOK_S
        try:
            seen = files, *(_version(path) for path in (files.cert, files.key))
            if self._context is None or seen != self._seen:
                self._context = _read(files)
                self._seen = seen
                log.info("tls.certificate file=%s", files.cert)
        except OSError as exc:  # in the middle of being renewed: the one from before will do
            if self._context is None:
                raise
            log.warning("tls.not_renewed file=%s reason=%r", files.cert, str(exc))
        return self._context


def _version(path: str) -> tuple[int, int, int]:
    status = os.stat(path)
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(files: TlsFiles) -> "ssl.SSLContext":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # a key with a password is an error: OpenSSL would ask for it on the terminal
    context.load_cert_chain(files.cert, files.key, password=lambda: "")
    context.set_alpn_protocols(_ALPN)
    return context


class _PairEnd(SocketStream):
    """The end of the pair that is served.

    Attributes:
        was_reset: It was closed in the middle of an answer.
    """

    __slots__ = ("was_reset",)

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.was_reset = False

    def reset(self) -> None:
        """Close it so that the client sees an error, not an end."""
        self.was_reset = True
        super().reset()


async def _say_plainly(transport: SocketStream, first: bytes) -> None:
    """Close a connection; who has begun it with a plain request is told what is spoken here."""
    if not _PLAIN.match(first):  # as a request begins, and nothing of TLS
        transport.close()
        return
    found = _ACCEPT.search(first)
    error = BadRequest("cannot speak plain HTTP here: this port speaks TLS; ask by https://")
    try:
        transport.send_now(
            error_answer(error, close=True, accept=b"" if found is None else found[1])
        )
    except OSError:
        transport.close()
    else:
        await transport.linger()


class TlsDoor:
    """Serves connections over TLS.

    Args:
        serve: Serves what is in them.
        limits: How long clients are waited for.
    """

    def __init__(self, serve: Serve, limits: Limits) -> None:
        self._serve = serve
        self._limits = limits
        self._certificate = Certificate()

    async def __call__(self, sock: socket.socket, peer: bytes, files: TlsFiles) -> None:
        """Serve one connection until it ends, and close it.

        Args:
            sock: The connection.
            peer: The client's address.
            files: The certificate and its key.
        """
        transport = SocketStream(sock)
        try:
            tls = TlsStream(transport, self._certificate.context(files, trio.current_time()))
        except OSError as exc:
            log.warning("tls.refused reason=%r", str(exc))
            transport.close()
            return
        try:
            with trio.fail_after(self._limits.head_s):
                await tls.handshake()
            ours, theirs = socket.socketpair()
        except (StreamBroken, trio.TooSlowError):  # or somebody who speaks no TLS
            await _say_plainly(transport, tls.first)
            return
        except OSError as exc:
            log.warning("tls.refused reason=%r", str(exc))
            transport.close()
            return
        except BaseException:
            transport.close()
            raise
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _PAIR_BYTES)
        inner, served = SocketStream(ours), _PairEnd(theirs)
        is_served = trio.Event()

        async def serve() -> None:
            await self._serve(served, peer)
            is_served.set()

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve)
                nursery.start_soon(_pass_up, tls, inner)
                await self._pass_down(inner, tls)
                await is_served.wait()  # it may read on, so that its last word is not wiped
                nursery.cancel_scope.cancel()
        finally:
            inner.close()
            if served.was_reset:
                transport.reset()
            else:
                await tls.linger()

    async def _pass_down(self, inner: SocketStream, tls: TlsStream) -> None:
        """Pass on what is said to the client, until all is said or it takes nothing more."""
        try:
            while data := await inner.receive():
                with trio.fail_after(self._limits.write_s):
                    await tls.send(data)
        except (StreamBroken, trio.TooSlowError):
            inner.close()  # as if the client had gone


async def _pass_up(tls: TlsStream, inner: SocketStream) -> None:
    """Pass on what the client says, until it ends or nobody listens."""
    try:
        while data := await tls.receive():
            await inner.send(data)
    except StreamBroken:
        pass  # most programs end without a word
    inner.end_writing()
