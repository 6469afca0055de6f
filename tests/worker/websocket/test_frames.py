"""Frames of WebSockets, and the ways in which they end."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.errors import (
    BodyMemoryFull,
    ClientGone,
    RequestCancelled,
    TooLarge,
    UnknownModel,
    UpstreamDied,
    UpstreamSilent,
)
from arriero.worker.http.body_memory import BodyMemory, MemoryHold
from arriero.worker.websocket.frames import (
    Event,
    PongDue,
    WsClose,
    WsCodec,
    WsEnded,
    WsMessage,
    cancelled,
    ended_by_client,
    ended_by_upstream,
    failed,
    refused,
    silent,
)


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
    key = b"\x04\x65\xc1\x2d"
    return head + key + bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


# --- frames --------------------------------------------------------------------------------------


def receive_in_pieces(leg: WsCodec, data: bytes, size: int) -> list[Event]:
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
    WsMessage(b'{"a":"\xc3\xa9"}'),
    WsMessage(bytes(range(256)) * 300, is_text=False),
    PongDue(frame(PONG, b"there?", masked=False)),
    WsMessage("in €".encode()),
    WsMessage(b""),
    WsEnded(WsClose(4001, "später")),
]


def test_what_has_come_of_a_message_is_counted_with_all_bodies() -> None:
    memory = BodyMemory(100)
    first, second = (WsCodec(serves=True, hold=MemoryHold(memory)) for _ in range(2))

    assert first.receive(frame(TEXT, b"x" * 60, fin=False)) == []
    assert memory.held_bytes == 60
    (ended,) = second.receive(frame(TEXT, b"x" * 41, fin=False))
    assert first.receive(frame(0, b"x" * 40)) == [WsMessage(b"x" * 100)]

    assert memory.held_bytes == 0
    assert isinstance(ended, WsEnded)
    end = ended_by_client(ended)
    assert codes(end) == (1013, 1001)
    assert isinstance(end.error, BodyMemoryFull)
    assert second.receive(frame(0, b"x")) == []


@pytest.mark.parametrize("size", [1, 7, 64, 1000, 100_000])
def test_messages_are_the_same_wherever_their_bytes_are_cut(size: int) -> None:
    assert receive_in_pieces(WsCodec(serves=True), BEGUN + GOES_ON, size) == HEARD


def test_a_cut_at_any_byte_changes_nothing() -> None:
    for cut in range(len(GOES_ON)):
        leg = WsCodec(serves=True)
        assert leg.receive(GOES_ON[:cut]) + leg.receive(GOES_ON[cut:]) == HEARD[2:]


@given(st.binary(max_size=200), st.integers(1, 50), st.booleans())
def test_whatever_comes_there_is_one_end_at_the_most_and_nothing_behind_it(
    data: bytes, size: int, serves: bool
) -> None:
    leg = WsCodec(serves=serves, most_bytes=64)
    events = receive_in_pieces(leg, data, size)
    ends = [at for at, event in enumerate(events) if isinstance(event, WsEnded)]
    assert ends in ([], [len(events) - 1])
    for event in events:
        if isinstance(event, WsMessage):
            assert len(event.data) <= 64
            assert not event.is_text or event.data.decode() is not None
    assert leg.close(WsClose(1000)) != b""


@given(
    st.lists(
        st.one_of(
            st.builds(lambda text: WsMessage(text.encode()), st.text(max_size=300)),
            st.builds(lambda data: WsMessage(data, is_text=False), st.binary(max_size=300)),
        ),
        max_size=5,
    ),
    st.integers(1, 100),
)
def test_messages_come_over_as_they_were(messages: list[WsMessage], size: int) -> None:
    ours, theirs = WsCodec(serves=False), WsCodec(serves=True)
    sent = b"".join(ours.message(message) for message in messages)
    assert receive_in_pieces(theirs, sent, size) == messages


@pytest.mark.parametrize("pieces", [1, 2, 40])
def test_a_message_that_is_too_long_is_an_end_however_it_comes(pieces: int) -> None:
    each = 2000 // pieces
    data = b"".join(
        frame(TEXT if at == 0 else 0, b"x" * each, fin=at == pieces - 1) for at in range(pieces)
    )
    (ended,) = receive_in_pieces(WsCodec(serves=True, most_bytes=1999), data, 100)
    assert isinstance(ended, WsEnded)
    assert ended.is_fault
    assert ended.close is not None
    assert ended.close.code == 1009
    assert len(WsCodec(serves=True, most_bytes=1999).receive(data + frame(TEXT, b"more"))) == 1
    assert receive_in_pieces(WsCodec(serves=True, most_bytes=2000), data, 100) == [
        WsMessage(b"x" * 2000)
    ]


def test_the_length_of_a_text_counts_in_bytes() -> None:
    (ended,) = WsCodec(serves=True, most_bytes=5).receive(frame(TEXT, "ééé".encode()))
    assert isinstance(ended, WsEnded)


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
    leg = WsCodec(serves=True)
    ended = leg.receive(data)[-1]
    assert isinstance(ended, WsEnded)
    assert ended.close is not None
    assert (ended.close.code, ended.is_fault) == (code, True)
    assert leg.close(ended.close)[2:4] == struct.pack("!H", code)


def test_a_close_without_a_code_stays_without_one() -> None:
    leg = WsCodec(serves=True)
    (ended,) = leg.receive(frame(CLOSE, b""))
    assert ended == WsEnded(WsClose(1005))
    assert isinstance(ended, WsEnded)
    assert ended.close is not None
    assert leg.close(ended.close) == frame(CLOSE, b"", masked=False)


@given(st.text(max_size=300))
def test_a_reason_is_cut_to_what_a_frame_can_hold_and_stays_text(reason: str) -> None:
    sent = WsCodec(serves=True).close(WsClose(1011, reason))
    assert sent[1] <= 125
    (ended,) = WsCodec(serves=False).receive(sent)
    assert isinstance(ended, WsEnded)
    assert ended.close is not None
    assert ended.close.code == 1011
    assert reason.startswith(ended.close.reason)
    assert len(ended.close.reason.encode()) > min(len(reason.encode()), 123) - 4


def test_after_the_end_nothing_is_said() -> None:
    leg = WsCodec(serves=True)
    assert leg.close(WsClose(1000)) != b""
    assert leg.close(WsClose(1000)) == b""
    assert leg.message(WsMessage(b"x")) == b""
    assert leg.receive(frame(PING, b"x")) == []


# --- ends ----------------------------------------------------------------------------------------

BUSY = WsClose(1013, "busy")
CANCELLED = RequestCancelled("this request was cancelled")


@pytest.mark.parametrize("end", [ended_by_client, ended_by_upstream])
def test_a_side_that_closes_closes_the_other_one_with_the_same_words(end: Any) -> None:
    found = end(WsEnded(BUSY))
    assert (found.client, found.upstream) == (BUSY, BUSY)


def test_what_becomes_of_a_turn_depends_on_who_has_ended_it() -> None:
    assert isinstance(ended_by_client(WsEnded(BUSY)).error, ClientGone)
    assert isinstance(ended_by_upstream(WsEnded(BUSY)).error, UpstreamDied)
    large = WsEnded(WsClose(1009, "too large"), is_fault=True)
    assert isinstance(ended_by_client(large).error, TooLarge)
    assert isinstance(ended_by_upstream(large).error, UpstreamDied)
    assert isinstance(silent(5, in_turn=True).error, UpstreamSilent)
    assert cancelled(CANCELLED, by_client=True).error is CANCELLED


def codes(end: Any) -> tuple[int | None, int | None]:
    return (end.client and end.client.code, end.upstream and end.upstream.code)


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (ended_by_client(WsEnded()), (None, 1001)),
        (ended_by_upstream(WsEnded()), (1011, None)),
        (ended_by_client(WsEnded(WsClose(1002, "x"), is_fault=True)), (1002, 1001)),
        (ended_by_client(WsEnded(WsClose(1009, "x"), is_fault=True)), (1009, 1001)),
        (ended_by_upstream(WsEnded(WsClose(1002, "x"), is_fault=True)), (1011, 1002)),
        (ended_by_upstream(WsEnded(WsClose(1009, "x"), is_fault=True)), (1009, 1009)),
        (refused(UnknownModel("x")), (1008, 1001)),
        (failed(UpstreamDied("x")), (1011, 1001)),
        (silent(5, in_turn=True), (1011, 1001)),
        (silent(5, in_turn=False), (1001, 1001)),
        (cancelled(CANCELLED, by_client=True), (1000, 1000)),
        (cancelled(CANCELLED, by_client=False), (1001, 1001)),
    ],
)
def test_each_side_is_told_by_a_code_who_is_to_blame(
    end: Any, expected: tuple[int | None, int | None]
) -> None:
    assert codes(end) == expected
