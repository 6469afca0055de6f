import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.apis.base.api import ChunkShape
from arriero.worker.apis.chat.dialect import SHAPE as CHAT_SHAPE
from arriero.worker.apis.completions import SHAPE as COMPLETIONS_SHAPE
from arriero.worker.limits import LIMITS
from arriero.worker.progress.prefill import (
    PrefillProgress,
    Prompt,
    Style,
    read_prompt,
    style_of,
)
from arriero.worker.streams.sse_events import EventReader

OWN, SWIFTLM = b"x-prefill-progress", b"x-swiftlm-prefill-progress"


def progress(
    style: Style = "event", shape: ChunkShape = CHAT_SHAPE, came: float = 100.0
) -> PrefillProgress:
    return PrefillProgress(
        style=style, shape=shape, ident="chatcmpl-swap-1", created=7, model="qwen", came=came
    )


def payload(frame: bytes) -> Any:
    [event] = EventReader().push(frame)
    return json.loads(event.data)


@pytest.mark.parametrize("name", [OWN, SWIFTLM])
@pytest.mark.parametrize(
    ("value", "style"),
    [
        (b"1", "event"),
        (b"true", "event"),
        (b"yes", "event"),
        (b"on", "event"),
        (b" YES ", "event"),
        (b"ON", "event"),
        (b"\tTrue", "event"),
        (b"Event", "event"),
        (b"chunk", "chunk"),
        (b" Comment", "comment"),
        (b"", None),
        (b"0", None),
        (b"2", None),
        (b"false", None),
        (b"yes please", None),
        (b"\xff", None),
    ],
)
def test_a_field_asks_for_progress(name: bytes, value: bytes, style: Style | None) -> None:
    assert style_of([(b"accept", b"1"), (name, value)]) == style


@pytest.mark.parametrize(
    ("fields", "style"),
    [
        ([], None),
        ([(OWN, b"chunk"), (OWN, b"event")], "chunk"),
        ([(OWN, b"0"), (OWN, b"1")], None),
        ([(SWIFTLM, b"1"), (OWN, b"comment")], "comment"),
        ([(SWIFTLM, b"1"), (OWN, b"0")], None),
        ([(b"x-prefill", b"1")], None),
    ],
)
def test_of_several_fields_the_first_one_counts(
    fields: list[tuple[bytes, bytes]], style: Style | None
) -> None:
    assert style_of(fields) == style


def test_an_event_is_what_swiftlm_sends() -> None:
    frame = progress().on_prompt(104.9, Prompt(32, 128, 16, 700))

    assert frame == (
        b"event: prefill_progress\r\n"
        b'data: {"status":"processing","n_past":32,"n_prompt_tokens":128,"fraction":0.25,'
        b'"elapsed_seconds":4,"phase":"prefill","cached":16,"time_ms":700}\r\n\r\n'
    )


def test_a_chunk_is_a_whole_one_without_a_role() -> None:
    frame = progress("chunk").on_prompt(104.9, Prompt(32, 128, 16, 700))

    assert frame == (
        b'data: {"id":"chatcmpl-swap-1","created":7,"model":"qwen",'
        b'"object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":null}],'
        b'"prompt_progress":{"total":128,"cache":16,"processed":32,"time_ms":700}}\n\n'
    )


def test_a_chunk_of_a_text_completion_has_an_empty_text() -> None:
    chunk = payload(progress("chunk", COMPLETIONS_SHAPE).on_prompt(104.9, Prompt(32, 128)))

    assert chunk["object"] == "text_completion"
    assert chunk["choices"] == [{"text": "", "index": 0, "logprobs": None, "finish_reason": None}]


def test_a_comment_is_one_line() -> None:
    frame = progress("comment").on_prompt(104.9, Prompt(32, 128, 0, 700))

    assert frame == b": prefill 32/128 cache=0\n\n"


def test_all_chunks_of_one_answer_have_one_id() -> None:
    told = progress("chunk")
    frames = [told.on_prompt(100.0 + at, Prompt(at, 9)) for at in range(1, 9)]
    assert {payload(frame)["id"] for frame in frames} == {"chatcmpl-swap-1"}


def test_numbers_of_llama_server_become_numbers_of_the_client() -> None:
    told = progress()
    numbers = [(128, 101.0), (512, 102.0), (1024, 103.0)]
    frames = [
        told.on_prompt(
            now,
            read_prompt(
                {"prompt_progress": {"total": 1024, "cache": 128, "processed": n, "time_ms": 9}}
            )
            or Prompt(),
        )
        for n, now in numbers
    ]

    seen = [payload(frame) for frame in frames]
    assert [(it["n_past"], it["n_prompt_tokens"], it["cached"]) for it in seen] == [
        (128, 1024, 128),
        (512, 1024, 128),
        (1024, 1024, 128),
    ]
    assert [it["fraction"] for it in seen] == [0.125, 0.5, 1.0]
    assert told.on_first_token(103.1) == b""  # the last one was complete


def test_the_last_word_is_complete_and_nothing_follows_it() -> None:
    told = progress()
    assert told.on_prompt(101.0, Prompt(64, 209, 0, 1)) != b""
    assert told.on_prompt(101.1, Prompt(128, 209, 0, 2)) == b""

    last = payload(told.on_first_token(101.2))

    assert (last["n_past"], last["n_prompt_tokens"], last["fraction"]) == (209, 209, 1.0)
    assert told.on_first_token(102.0) == b""
    assert told.on_prompt(110.0, Prompt(209, 209)) == b""
    assert told.on_phase(111.0, "loading") == b""
    assert told.on_time(120.0) == b""
    assert told.next_deadline() == float("inf")


def test_a_client_that_heard_nothing_hears_no_last_word() -> None:
    assert progress().on_first_token(101.0) == b""


def test_news_within_the_pause_wait_and_the_latest_goes() -> None:
    told = progress()
    assert told.on_prompt(101.0, Prompt(1, 9)) != b""
    assert told.on_prompt(101.1, Prompt(2, 9)) == b""
    assert told.on_prompt(101.3, Prompt(3, 9)) == b""
    assert told.next_deadline() == 101.0 + LIMITS.prompt_pause_s
    assert told.on_time(101.49) == b""

    assert payload(told.on_time(101.5))["n_past"] == 3
    assert told.next_deadline() == 101.5 + LIMITS.prompt_every_s


@pytest.mark.parametrize(
    ("style", "first"),
    [
        ("event", b'"n_past":0,"n_prompt_tokens":0,"fraction":0.0,"elapsed_seconds":2,'),
        ("comment", b": prefill 0/0 cache=0\n\n"),
    ],
)
def test_without_a_source_the_clock_ticks_all_the_same(style: Style, first: bytes) -> None:
    told = progress(style)
    assert told.next_deadline() == 102.0

    frames = [told.on_time(now) for now in (101.9, 102.0, 103.0, 104.0)]

    assert first in frames[1]
    assert [bool(frame) for frame in frames] == [False, True, False, True]
    assert told.on_first_token(104.5) == b""


def test_a_chunk_without_numbers_is_none() -> None:
    told = progress("chunk")
    assert told.on_phase(101.0, "loading") == b""
    assert told.on_time(110.0) == b""
    assert told.next_deadline() == float("inf")
    assert told.on_prompt(111.0, Prompt(1, 9)) != b""


def test_waiting_for_the_model_comes_before_the_prompt() -> None:
    told = progress()
    frames = [
        told.on_phase(100.0, "queued", 2),
        told.on_phase(101.0, "queued", 2),  # nothing new
        told.on_phase(101.5, "queued", 1),
        told.on_phase(102.5, "loading"),
        told.on_time(104.5),
        told.on_prompt(105.0, Prompt(5, 9, 0, 1)),
    ]

    seen = [payload(frame) for frame in frames if frame]
    assert [it["phase"] for it in seen] == ["queued", "queued", "loading", "loading", "prefill"]
    assert [it.get("queue_position") for it in seen] == [2, 1, None, None, None]
    assert [it["elapsed_seconds"] for it in seen] == [0, 1, 2, 4, 5]
    assert "cached" not in seen[0]


def test_a_comment_names_what_is_waited_for() -> None:
    assert progress("comment").on_phase(100.0, "loading") == b": loading 0/0 cache=0\n\n"


@pytest.mark.parametrize(
    ("said", "prompt"),
    [
        ({"total": 9, "cache": 2, "processed": 4, "time_ms": 7}, Prompt(4, 9, 2, 7)),
        ({"total": 0, "processed": 0}, Prompt(0, 0, 0, 0)),
        ({"total": 9, "cache": 99, "processed": 99}, Prompt(9, 9, 9, 0)),
        ({"total": -1}, None),
        ({"total": 9, "processed": 1.5}, None),
        ({"total": 9, "processed": True}, None),
        ({"total": 2**60}, None),
        ({"total": "9"}, None),
        ("9", None),
        (None, None),
    ],
)
def test_what_llama_server_says_is_read_or_left(said: object, prompt: Prompt | None) -> None:
    assert read_prompt({"prompt_progress": said}) == prompt
    assert read_prompt([said]) is None


_INTS = st.one_of(st.integers(), st.integers(0, 50), st.floats(), st.none(), st.booleans())
_STEPS: dict[str, Callable[[PrefillProgress, float, Any], bytes]] = {
    "time": lambda told, now, _: told.on_time(now),
    "queued": lambda told, now, value: told.on_phase(now, "queued", len(value)),
    "loading": lambda told, now, _: told.on_phase(now, "loading"),
    "prompt": lambda told, now, value: told.on_prompt(
        now, read_prompt({"prompt_progress": value}) or Prompt()
    ),
}


@given(
    st.sampled_from(["event", "comment", "chunk"]),
    st.lists(
        st.tuples(
            st.floats(0, 3),
            st.sampled_from(sorted(_STEPS)),
            st.dictionaries(st.sampled_from(["total", "cache", "processed", "time_ms"]), _INTS),
        ),
        max_size=12,
    ),
)
def test_whatever_is_said_the_pace_and_the_numbers_make_sense(
    style: Style, steps: list[tuple[float, str, Any]]
) -> None:
    told = progress(style)
    now = 100.0
    sent: list[tuple[float, bytes]] = []
    for pause, step, value in steps:
        now += pause
        sent.append((now, _STEPS[step](told, now, value)))
    sent = [(at, frame) for at, frame in sent if frame]
    last = told.on_first_token(now)

    assert all(b[0] - a[0] >= LIMITS.prompt_pause_s - 1e-9 for a, b in pairwise(sent))
    assert bool(last) <= bool(sent)
    if style == "event":
        events = [payload(frame) for _, frame in sent] + ([payload(last)] if last else [])
        for event in events:
            assert 0.0 <= event["fraction"] <= 1.0
            assert 0 <= event["n_past"] <= event["n_prompt_tokens"]
            assert not {"id", "object", "model", "choices"} & set(event)
        elapsed = [event["elapsed_seconds"] for event in events]
        assert elapsed == sorted(elapsed)
        if events:
            assert events[-1]["n_past"] == events[-1]["n_prompt_tokens"]
