"""An error as a whole HTTP answer, in the shape of the API that was asked."""

from typing import Final

import msgspec

from ..errors import RelayError, anthropic_error, body_of
from ..http.cors import Field
from ..http.routes import Form
from .bedrock import bedrock_error
from .gemini import gemini_error


def error_answer(
    error: RelayError, *, close: bool, extra: bytes = b"", form: Form = Form.PLAIN
) -> bytes:
    """Return a whole HTTP answer that tells of `error`.

    Args:
        error: What cannot be done.
        close: No other request will be read from this connection.
        extra: Further lines of the head.
        form: Shape of the answers of the route.
    """
    fields, body = error_parts(error, form)
    return b"HTTP/1.1 %d %b\r\n%bContent-Length: %d\r\n%b%b\r\n%b" % (
        error.status,
        _REASONS.get(error.status, b"Error"),
        b"".join(b"%b: %b\r\n" % field for field in fields),
        len(body),
        extra,
        b"Connection: close\r\n" if close else b"",
        body,
    )


def error_parts(error: RelayError, form: Form) -> tuple[tuple[Field, ...], bytes]:
    """Return the header fields and the body of an answer that tells of `error`.

    Args:
        error: What cannot be done.
        form: Shape of the answers of the route.
    """
    fields = (_JSON, *error.fields)
    if form.is_anthropic:
        return fields, msgspec.json.encode(anthropic_error(error))
    if form is Form.GEMINI:
        return fields, msgspec.json.encode(gemini_error(error))
    if form is Form.BEDROCK:
        kind, value = bedrock_error(error)
        return (*fields, kind), msgspec.json.encode(value)
    return fields, body_of(error)


_JSON: Final = (b"Content-Type", b"application/json")

_REASONS: Final = {
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    409: b"Conflict",
    413: b"Content Too Large",
    417: b"Expectation Failed",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    499: b"Request Cancelled",
    500: b"Internal Server Error",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
}
