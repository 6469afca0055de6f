"""Heads of HTTP/2 become heads of HTTP/1.1 that can be read in one way only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.errors import BadRequest, RelayError
from arriero.worker.http.request_head import parse_head
from arriero.worker.http2.heads import answer_fields, read_request, trailer_fields
from arriero.worker.upstreams.heads import parse_answer_head

Field = tuple[bytes, bytes]

POST = [(b":method", b"POST"), (b":path", b"/v1/x"), (b":scheme", b"http"), (b":authority", b"h")]


def test_a_request_is_written_with_its_own_fields_and_those_of_http_1() -> None:
    more = [
        (b"te", b"trailers"),
        (b"accept", b"a"),
        (b"expect", b"100-continue"),
        (b"upgrade", b"x"),
    ]

    request = read_request([*POST, *more], ended=False)

    assert request.head == (
        b"POST /v1/x HTTP/1.1\r\nHost: h\r\naccept: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    assert request.chunked
    assert request.has_answer_body
    assert request.takes_trailers


@pytest.mark.parametrize(
    ("more", "ended", "line"),
    [
        ([(b"content-length", b"12")], False, b"Content-Length: 12\r\n"),
        (
            [(b"content-length", b"12"), (b"content-length", b"12")],
            False,
            b"Content-Length: 12\r\n",
        ),
        ([(b"content-length", b"0")], True, b"Content-Length: 0\r\n"),
        ([], True, b"Content-Length: 0\r\n"),
    ],
)
def test_a_body_is_announced_as_it_was(more: list[Field], ended: bool, line: bytes) -> None:
    request = read_request([*POST, *more], ended=ended)

    assert request.head.endswith(line + b"\r\n")
    assert not request.chunked


def replaced(name: bytes, value: bytes | None) -> list[Field]:
    fields = [field for field in POST if field[0] != name]
    return fields if value is None else [*fields, (name, value)]


@pytest.mark.parametrize(
    "fields",
    [
        replaced(b":method", None),
        replaced(b":method", b"CONNECT"),
        replaced(b":method", b"GET /x HTTP/1.1\r\nA:"),
        replaced(b":method", b""),
        replaced(b":path", None),
        replaced(b":path", b""),
        replaced(b":path", b"/\xff"),
        replaced(b":path", b"/a b"),
        replaced(b":path", b"x"),
        replaced(b":path", b"http://[::1/"),
        replaced(b":authority", b"a\r\nb"),
        replaced(b":authority", b"a b"),
        [*POST, (b"host", b"other")],
        [*POST, (b":path", b"/y")],
        [*POST, (b":protocol", b"websocket")],
        [*POST, (b"a b", b"c")],
        [*POST, (b"a:b", b"c")],
        [*POST, (b"", b"c")],
        [*POST, (b"a", b"b\nc: d")],
        [*POST, (b"a", b"\0")],
        [*POST, (b"content-length", b"1"), (b"content-length", b"2")],
        [*POST, (b"content-length", b"+1")],
        [*POST, (b"content-length", b"1, 1")],
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(fields: list[Field]) -> None:
    with pytest.raises(BadRequest):
        read_request(fields, ended=False)


def test_a_length_without_a_body_is_refused() -> None:
    with pytest.raises(BadRequest):
        read_request([*POST, (b"content-length", b"1")], ended=True)


NAMES = st.sampled_from(
    [b":method", b":path", b":authority", b":x", b"host", b"te", b"content-length", b"connection"]
) | st.binary(max_size=8)
VALUES = st.sampled_from([b"POST", b"/", b"h", b"5", b"close", b"trailers"]) | st.binary(
    max_size=20
)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6), st.booleans(), st.booleans())
def test_whatever_comes_is_refused_or_one_head(
    fields: list[Field], whole: bool, ended: bool
) -> None:
    fields = [*POST, *fields] if whole else fields
    try:
        request = read_request(fields, ended=ended)
    except BadRequest:
        return

    assert request.head.count(b"\r\n\r\n") == 1
    assert request.head.endswith(b"\r\n\r\n")
    try:
        head = parse_head(request.head)
    except RelayError:
        return  # refused by the rules of HTTP/1.1
    assert dict(fields)[b":method"] == head.method
    assert dict(fields)[b":path"] == head.target
    assert head.upgrade is None
    assert (head.length is None) is request.chunked


def test_an_answer_loses_what_http_2_has_not() -> None:
    head = parse_answer_head(
        b"HTTP/1.1 201 Created\r\nContent-Type:  a/b \r\nConnection: close\r\nKeep-Alive: 5\r\n"
        b"Transfer-Encoding: chunked\r\nX-Id: \xe9\r\n\r\n"
    )

    assert answer_fields(head) == [
        (b":status", b"201"),
        (b"content-type", b"a/b"),
        (b"x-id", b"\xe9"),
    ]


def test_trailers_that_no_client_could_read_are_left_out() -> None:
    lines = [b"X-Outcome: ok\r\n", b"a b: c\r\n", b": x\r\n", b"X: a:b \r\n", b"Y: \0\r\n"]

    assert trailer_fields(lines) == [(b"x-outcome", b"ok"), (b"x", b"a:b")]
