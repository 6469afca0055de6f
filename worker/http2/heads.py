"""Heads: HTTP/2 -> HTTP/1.1 and back.

A request is written so that it can only be read in one way, and then all rules of HTTP/1.1 are
applied to it: what is refused here is what could be taken for the end of a line, of a field or of
the head.

Source: RFC 9113, sections 8.2 and 8.3.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from ..errors import BadRequest
from ..upstreams.heads import ResponseHead

Field = tuple[bytes, bytes]

_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PATH: Final = re.compile(rb"/[\x21-\x7e]*|\*")
_AUTHORITY: Final = re.compile(rb"[\x21-\x7e]*")
_VALUE: Final = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")
_NUMBER: Final = re.compile(rb"[0-9]{1,18}")

# Fields of HTTP/1.1 that say how a message goes over a connection, or that are said here.
_OF_THE_CONNECTION: Final = frozenset(
    {
        b"connection",
        b"expect",
        b"http2-settings",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    }
)
_OURS: Final = _OF_THE_CONNECTION | {b"host", b"content-length"}


class Http1Request(NamedTuple):
    """A request as HTTP/1.1.

    Attributes:
        head: With its blank line.
        chunked: Its body has to be sent in chunks.
        has_answer_body: Its answer may have a body.
        takes_trailers: Its client reads trailers.
    """

    head: bytes
    chunked: bool
    has_answer_body: bool
    takes_trailers: bool


def read_request(fields: Iterable[Field], *, ended: bool) -> Http1Request:
    """Return a request of HTTP/2 as one of HTTP/1.1.

    Args:
        fields: Of its head; small letters have been checked.
        ended: No body follows.

    Raises:
        BadRequest: That cannot be done, or not so that it means the same to everybody.
    """
    pseudo: dict[bytes, bytes] = {}
    lines = []
    hosts = []
    length: bytes | None = None
    trailers = False
    for name, value in fields:
        if name.startswith(b":"):
            if name in pseudo:
                raise BadRequest("cannot read the request: a pseudo-header field stands twice")
            pseudo[name] = value
            continue
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise BadRequest("cannot read the request: a field has bytes that no field may have")
        if name == b"host":
            hosts.append(value)
        elif name == b"content-length":
            if not _NUMBER.fullmatch(value) or length not in (None, value):
                raise BadRequest("cannot read the request: Content-Length is not one number")
            length = value
        elif name == b"te":
            trailers = value.strip().lower() == b"trailers"
        elif name not in _OURS:
            lines.append(b"%b: %b\r\n" % (name, value))
    method, path = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    host = pseudo.get(b":authority") or (hosts[0] if hosts else b"")
    if b":protocol" in pseudo or method == b"CONNECT":
        raise BadRequest("cannot CONNECT: WebSockets are served over HTTP/1.1 only")
    if not _TOKEN.fullmatch(method):
        raise BadRequest("cannot read the request: its method is none")
    if not _PATH.fullmatch(path):
        raise BadRequest("cannot read the request: its path has to be percent-encoded ASCII")
    if not _AUTHORITY.fullmatch(host) or any(other != host for other in hosts):
        raise BadRequest("cannot read the request: its host is none, or there are several")
    chunked = False
    if ended:
        if length is not None and int(length):
            raise BadRequest("cannot read the request: it has no body, but a Content-Length")
        framing = b"Content-Length: 0\r\n" if length or method in {b"POST", b"PUT"} else b""
    elif length is not None:
        framing = b"Content-Length: %b\r\n" % length
    else:
        framing = b"Transfer-Encoding: chunked\r\n"
        chunked = True
    head = b"%b %b HTTP/1.1\r\nHost: %b\r\n%b%b\r\n" % (
        method,
        path,
        host,
        b"".join(lines),
        framing,
    )
    return Http1Request(head, chunked, method != b"HEAD", trailers)


def answer_fields(head: ResponseHead) -> list[Field]:
    """Return the head of an answer as HTTP/2 has it."""
    fields = [(b":status", b"%d" % head.status)]
    fields += (field for field in _clean(head.fields) if field[0] not in _OF_THE_CONNECTION)
    return fields


def trailer_fields(lines: Iterable[bytes]) -> list[Field]:
    """Return trailers of HTTP/1.1, each with its line end, as HTTP/2 has them."""
    return list(_clean(line.partition(b":")[::2] for line in lines))


def _clean(fields: Iterable[Field]) -> Iterable[Field]:
    # What no client could read must not be packed: packing that stops half-way leaves its tables
    # as the client's are not, and the answers of all other streams become unreadable.
    for name, value in fields:
        name, value = name.strip().lower(), value.strip()
        if _TOKEN.fullmatch(name) and _VALUE.fullmatch(value):
            yield name, value
