"""Fetches one file over HTTP. Bytes or a reason, no opinion on either.

Every failure has a reason for the log, which says nothing of the URL: it may hold a key.
"""

import ssl
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin, urlsplit

import h11
import trio

_RECEIVE_BYTES: Final = 64 * 1024
_MAX_HEAD_BYTES: Final = 64 * 1024

# From http to https, and from a bare name to one with www.
_MAX_REDIRECTS: Final = 2
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class FetchFailed(Exception):
    """There is no file; the message says why."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    location: str | None
    encoding: str
    body: bytes


async def fetch(url: str, most_bytes: int) -> bytes:
    """Return the file at `url` (http or https). There is no time limit but the caller's.

    Certificates are checked. A redirect from https leads to https only.

    Raises:
        FetchFailed: There was none, another status than 200, or more than `most_bytes`.
    """
    for _ in range(_MAX_REDIRECTS + 1):
        answer = await _get(url, most_bytes)
        if answer.status not in _REDIRECTS or answer.location is None:
            if answer.status != 200:
                raise FetchFailed(f"it answered with status {answer.status}")
            if answer.encoding not in {"", "identity"}:
                raise FetchFailed("it came compressed, which was not asked for")
            return answer.body
        url = _redirected(url, answer.location)
    raise FetchFailed(f"it was moved more than {_MAX_REDIRECTS} times")


def _redirected(url: str, location: str) -> str:
    try:
        found = urljoin(url, location)
        is_safe = urlsplit(found).scheme == "https" or urlsplit(url).scheme == "http"
    except ValueError as exc:
        raise FetchFailed("it was moved to what is no URL") from exc
    if not is_safe:
        raise FetchFailed("it was moved from https to something else")
    return found


async def _get(url: str, most_bytes: int) -> _Answer:
    request = _request(url)
    parts = urlsplit(url)
    is_tls = parts.scheme == "https"
    if not parts.hostname or parts.scheme not in {"http", "https"}:
        raise FetchFailed("this is no URL of http or https")
    host, port = parts.hostname, parts.port or (443 if is_tls else 80)
    try:
        stream: trio.abc.Stream = await trio.open_tcp_stream(host, port)
    except (OSError, UnicodeError) as exc:  # UnicodeError: a name that cannot be looked up
        raise FetchFailed(f"there is no connection: {_why(exc)}") from exc
    try:
        if is_tls:
            context = ssl.create_default_context()
            stream = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
        return await _exchange(stream, request, most_bytes)
    except trio.BrokenResourceError as exc:
        raise FetchFailed(f"the connection broke: {_why(exc.__cause__ or exc)}") from exc
    finally:
        await trio.aclose_forcefully(stream)


def _request(url: str) -> h11.Request:
    try:
        parts = urlsplit(url)
        _ = parts.port  # looked at only now
        return h11.Request(
            method="GET",
            target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            headers=[
                ("Host", parts.netloc.rpartition("@")[2]),
                ("Connection", "close"),
                ("Accept", "application/json"),
                ("Accept-Encoding", "identity"),
                ("User-Agent", "arriero"),
            ],
        )
    except (ValueError, h11.LocalProtocolError) as exc:
        raise FetchFailed("this is no URL") from exc


async def _exchange(stream: trio.abc.Stream, request: h11.Request, most_bytes: int) -> _Answer:
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
    await stream.send_all((http.send(request) or b"") + (http.send(h11.EndOfMessage()) or b""))
    head: h11.Response | None = None
    body = bytearray()
    while True:
        try:
            event = http.next_event()
        except h11.RemoteProtocolError as exc:
            raise FetchFailed(f"this is not HTTP, or half of it: {_why(exc)}") from exc
        if event is h11.NEED_DATA:
            data = bytes(await stream.receive_some(_RECEIVE_BYTES))
            if not data and head is None:
                raise FetchFailed("the connection was closed before an answer")
            http.receive_data(data)
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > most_bytes:
                raise FetchFailed(f"it is larger than {most_bytes} bytes")
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            fields = {name: value.decode("latin-1") for name, value in head.headers}
            return _Answer(
                status=head.status_code,
                location=fields.get(b"location"),
                encoding=fields.get(b"content-encoding", "").strip().lower(),
                body=bytes(body),
            )


def _why(exc: BaseException) -> str:
    """Return one line, without what quotes the request."""
    return " ".join(str(exc).split())[:200] or type(exc).__name__
