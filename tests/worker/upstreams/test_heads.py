import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.protocol.worker_config import HeaderRules
from arriero.worker.errors import UpstreamDied
from arriero.worker.http.header_rules import compile_rules
from arriero.worker.http.request_head import parse_head
from arriero.worker.leases.leases import bearer_line
from arriero.worker.upstreams.heads import (
    ResponseBody,
    origin_form,
    parse_answer_head,
    upstream_request,
)

OK = b"HTTP/1.1 200 OK\r\n"


def request(*fields: bytes, **options: Any) -> bytes:
    head = parse_head(b"\r\n".join((b"POST /v1/x?y=1 HTTP/1.1", b"Host: h", *fields, b"", b"")))
    given: dict[str, Any] = {"target": origin_form(head), "length": 4} | options
    return upstream_request(head, peer=b"10.0.0.1", base_path=b"/base", **given)


def test_a_request_goes_up_with_its_host_and_the_clients_address_and_wants_no_compression() -> None:
    fields = (b"X: y", b"X-Forwarded-For: 1.1.1.1", b"Authorization: s", b"Accept-Encoding: gzip")

    assert request(*fields) == (
        b"POST /base/v1/x?y=1 HTTP/1.1\r\nHost: h\r\nX: y\r\nAccept-Encoding: identity\r\n"
        b"X-Forwarded-For: 1.1.1.1, 10.0.0.1\r\nContent-Length: 4\r\n\r\n"
    )


def test_a_body_of_unknown_length_goes_up_in_chunks() -> None:
    sent = request(length=None)
    assert b"Transfer-Encoding: chunked\r\n" in sent
    assert b"Content-Length" not in sent


def test_lines_are_added_and_others_changed_by_rules() -> None:
    rules = compile_rules(HeaderRules(remove=("x",), set=(("Y", "2"),)))
    sent = request(b"X: y", extra=b"traceparent: t\r\n", rules=rules)
    assert b"X: y" not in sent
    assert b"\r\nY: 2\r\n" in sent
    assert b"\r\ntraceparent: t\r\n" in sent


SHOWN = (b"Authorization: Bearer theirs", b"X-API-Key: theirs", b"api-key: theirs")
KEY_LINE = bearer_line("s3cret")


def shown(sent: bytes) -> list[bytes]:
    """The lines that say who asks."""
    lines = sent.split(b"\r\n")
    return [line for line in lines if b"s3cret" in line or b"theirs" in line or b"ours" in line]


def test_a_model_is_shown_its_key_in_the_place_of_what_the_client_has_shown() -> None:
    assert KEY_LINE == b"Authorization: Bearer s3cret\r\n"
    assert bearer_line("") == b""
    for forwards in (True, False):
        sent = request(*SHOWN, key_line=KEY_LINE, forwards=forwards)
        assert shown(sent) == [b"Authorization: Bearer s3cret"]


def test_what_a_client_has_shown_goes_on_only_where_that_is_said() -> None:
    assert shown(request(*SHOWN)) == []
    assert shown(request(*SHOWN, forwards=True)) == [
        b"authorization: Bearer theirs",
        b"x-api-key: theirs",
    ]
    hop = b"Connection: X-Api-Key , authorization"
    assert shown(request(*SHOWN, hop, forwards=True)) == []


def test_rules_change_what_a_client_has_shown_and_not_the_key_of_a_model() -> None:
    remove = compile_rules(HeaderRules(remove=("authorization",)))
    set_it = compile_rules(HeaderRules(set=(("Authorization", "Bearer ours"),)))

    assert shown(request(*SHOWN, forwards=True, rules=remove)) == [b"x-api-key: theirs"]
    assert shown(request(*SHOWN, forwards=True, rules=set_it)) == [
        b"x-api-key: theirs",
        b"Authorization: Bearer ours",
    ]
    for rules in (remove, set_it):
        sent = request(*SHOWN, forwards=True, rules=rules, key_line=KEY_LINE)
        assert shown(sent) == [b"Authorization: Bearer s3cret"]


def test_a_target_with_a_host_goes_up_without_it() -> None:
    head = parse_head(b"POST http://h/v1/x?y=1 HTTP/1.1\r\nHost: h\r\n\r\n")
    assert origin_form(head) == b"/v1/x?y=1"


def test_an_answer_loses_its_hop_by_hop_fields_only() -> None:
    head = parse_answer_head(
        OK
        + b"Content-Type: text/plain\r\nKeep-Alive: timeout=5\r\nConnection: keep-alive, X-Hop\r\n"
        b"X-Hop: 1\r\nDate: d\r\nX-Request-Id: theirs\r\nContent-Length: 3\r\n\r\n"
    )

    built = head.build(framing=b"Content-Length: 3\r\n", extra=b"E: e\r\n", close=False)

    assert built == (
        OK + b"Content-Type: text/plain\r\nDate: d\r\nContent-Length: 3\r\nE: e\r\n\r\n"
    )
    assert head.keep_alive


def test_the_type_of_an_answer_can_be_another_one_and_rules_change_its_lines() -> None:
    head = parse_answer_head(OK + b"content-TYPE: text/event-stream\r\nA: b\r\n\r\n")
    rules = compile_rules(HeaderRules(remove=("a",)))

    built = head.build(framing=b"", extra=b"", close=False, rules=rules, content_type=b"text/plain")

    assert built == OK + b"Content-Type: text/plain\r\n\r\n"


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


@pytest.mark.parametrize(
    ("fields", "is_event_stream"),
    [
        (b"Content-Type: application/vnd.amazon.eventstream\r\n", True),
        (b"Content-Type: Application/Vnd.Amazon.EventStream; a=b\r\nContent-Length: 3\r\n", True),
        (
            b"Content-Type: application/vnd.amazon.eventstream\r\nContent-Encoding: gzip\r\n"
            b"Content-Length: 3\r\n",
            False,
        ),
        (b"Content-Type: application/json\r\nContent-Length: 3\r\n", False),
    ],
)
def test_a_binary_stream_is_known_by_its_type(fields: bytes, is_event_stream: bool) -> None:
    head = parse_answer_head(OK + fields + b"\r\n")

    assert (head.is_event_stream, head.is_stream) == (is_event_stream, False)


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
    answer = ResponseBody(parse_answer_head(OK + head + b"\r\n"))

    assert b"".join(answer.feed(piece) for piece in pieces) == body
    assert (answer.complete, answer.keep_alive) == (complete, keep_alive)


def test_trailers_are_kept() -> None:
    answer = ResponseBody(parse_answer_head(OK + b"Transfer-Encoding: chunked\r\n\r\n"))
    answer.feed(b"1\r\na\r\n0\r\nX-Time: 3\r\nSet-Cookie: a\r\n\r\n")

    assert (answer.complete, answer.trailers) == (True, [b"X-Time: 3\r\n"])


@given(st.binary(max_size=100), st.sampled_from([b"", b"Transfer-Encoding: chunked\r\n"]))
def test_any_answer_is_read_or_refused(data: bytes, field: bytes) -> None:
    with contextlib.suppress(UpstreamDied):
        parse_answer_head(data + b"\r\n\r\n")
    with contextlib.suppress(UpstreamDied):
        ResponseBody(parse_answer_head(OK + field + b"\r\n")).feed(data)


@pytest.mark.parametrize("piece", [b"a: b\r\n" * 11_000, b"x" * 65_536, b"1" + b";x=y" * 16_384])
def test_what_follows_a_body_or_goes_before_a_chunk_is_bounded(piece: bytes) -> None:
    body = ResponseBody(parse_answer_head(OK + b"Transfer-Encoding: chunked\r\n\r\n"))
    begins = b"2\r\nhi\r\n" + (b"" if piece.startswith(b"1") else b"0\r\na: ")
    assert body.feed(begins) == b"hi"

    body.feed(piece[:996])
    with pytest.raises(UpstreamDied, match="trailers are too long"):
        body.feed(piece[996:] + piece[-996:])
