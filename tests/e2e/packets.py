"""What strangers send to the listening socket, to break it: by hand, frame by frame."""

import functools
import struct
from collections.abc import Callable, Sequence

import hpack
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

Fields = Sequence[tuple[bytes, bytes]]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HELLO = PREFACE + SettingsFrame(0).serialize()

GET: Fields = [
    (b":method", b"GET"),
    (b":path", b"/health"),
    (b":scheme", b"http"),
    (b":authority", b"localhost"),
]
POST: Fields = [(b":method", b"POST"), (b":path", b"/v1/chat/completions"), *GET[2:]]


def headers(number: int, fields: Fields, *flags: str, block: bytes | None = None) -> bytes:
    """One HEADERS frame. Each has tables of its own, which say nothing that is not said."""
    data = _encoded(tuple(fields)) if block is None else block
    return bytes(HeadersFrame(number, data, flags=flags or ("END_HEADERS",)).serialize())


@functools.lru_cache
def _encoded(fields: Fields) -> bytes:
    """Return the block of a head; thousands of frames have the same one."""
    return bytes(hpack.Encoder().encode(fields))


def whole(number: int, fields: Fields) -> bytes:
    return headers(number, fields, "END_HEADERS", "END_STREAM")


def raw_frame(kind: int, number: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """Any frame, also one that nobody may send."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, number) + payload


def made(frame: Frame, times: int = 1) -> bytes:
    return bytes(frame.serialize()) * times


def with_path(path: bytes, method: bytes = b"GET") -> Fields:
    return [(b":method", method), (b":path", path), *GET[2:]]


def upgrade(settings: bytes, more: bytes = b"") -> bytes:
    """A request that wants to go on as HTTP/2."""
    return (
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: %b\r\n\r\n" % settings + more
    )


def large_table_entry_times(times: int) -> bytes:
    """A head of a few kilobytes that is unpacked to `times` as many: an HPACK bomb."""
    first = b"\x40\x01a" + hpack.hpack.encode_integer(4000, 7) + b"b" * 4000
    return hpack.Encoder().encode(GET) + first + b"\xbe" * times


CONNECT_WITHOUT_PATH = whole(1, [(b":method", b"CONNECT"), (b":authority", b"localhost")])

# The seven that once ended a worker.
DEADLY: dict[str, bytes] = {
    "connect without path": HELLO + CONNECT_WITHOUT_PATH,
    "path of other bytes": HELLO + whole(1, with_path(b"/\xff\xfe")),
    "1001 priorities": HELLO
    + b"".join(made(PriorityFrame(2 * n + 1, depends_on=0, stream_weight=1)) for n in range(1001)),
    "upgrade AAA": upgrade(b"AAA"),
    "upgrade AA==": upgrade(b"AA=="),
    "upgrade AAT_____": upgrade(b"AAT_____"),
    "upgrade and connect": upgrade(b"AAMAAABkAAQAAP__", HELLO + CONNECT_WITHOUT_PATH.replace(
        b"\x00\x00\x00\x01", b"\x00\x00\x00\x03", 1)),
}  # fmt: skip

# Megabytes, each of which takes a while to make.
FLOODS: dict[str, Callable[[], bytes]] = {
    "pings": lambda: HELLO + made(PingFrame(0, b"12345678"), 20_000),
    "acknowledged pings": lambda: HELLO + made(PingFrame(0, b"12345678", flags=["ACK"]), 20_000),
    "settings": lambda: HELLO + made(SettingsFrame(0, settings={4: 70_000}), 20_000),
    "acknowledged settings": lambda: HELLO + made(SettingsFrame(0, flags=["ACK"]), 20_000),
    "many settings": lambda: HELLO
    + b"".join(
        raw_frame(4, 0, b"".join(struct.pack(">HI", n, 1) for n in range(begin, begin + 2000)))
        for begin in range(10, 60_000, 2000)
    ),
    "priorities": lambda: HELLO + made(PriorityFrame(1, depends_on=3, stream_weight=3), 20_000),
    "resets": lambda: HELLO
    + b"".join(
        whole(n, with_path(b"/health")) + made(RstStreamFrame(n, 8)) for n in range(1, 6001, 2)
    ),
    "resets of posts": lambda: HELLO
    + b"".join(headers(n, POST) + made(RstStreamFrame(n, 8)) for n in range(1, 6001, 2)),
    "window updates": lambda: HELLO + headers(1, POST) + made(WindowUpdateFrame(1, 1), 20_000),
    "continuations": lambda: HELLO
    + headers(1, GET, "END_STREAM")
    + made(ContinuationFrame(1, b""), 20_000),
    "long continuations": lambda: HELLO
    + headers(1, GET, "END_STREAM")
    + made(ContinuationFrame(1, b"\x00\x01a\x7f\xff\xff\x7f" + b"b" * 16_000), 60),
    "frames without data": lambda: HELLO + headers(1, POST) + made(DataFrame(1, b""), 20_000),
    "padding": lambda: HELLO
    + headers(1, POST)
    + made(DataFrame(1, b"", pad_length=255, flags=["PADDED"]), 5_000),
    "unknown frames": lambda: HELLO + raw_frame(0x50, 0, b"x") * 20_000,
    "streams": lambda: HELLO + b"".join(headers(n, POST) for n in range(1, 2001, 2)),
    "bodies": lambda: HELLO
    + b"".join(
        headers(n, POST) + made(DataFrame(n, b"[" * 16_000), 4) for n in range(1, 151, 2)
    ),
    "hpack bomb": lambda: HELLO + b"".join(
        headers(n, (), "END_HEADERS", "END_STREAM", block=large_table_entry_times(9_000))
        for n in range(1, 101, 2)
    ),
    "table sizes": lambda: HELLO
    + headers(1, (), "END_HEADERS", "END_STREAM", block=b"\x20" * 16_000),
    "large tables": lambda: HELLO
    + made(SettingsFrame(0, settings={1: 2**32 - 1}))
    + b"".join(whole(n, with_path(b"/health")) for n in range(1, 600, 2)),
    "heads": lambda: HELLO
    + b"".join(
        whole(n, [*GET, *((b"f%d" % i, b"v" * 20) for i in range(120))]) for n in range(1, 120, 2)
    ),
}  # fmt: skip

WRONG: dict[str, bytes] = {
    "nothing": b"",
    "no preface": PREFACE[:20] + b"xx",
    "half a preface": PREFACE[:20],
    "no settings": PREFACE + whole(1, GET),
    "garbage": HELLO + b"\x00\xff" * 500,
    "frame too long": HELLO + raw_frame(0, 1, b"x" * 17_000),
    "endless frame": HELLO + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01" + b"x" * 100_000,
    "data on stream 0": HELLO + raw_frame(0, 0, b"x"),
    "data on no stream": HELLO + made(DataFrame(5, b"x")),
    "data after the end": HELLO + whole(1, GET) + made(DataFrame(1, b"x" * 100)),
    "head after the end": HELLO + whole(1, GET) + whole(1, GET),
    "even stream": HELLO + whole(2, GET),
    "falling streams": HELLO + whole(7, GET) + whole(5, GET),
    "stream 0": HELLO + raw_frame(1, 0, hpack.Encoder().encode(GET), 5),
    "reset of no stream": HELLO + made(RstStreamFrame(9, 8)),
    "push promise": HELLO + headers(1, POST)
    + made(PushPromiseFrame(1, 3, hpack.Encoder().encode(GET), flags=["END_HEADERS"])),
    "naked continuation": HELLO + made(ContinuationFrame(1, b"", flags=["END_HEADERS"])),
    "interrupted head": HELLO + headers(1, GET, "END_STREAM") + made(PingFrame(0, b"12345678")),
    "huge head": HELLO + headers(1, [*GET, (b"a", b"b" * 15_000)], "END_STREAM")
    + made(ContinuationFrame(1, b"\x00\x01a\x7f\x99\x7d" + b"b" * 16_024), 3)
    + made(ContinuationFrame(1, b"", flags=["END_HEADERS"])),
    "many fields": HELLO + whole(1, [*GET, *((b"a%d" % n, b"b") for n in range(1500))]),
    "window overflow": HELLO + headers(1, POST) + made(WindowUpdateFrame(1, 2**31 - 1), 2),
    "connection window overflow": HELLO + made(WindowUpdateFrame(0, 2**31 - 1), 2),
    "window of nothing": HELLO + headers(1, POST) + raw_frame(8, 1, bytes(4)),
    "window too short": HELLO + raw_frame(8, 0, bytes(3)),
    "initial window": HELLO + raw_frame(4, 0, struct.pack(">HI", 4, 2**31)),
    "initial window overflow": HELLO + headers(1, POST) + made(WindowUpdateFrame(1, 2**31 - 66_000))
    + made(SettingsFrame(0, settings={4: 2**31 - 1})),
    "settings on a stream": HELLO + raw_frame(4, 1),
    "settings of 5 bytes": HELLO + raw_frame(4, 0, bytes(5)),
    "acknowledgement with settings": HELLO + raw_frame(4, 0, bytes(6), 1),
    "ping of 7 bytes": HELLO + raw_frame(6, 0, bytes(7)),
    "dependency on itself": HELLO + made(PriorityFrame(1, depends_on=1, stream_weight=1)),
    "head that depends on itself": HELLO + raw_frame(
        1, 1, struct.pack(">IB", 1, 1) + hpack.Encoder().encode(GET), 0x25),
    "padding beyond the frame": HELLO + headers(1, POST) + raw_frame(0, 1, b"\xffx", 8),
    "head of padding": HELLO + raw_frame(1, 1, b"\xff", 0x0D),
    "unpackable": HELLO + headers(1, (), "END_HEADERS", block=b"\xff\xff\xff\xff\xff\xff\xff"),
    "wrong huffman": HELLO + headers(1, (), "END_HEADERS", block=b"\x00\x84\xff\xff\xff\xff\x00"),
    "no such entry": HELLO + headers(1, (), "END_HEADERS", block=b"\xfe"),
    "table beyond the limit": HELLO + headers(1, (), "END_HEADERS", block=b"\x3f\xe1\xff\xff\x07"),
    "no method": HELLO + whole(1, GET[1:]),
    "no path": HELLO + whole(1, [GET[0], *GET[2:]]),
    "no scheme": HELLO + whole(1, [*GET[:2], GET[3]]),
    "no host": HELLO + whole(1, GET[:3]),
    "two paths": HELLO + whole(1, [*GET, GET[1]]),
    "late path": HELLO + whole(1, [GET[0], *GET[2:], (b"a", b"b"), GET[1]]),
    "status": HELLO + whole(1, [*GET, (b":status", b"200")]),
    "unknown pseudo": HELLO + whole(1, [*GET, (b":x", b"200")]),
    "empty path": HELLO + whole(1, with_path(b"")),
    "path with a space": HELLO + whole(1, with_path(b"/health HTTP/1.1")),
    "path with lines": HELLO + whole(1, with_path(b"/ HTTP/1.1\r\nHost: x\r\n\r\nGET /health")),
    "path of a proxy": HELLO + whole(1, with_path(b"http://[::1/health")),
    "star": HELLO + whole(1, with_path(b"*", b"OPTIONS")),
    "method with lines": HELLO + whole(1, with_path(b"/health", b"GET / HTTP/1.1\r\nA: ")),
    "method of other bytes": HELLO + whole(1, with_path(b"/health", b"\xff")),
    "no method at all": HELLO + whole(1, with_path(b"/health", b"")),
    "upper case": HELLO + whole(1, [*GET, (b"Accept", b"x")]),
    "value with lines": HELLO + whole(1, [*GET, (b"accept", b"x\r\na: b")]),
    "value with nul": HELLO + whole(1, [*GET, (b"accept", b"x\0")]),
    "name with a space": HELLO + whole(1, [*GET, (b"acc ept", b"x")]),
    "no name": HELLO + whole(1, [*GET, (b"", b"x")]),
    "te": HELLO + whole(1, [*GET, (b"te", b"gzip")]),
    "connection": HELLO + whole(1, [*GET, (b"connection", b"close")]),
    "transfer-encoding": HELLO + headers(1, [*POST, (b"transfer-encoding", b"chunked")]),
    "upgrade in http/2": HELLO + whole(1, [*GET, (b"upgrade", b"h2c")]),
    "two lengths": HELLO
    + headers(1, [*POST, (b"content-length", b"1"), (b"content-length", b"2")]),
    "no length": HELLO + headers(1, [*POST, (b"content-length", b"-1")]),
    "short body": HELLO + headers(1, [*POST, (b"content-length", b"9")])
    + made(DataFrame(1, b"{}", flags=["END_STREAM"])),
    "long body": HELLO + headers(1, [*POST, (b"content-length", b"1")])
    + made(DataFrame(1, b"{}{}", flags=["END_STREAM"])),
    "trailers without end": HELLO + headers(1, POST) + made(DataFrame(1, b"{}"))
    + headers(1, [(b"a", b"b")]),
    "trailers with a path": HELLO + headers(1, POST) + whole(1, [(b":path", b"/")]),
    "websocket": HELLO + headers(1, [(b":method", b"CONNECT"), (b":protocol", b"websocket"),
    *with_path(b"/v1/realtime?model=a")[1:], (b"sec-websocket-version", b"13")]),
    "farewell and more": HELLO + made(GoAwayFrame(0, 0, 0)) + whole(1, GET) + whole(3, GET),
    "farewell from the middle": HELLO + headers(1, POST) + made(GoAwayFrame(0, 0, 2, b"x" * 9000)),
}  # fmt: skip

OF_HTTP_1: dict[str, bytes] = {
    "two requests for pages": b"GET /running HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2,
    "stray line ends": b"GET /running HTTP/1.1\r\nHost: localhost\r\n\r\n\r\n\r\n",
    "page and garbage": b"GET /running HTTP/1.1\r\nHost: localhost\r\n\r\n" + b"\xff" * 5000,
    "body that nobody reads": b"POST /nothing HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Length: 5000000\r\n\r\n" + b"x" * 5_000_000,
    "chunks that nobody reads": b"POST /nothing HTTP/1.1\r\nHost: localhost\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 80,
    "wrong chunks of a page": b"POST /nothing HTTP/1.1\r\nHost: localhost\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "page of other bytes": b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "page of a proxy": b"GET http://[::1/health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "page of a percent": b"GET /%ff%00%0d%0a HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "page by websocket": b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n" + b"x" * 99,
    "preface with fields": b"PRI * HTTP/2.0\r\nHost: localhost\r\n\r\nSM\r\n\r\n",
    "preface behind a page": b"GET /running HTTP/1.1\r\nHost: localhost\r\n\r\n" + HELLO,
    "upgrade of a post": upgrade(b"AAMAAABkAAQAAP__").replace(b"GET /health", b"POST /v1/x"),
    "upgrade to both": upgrade(b"AAMAAABkAAQAAP__").replace(b"h2c", b"websocket, h2c"),
}  # fmt: skip
