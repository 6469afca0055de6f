"""What one program of this kind tells another of a model that is on its way."""

from typing import get_args

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.progress.hop_progress import INTERIM, HopProgress, read_progress
from arriero.worker.progress.model_view import ModelView, Stage

LOADING = ModelView("loading", fraction=0.421, eta_s=7.2)


def test_the_first_word_waits_a_moment_and_news_come_soon() -> None:
    hop = HopProgress(10.0)
    assert hop.next_deadline() == 10.1
    assert hop.on_time(10.05, LOADING) == b""
    first = hop.on_time(10.1, LOADING)
    assert first.startswith(INTERIM)
    assert hop.next_deadline() == 15.1
    more = ModelView("loading", fraction=0.55)
    assert hop.on_time(10.2, more) == b""  # a moment later
    assert hop.next_deadline() == 10.6
    assert read_progress(hop.on_time(10.6, more), "b") == ModelView(
        "loading", fraction=0.55, host="b"
    )
    assert hop.on_time(10.7, more) == b""


def test_silence_is_broken_by_a_sign_of_life() -> None:
    hop = HopProgress(0.0)
    ready = ModelView("ready")
    assert hop.on_time(1.0, ready)
    assert not hop.on_time(5.9, ready)
    assert read_progress(hop.on_time(6.0, ready), "b") == ModelView("ready", host="b")


def test_what_is_told_is_what_is_read() -> None:
    other = 'mödel <x>\r\nX-Evil: 1"'
    view = ModelView("draining", other=other, requests=3, host="deeper")
    told = HopProgress(0.0).on_time(1.0, view)
    assert told.count(b"\r\n") == 3
    assert told.isascii()
    read = read_progress(told, "box2")
    assert read == ModelView("draining", other="m?del ?x???X-Evil: 1'", requests=3, host="box2")


@given(
    st.builds(
        ModelView,
        st.sampled_from(get_args(Stage)),
        ahead=st.integers(0, 1000),
        other=st.text(max_size=60),
        requests=st.integers(0, 1000),
        fraction=st.none() | st.floats(0, 1),
        eta_s=st.none() | st.floats(0, 1e4),
        has_reason=st.booleans(),
        host=st.text(max_size=5),
    )
)
def test_any_view_is_told_in_one_line(view: ModelView) -> None:
    told = HopProgress(0.0).on_time(1.0, view)
    read = read_progress(told, "b")
    assert told.count(b"\r\n") == 3
    assert read is not None
    assert (read.stage, read.ahead, read.requests) == (view.stage, view.ahead, view.requests)


def test_nonsense_of_others_says_nothing() -> None:
    head = b"HTTP/1.1 102 Processing\r\nX-Arriero-Progress: %b\r\n\r\n"
    for value in (
        b"",
        b"1",
        b"{}",
        b'{"stage":"flying"}',
        b'{"stage":"loading","fraction":"1"}',
        b'{"stage":"ready","other":"%b"}' % (b"x" * 2000),
        b"\xff",
        b"[" * 900,
    ):
        assert read_progress(head % value, "b") is None
    assert read_progress(b"HTTP/1.1 102 Processing\r\n\r\n", "b") is None


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**62), 2**62))
def test_numbers_of_others_are_within_bounds(number: float, count: int) -> None:
    value = {
        "stage": "loading",
        "fraction": number,
        "eta_s": number,
        "ahead": count,
        "requests": count,
    }
    head = b"HTTP/1.1 102 P\r\nx-arriero-progress:%b\r\n\r\n" % msgspec.json.encode(value)
    read = read_progress(head, "b")
    assert read is not None
    assert read.fraction is not None
    assert read.eta_s is not None
    assert 0 <= read.fraction <= 1
    assert 0 <= read.eta_s <= 86400
    assert 0 <= read.ahead <= 10_000
    assert 0 <= read.requests <= 10_000
