import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.errors import UpstreamDied
from arriero.worker.head import parse_head
from arriero.worker.headers import AnswerBody, parse_answer_head, upstream_request

OK = b"HTTP/1.1 200 OK\r\n"


def request(*fields: bytes, reads_frames: bool = False) -> bytes:
    head = parse_head(b"\r\n".join((b"POST /v1/x?y=1 HTTP/1.1", b"Host: h", *fields, b"", b"")))
    return upstream_request(
        head, b"body", peer=b"10.0.0.1", base_path=b"/base", reads_frames=reads_frames
    )


def test_a_request_goes_up_with_its_host_and_the_clients_address() -> None:
    assert request(b"X: y", b"X-Forwarded-For: 1.1.1.1", b"Authorization: secret") == (
        b"POST /base/v1/x?y=1 HTTP/1.1\r\nHost: h\r\nX: y\r\n"
        b"X-Forwarded-For: 1.1.1.1, 10.0.0.1\r\nContent-Length: 4\r\n\r\n"
    )


def test_a_stream_is_asked_for_without_compression() -> None:
    assert b"Accept-Encoding: gzip\r\n" in request(b"Accept-Encoding: gzip")
    stream = request(b"Accept-Encoding: gzip", reads_frames=True)
    assert stream.count(b"Accept-Encoding") == 1
    assert b"Accept-Encoding: identity\r\n" in stream


def test_an_answer_loses_its_hop_by_hop_fields_only() -> None:
    head = parse_answer_head(
        OK
        + b"Content-Type: text/plain\r\nKeep-Alive: timeout=5\r\nConnection: keep-alive, X-Hop\r\n"
        b"X-Hop: 1\r\nDate: d\r\nContent-Length: 3\r\n\r\n"
    )

    assert head.plain == OK + (b"Content-Type: text/plain\r\nDate: d\r\nContent-Length: 3\r\n\r\n")
    assert head.keep_alive


@pytest.mark.parametrize(
    ("fields", "keep_alive", "is_stream"),
    [
        (b"Content-Length: 1\r\n", True, False),
        (b"Content-Length: 1\r\nConnection: close\r\n", False, False),
        (b"", False, False),
        (b"Transfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n", True, True),
        (
            b"Transfer-Encoding: chunked\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\n",
            True,
            True,
        ),
        (
            b"Transfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n"
            b"Content-Encoding: gzip\r\n",
            True,
            False,
        ),
    ],
)
def test_heads_say_what_follows(fields: bytes, keep_alive: bool, is_stream: bool) -> None:
    head = parse_answer_head(OK + fields + b"\r\n")

    assert (head.keep_alive, head.is_stream) == (keep_alive, is_stream)


def test_a_stream_is_marked_as_not_to_be_buffered() -> None:
    head = parse_answer_head(
        OK + b"Content-Type: text/event-stream\r\nCache-Control: no-store\r\n\r\n"
    )

    assert head.stream_lines == b"X-Accel-Buffering: no\r\n"


@pytest.mark.parametrize(
    ("head", "pieces", "body", "complete", "keep_alive"),
    [
        (b"Content-Length: 3\r\n", [b"ab", b"c"], b"abc", True, True),
        (b"Content-Length: 3\r\n", [b"ab"], b"ab", False, True),
        (b"Content-Length: 3\r\n", [b"abcHTTP"], b"abc", True, False),
        (b"Transfer-Encoding: chunked\r\n", [b"1\r\na\r\n0", b"\r\n\r\n"], b"a", True, True),
        (b"Transfer-Encoding: chunked\r\n", [b"1\r\na\r\n0\r\n\r\nHTTP/1.1"], b"a", True, False),
        (b"Transfer-Encoding: chunked\r\n", [b"1\r\na\r\n"], b"a", False, True),
        (b"", [b"ab", b"c"], b"abc", False, False),
    ],
)
def test_bodies_end_where_they_say(
    head: bytes, pieces: list[bytes], body: bytes, complete: bool, keep_alive: bool
) -> None:
    answer = AnswerBody(parse_answer_head(OK + head + b"\r\n"))

    assert b"".join(answer.feed(piece) for piece in pieces) == body
    assert (answer.complete, answer.keep_alive) == (complete, keep_alive)


def test_trailers_are_kept() -> None:
    answer = AnswerBody(parse_answer_head(OK + b"Transfer-Encoding: chunked\r\n\r\n"))
    answer.feed(b"1\r\na\r\n0\r\nX-Time: 3\r\nSet-Cookie: a\r\n\r\n")

    assert (answer.complete, answer.trailers) == (True, [b"X-Time: 3\r\n"])


@given(st.binary(max_size=100), st.sampled_from([b"", b"Transfer-Encoding: chunked\r\n"]))
def test_any_answer_is_read_or_refused(data: bytes, field: bytes) -> None:
    with contextlib.suppress(UpstreamDied):
        parse_answer_head(data + b"\r\n\r\n")
    with contextlib.suppress(UpstreamDied):
        AnswerBody(parse_answer_head(OK + field + b"\r\n")).feed(data)
