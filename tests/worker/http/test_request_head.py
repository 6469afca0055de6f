import contextlib
from itertools import chain, permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.errors import BadRequest, HeadTooLarge, RelayError, UnknownExpectation
from arriero.worker.http.request_head import MAX_FIELDS, parse_head

LINE = b"POST /v1/chat/completions?x=1 HTTP/1.1\r\nHost: a\r\n"


def test_a_head_is_taken_apart() -> None:
    head = parse_head(
        LINE + b"Content-Length: 5\r\nUser-Agent: u\r\nX-Swap-Progress: on\r\n"
        b"Expect: 100-continue\r\nAccept-Encoding: gzip\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n"
    )

    assert (head.method, head.path) == (b"POST", b"/v1/chat/completions")
    assert head.target == b"/v1/chat/completions?x=1"
    assert (head.length, head.continues, head.keep_alive) == (5, True, True)
    assert (head.mode, head.forwarded) == (b"on", [b"1.2.3.4"])
    assert head.lines == [b"Host: a\r\n", b"User-Agent: u\r\n"]
    assert head.accepts == [b"Accept-Encoding: gzip\r\n"]


@pytest.mark.parametrize(
    "field",
    [
        b"Authorization: Bearer secret",
        b"x-api-key: secret",
        b"API-Key: secret",
        b"Proxy-Authorization: secret",
        b"Connection: keep-alive",
        b"Keep-Alive: timeout=5",
        b"TE: trailers",
        b"Trailer: x",
        b"Upgrade: h2c",
        b"X-Swap-Progress: on",
        b"X-Prefill-Progress: on",
        b"X-SwiftLM-Prefill-Progress: on",
        b"X-Stream-Format: turn-events",
        b"X-Request-Id: r",
        b"Traceparent: 00-1-2-01",
        b"Tracestate: a=b",
        b"X-Provider: openai",
        b"Connection: x-secret\r\nX-Secret: secret",
    ],
)
def test_keys_and_hop_by_hop_fields_stay_here(field: bytes) -> None:
    assert parse_head(LINE + field + b"\r\n\r\n").lines == [b"Host: a\r\n"]


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        b"Content-Length: 3\r\nContent-Length: 3\r\n\r\n",
        b"Content-Length: 3, 3\r\n\r\n",
        b"Content-Length: +3\r\n\r\n",
        b"Content-Length: -3\r\n\r\n",
        b"Content-Length: 0x3\r\n\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n",
        b"X: a\r\n folded\r\n\r\n",
        b"X: a\rb\r\n\r\n",
        b"X: a\nY: b\r\n\r\n",
        b"X: a\0b\r\n\r\n",
        b"X : a\r\n\r\n",
        b"Host: b\r\n\r\n",
    ],
)
def test_what_two_readers_could_understand_differently_is_refused(rest: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_head(LINE + rest)


@pytest.mark.parametrize(
    "raw",
    [
        b"POST /x HTTP/1.1\r\n\r\n",
        b"POST /x HTTP/1.2\r\nHost: a\r\n\r\n",
        b"POST /x\r\nHost: a\r\n\r\n",
        b"POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /x HTTP/1.1\nHost: a\r\n\r\n",
        b"NONSENSE\r\n\r\n",
    ],
)
def test_a_broken_request_line_or_host_is_refused(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_head(raw)


def test_http_1_0_gets_no_second_request() -> None:
    head = parse_head(b"POST /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")

    assert (head.http11, head.keep_alive) == (False, False)


def test_too_many_fields_are_refused() -> None:
    with pytest.raises(HeadTooLarge):
        parse_head(LINE + b"X: y\r\n" * MAX_FIELDS + b"\r\n")


def test_an_expectation_that_nobody_can_meet_is_refused() -> None:
    with pytest.raises(UnknownExpectation):
        parse_head(LINE + b"Expect: miracles\r\n\r\n")


def test_an_absolute_target_has_a_path() -> None:
    head = parse_head(b"POST http://h:1/v1/embeddings?a HTTP/1.1\r\nHost: a\r\n\r\n")

    assert head.path == b"/v1/embeddings"


def test_fields_for_this_program_are_kept_in_order_and_those_for_both_go_on() -> None:
    head = parse_head(
        LINE + b"X-Request-ID: r1\r\nTraceparent: t\r\nx-request-id: r2\r\nX-Stream-Format: f\r\n"
        b"Origin: o\r\nOrigin: p\r\nIdempotency-Key: k\r\nIdempotency-Key: l\r\n\r\n"
    )

    assert head.own == [
        (b"x-request-id", b"r1"),
        (b"traceparent", b"t"),
        (b"x-request-id", b"r2"),
        (b"x-stream-format", b"f"),
    ]
    assert (head.origin, head.idempotency_key) == (b"o", b"k")
    assert list(head.fields()) == [
        (b"host", b"a"),
        (b"origin", b"o"),
        (b"origin", b"p"),
        (b"idempotency-key", b"k"),
        (b"idempotency-key", b"l"),
    ]


def test_the_type_of_a_body_is_known_and_goes_on() -> None:
    line = b"Content-Type: Multipart/Form-Data ; boundary=B\r\n"
    head = parse_head(LINE + line + b"Connection: content-type\r\n\r\n")
    two = parse_head(LINE + line + b"content-type: text/plain\r\n\r\n")

    assert (head.media_type, head.lines) == (b"multipart/form-data", [b"Host: a\r\n", line])
    assert head.content_type == b"Multipart/Form-Data ; boundary=B"
    assert two.content_type == b"Multipart/Form-Data ; boundary=B, text/plain"


@pytest.mark.parametrize(
    ("rest", "upgrade"),
    [
        (b"Upgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\r\n", b"websocket"),
        (b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n", b"h2c"),
        (b"Upgrade: websocket\r\n\r\n", None),
        (b"Upgrade: websocket\r\nConnection: close\r\n\r\n", None),
        (b"Connection: upgrade\r\n\r\n", None),
    ],
)
def test_an_upgrade_is_one_if_connection_says_so_as_well(
    rest: bytes, upgrade: bytes | None
) -> None:
    head = parse_head(LINE + b"Sec-WebSocket-Key: k\r\n" + rest)

    assert head.upgrade == upgrade
    assert head.lines == [b"Host: a\r\n", b"Sec-WebSocket-Key: k\r\n"]


def test_http_1_0_knows_no_upgrade_and_no_continue() -> None:
    head = parse_head(
        b"POST /x HTTP/1.0\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
        b"Expect: 100-continue\r\n\r\n"
    )

    assert (head.upgrade, head.continues) == (None, False)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for raw in (data + b"\r\n\r\n", LINE + data + b"\r\n\r\n"):
        with contextlib.suppress(RelayError):
            parse_head(raw)


_CODINGS = [b"chunked", b"CHUNKED", b"identity", b"", b" ", b",", b"gzip", b"chunked,", b",chunked"]


@pytest.mark.parametrize("length", [b"", b"Content-Length: 3\r\n"])
def test_a_coding_is_taken_only_if_one_field_says_chunked_and_nothing_else(length: bytes) -> None:
    for codings in chain.from_iterable(product(_CODINGS, repeat=count) for count in (1, 2, 3)):
        lines = [b"Transfer-Encoding: %b\r\n" % coding for coding in codings]
        raws = [
            LINE + b"".join(all_lines) + b"\r\n" for all_lines in permutations([*lines, length])
        ]
        for raw in raws:
            if not length and [coding.lower() for coding in codings] == [b"chunked"]:
                assert parse_head(raw).length is None
            else:
                with pytest.raises(BadRequest):
                    parse_head(raw)
