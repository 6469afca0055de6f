"""Frames are let in a few at a time, and only as long as they are paid for."""

from collections.abc import Iterable

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.http2.frames import MAX_HEAD_BYTES, PREFACE, Flooded, FrameGate

REQUEST = HeadersFrame(1, b"h" * 50, flags=["END_HEADERS", "END_STREAM"])


def admitted(frames: Iterable[Frame], gate: FrameGate | None = None, now: float = 0.0) -> int:
    """How many frames are let in."""
    if gate is None:
        gate = opened()
    count = 0
    try:
        for frame in frames:
            list(gate.slices(frame.serialize(), now))
            count += 1
    except Flooded:
        pass
    return count


def opened() -> FrameGate:
    gate = FrameGate(0.0)
    assert b"".join(gate.slices(PREFACE, 0.0)) == PREFACE
    return gate


@pytest.mark.parametrize(
    ("frame", "most"),
    [
        (PingFrame(0, b"12345678"), 1000),
        (SettingsFrame(0), 1000),
        (SettingsFrame(0, flags=["ACK"]), 1000),
        (PriorityFrame(1, depends_on=3), 1000),
        (WindowUpdateFrame(1, 1), 1000),
        (DataFrame(1, b""), 1000),
        (RstStreamFrame(1), 100),
        (ContinuationFrame(1, b""), 1000),
        (REQUEST, 1000),
    ],
)
def test_of_frames_that_do_nothing_there_may_be_so_many(frame: Frame, most: int) -> None:
    assert admitted([frame] * 3000) == most

    gate = opened()
    admitted([frame] * most, gate)
    assert admitted([frame] * 5000, gate, now=60.0) == 3 * most  # 50 a second come back


@pytest.mark.parametrize(
    "frame",
    [
        SettingsFrame(0, settings=dict.fromkeys(range(10, 100), 1)),
        HeadersFrame(1, b"h" * 16_385),
        DataFrame(1, b"d" * 16_385),
    ],
)
def test_one_frame_may_be_too_much(frame: Frame) -> None:
    assert admitted([frame]) == 0


def test_a_head_is_bounded_in_whatever_pieces_it_comes() -> None:
    frames = [HeadersFrame(1, b"h" * 100), *[ContinuationFrame(1, b"h" * 1000)] * 100]

    assert admitted(frames) == 1 + (MAX_HEAD_BYTES - 100) // 1000
    assert admitted([HeadersFrame(1, b"h" * 16_000), ContinuationFrame(1, b"h" * 16_000)] * 9) == 18


def test_bodies_and_what_pays_for_itself_may_go_on_for_ever() -> None:
    gate = opened()

    assert admitted([DataFrame(1, b"x")] * 5000, gate) == 5000
    for _ in range(5000):
        gate.sent(100)
        assert admitted([WindowUpdateFrame(1, 100), WindowUpdateFrame(0, 100)], gate) == 2
        gate.answered()
        assert admitted([REQUEST], gate) == 1


def test_answers_in_pieces_of_one_byte_do_not_pay_for_themselves() -> None:
    gate = opened()
    count = 0
    while admitted([WindowUpdateFrame(1, 1)], gate):
        gate.sent(1)
        count += 1

    assert count == 1000


@given(
    st.lists(
        st.sampled_from(
            [REQUEST, PingFrame(0, b"12345678"), DataFrame(1, b"x" * 3000), SettingsFrame(0)]
        ),
        max_size=200,
    ),
    st.lists(st.integers(1, 5000), min_size=1, max_size=20),
)
def test_all_bytes_come_through_in_order_with_little_work_in_each_slice(
    frames: list[Frame], sizes: list[int]
) -> None:
    data = PREFACE + b"".join(frame.serialize() for frame in frames)
    gate = FrameGate(0.0)
    slices: list[bytes] = []
    at = number = 0
    while at < len(data):
        size = sizes[number % len(sizes)]
        slices += gate.slices(data[at : at + size], 0.0)
        at += size
        number += 1

    assert b"".join(slices) == data
    assert max(len(piece) // 9 for piece in slices) <= 64 or max(map(len, slices)) > 576
    for piece in slices:
        assert piece.count(b"h" * 50) <= 16


@given(st.binary(max_size=300))
def test_any_bytes_come_through_or_are_too_much(data: bytes) -> None:
    came = b""
    try:
        for piece in FrameGate(0.0).slices(PREFACE + data, 0.0):
            came += piece
    except Flooded:
        assert data.startswith(came[len(PREFACE) :])
    else:
        assert came == PREFACE + data
