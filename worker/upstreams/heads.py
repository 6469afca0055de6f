"""Header fields on their way up and down.

Heads are put together as bytes, line by line as they came; nothing is decoded or re-ordered.
"""

import re
import zlib
from collections.abc import Callable, Sequence
from typing import Final

import httptools

from ..accounting.usage import CACHED_FIELD
from ..errors import UpstreamDied
from ..http.header_rules import CompiledRules
from ..http.request_head import RequestHead, is_for_this_hop, name_of
from ..streams import aws_event_stream as eventstream

# Bytes of an upstream's head: as much as is taken from clients.
MAX_ANSWER_HEAD_BYTES = 64 * 1024

_LENGTH: Final = 1
_CODING: Final = 2
_CONNECTION: Final = 3
_TYPE: Final = 4
_ENCODING: Final = 5
_DROPPED: Final = 6
_CACHE: Final = 7
_BUFFERING: Final = 8
_PASSED: Final = frozenset({_TYPE, _ENCODING, _CACHE, _BUFFERING})

_MEANING: Final[dict[bytes, int]] = {
    b"content-length": _LENGTH,
    b"transfer-encoding": _CODING,
    b"connection": _CONNECTION,
    b"content-type": _TYPE,
    b"content-encoding": _ENCODING,
    b"keep-alive": _DROPPED,
    b"proxy-authenticate": _DROPPED,
    b"proxy-connection": _DROPPED,
    b"te": _DROPPED,
    b"trailer": _DROPPED,
    b"upgrade": _DROPPED,
    b"x-swap-progress": _DROPPED,  # said by this program only
    b"x-request-id": _DROPPED,  # the same: it is the one in the log
    b"cache-control": _CACHE,
    b"x-accel-buffering": _BUFFERING,
}

# Fields that make no sense after a body, or could be mistaken for those before it; RFC 9110,
# section 6.5.1.
_NO_TRAILERS: Final = frozenset({*_MEANING, b"host", b"authorization", b"set-cookie"})

OK_LINE: Final = b"HTTP/1.1 200 OK\r\n"

# What the head of an early answer says besides the mode; section 2 of the transport format.
NO_BUFFERING: Final = b"Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n"
EARLY_STREAM_FIELDS: Final = b"Content-Type: text/event-stream; charset=utf-8\r\n" + NO_BUFFERING


_KEY_FIELDS: Final = frozenset({b"authorization", b"x-api-key"})


def upstream_request(
    head: RequestHead,
    *,
    target: bytes,
    length: int | None,
    peer: bytes,
    base_path: bytes,
    extra: bytes = b"",
    rules: CompiledRules | None = None,
    key_line: bytes = b"",
    forwards: bool = False,
) -> bytes:
    """Return the head that goes upstream.

    The answer must not come compressed: its frames, and what it says of its use, are looked at.

    Args:
        head: The client's.
        target: Path and query.
        length: Bytes of the body that follows; None for one in chunks.
        peer: Address of the client, for X-Forwarded-For.
        base_path: What the endpoint's URL has after its authority; empty for a plain one.
        extra: Further lines.
        rules: What is changed in the client's lines; None for nothing.
        key_line: What it is shown, whatever the rules say; empty for nothing.
        forwards: Without that, what the client has shown goes on.
    """
    forwarded = b", ".join((*head.forwarded, peer)) if peer else b", ".join(head.forwarded)
    lines = head.lines
    if forwards and head.keys and not key_line:
        lines = [*lines, *_shown_lines(head)]
    if rules is not None:
        lines = rules.apply(lines)
        if key_line:
            lines = [line for line in lines if name_of(line) not in _KEY_FIELDS]
    return (
        b"%b %b%b HTTP/1.1\r\n%b%bAccept-Encoding: identity\r\n%bX-Forwarded-For: %b\r\n%b\r\n"
        % (
            head.method,
            base_path,
            target,
            b"" if head.hosts else b"Host: localhost\r\n",
            b"".join(lines),
            key_line + extra,
            forwarded,
            b"Content-Length: %d\r\n" % length if length is not None else framing_line(None),
        )
    )


def _shown_lines(head: RequestHead) -> list[bytes]:
    """Return the fields by which a client has shown who it is, but those for this hop only."""
    return [
        b"%b: %b\r\n" % (name, value)
        for name, value in head.keys
        if name in _KEY_FIELDS and not is_for_this_hop(head, name)
    ]


def framing_line(length: int | None) -> bytes:
    """Return the line that says where a body of `length` bytes ends; None: in chunks."""
    if length is None:
        return b"Transfer-Encoding: chunked\r\n"
    return b"Content-Length: %d\r\n" % length


def origin_form(head: RequestHead) -> bytes:
    """Return path and query of a request, however its target was written."""
    if head.target.startswith(b"/"):
        return head.target
    query = head.target.find(b"?")
    return head.path + (head.target[query:] if query >= 0 else b"")


class _Collector:
    """What httptools finds in the head of an answer."""

    def __init__(self) -> None:
        self.reason = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.whole = False

    def on_status(self, reason: bytes) -> None:
        self.reason = reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.whole = True


_TYPE_LINE: Final = re.compile(rb"(?im)^content-type:.*\n")


class ResponseHead:
    """Head of an upstream's answer. Not changed once it is read: heads that repeat are shared.

    Attributes:
        status: HTTP status.
        line: Status line as the client gets it.
        lines: Fields that may go to the client, as they came, each with its line end.
        length: Bytes of the body, if it was said.
        chunked: The body comes in chunks.
        encoding: How it is compressed; empty if it is not.
        bodyless: There is no body, whatever the fields say.
        keep_alive: The connection may be used again afterwards.
        content_type: Its media type, without parameters; empty if none was said.
        fields: All of them as they came, names in small letters.
        counts: Those of them that say something of the tokens.
        is_stream: It is a stream of events, and not compressed.
        is_json: It is JSON, perhaps compressed.
        is_event_stream: The same in Amazon's form, which is binary.
        stream_lines: What a stream needs besides, so that nobody on the way buffers it.
    """

    __slots__ = (
        "bodyless",
        "chunked",
        "content_type",
        "counts",
        "encoding",
        "fields",
        "is_event_stream",
        "is_json",
        "is_stream",
        "keep_alive",
        "length",
        "line",
        "lines",
        "status",
        "stream_lines",
    )

    def __init__(
        self, status: int, reason: bytes, fields: Sequence[tuple[bytes, bytes]], version: str
    ) -> None:
        self.status = status
        self.line = OK_LINE if status == 200 else b"HTTP/1.1 %d %b\r\n" % (status, reason)
        self.length: int | None = None
        self.chunked = False
        self.bodyless = status in {204, 304}
        self.keep_alive = version == "1.1"
        content_type = b""
        self.encoding = b""
        named: set[bytes] = set()
        seen: set[int] = set()
        lines: list[tuple[bytes, bytes]] = []
        for name, value in fields:
            low = name.lower()
            meaning = _MEANING.get(low)
            if meaning is None or meaning in _PASSED:
                lines.append((low, b"%b: %b\r\n" % (name, value)))
            if meaning is None:
                continue
            seen.add(meaning)
            if meaning == _LENGTH:
                self.length = int(value)
            elif meaning == _TYPE:
                content_type = value.strip().lower()
            elif meaning == _ENCODING:
                encoding = value.strip().lower()
                self.encoding = b"" if encoding == b"identity" else encoding
            elif meaning == _CONNECTION:
                named |= {token.strip() for token in value.lower().split(b",")}
            elif meaning == _CODING:
                if value.strip().lower() != b"chunked":
                    raise UpstreamDied("cannot read the answer: its transfer coding is unknown")
                self.chunked = True
        if b"close" in named or (self.length is None and not self.chunked and not self.bodyless):
            self.keep_alive = False
        named -= {b"content-type", b"content-encoding"}
        encoded = bool(self.encoding)
        self.lines = b"".join(line for name, line in lines if name not in named)
        self.is_stream = content_type.startswith(b"text/event-stream") and not encoded
        self.is_event_stream = content_type.startswith(eventstream.CONTENT_TYPE) and not encoded
        self.stream_lines = (
            b"" if _CACHE in seen else b"Cache-Control: no-cache, no-transform\r\n"
        ) + (b"" if _BUFFERING in seen else b"X-Accel-Buffering: no\r\n")
        self.content_type = content_type.partition(b";")[0].rstrip()[:100].decode("latin-1")
        self.is_json = content_type.startswith(b"application/json")
        self.fields = tuple((name.lower(), value) for name, value in fields)
        self.counts = tuple(field for field in self.fields if field[0] == CACHED_FIELD)

    @property
    def names(self) -> frozenset[bytes]:
        """Names of its fields, in small letters."""
        return frozenset(name for name, _ in self.fields)

    def build(
        self,
        *,
        framing: bytes,
        extra: bytes,
        close: bool,
        rules: CompiledRules | None = None,
        content_type: bytes | None = None,
    ) -> bytes:
        """Return the head as the client gets it.

        Args:
            framing: The line that says how the body ends, or nothing.
            extra: Further lines.
            close: No other request will be read from this connection.
            rules: What is changed in the upstream's lines; None for nothing.
            content_type: In the place of the upstream's.
        """
        lines = self.lines
        if content_type is not None:
            lines = _TYPE_LINE.sub(b"Content-Type: %b\r\n" % content_type, lines)
        if rules is not None:
            lines = rules.apply_joined(lines)
        return b"%b%b%b%b%b\r\n" % (
            self.line,
            lines,
            framing,
            extra,
            b"Connection: close\r\n" if close else b"",
        )


def parse_answer_head(raw: bytes) -> ResponseHead:
    """Read the head `raw`, which ends with its blank line.

    Raises:
        UpstreamDied: It is not HTTP/1.
    """
    found = _Collector()
    parser = httptools.HttpResponseParser(found)
    try:
        parser.feed_data(raw)
        if not found.whole:
            raise UpstreamDied("cannot read the answer: its head is no HTTP/1.1")
        return ResponseHead(
            parser.get_status_code(), found.reason, found.fields, parser.get_http_version()
        )
    except (httptools.HttpParserError, httptools.HttpParserUpgrade, ValueError) as exc:
        raise UpstreamDied("cannot read the answer: its head is no HTTP/1.1") from exc


# Bytes that a compressed body may have when it is unpacked: what it used is at its end.
_MAX_UNPACKED_BYTES: Final = 4 * 1024 * 1024


def plain_copy(head: ResponseHead, body: bytes) -> bytes:
    """Return the body of an answer as it is without compression; empty if it cannot be read.

    Nobody has asked for compression, but some servers compress all the same.
    """
    if not head.encoding:
        return body
    if head.encoding not in {b"gzip", b"x-gzip", b"deflate"}:
        return b""
    try:
        # 32 more than the largest window: with the head of gzip or that of zlib
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, _MAX_UNPACKED_BYTES)
    except zlib.error:
        return b""


# Makes a parser expect a chunked body.
_CHUNKED: Final = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class ResponseBody:
    """Finds the body in the bytes after a head.

    Args:
        head: The head.
        is_asked: A body was asked for: the request was none with HEAD.

    Attributes:
        complete: Its end was seen.
        keep_alive: The connection may be used again.
        until_close: Only the end of the connection ends it.
        trailers: Fields after a chunked body, each with its line end.
    """

    __slots__ = (
        "_feed",
        "_left",
        "_parts",
        "_unspent",
        "_whole_parts",
        "complete",
        "keep_alive",
        "on_body",
        "trailers",
        "until_close",
    )

    def __init__(self, head: ResponseHead, *, is_asked: bool = True) -> None:
        self.keep_alive = head.keep_alive
        self.trailers: list[bytes] = []
        self.complete = head.bodyless or not is_asked or (head.length == 0 and not head.chunked)
        self.until_close = False
        self._left = 0
        self._feed: Callable[[bytes], None] | None = None
        self._parts: list[bytes] = []
        self._unspent = 0  # bytes since the last of the body: sizes of chunks, and trailers
        self._whole_parts: int | None = None
        if self.complete:
            pass
        elif head.chunked:
            self.on_body = self._parts.append  # called from C, without a Python frame
            self._feed = httptools.HttpResponseParser(self).feed_data
            self._feed(_CHUNKED)
        elif head.length is None:
            self.until_close = True
        else:
            self._left = head.length

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes and return those of the body.

        Raises:
            UpstreamDied: They are not what the head has promised.
        """
        if self._feed is not None and not self.complete:
            return self._feed_chunked(data)
        if self.until_close:
            return data
        taken = len(data)
        if taken < self._left:
            self._left -= taken
            return data
        if taken > self._left:
            self.keep_alive = False  # bytes that nobody asked for
            data = data[: self._left]
        self._left = 0
        self.complete = True
        return data

    def _feed_chunked(self, data: bytes) -> bytes:
        assert self._feed is not None
        parts = self._parts
        try:
            self._feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, ValueError) as exc:
            if not self.complete:
                raise UpstreamDied("cannot read the answer: its chunks make no sense") from exc
            self.keep_alive = False  # what follows a complete answer only spoils the connection
        if self._whole_parts is not None:
            del parts[self._whole_parts :]
        if not parts:
            self._unspent += len(data)
            if self._unspent > MAX_ANSWER_HEAD_BYTES and not self.complete:
                raise UpstreamDied("cannot read the answer: its trailers are too long")
            return b""
        self._unspent = 0
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        return body

    def on_message_begin(self) -> None:
        """Note that something begins (httptools calls this)."""
        if self.complete:
            self.keep_alive = False  # bytes that nobody asked for

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a trailer (httptools calls this, for the line that began the parsing as well)."""
        if not self.complete and name.lower() not in _NO_TRAILERS:
            self.trailers.append(b"%b: %b\r\n" % (name, value))

    def on_message_complete(self) -> None:
        """Note the end (httptools calls this)."""
        if not self.complete:
            self.complete = True
            self._whole_parts = len(self._parts)
