"""Whatever an upstream sends, and wherever the network cuts it: what stands at the border.

Over night each of these is tried a hundred thousand times.
"""

import json
import re
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arriero.worker.apis.base.dialect import Dialect
from arriero.worker.apis.messages.dialect import MessagesDialect
from arriero.worker.apis.responses.dialect import ResponsesDialect
from arriero.worker.streams.merge import MergingSplitter
from arriero.worker.streams.sse_events import EventReader, SseEvent
from arriero.worker.streams.sse_frames import FrameSplitter
from tests.examples import IS_NIGHT
from tests.worker.apis.recorded import IDENT

T = TypeVar("T")


# One that fails is not made smaller for longer than the limit of a test allows.
often = settings(
    max_examples=100_000 if IS_NIGHT else 60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
at_night = pytest.mark.timeout(1200 if IS_NIGHT else 60)

BLANK = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
BOM = b"\xef\xbb\xbf"


# Hypothesis takes a hundred times as long for lists and dictionaries as for bytes: so it chooses
# bytes, and each of them stands for something.
WORDS = [
    b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b"data: [DONE]\n\n", b"data: ", b"data", b"event",
    b"id", b"retry", b":", b" ", b"x", b"{}", BOM, b"\0",
]  # fmt: skip


def spelled(code: bytes) -> bytes:
    """Return words of the format in any order, and now and then a byte that is none."""
    return b"".join(bytes([n]) if n > 247 else WORDS[n % len(WORDS)] for n in code)


def cut(data: bytes, places: bytes) -> list[bytes]:
    edges = sorted(place * (len(data) + 1) // 256 for place in places)
    return [data[a:b] for a, b in zip([0, *edges], [*edges, len(data)], strict=True)]


streams = st.binary(max_size=40).map(spelled)
cuts = st.binary(max_size=6)


# --- parser -----------------------------------------------------------------------------------


def read_simply(stream: bytes) -> list[SseEvent]:
    """What the standard says, in the most simple way; the whole stream is there."""
    *lines, _ = re.split(rb"\r\n|\n|\r", stream.removeprefix(BOM))
    events = []
    name, ident = "", ""
    data: list[bytes] = []
    for line in lines:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace")
        elif field == b"id" and b"\0" not in value:
            ident = value.decode("utf-8", "replace")
        elif not line:
            if data:
                events.append(SseEvent(b"\n".join(data), name, ident))
            name, data = "", []
    return events


@at_night
@often
@given(streams, cuts)
def test_events_are_read_as_standardized(stream: bytes, places: bytes) -> None:
    reader = EventReader()
    assert [e for piece in cut(stream, places) for e in reader.push(piece)] == read_simply(stream)


# --- splitter ---------------------------------------------------------------------------------


def ends_with_a_blank_line(stream: bytes) -> bool:
    return re.split(rb"\r\n|\n|\r", stream)[-2:] == [b"", b""]


@at_night
@often
@given(streams, cuts, st.sampled_from([4, 1000]))
def test_frames_pass_whole_and_unchanged(stream: bytes, places: bytes, limit: int) -> None:
    splitter = FrameSplitter(limit)
    passed = b""
    for piece in filter(None, cut(stream, places)):
        out = splitter.push(piece)
        passed += out
        if out:
            assert splitter.at_boundary is ends_with_a_blank_line(passed)
        assert not BLANK.search(splitter.rest.lstrip(b"\n"))
    assert passed + splitter.rest == stream
    assert splitter.oversize == 0 or limit == 4


# --- merges -----------------------------------------------------------------------------------

MESSAGE_KINDS = [
    "message_start", "content_block_start", "content_block_delta", "content_block_stop",
    "message_delta", "message_stop", "ping", "error",
]  # fmt: skip
RESPONSE_KINDS = [
    "response.created", "response.in_progress", "response.output_item.added",
    "response.content_part.added", "response.output_text.delta", "response.output_item.done",
    "response.completed", "error", "keepalive",
]  # fmt: skip

LINES_BEFORE = [b"", b": hb", b"id: 5", b"retry: 1", BOM + b": x"]
MEMBERS = ["index", "output_index", "item_id", "item", "response", "message", "usage", "delta"]
VALUES: list[Any] = [
    0, 1, 7, -1, True, 2**70, 0.5, None, "", "m1", '"index":0', "\n\r\u2028", [], {},
    {"id": "m1"}, {"id": 7, "call_id": "m1"}, {"output": []}, {"usage": {"input_tokens": 3}},
    {"input_tokens": None}, {"index": 0},
]  # fmt: skip
FORMS: list[dict[str, Any]] = [{"separators": (",", ":")}, {}, {"indent": 0}]
ENDS = [b"\n", b"\r\n", b"\r"]
CODE_BYTES = 5


def upstreams(kinds: list[str]) -> st.SearchStrategy[bytes]:
    """Streams of events of such kinds with anything in them, among comments, ids and nonsense."""

    def stream_of(code: bytes) -> bytes:
        parts = [code[at : at + CODE_BYTES] for at in range(0, len(code), CODE_BYTES)]
        return b"".join(frame_of(part, kinds) for part in parts)

    return st.binary(max_size=6 * CODE_BYTES).map(stream_of)


def frame_of(code: bytes, kinds: list[str]) -> bytes:
    """Return the frame that `code` stands for; nonsense if it is incomplete, or its turn."""
    number = int.from_bytes(code, "little")

    def one_of(things: Sequence[T]) -> T:
        nonlocal number
        number, place = divmod(number, len(things))
        return things[place]

    if one_of(range(8)) == 7 or len(code) < CODE_BYTES:
        return spelled(code[1:])
    kind = one_of([*kinds, *kinds, 7, None])
    end, form, before = one_of(ENDS), one_of(FORMS), one_of(LINES_BEFORE)
    lines = [before] if before else []
    if one_of([True, False]):
        lines.append(b"event: %b" % str(kind).encode())
    more = {one_of(MEMBERS): one_of(VALUES), one_of(MEMBERS): one_of(VALUES)}
    data = json.dumps({"type": kind} | more, ensure_ascii=False, **form).encode()
    lines += [b"data: " + line for line in data.split(b"\n")]
    return end.join([*lines, b"", b""])


def messages() -> Dialect:
    return MessagesDialect(merges=True, model="qwen", ident=IDENT)


def responses() -> Dialect:
    return ResponsesDialect("reasoning", model="qwen", ident=IDENT, created=1, body=b"{}")


def merged(dialect: Dialect, pieces: list[bytes]) -> list[bytes]:
    assert dialect.merge is not None
    dialect.opening()
    return list(map(MergingSplitter(dialect.merge).push, pieces))


def object_in(event: SseEvent) -> Any:
    try:
        return json.loads(event.data.decode())  # of bytes, Python reads more than JSON
    except (ValueError, RecursionError):
        return None


def check_merge(make: Callable[[], Dialect], beginnings: set[str], stream: bytes, at: bytes) -> Any:
    """Check what is true of both; give pairs of what was said and what the client gets of it."""
    (out,) = merged(make(), [stream])
    pieces = merged(make(), cut(stream, at))
    assert b"".join(pieces) == out
    assert all(ends_with_a_blank_line(piece) for piece in accumulate(pieces) if piece)

    said = [
        event
        for event in read_simply(stream)
        if not isinstance(value := object_in(event), dict) or value.get("type") not in beginnings
    ]
    begun = make()
    begun.opening()
    assert begun.merge is not None
    ours = begun.merge.begin() if out else b""
    assert out.startswith(ours)
    got = read_simply(out)[len(read_simply(ours)) :]
    assert [event.name for event in got] == [event.name for event in said]
    return zip(said, got, strict=True)


@at_night
@often
@given(upstreams(MESSAGE_KINDS), cuts)
def test_messages_merge_in_whole_frames(stream: bytes, places: bytes) -> None:
    for said, got in check_merge(messages, {"message_start"}, stream, places):
        before, after = object_in(said), object_in(got)
        if not isinstance(before, dict):
            assert got.data == said.data
            continue
        if str(before.get("type")).startswith("content_block_"):
            if isinstance(before.get("index"), int):
                before["index"] += 1
        elif before.get("type") == "message_delta" and isinstance(before.get("usage"), dict):
            before["usage"] = after["usage"] | before["usage"]
        assert after == before


@at_night
@often
@given(upstreams(RESPONSE_KINDS), cuts)
def test_responses_merge_in_whole_frames(stream: bytes, places: bytes) -> None:
    beginnings = {"response.created", "response.in_progress"}
    numbers = []
    for said, got in check_merge(responses, beginnings, stream, places):
        before, after = object_in(said), object_in(got)
        if not isinstance(before, dict) or not isinstance(before.get("type"), str):
            assert got.data == said.data
            continue
        numbers.append(after["sequence_number"])
        if isinstance(before.get("response"), dict):
            assert after["response"]["id"] == f"resp_swap_{IDENT}"
        if {"item", "item_id", "output_index"} & before.keys():
            given_ = before.get("output_index")
            assert isinstance(after["output_index"], int)
            assert not isinstance(given_, int) or after["output_index"] == given_ + 1
        ours = {"sequence_number", "response", "output_index", "content_index"}
        assert {k: v for k, v in after.items() if k not in ours} == {
            k: v for k, v in before.items() if k not in ours
        }
    assert numbers == [number + numbers[0] for number in range(len(numbers))]
