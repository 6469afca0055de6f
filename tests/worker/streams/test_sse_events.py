# ruff: noqa: E501  one stream, one line
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.streams.sse_events import EventReader, SseEvent, only_data


def read(*pieces: bytes) -> list[SseEvent]:
    reader = EventReader()
    return [event for piece in pieces for event in reader.push(piece)]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [SseEvent(b"a")]),
        (b"data: a\r\n\r\n", [SseEvent(b"a")]),
        (b"data: a\r\r", [SseEvent(b"a")]),
        (b"data: a\r\n\r\ndata: b\n\n", [SseEvent(b"a"), SseEvent(b"b")]),  # mixed
        (b"\xef\xbb\xbfdata: a\n\n", [SseEvent(b"a")]),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [SseEvent(b"a")]),  # once, at the start only
        (b": comment\n\n", []),
        (b": comment\ndata: a\n\n", [SseEvent(b"a")]),
        (b"data:a\n\n", [SseEvent(b"a")]),
        (b"data:  a\n\n", [SseEvent(b" a")]),  # one blank is removed, not two
        (b"data\n\n", [SseEvent(b"")]),
        (b"nonsense\n\ndata: a\n\n", [SseEvent(b"a")]),
        (b"data: a\ndata: b\n\n", [SseEvent(b"a\nb")]),
        (b"data:\ndata: x\n\n", [SseEvent(b"\nx")]),
        (b"event: ping\n\ndata: a\n\n", [SseEvent(b"a")]),  # its name does not leak
        (b"event: ping\ndata: a\n\n", [SseEvent(b"a", "ping")]),
        (b"id: 7\ndata: a\n\ndata: b\n\n", [SseEvent(b"a", ident="7"), SseEvent(b"b", ident="7")]),
        (b"id: 7\0\ndata: a\n\n", [SseEvent(b"a")]),
        (b"retry: 10\n\ndata: a\n\n", [SseEvent(b"a")]),
        (b"data: [DONE]\n\n", [SseEvent(b"[DONE]")]),
        (b"data: a\n", []),  # incomplete
    ],
)
def test_an_event_is_read_however_it_is_written(stream: bytes, events: list[SseEvent]) -> None:
    assert read(stream) == events
    assert read(*(stream[at : at + 1] for at in range(len(stream)))) == events


@pytest.mark.parametrize(
    ("stream", "within"),
    [(b"", False), (b"data: a\n\n", False), (b"data: a\n", True), (b"da", True), (b"event: x\n", True)],
)  # fmt: skip
def test_a_stream_that_stops_within_an_event_is_known(stream: bytes, within: bool) -> None:
    reader = EventReader()
    assert list(reader.push(stream)) in ([], [SseEvent(b"a")])
    assert reader.is_within_event is within


@pytest.mark.parametrize("long", [b"data: " + b"x" * 200, b"data: xxxx\n" * 50, b"y" * 200])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_event_that_is_too_long_is_given_up_and_the_stream_goes_on(
    long: bytes, size: int
) -> None:
    stream = b"data: a\n\n" + long.rstrip(b"\n") + b"\n\ndata: b\n\n"
    reader = EventReader(limit_bytes=100)
    events = [
        event for at in range(0, len(stream), size) for event in reader.push(stream[at : at + size])
    ]
    assert events == [SseEvent(b"a"), SseEvent(b"b")]


_PIECES = st.lists(
    st.sampled_from(
        [b"data", b":", b" ", b"\n", b"\r", b"\r\n", b"event", b"id", b"x", b"\xef\xbb\xbf", b"\0", b"\xc3\xbc"]
    ),
    max_size=40,
).map(b"".join)  # fmt: skip


@given(_PIECES | st.binary(max_size=60), st.lists(st.integers(0, 80), max_size=6))
def test_cuts_change_nothing(stream: bytes, cuts: list[int]) -> None:
    marks = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[start:end] for start, end in itertools.pairwise(marks)]
    assert read(*pieces) == read(stream)


@given(st.lists(st.sampled_from([b"data: ", b"data:", b"a", b"\n", b"\r", b"id: 7"])))
def test_a_frame_of_only_data_is_read_alike(parts: list[bytes]) -> None:
    frame = b"".join(parts)
    data = only_data(frame)
    assert data is None or read(frame) == [SseEvent(data)]


def test_usual_frames_are_only_data() -> None:
    assert only_data(b'data: {"a":1}\n\n') == b'{"a":1}'
    assert only_data(b"data: a\ndata: b\n\n") is None
