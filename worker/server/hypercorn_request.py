"""One request as the page door's server gets it.

The server gets exactly one request, complete and in one form: no protocol to change to, no second
request behind it, no body that is still on its way. Each of these has led it astray: a change to
HTTP/2 in the middle of a connection raises errors that nobody there catches, a request behind the
first one makes it wait for ever, and so does a body that its application does not read.
"""

from typing import Final

MAX_PAGE_BODY_BYTES: Final = 1024 * 1024
"""Bytes of a body. Nothing here needs more than the name of a request."""

_DROPPED: Final = frozenset(
    {
        b"connection",
        b"content-length",
        b"expect",
        b"http2-settings",
        b"keep-alive",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


def page_request(raw: bytes, body: bytes, *, length: int) -> bytes:
    """Return a request as it is passed on.

    A server may ignore that a client would rather speak another protocol (RFC 9110, section 7.8),
    and this one does.

    Args:
        raw: The head as it came, with its blank line; checked before.
        body: All of it, or nothing if it is not wanted.
        length: Bytes that the client has said it has, or sent.
    """
    first, *lines = raw[:-4].split(b"\r\n")
    kept = [line for line in lines if line.partition(b":")[0].strip().lower() not in _DROPPED]
    if length:
        kept.append(b"Content-Length: %d" % length)
    return b"\r\n".join([first, *kept, b"Connection: close\r\n\r\n"]) + body
