"""An error as an HTTP response, in the shape of its API."""

from collections.abc import Mapping
from typing import Final

from ..errors import RelayError
from ..http.cors import Field
from .base.api import Api
from .routes import PLAIN


def error_answer(error: RelayError, *, close: bool, extra: bytes = b"", api: Api = PLAIN) -> bytes:
    """Return a whole HTTP response for `error`.

    Args:
        error: The error.
        close: No other request will be read from this connection.
        extra: Further lines of the head.
        api: The API of the route.
    """
    fields, body = error_parts(error, api)
    return b"HTTP/1.1 %d %b\r\n%bContent-Length: %d\r\n%b%b\r\n%b" % (
        error.status,
        _REASONS.get(error.status, b"Error"),
        b"".join(b"%b: %b\r\n" % field for field in fields),
        len(body),
        extra,
        b"Connection: close\r\n" if close else b"",
        body,
    )


def error_parts(error: RelayError, api: Api) -> tuple[tuple[Field, ...], bytes]:
    """Return header fields and body of the response for `error`.

    Args:
        error: The error.
        api: The API of the route.
    """
    return (_JSON, *error.fields, *api.error_fields(error)), api.error_body(error)


_JSON: Final = (b"Content-Type", b"application/json")

_REASONS: Final[Mapping[int, bytes]] = {
    301: b"Moved Permanently",
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
