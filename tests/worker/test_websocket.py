"""Frames of WebSockets, the requests that open them, and the ways in which they end."""

import os
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.errors import (
    BadRequest,
    ClientGone,
    Forbidden,
    TooLarge,
    UnknownModel,
    UnknownPath,
    UpstreamDied,
    UpstreamSilent,
)
from arriero.worker.head import RequestHead, parse_head
from arriero.worker.websocket import (
    MAX_REASON_BYTES,
    Close,
    Ended,
    Event,
    Leg,
    Message,
    Reply,
    SocketWay,
    accept,
    as_upgrade,
    cancelled,
    check_opening,
    ended_by_client,
    ended_by_upstream,
    failed,
    find_socket,
    head_for_upstream,
    read_opened,
    refused,
    silent,
    with_model,
)

KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
VERSION = b"Sec-WebSocket-Version: 13"
UPGRADE = (b"Connection: keep-alive, Upgrade", b"Upgrade: WebSocket")


def asked(target: bytes, *fields: bytes, method: bytes = b"GET") -> RequestHead:
    lines = (method + b" " + target + b" HTTP/1.1", b"Host: here:8080", *fields)
    return parse_head(b"\r\n".join(lines) + b"\r\n\r\n")


def frame(opcode: int, payload: bytes, *, fin: bool = True, masked: bool = True) -> bytes:
    """Build a frame by the letter of RFC 6455, 5.2, without the library that reads it."""
    size = len(payload)
    mask = 0x80 if masked else 0
    head = bytes([(0x80 if fin else 0) | opcode])
    if size <= 125:
        head += bytes([mask | size])
    elif size < 65536:
        head += bytes([mask | 126]) + struct.pack("!H", size)
    else:
        head += bytes([mask | 127]) + struct.pack("!Q", size)
    if not masked:
        return head + payload
    key = os.urandom(4)
    return head + key + bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


# --- who may open one ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "way"),
    [
        (b"/v1/responses", SocketWay(None, b"/v1/responses")),
        (b"/v1/responses?a=1", SocketWay(None, b"/v1/responses?a=1")),
        (b"/v/responses?a=1", SocketWay(None, b"/responses?a=1")),
        (b"http://here/v1/responses", SocketWay(None, b"/v1/responses")),
        (b"/v1/realtime?x=1&model=a%2Fb", SocketWay("a/b", b"/v1/realtime?x=1&model=a%2Fb")),
    ],
)
def test_the_path_or_the_query_says_which_model_a_socket_is_for(
    target: bytes, way: SocketWay
) -> None:
    assert find_socket(asked(target, *UPGRADE)) == way


@pytest.mark.parametrize("target", [b"/v1/realtime", b"/v1/realtime?model=", b"/?model", b"/"])
def test_a_socket_for_no_model_is_refused_with_what_would_do(target: bytes) -> None:
    with pytest.raises(UnknownPath, match="model=name"):
        find_socket(asked(target, *UPGRADE))


@pytest.mark.parametrize(
    "head",
    [
        asked(b"/v1/responses"),
        asked(b"/v1/responses", b"Upgrade: websocket"),
        asked(b"/v1/responses", b"Connection: upgrade", b"Upgrade: h2c"),
        asked(b"/v1/responses", *UPGRADE, method=b"HEAD"),
    ],
    ids=["no wish", "not in Connection", "another protocol", "another method"],
)
def test_a_request_that_opens_no_websocket_is_none_of_ours(head: RequestHead) -> None:
    assert find_socket(head) is None


def test_a_model_is_renamed_in_the_query_and_all_else_stays() -> None:
    target = b"/v1/realtime?a=%20b&model=x&mo%64el=y&c"
    assert with_model(target, "a/b c") == b"/v1/realtime?a=%20b&model=a%2Fb%20c&mo%64el=a%2Fb%20c&c"


@pytest.mark.parametrize(
    ("origin", "any_origin", "is_taken"),
    [
        (None, False, True),
        (b"http://here:8080", False, True),
        (b"HTTP://HERE:8080", False, True),
        (b"http://here", False, False),
        (b"http://there:8080", False, False),
        (b"null", False, False),
        (b"http://there:8080", True, True),
    ],
)
def test_a_page_of_another_site_opens_a_socket_only_if_pages_may_ask(
    origin: bytes | None, any_origin: bool, is_taken: bool
) -> None:
    fields = (b"Origin: " + origin,) if origin is not None else ()
    head = asked(b"/v1/responses", *UPGRADE, *fields)
    if is_taken:
        check_opening(head, any_origin=any_origin)
    else:
        with pytest.raises(Forbidden):
            check_opening(head, any_origin=any_origin)


@pytest.mark.parametrize("field", [b"Content-Length: 3", b"Transfer-Encoding: chunked"])
def test_a_request_with_a_body_opens_no_socket(field: bytes) -> None:
    with pytest.raises(BadRequest, match="body"):
        check_opening(asked(b"/v1/responses", *UPGRADE, field), any_origin=True)


def test_the_answer_proves_that_the_request_was_understood() -> None:
    # key and answer are those of RFC 6455, 1.3
    assert accept(asked(b"/", *UPGRADE, KEY, VERSION)) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    "fields",
    [
        (KEY,),
        (KEY, b"Sec-WebSocket-Version: 8"),
        (VERSION,),
        (VERSION, KEY, KEY),
        (VERSION, b"Sec-WebSocket-Key: dGhl"),
        (VERSION, b"Sec-WebSocket-Key: ***"),
    ],
)
def test_a_request_that_is_not_by_the_rules_is_refused(fields: tuple[bytes, ...]) -> None:
    with pytest.raises(BadRequest, match="Sec-WebSocket"):
        accept(asked(b"/v1/responses", *UPGRADE, *fields))


# --- to the upstream -----------------------------------------------------------------------------


def test_a_socket_of_ours_says_nothing_of_the_clients() -> None:
    extension = b"Sec-WebSocket-Extensions: permessage-deflate"
    head = asked(b"/v1/responses", *UPGRADE, KEY, VERSION, extension, b"X-A: b")
    copied = head_for_upstream(head, b"/responses?q", is_ours=True)
    assert copied.lines == [b"Host: here:8080\r\n", b"X-A: b\r\n"]
    assert (copied.target, copied.path) == (b"/responses?q", b"/responses")
    assert head.target == b"/v1/responses"


def test_a_tunnel_says_all_that_the_client_has_said_but_no_key() -> None:
    protocol = b"Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.sk-1, v2"
    head = asked(b"/x?model=m", *UPGRADE, KEY, VERSION, protocol)
    lines = head_for_upstream(head, head.target, is_ours=False).lines
    assert lines == [
        b"Host: here:8080\r\n",
        KEY + b"\r\n",
        VERSION + b"\r\n",
        b"Sec-WebSocket-Protocol: realtime, v2\r\n",
    ]


def test_a_request_becomes_one_for_a_socket_and_says_no_length() -> None:
    request = b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"
    assert as_upgrade(request, b"A: b\r\n") == (
        b"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )


def test_an_answer_that_opens_a_socket_keeps_its_fields_but_not_its_id() -> None:
    raw = (
        b"HTTP/1.1 101 X\r\nUpgrade: WebSocket\r\nX-Request-Id: 5\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: abc\r\n\r\n"
    )
    opened = read_opened(raw)
    assert opened.status == 101
    assert opened.lines == (
        b"Upgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: abc\r\n"
    )


def test_an_answer_that_opens_none_tells_its_status() -> None:
    assert read_opened(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n").status == 404


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 101 X\r\n\r\n",
        b"+PONG\r\n\r\n",
    ],
)
def test_an_answer_that_opens_something_else_is_none(raw: bytes) -> None:
    with pytest.raises(UpstreamDied):
        read_opened(raw)


# --- frames --------------------------------------------------------------------------------------


def receive_in_pieces(leg: Leg, data: bytes, size: int) -> list[Event]:
    events: list[Event] = []
    for start in range(0, len(data), size):
        events += leg.receive(data[start : start + size])
    return events


BEGUN = frame(TEXT, b'{"a":"\xc3\xa9"}') + frame(BINARY, bytes(range(256)) * 300)
GOES_ON = (
    frame(TEXT, b"in \xe2", fin=False)
    + frame(PING, b"there?")
    + frame(PONG, b"unasked")
    + frame(0, b"\x82", fin=False)
    + frame(0, b"", fin=False)
    + frame(0, b"\xac")
    + frame(TEXT, b"")
    + frame(CLOSE, struct.pack("!H", 4001) + "später".encode())
    + frame(TEXT, b"after the end")
)
HEARD = [
    Message(b'{"a":"\xc3\xa9"}'),
    Message(bytes(range(256)) * 300, is_text=False),
    Reply(frame(PONG, b"there?", masked=False)),
    Message("in €".encode()),
    Message(b""),
    Ended(Close(4001, "später")),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000, 100_000])
def test_messages_are_the_same_wherever_their_bytes_are_cut(size: int) -> None:
    assert receive_in_pieces(Leg(serves=True), BEGUN + GOES_ON, size) == HEARD


def test_a_cut_at_any_byte_changes_nothing() -> None:
    for cut in range(len(GOES_ON)):
        leg = Leg(serves=True)
        assert leg.receive(GOES_ON[:cut]) + leg.receive(GOES_ON[cut:]) == HEARD[2:]


@given(st.binary(max_size=200), st.integers(1, 50), st.booleans())
def test_whatever_comes_there_is_one_end_at_the_most_and_nothing_behind_it(
    data: bytes, size: int, serves: bool
) -> None:
    leg = Leg(serves=serves, most_bytes=64)
    events = receive_in_pieces(leg, data, size)
    ends = [at for at, event in enumerate(events) if isinstance(event, Ended)]
    assert ends in ([], [len(events) - 1])
    for event in events:
        if isinstance(event, Message):
            assert len(event.data) <= 64
            assert not event.is_text or event.data.decode() is not None
    assert leg.close(Close(1000)) != b""


@given(
    st.lists(
        st.one_of(
            st.builds(lambda text: Message(text.encode()), st.text(max_size=300)),
            st.builds(lambda data: Message(data, is_text=False), st.binary(max_size=300)),
        ),
        max_size=5,
    ),
    st.integers(1, 100),
)
def test_messages_come_over_as_they_were(messages: list[Message], size: int) -> None:
    ours, theirs = Leg(serves=False), Leg(serves=True)
    sent = b"".join(ours.message(message) for message in messages)
    assert receive_in_pieces(theirs, sent, size) == messages


@pytest.mark.parametrize("pieces", [1, 2, 40])
def test_a_message_that_is_too_long_is_an_end_however_it_comes(pieces: int) -> None:
    each = 2000 // pieces
    data = b"".join(
        frame(TEXT if at == 0 else 0, b"x" * each, fin=at == pieces - 1) for at in range(pieces)
    )
    (ended,) = receive_in_pieces(Leg(serves=True, most_bytes=1999), data, 100)
    assert isinstance(ended, Ended)
    assert ended.is_fault
    assert ended.close is not None
    assert ended.close.code == 1009
    assert len(Leg(serves=True, most_bytes=1999).receive(data + frame(TEXT, b"more"))) == 1
    assert receive_in_pieces(Leg(serves=True, most_bytes=2000), data, 100) == [Message(b"x" * 2000)]


def test_the_length_of_a_text_counts_in_bytes() -> None:
    (ended,) = Leg(serves=True, most_bytes=5).receive(frame(TEXT, "ééé".encode()))
    assert isinstance(ended, Ended)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"x", masked=False), 1002),
        (frame(3, b"x"), 1002),
        (frame(0, b"x"), 1002),
        (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(CLOSE, b"\x03"), 1002),
        (frame(CLOSE, struct.pack("!H", 1006)), 1002),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"\xe2", fin=False) + frame(0, b""), 1007),
        (b"GET / HTTP/1.1\r\n", 1002),
    ],
)
def test_who_breaks_the_rules_is_told_so(data: bytes, code: int) -> None:
    leg = Leg(serves=True)
    ended = leg.receive(data)[-1]
    assert isinstance(ended, Ended)
    assert ended.close is not None
    assert (ended.close.code, ended.is_fault) == (code, True)
    assert leg.close(ended.close)[2:4] == struct.pack("!H", code)


def test_a_close_without_a_code_stays_without_one() -> None:
    leg = Leg(serves=True)
    (ended,) = leg.receive(frame(CLOSE, b""))
    assert ended == Ended(Close(1005))
    assert isinstance(ended, Ended)
    assert ended.close is not None
    assert leg.close(ended.close) == frame(CLOSE, b"", masked=False)


@given(st.text(max_size=300))
def test_a_reason_is_cut_to_what_a_frame_can_hold_and_stays_text(reason: str) -> None:
    sent = Leg(serves=True).close(Close(1011, reason))
    assert sent[1] <= 125
    (ended,) = Leg(serves=False).receive(sent)
    assert isinstance(ended, Ended)
    assert ended.close is not None
    assert ended.close.code == 1011
    assert reason.startswith(ended.close.reason)
    assert len(ended.close.reason.encode()) > min(len(reason.encode()), MAX_REASON_BYTES) - 4


def test_after_the_end_nothing_is_said() -> None:
    leg = Leg(serves=True)
    assert leg.close(Close(1000)) != b""
    assert leg.close(Close(1000)) == b""
    assert leg.message(Message(b"x")) == b""
    assert leg.receive(frame(PING, b"x")) == []


# --- ends ----------------------------------------------------------------------------------------

BUSY = Close(1013, "busy")


@pytest.mark.parametrize("end", [ended_by_client, ended_by_upstream])
def test_a_side_that_closes_closes_the_other_one_with_the_same_words(end: Any) -> None:
    found = end(Ended(BUSY))
    assert (found.client, found.upstream) == (BUSY, BUSY)


def test_what_becomes_of_a_turn_depends_on_who_has_ended_it() -> None:
    assert isinstance(ended_by_client(Ended(BUSY)).error, ClientGone)
    assert isinstance(ended_by_upstream(Ended(BUSY)).error, UpstreamDied)
    large = Ended(Close(1009, "too large"), is_fault=True)
    assert isinstance(ended_by_client(large).error, TooLarge)
    assert isinstance(ended_by_upstream(large).error, UpstreamDied)
    assert isinstance(silent(5, in_turn=True).error, UpstreamSilent)
    assert cancelled().error.code == "cancelled"  # type: ignore[union-attr]


def codes(end: Any) -> tuple[int | None, int | None]:
    return (end.client and end.client.code, end.upstream and end.upstream.code)


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (ended_by_client(Ended()), (None, 1001)),
        (ended_by_upstream(Ended()), (1011, None)),
        (ended_by_client(Ended(Close(1002, "x"), is_fault=True)), (1002, 1001)),
        (ended_by_client(Ended(Close(1009, "x"), is_fault=True)), (1009, 1001)),
        (ended_by_upstream(Ended(Close(1002, "x"), is_fault=True)), (1011, 1002)),
        (ended_by_upstream(Ended(Close(1009, "x"), is_fault=True)), (1009, 1009)),
        (refused(UnknownModel("x")), (1008, 1001)),
        (failed(UpstreamDied("x")), (1011, 1001)),
        (silent(5, in_turn=True), (1011, 1001)),
        (silent(5, in_turn=False), (1001, 1001)),
        (cancelled(), (1000, 1000)),
    ],
)
def test_each_side_is_told_by_a_code_who_is_to_blame(
    end: Any, expected: tuple[int | None, int | None]
) -> None:
    assert codes(end) == expected
