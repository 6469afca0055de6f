"""Head of a request -> what this worker has to know of it.

llhttp (through httptools) is strict about what smuggling needs: Content-Length beside
Transfer-Encoding, several lengths, folded lines, bare CR or LF and NUL are errors of its own.
What it lets pass and two readers could understand differently is refused here.
"""

from collections.abc import Iterator
from copy import copy
from typing import Final

import httptools

from ..errors import BadRequest, HeadTooLarge, RelayError, UnknownExpectation
from .request_target import split_target

# Bytes up to and including the blank line. nginx gives 4 x 8 KiB; agents send long bearer tokens
# and tracing fields.
MAX_HEAD_BYTES = 64 * 1024

# Fields. nginx has no limit, Apache 100, Node 2000 (a total); no honest client comes near.
MAX_FIELDS = 128

# Field names that matter here. What a name stands for: `None` keeps the field as it is.
_HOP: Final = 0  # hop by hop, or a secret: never passed on
_CONNECTION: Final = 1
_LENGTH: Final = 2
_CODING: Final = 3
_EXPECT: Final = 4
_HOST: Final = 5
_FORWARDED: Final = 6
_MODE: Final = 7
_ACCEPTS: Final = 8
_KEY: Final = 9  # who asks
_TYPE: Final = 10
_UPGRADE: Final = 11
_OWN: Final = 12  # for this program: not passed on as it came
_ORIGIN: Final = 13
_IDEMPOTENCY: Final = 14
_SITE: Final = 15
_COMPRESSION: Final = 16

_MEANING: Final[dict[bytes, int]] = {
    b"keep-alive": _HOP,
    b"te": _HOP,
    b"trailer": _HOP,
    b"http2-settings": _HOP,
    b"proxy-authenticate": _HOP,
    b"proxy-authorization": _HOP,
    b"proxy-connection": _HOP,
    # The client's key is for this program; the upstream has its own or none.
    b"authorization": _KEY,
    b"x-api-key": _KEY,
    b"x-goog-api-key": _KEY,
    b"api-key": _KEY,
    b"connection": _CONNECTION,
    b"content-length": _LENGTH,
    b"transfer-encoding": _CODING,
    b"expect": _EXPECT,
    b"host": _HOST,
    b"x-forwarded-for": _FORWARDED,
    b"x-swap-progress": _MODE,
    b"accept-encoding": _ACCEPTS,
    b"content-type": _TYPE,
    b"upgrade": _UPGRADE,
    b"x-prefill-progress": _OWN,
    b"x-swiftlm-prefill-progress": _OWN,
    b"x-stream-format": _OWN,
    b"x-request-id": _OWN,
    b"traceparent": _OWN,
    b"tracestate": _OWN,
    b"x-arriero-hops": _OWN,
    b"x-arriero-progress": _OWN,
    b"x-provider": _OWN,  # of another gateway, and ignored: the name of the model decides
    b"origin": _ORIGIN,
    b"idempotency-key": _IDEMPOTENCY,
    b"sec-fetch-site": _SITE,
    b"content-encoding": _COMPRESSION,
}


KEY_FIELDS: Final = frozenset(name for name, meaning in _MEANING.items() if meaning == _KEY)
"""Where clients show a key."""


class RequestHead:
    """What the head of a request says. Filled by httptools' callbacks.

    Attributes:
        target: As in the request line.
        path: `target` without scheme, authority and query.
        authority: Host and port of a `target` that has them; else None.
        method: Upper-case.
        http11: False for HTTP/1.0, whose clients get an unchunked answer and no second one.
        keep_alive: The client would send another request on this connection.
        length: Bytes of the body; 0 when there is none; None when it is chunked.
        continues: The client waits for ``100 Continue`` before it sends the body.
        mode: Value of ``X-Swap-Progress``; None without it.
        content_type: As it came; several are put together, and make no sense then.
        media_type: The same in small letters and without parameters; empty if nobody says.
        upgrade: The protocol that the client wants to change to, in small letters; None if it
            wants none, or does not say so in Connection as well.
        host: Value of ``Host``; empty without it.
        origin: Of the page that asks, if one does.
        site: How far that page is from here (``Sec-Fetch-Site``); None if no browser says so.
        idempotency_key: Equal for requests that are one and the same; None without it.
        compression: Value of Content-Encoding, in small letters; None if the body is not
            compressed.
        own: Other fields for this program, lower-case name and value, in the order of the head:
            they do not go upstream as they came.
        lines: Fields that may go upstream, as they came, each with its line end.
        accepts: Accept-Encoding lines, kept apart: they stay at home when frames must be read.
        forwarded: Values of X-Forwarded-For.
        keys: Fields that may hold the client's key, with lower-case names; passed on only where no
            key is asked for here.
    """

    __slots__ = (
        "accepts",
        "authority",
        "coding",
        "compression",
        "connection",
        "content_type",
        "continues",
        "count",
        "forwarded",
        "host",
        "hosts",
        "http11",
        "idempotency_key",
        "keep_alive",
        "keys",
        "length",
        "lines",
        "media_type",
        "method",
        "mode",
        "origin",
        "own",
        "path",
        "refusal",
        "site",
        "target",
        "upgrade",
    )

    def __init__(self) -> None:
        self.target = b""
        self.path = b""
        self.authority: bytes | None = None
        self.method = b""
        self.http11 = True
        self.keep_alive = True
        self.length: int | None = 0
        self.continues = False
        self.mode: bytes | None = None
        self.content_type = b""
        self.media_type = b""
        self.upgrade: bytes | None = None
        self.origin: bytes | None = None
        self.idempotency_key: bytes | None = None
        self.own: list[tuple[bytes, bytes]] = []
        self.lines: list[bytes] = []
        self.accepts: list[bytes] = []
        self.forwarded: list[bytes] = []
        self.keys: list[tuple[bytes, bytes]] = []
        self.connection = b""
        self.coding: bytes | None = None
        self.compression: bytes | None = None
        self.host = b""
        self.hosts = 0
        self.site: bytes | None = None
        self.refusal: RelayError | None = None
        self.count = 0

    def fields(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield lower-case name and value of each of the `lines`."""
        for line in self.lines:
            name, _, value = line.partition(b":")
            yield name.lower(), value.strip()

    def decompressed(self) -> "RequestHead":
        """Return the head of the same request with its body as it was before."""
        head = copy(self)
        head.lines = [line for line in self.lines if name_of(line) != b"content-encoding"]
        head.compression = None
        return head

    def on_url(self, url: bytes) -> None:
        """Take the target (httptools calls this)."""
        self.target = url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one field (httptools calls this)."""
        self.count += 1
        low = name.lower()
        meaning = _MEANING.get(low)
        if meaning is None:
            self.lines.append(b"%b: %b\r\n" % (name, value))
        elif meaning == _LENGTH:
            self.length = int(value)  # llhttp has checked that it is digits, and one only
        elif meaning == _HOST:
            self.hosts += 1
            self.host = value.strip()
            self.lines.append(b"%b: %b\r\n" % (name, value))
        elif meaning == _TYPE:
            self.content_type += b", " + value if self.content_type else value
            self.lines.append(b"%b: %b\r\n" % (name, value))
        elif meaning == _ACCEPTS:
            self.accepts.append(b"%b: %b\r\n" % (name, value))
        elif meaning == _CONNECTION:
            self.connection += b"," + value.lower()
        elif meaning == _CODING:
            # Several are one list (RFC 9110, 5.3), and a list is no `chunked`.
            coding = value.strip().lower()
            self.coding = coding if self.coding is None else self.coding + b"," + coding
        elif meaning == _COMPRESSION:
            if (named := value.strip().lower()) not in {b"", b"identity"}:
                before = self.compression
                self.compression = named if before is None else before + b", " + named
                self.lines.append(b"%b: %b\r\n" % (name, value))
        elif meaning == _KEY:
            self.keys.append((low, value))
        elif meaning == _MODE:
            if self.mode is None:
                self.mode = value
        elif meaning == _FORWARDED:
            self.forwarded.append(value.strip())
        elif meaning == _OWN:
            self.own.append((low, value))
        elif meaning == _UPGRADE:
            self.upgrade = value.strip().lower()
        elif meaning == _ORIGIN:
            self.origin = self.origin or value.strip()
            self.lines.append(b"%b: %b\r\n" % (name, value))
        elif meaning == _SITE:
            site = value.strip().lower()
            self.site = site if self.site is None else self.site + b"," + site
            self.lines.append(b"%b: %b\r\n" % (name, value))
        elif meaning == _IDEMPOTENCY:
            self.idempotency_key = self.idempotency_key or value
            self.lines.append(b"%b: %b\r\n" % (name, value))
        elif meaning == _EXPECT:
            if value.strip().lower() == b"100-continue":
                self.continues = True
            else:
                self.refusal = UnknownExpectation("cannot meet an expectation but 100-continue")


def parse_head(raw: bytes) -> RequestHead:
    """Read the head `raw`, which ends with its blank line.

    Raises:
        RelayError: It cannot be understood, or not in one way only. The connection has to be
            closed then, because nobody knows where the next request begins.
    """
    head = RequestHead()
    parser = httptools.HttpRequestParser(head)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # the caller decides by method and path; an upgrade may always be ignored
    except (httptools.HttpParserError, ValueError) as exc:
        raise BadRequest(f"cannot read the head of the request: {exc}") from exc
    fields = head.count
    if fields > MAX_FIELDS:
        raise HeadTooLarge(f"cannot take {fields} header fields: the limit is {MAX_FIELDS}")
    if head.refusal is not None:
        raise head.refusal
    version = parser.get_http_version()
    head.method = parser.get_method()
    head.authority, head.path = split_target(head.method, head.target)
    head.media_type = head.content_type.partition(b";")[0].strip().lower()
    if version == "1.1":
        if head.hosts != 1:
            raise BadRequest(f"cannot take {head.hosts} Host fields: HTTP/1.1 has exactly one")
        head.keep_alive = True
    elif version == "1.0":
        head.http11 = False
        head.keep_alive = False
        head.continues = False
        head.upgrade = None
        if head.hosts > 1:
            raise BadRequest(f"cannot take {head.hosts} Host fields: there may be one")
    else:
        raise BadRequest(f"cannot speak HTTP/{version}")
    if head.coding is not None:
        if head.coding != b"chunked" or not head.http11:
            raise BadRequest("cannot read a transfer coding other than chunked on HTTP/1.1")
        head.length = None
    if head.connection or head.upgrade:
        _obey_connection(head)
    return head


def _obey_connection(head: RequestHead) -> None:
    """Drop the fields that Connection names, and note a wish to close or to change protocols."""
    named = {token.strip() for token in head.connection.split(b",")}
    if b"upgrade" not in named:
        head.upgrade = None
    if b"close" in named:
        head.keep_alive = False
    named -= {b"", b"close", b"keep-alive", b"upgrade", b"te", b"host", b"content-type"}
    if named:
        head.lines = [line for line in head.lines if name_of(line) not in named]
        if b"accept-encoding" in named:
            head.accepts = []
        if b"x-forwarded-for" in named:
            head.forwarded = []


def is_for_this_hop(head: RequestHead, name: bytes) -> bool:
    """Whether ``Connection`` names the field: nobody in between may have passed it on.

    Args:
        head: Of the request.
        name: In small letters.
    """
    said = head.connection
    return name in said and name in {token.strip() for token in said.split(b",")}


def name_of(line: bytes) -> bytes:
    """Return the name of a field, in small letters, out of its line."""
    return line[: line.index(b":")].lower()
