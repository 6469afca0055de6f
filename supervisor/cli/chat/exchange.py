"""One HTTP request, and its answer as it comes.

A blocking socket with a short time-out, so that a clock can go on while nothing comes.
"""

import socket
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

import h11
import msgspec

from ..find_sockets import CommandFailed

# Seconds: for a connection; between two ticks; in which something has to come, be it a sign of
# life (there is one every ten seconds unless that is configured otherwise, every minute at most).
_CONNECT_S: Final = 10.0
_TICK_S: Final = 0.1
_SILENCE_S: Final = 300.0
_SEND_S: Final = 60.0

_READ_BYTES: Final = 64 * 1024

# Of an answer that is read as a whole.
_MAX_BODY: Final = 16 * 1024 * 1024


class ServerUnreachable(CommandFailed):
    """Nobody answers there."""

    exit_status = 3


class ExchangeBroken(CommandFailed):
    """The answer did not come to its end."""


class ServerAddress(msgspec.Struct, frozen=True):
    """Where requests go.

    Attributes:
        url: As it was said.
        host, port: Of the socket.
        is_tls: ``https``.
        path: Before that of each request; without a slash at its end.
    """

    url: str
    host: str
    port: int
    is_tls: bool
    path: str


def read_address(url: str) -> ServerAddress:
    """Read a URL, or ``host:port``.

    Raises:
        ValueError: It is neither.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{url!r} is no URL such as http://127.0.0.1:8080")
    is_tls = parts.scheme == "https"
    port = parts.port or (443 if is_tls else 80)
    path = parts.path.rstrip("/").removesuffix("/v1")
    return ServerAddress(url, parts.hostname, port, is_tls, path)


class HttpAnswer:
    """An answer of which the body is still to be read.

    Attributes:
        status: Of HTTP.
        fields: Names in small letters -> values.
    """

    def __init__(
        self, status: int, fields: dict[str, str], receive: Callable[[], bytes | None]
    ) -> None:
        self.status = status
        self.fields = fields
        self._receive = receive

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it comes.

        Raises:
            ExchangeBroken: It has no end.
        """
        while (data := self._receive()) is not None:
            yield data

    def body(self) -> bytes:
        """Return the rest of the body.

        Raises:
            ExchangeBroken: It has no end, or is too long.
        """
        whole = b""
        for piece in self.pieces():
            whole += piece
            if len(whole) > _MAX_BODY:
                raise ExchangeBroken(f"the answer has more than {_MAX_BODY} bytes")
        return whole


@contextmanager
def exchange(
    address: ServerAddress,
    method: str,
    path: str,
    fields: Iterable[tuple[str, str]],
    body: bytes = b"",
    *,
    tick: Callable[[], None] = lambda: None,
) -> Generator[HttpAnswer, None, None]:
    """Ask, and give the answer as soon as its head is there. Leaving the block ends the request.

    Args:
        address: Who is asked.
        method: Of HTTP.
        path: Of the request.
        fields: Of its head, beside those that each request has.
        body: Of the request.
        tick: Called ten times a second while nothing comes.

    Raises:
        ServerUnreachable: Nobody answers there.
        ExchangeBroken: What comes is no answer, or has no end.
    """
    with _connected(address) as sock:
        yield _Exchange(address, sock, tick).ask(method, path, fields, body)


class _Exchange:
    def __init__(
        self, address: ServerAddress, sock: socket.socket, tick: Callable[[], None]
    ) -> None:
        self._address = address
        self._socket = sock
        self._tick = tick
        self._http = h11.Connection(h11.CLIENT)

    def ask(
        self, method: str, path: str, fields: Iterable[tuple[str, str]], body: bytes
    ) -> HttpAnswer:
        host = self._address.host
        shown = f"[{host}]" if ":" in host else host
        head = h11.Request(
            method=method,
            target=self._address.path + path,
            headers=[
                ("Host", f"{shown}:{self._address.port}"),
                ("User-Agent", "arriero"),
                ("Accept", "text/event-stream, application/json"),
                ("Connection", "close"),
                *([("Content-Length", str(len(body)))] if body else []),
                *fields,
            ],
        )
        parts: list[h11.Event] = [
            head,
            *([h11.Data(data=body)] if body else []),
            h11.EndOfMessage(),
        ]
        sent = b"".join(self._http.send(part) or b"" for part in parts)
        try:
            self._socket.settimeout(_SEND_S)
            self._socket.sendall(sent)
        except OSError as exc:
            # A server that refuses a body answers, and closes: its words say more.
            if isinstance(exc, TimeoutError):
                raise ExchangeBroken(f"{self._address.url} does not read the request") from exc
        self._socket.settimeout(_TICK_S)
        while not isinstance(event := self._next(), h11.Response):
            if not isinstance(event, h11.InformationalResponse):
                raise ExchangeBroken(f"{self._address.url} answered nothing")
        found = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
        return HttpAnswer(event.status_code, found, self._data)

    def _data(self) -> bytes | None:
        while True:
            event = self._next()
            if isinstance(event, h11.Data):
                return bytes(event.data)
            if isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                return None

    def _next(self) -> h11.Event:
        try:
            while True:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    self._http.receive_data(self._receive())
                elif isinstance(event, h11.Event):
                    return event
                else:
                    raise ExchangeBroken(f"{self._address.url} said more than one answer")
        except h11.RemoteProtocolError as exc:
            raise ExchangeBroken(
                f"the answer of {self._address.url} was cut off, or is not HTTP: {exc}"
            ) from exc

    def _receive(self) -> bytes:
        until = time.monotonic() + _SILENCE_S
        while time.monotonic() < until:
            try:
                return self._socket.recv(_READ_BYTES)
            except TimeoutError:
                self._tick()
            except ConnectionError:
                return b""  # cut off: what is missing is told by what was there
            except OSError as exc:
                raise ExchangeBroken(f"{self._address.url} cannot be read: {exc}") from exc
        raise ExchangeBroken(f"nothing came from {self._address.url} for {_SILENCE_S:.0f} s")


def _connected(address: ServerAddress) -> socket.socket:
    try:
        sock = socket.create_connection((address.host, address.port), timeout=_CONNECT_S)
        if not address.is_tls:
            return sock
        import ssl  # takes a while to import

        try:
            return ssl.create_default_context().wrap_socket(sock, server_hostname=address.host)
        except ssl.SSLCertVerificationError as exc:
            sock.close()
            raise ServerUnreachable(
                f"{address.url} shows a certificate that is not trusted: {exc.verify_message}; "
                "name the file of one that is in $SSL_CERT_FILE, or say by --url the name that it "
                "is for"
            ) from exc
        except OSError:
            sock.close()
            raise
    except OSError as exc:
        raise ServerUnreachable(
            f"cannot reach arriero at {address.url}: {exc.strerror or exc}; start it with "
            "`arriero serve`, or say where it is with --url URL or $ARRIERO_URL"
        ) from exc
