import json
import struct
from itertools import pairwise
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.streams.aws_event_stream import (
    MAX_MESSAGE_BYTES,
    EventStreamMessage,
    MessageReader,
    MessageSplitter,
    event_message,
    exception_message,
)


def packed(headers: bytes, payload: bytes = b"{}", /, **lies: int) -> bytes:
    """Return a message, put together after the specification; `lies` replace true numbers."""
    total = lies.get("total", 16 + len(headers) + len(payload))
    lengths = struct.pack(">II", total, lies.get("headers", len(headers)))
    body = lengths + struct.pack(">I", lies.get("prelude_crc", crc32(lengths))) + headers + payload
    return body + struct.pack(">I", lies.get("crc", crc32(body)))


def text(name: str, value: str) -> bytes:
    return struct.pack(">B", len(name)) + name.encode() + b"\x07" + sized(value.encode())


def sized(value: bytes) -> bytes:
    return struct.pack(">H", len(value)) + value


def event(name: str, **payload: Any) -> bytes:
    headers = text(":event-type", name) + text(":content-type", "application/json")
    return packed(headers + text(":message-type", "event"), json.dumps(payload).encode())


RUN = [
    event("messageStart", role="assistant"),
    event("contentBlockDelta", contentBlockIndex=0, delta={"text": "Hällo"}),
    event("contentBlockStop", contentBlockIndex=0),
    event("messageStop", stopReason="end_turn"),
    event("metadata", usage={"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}),
]


def read(*pieces: bytes) -> tuple[list[EventStreamMessage], MessageReader]:
    reader = MessageReader()
    return [message for piece in pieces for message in reader.push(piece)], reader


def test_a_run_of_bedrock_is_read() -> None:
    messages, reader = read(b"".join(RUN))

    assert [message.name for message in messages] == [
        "messageStart",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
    ]
    assert [message.raw for message in messages] == RUN
    assert json.loads(messages[1].payload)["delta"] == {"text": "Hällo"}
    assert {message.kind for message in messages} == {"event"}
    assert not any(message.is_error for message in messages)
    assert reader.at_boundary


def test_a_message_of_the_specification_is_read_byte_by_byte() -> None:
    # 16 bytes, no headers, no payload: the numbers are those of any implementation of CRC-32
    smallest = bytes.fromhex("00000010 00000000 05c248eb 7d98c8ff")

    assert read(smallest)[0] == [EventStreamMessage({}, b"", smallest)]


@pytest.mark.parametrize(
    ("kind", "encoded", "value"),
    [
        (0, b"", True),
        (1, b"", False),
        (2, b"\xff", -1),
        (3, b"\x01\x00", 256),
        (4, b"\xff\xff\xff\xfe", -2),
        (5, b"\x00\x00\x00\x01\x00\x00\x00\x00", 2**32),
        (6, b"\x00\x02\x00\xff", b"\x00\xff"),
        (7, b"\x00\x02\xc3\xa4", "ä"),
        (8, b"\x00\x00\x01\x9a\x00\x00\x00\x00", 0x19A00000000),
        (9, bytes(range(16)), bytes(range(16))),
    ],
)
def test_a_header_has_one_of_ten_types(kind: int, encoded: bytes, value: object) -> None:
    header = b"\x01n" + bytes([kind]) + encoded

    [message], reader = read(packed(header + text("after", "it")))

    assert message.headers == {"n": value, "after": "it"}
    assert type(message.headers["n"]) is type(value)
    assert reader.damage is None


HOSTILE = pytest.mark.parametrize(
    ("hostile", "why"),
    [
        (packed(b"", crc=1), "checksum of a message is"),
        (packed(b"", prelude_crc=1), "checksum of a message's lengths"),
        (packed(b"", headers=3), "headers of 3 bytes"),
        (packed(b"", headers=2**32 - 1), "headers of 4294967295 bytes"),
        (packed(b"", total=15), "length of 15 bytes"),
        (packed(b"", total=0), "length of 0 bytes"),
        (packed(b"", total=17 * 1024 * 1024), "length of 17825792 bytes"),
        (packed(b"", total=16 * 1024 * 1024 + 1), "length of 16777217 bytes"),
        (packed(b"\x01n\x0a"), "unknown type 10"),
        (packed(b"\x01n\x07\x00\x09abc"), "longer than all headers"),
        (packed(b"\x09n"), "longer than all headers"),
        (packed(b"\x01n\x05\x00"), "longer than all headers"),
        (packed(b"\x01n"), "longer than all headers"),
        (packed(b"\x01n\x07\x00\x01\xff"), "no UTF-8"),
        (packed(b"\x01\xff\x00"), "no UTF-8"),
    ],
)


@HOSTILE
def test_damage_ends_the_reading_and_no_byte_is_lost(hostile: bytes, why: str) -> None:
    reader = MessageReader()

    [good] = reader.push(RUN[0] + hostile)
    held = reader.rest

    assert good.raw == RUN[0]
    assert reader.damage is not None
    assert why in reader.damage
    assert held == hostile
    assert not reader.at_boundary
    assert reader.push(RUN[1]) == []  # nothing is read any more ...
    assert reader.rest == RUN[1]  # ... and nothing piles up


def test_a_large_message_is_read() -> None:
    large = packed(text(":event-type", "chunk"), bytes(16 * 1024 * 1024 - 16 - 20))
    assert len(large) == 16 * 1024 * 1024

    [message], reader = read(large[:9], large[9:70_000], large[70_000:])

    assert (message.name, len(message.payload)) == ("chunk", 16 * 1024 * 1024 - 36)
    assert reader.damage is None


@pytest.mark.parametrize("cut", range(1, len(RUN[1])))
def test_a_cut_message_keeps_its_bytes(cut: int) -> None:
    messages, reader = read(RUN[0] + RUN[1][:cut])

    assert [message.raw for message in messages] == [RUN[0]]
    assert reader.rest == RUN[1][:cut]
    assert not reader.at_boundary
    assert reader.damage is None


def test_an_exception_of_ours_is_what_amazon_would_send() -> None:
    headers = (
        text(":exception-type", "modelStreamErrorException")
        + text(":content-type", "application/json")
        + text(":message-type", "exception")
    )
    written = exception_message('model "ä" has gone')

    assert written == packed(headers, '{"message":"model \\"ä\\" has gone"}'.encode())
    [message], _ = read(written)
    assert (message.kind, message.name) == ("exception", "modelStreamErrorException")
    assert message.is_error


def test_an_error_that_the_service_does_not_know_is_one_too() -> None:
    [message], _ = read(packed(text(":message-type", "error") + text(":error-code", "Oops")))

    assert (message.name, message.is_error) == ("Oops", True)


def test_a_message_whose_kind_is_no_text_has_none() -> None:
    [message], _ = read(packed(b"\x0d:message-type\x00"))

    assert (message.kind, message.name, message.is_error) == ("", "", False)


@given(st.text(max_size=300), st.text(max_size=50))
def test_any_exception_can_be_read_again(said: str, name: str) -> None:
    [message], reader = read(exception_message(said, name))

    assert json.loads(message.payload) == {"message": said}
    assert message.name == name
    assert reader.at_boundary


def test_an_event_of_ours_is_what_amazon_would_send() -> None:
    [message], _ = read(event_message("messageStop", {"stopReason": "end_turn"}))

    assert dict(message.headers) == dict(read(RUN[3])[0][0].headers)
    assert json.loads(message.payload) == {"stopReason": "end_turn"}


def test_whole_messages_are_passed_on_and_a_part_is_kept_back() -> None:
    splitter = MessageSplitter()
    stream = b"".join(RUN)
    cut = len(RUN[0]) + len(RUN[1]) + 5

    assert splitter.push(stream[:cut]) == RUN[0] + RUN[1]
    assert splitter.rest == RUN[2][:5]
    assert splitter.at_boundary  # of what was passed on
    assert splitter.push(stream[cut:]) == b"".join(RUN[2:])
    assert (splitter.rest, splitter.oversize, splitter.damage) == (b"", 0, None)


def test_each_whole_message_is_looked_at_once() -> None:
    seen: list[EventStreamMessage] = []
    splitter = MessageSplitter(look=seen.append)

    for byte in b"".join(RUN) + RUN[0][:9]:
        splitter.push(bytes([byte]))

    assert [message.raw for message in seen] == RUN


def test_after_a_part_of_a_message_was_given_up_nothing_of_ours_may_follow() -> None:
    splitter = MessageSplitter()
    splitter.push(RUN[0])
    assert (splitter.give_up(), splitter.at_boundary) == (b"", True)
    splitter.push(RUN[1][:9])

    assert splitter.give_up() == RUN[1][:9]
    assert (splitter.at_boundary, splitter.rest) == (False, b"")


@HOSTILE
def test_after_damage_all_is_passed_on_as_it_comes_and_counted(hostile: bytes, why: str) -> None:
    splitter = MessageSplitter()

    assert splitter.push(RUN[0] + hostile[:9]) == RUN[0]
    assert splitter.push(hostile[9:]) == hostile
    assert splitter.damage is not None
    assert why in splitter.damage
    assert [splitter.push(RUN[1]), splitter.push(b"x")] == [RUN[1], b"x"]
    assert (splitter.at_boundary, splitter.rest, splitter.oversize) == (False, b"", 1)


def test_a_message_that_is_too_long_is_damage() -> None:
    splitter = MessageSplitter()
    large = packed(b"", bytes(MAX_MESSAGE_BYTES - 15))

    assert splitter.push(large[:12]) == large[:12]
    assert splitter.push(large[12:]) == large[12:]
    assert splitter.oversize == 1


_NAMES = st.text(min_size=1, max_size=20)
_VALUES = st.one_of(
    st.booleans().map(lambda it: (0 if it else 1, b"", it)),
    st.integers(-(2**31), 2**31 - 1).map(lambda it: (4, struct.pack(">i", it), it)),
    st.integers(-(2**63), 2**63 - 1).map(lambda it: (5, struct.pack(">q", it), it)),
    st.binary(max_size=30).map(lambda it: (6, sized(it), it)),
    st.text(max_size=20).map(lambda it: (7, sized(it.encode()), it)),
)


@st.composite
def messages(draw: st.DrawFn) -> tuple[bytes, dict[str, object], bytes]:
    headers = draw(st.dictionaries(_NAMES, _VALUES, max_size=4))
    payload = draw(st.binary(max_size=60))
    encoded = b"".join(
        bytes([len(name.encode())]) + name.encode() + bytes([kind]) + value
        for name, (kind, value, _) in headers.items()
    )
    meant: dict[str, object] = {name: value for name, (_, _, value) in headers.items()}
    return packed(encoded, payload), meant, payload


@given(st.lists(messages(), max_size=4), st.lists(st.integers(0, 400), max_size=6))
def test_any_cut_gives_the_same_messages(
    made: list[tuple[bytes, dict[str, object], bytes]], cuts: list[int]
) -> None:
    stream = b"".join(raw for raw, _, _ in made)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]

    found, reader = read(*(stream[a:b] for a, b in pairwise(edges)))

    assert [(it.raw, dict(it.headers), it.payload) for it in found] == made
    assert reader.at_boundary


@given(
    st.lists(st.binary(max_size=40) | st.sampled_from(RUN) | st.just(RUN[0][:20]), max_size=6),
)
def test_whatever_comes_every_byte_can_be_passed_on(pieces: list[bytes]) -> None:
    reader = MessageReader()
    passed = b""
    for piece in pieces:
        passed += b"".join(message.raw for message in reader.push(piece))
        if reader.damage is not None:
            passed += reader.rest
    if reader.damage is None:
        passed += reader.rest

    assert passed == b"".join(pieces)


@given(st.lists(st.binary(max_size=40) | st.sampled_from(RUN) | st.just(RUN[0][:20]), max_size=6))
def test_whatever_comes_is_split_without_loss(pieces: list[bytes]) -> None:
    splitter = MessageSplitter()
    passed = b"".join(splitter.push(piece) for piece in pieces)

    assert passed + splitter.rest == b"".join(pieces)
    assert splitter.at_boundary is (splitter.oversize == 0)
