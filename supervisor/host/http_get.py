"""One GET or POST over HTTP/1.1 with h11: TCP, TLS or a unix socket. Read whole, or as it comes.

Every failure is a `GetFailed` with a one-line reason that is fit for the log: it never quotes the
URL or a header, which may hold a key. Deadlines are the caller's (`trio.fail_after`): only the
caller knows what else belongs to the attempt. So are redirects: how far one may lead differs.
"""

import socket
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import msgspec
import trio

if TYPE_CHECKING:
    import h11

_RECEIVE_BYTES: Final = 64 * 1024
_MAX_HEAD_BYTES: Final = 64 * 1024

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class GetFailed(Exception):
    """There is no response; the message has the reason."""


class BadUrl(GetFailed):
    """The URL is none that a request can be sent to."""


class Unreachable(GetFailed):
    """No connection could be made."""


class NobodyListens(Unreachable):
    """Nothing listens there."""


class HungUp(GetFailed):
    """The connection broke, or was closed before the response."""


class NotHttp(GetFailed):
    """The response is not HTTP/1.x, or only half of it came."""


@dataclass(frozen=True, slots=True)
class Access:
    """The way to a server, beyond its URL.

    Attributes:
        key: Sent as bearer token; empty for none.
        socket: Path of the unix socket on which it listens; None: the URL's host and port.
    """

    key: str = field(default="", repr=False)
    socket: str | None = None


PLAIN: Final = Access()


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request, as `request_to` makes it.

    Attributes:
        host, port: Of the URL.
        target: Path and query, as sent.
        authority: Value of ``Host``.
        tls: None for http.
        headers: Sent besides ``Host``, ``Connection`` and ``Authorization``.
        access: See there.
        happy_eyeballs_delay_s: Seconds after which the next address of the host is tried as well.
    """

    host: str
    port: int
    target: str
    authority: str
    tls: "ssl.SSLContext | None"
    headers: Mapping[str, str]
    access: Access
    happy_eyeballs_delay_s: float = 0.25  # as RFC 8305


class Response(msgspec.Struct, frozen=True):
    """The response to one request.

    Attributes:
        status: HTTP status.
        headers: Names in lower case; of several with one name, the last.
        body: As much of it as was wanted.
        is_cut: There was more of the body.
    """

    status: int
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    body: bytes = b""
    is_cut: bool = False

    @property
    def is_success(self) -> bool:
        """The status is one of 200 to 299."""
        return 200 <= self.status < 300

    @property
    def redirect(self) -> str:
        """The ``Location`` of a redirect, as it was sent; empty if this is none."""
        return self.headers.get("location", "") if self.status in _REDIRECTS else ""


def request_to(url: str, headers: Mapping[str, str], access: Access = PLAIN) -> Request:
    """Return the request for `url` (http or https).

    Raises:
        BadUrl: It is none.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise BadUrl("this is no URL") from exc
    if parts.scheme not in {"http", "https"} or not host or not parts.netloc.isascii():
        raise BadUrl("this is no URL of http or https")
    tls = _checked_tls() if parts.scheme == "https" else None
    return Request(
        host=host,
        port=port or (443 if tls else 80),
        target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        authority=parts.netloc.rpartition("@")[2],
        tls=tls,
        headers=headers,
        access=access,
    )


@cache
def _checked_tls() -> "ssl.SSLContext":
    """Return the context that checks certificates: one for all, since it takes 20 ms to make."""
    context = ssl.create_default_context()
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # in Python 3.11.2 what is cut off is whole
    return context


async def get(request: Request, max_body_bytes: int) -> Response:
    """Send `request` and return the response; certificates are checked.

    Args:
        request: From `request_to`.
        max_body_bytes: No more of the body is read; with 0 none of it is waited for.

    Raises:
        GetFailed: There is no response, or half of one.
    """
    return await _send(request, "GET", None, max_body_bytes)


async def post(request: Request, body: bytes, max_body_bytes: int) -> Response:
    """Send `request` with `body`, and return the response; see `get`.

    Raises:
        GetFailed: There is no response, or half of one. It may have been obeyed all the same.
    """
    return await _send(request, "POST", body, max_body_bytes)


async def _send(request: Request, method: str, body: bytes | None, max_body_bytes: int) -> Response:
    head = _head(request, method, body)
    async with _connected(request) as stream:
        return await _exchange(stream, head, max_body_bytes, body or b"")


@asynccontextmanager
async def _connected(request: Request) -> AsyncGenerator[trio.abc.Stream, None]:
    """Give a connection to where `request` is to be sent; it is closed after the block.

    Raises:
        Unreachable: There is none.
        HungUp: It broke, in the block.
    """
    stream = await connect(request)
    try:
        if request.tls is not None:
            stream = trio.SSLStream(
                stream, request.tls, server_hostname=request.host, https_compatible=True
            )
        yield stream
    except trio.BrokenResourceError as exc:
        raise HungUp(f"the connection broke: {_why(exc.__cause__ or exc)}") from exc
    finally:
        await trio.aclose_forcefully(stream)


async def connect(request: Request) -> trio.abc.Stream:
    """Return a connection to where `request` is to be sent, without TLS.

    Raises:
        NobodyListens: Nothing listens there.
        Unreachable: There is none.
    """
    try:
        if request.access.socket is not None:
            return await trio.open_unix_socket(request.access.socket)
        if request.host.replace(".", "").isdecimal():
            return await _connect_to_address(request.host, request.port)
        return await trio.open_tcp_stream(
            request.host, request.port, happy_eyeballs_delay=request.happy_eyeballs_delay_s
        )
    # A name that cannot be looked up is a UnicodeError; without a thread for that, a RuntimeError.
    except (OSError, UnicodeError, RuntimeError) as exc:
        kind = NobodyListens if _is_refused(exc) else Unreachable
        raise kind(f"there is no connection: {_why(exc)}") from exc


def _is_refused(exc: BaseException) -> bool:
    """Whether that is why: of several addresses of a name, of each."""
    if isinstance(exc, BaseExceptionGroup):
        return all(map(_is_refused, exc.exceptions))
    # A socket that a server has removed, or has left behind.
    if isinstance(exc, (ConnectionRefusedError, FileNotFoundError)):
        return True
    return exc.__cause__ is not None and _is_refused(exc.__cause__)


async def _connect_to_address(address: str, port: int) -> trio.SocketStream:
    """Connect to an address of IPv4: a third of the time of `trio.open_tcp_stream`.

    There is no name to look up, and no second address to try.

    Raises:
        OSError: There is no connection.
    """
    sock = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        await sock.connect((address, port))
        return trio.SocketStream(sock)
    except BaseException:
        sock.close()
        raise


def _head(request: Request, method: str = "GET", body: bytes | None = None) -> "h11.Request":
    import h11  # for the first check of a model; the start has no use for it

    key = request.access.key
    headers = {
        "Host": request.authority,
        "Connection": "close",
        **request.headers,
        **({"Authorization": f"Bearer {key}"} if key else {}),
        **({} if body is None else {"Content-Length": str(len(body))}),
    }
    try:
        return h11.Request(method=method, target=request.target, headers=list(headers.items()))
    except (ValueError, h11.LocalProtocolError) as exc:
        raise BadUrl("this is no URL") from exc


async def _exchange(
    stream: trio.abc.Stream, head: "h11.Request", max_body_bytes: int, sent: bytes = b""
) -> Response:
    """Send `head` and the body `sent` over `stream` and return the response, as `get` does.

    Raises:
        HungUp: `stream` was closed before a response.
        NotHttp: As for `get`.
        trio.BrokenResourceError: `stream` broke.
    """
    answer = ResponseStream(stream, _RECEIVE_BYTES)
    await answer.ask(head, sent)
    body = bytearray()
    while max_body_bytes and len(body) <= max_body_bytes:
        if not (data := await answer.receive()):
            break
        body += data
    return Response(
        status=answer.status,
        headers=answer.headers,
        body=bytes(body[:max_body_bytes]),
        is_cut=len(body) > max_body_bytes,
    )


class ResponseStream:
    """A response whose body is read as it comes.

    Attributes:
        status, headers: As in `Response`.
    """

    def __init__(self, stream: trio.abc.Stream, receive_bytes: int) -> None:
        import h11

        self.status = 0
        self.headers: Mapping[str, str] = {}
        self._stream = stream
        self._receive_bytes = receive_bytes
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)

    async def ask(self, head: "h11.Request", sent: bytes = b"") -> None:
        """Send a request, and read the head of the response.

        Raises:
            HungUp: The connection was closed before a response.
            NotHttp: As for `get`.
            trio.BrokenResourceError: It broke.
        """
        import h11

        http = self._http
        parts = [h11.Data(sent)] if sent else []
        await self._stream.send_all(
            b"".join(http.send(event) or b"" for event in (head, *parts, h11.EndOfMessage()))
        )
        while not isinstance(event := await self._next(), h11.Response):
            pass
        self.status = event.status_code
        self.headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers
        }

    async def receive(self) -> bytes:
        """Return the next bytes of the body; none at its end.

        Raises:
            NotHttp: As for `get`.
            trio.BrokenResourceError: The connection broke.
        """
        import h11

        while not isinstance(event := await self._next(), h11.EndOfMessage):
            if isinstance(event, h11.Data) and event.data:
                return bytes(event.data)
        return b""

    async def _next(self) -> "h11.Event":
        import h11

        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as exc:
                raise NotHttp(f"this is not HTTP, or half of it: {_why(exc)}") from exc
            if isinstance(event, h11.Event) and not isinstance(event, h11.ConnectionClosed):
                return event
            if event is not h11.NEED_DATA:
                raise NotHttp("this is not HTTP: there is no more to come")
            data = bytes(await self._stream.receive_some(self._receive_bytes))
            if not data and not self.status:
                raise HungUp("the connection was closed before an answer")
            self._http.receive_data(data)


@asynccontextmanager
async def opened(request: Request, receive_bytes: int) -> AsyncGenerator[ResponseStream, None]:
    """Send a GET, and give the response, whose body is read as it comes.

    Args:
        request: From `request_to`.
        receive_bytes: No more is read from the connection at once: a chunk of the body may have
            one byte, and takes 10 us.

    Raises:
        GetFailed: There is no response, or half of one; in the block as well.
    """
    head = _head(request)
    async with _connected(request) as stream:
        answer = ResponseStream(stream, receive_bytes)
        await answer.ask(head)
        yield answer


def _why(exc: BaseException) -> str:
    """Return one line, without the parts that quote the request."""
    return " ".join(str(exc).split())[:200] or type(exc).__name__
