"""An error as an HTTP response: in the shape of its API, or as a text for those who want one."""

from collections.abc import Mapping
from typing import Final

from ..errors import RelayError
from ..http.cors import Field
from ..http.request_head import RequestHead
from .base.api import Api
from .routes import PLAIN


def error_answer(
    error: RelayError,
    *,
    close: bool,
    extra: bytes = b"",
    api: Api = PLAIN,
    head: RequestHead | None = None,
    accept: bytes = b"",
) -> bytes:
    """Return a whole HTTP response for `error`.

    Args:
        error: The error.
        close: No other request will be read from this connection.
        extra: Further lines of the head.
        api: The API of the route.
        head: Of the request, which may want a text or a page.
        accept: What the client accepts, if that is all that is known of its head.
    """
    fields, body = error_parts(error, api, accept if head is None else accept_of(head))
    return b"HTTP/1.1 %d %b\r\n%bContent-Length: %d\r\n%b%b\r\n%b" % (
        error.status,
        _REASONS.get(error.status, b"Error"),
        b"".join(b"%b: %b\r\n" % field for field in fields),
        len(body),
        extra,
        b"Connection: close\r\n" if close else b"",
        body,
    )


def error_parts(
    error: RelayError, api: Api, accept: bytes = b""
) -> tuple[tuple[Field, ...], bytes]:
    """Return header fields and body of the response for `error`.

    Args:
        error: The error.
        api: The API of the route.
        accept: What the client accepts. Who names JSON gets the shape of the API, like all who
            want nothing in particular; a member `src` tells it from the errors of upstreams.
    """
    fields = (*error.fields, *api.error_fields(error))
    wanted = accept.lower()
    if b"json" not in wanted:
        if b"text/plain" in wanted:
            return (_TEXT, *fields), f"{_SOURCE}: {error.message}\n".encode()
        if b"text/html" in wanted:
            return (_HTML, *fields), _page(error)
    return (_JSON, *fields), b'{"src":"%b",%b' % (_SOURCE.encode(), api.error_body(error)[1:])


def accept_of(head: RequestHead) -> bytes:
    """Return what a client says that it accepts."""
    return b",".join(value for name, value in head.fields() if name == b"accept")


def _page(error: RelayError) -> bytes:
    import html  # few want a page, and it takes half a megabyte

    title = html.escape(f"{error.status} {_REASONS.get(error.status, b'Error').decode()}")
    return (
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<h1>{title}</h1><p>{html.escape(error.message)}</p><p>{_SOURCE}</p></html>\n"
    ).encode()


_SOURCE: Final = "arriero"
_JSON: Final = (b"Content-Type", b"application/json")
_TEXT: Final = (b"Content-Type", b"text/plain; charset=utf-8")
_HTML: Final = (b"Content-Type", b"text/html; charset=utf-8")

_REASONS: Final[Mapping[int, bytes]] = {
    301: b"Moved Permanently",
    302: b"Found",
    307: b"Temporary Redirect",
    308: b"Permanent Redirect",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    409: b"Conflict",
    413: b"Content Too Large",
    415: b"Unsupported Media Type",
    417: b"Expectation Failed",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    499: b"Request Cancelled",
    500: b"Internal Server Error",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
}
