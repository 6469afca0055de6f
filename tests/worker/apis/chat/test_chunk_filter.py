# ruff: noqa: E501  one chunk, one line
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.apis.chat.chunk_filter import ChunkFilter
from arriero.worker.streams.sse_events import EventReader
from arriero.worker.streams.sse_frames import split_frames
from tests.worker.sse import DONE

# What a real llama-server (build 10434) sent, shortened.
ROLE = '"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}]'
PROGRESS = f'data: {{{ROLE},"object":"chat.completion.chunk","prompt_progress":{{"total":209,"cache":0,"processed":64,"time_ms":700}}}}\n\n'.encode()
FIRST = f'data: {{{ROLE},"object":"chat.completion.chunk"}}\n\n'.encode()
TEXT = b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":" fire"}}]}\n\n'
LAST = b'data: {"choices":[{"finish_reason":"length","index":0,"delta":{}}]}\n\n'
USAGE = b'data: {"choices":[],"object":"chat.completion.chunk","usage":{"completion_tokens":3,"prompt_tokens":209},"timings":{"cache_n":0}}\n\n'


def passed(data: bytes, *, usage: bool = False, progress: bool = False) -> bytes:
    return ChunkFilter(usage=usage, progress=progress).filter(data)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("at_once", [True, False])
def test_what_only_we_have_asked_for_is_taken_out(end: bytes, at_once: bool) -> None:
    frames = [
        frame.replace(b"\n", end) for frame in (PROGRESS, PROGRESS, FIRST, TEXT, LAST, USAGE, DONE)
    ]
    chunks = ChunkFilter(usage=True, progress=True)
    pieces = [b"".join(frames)] if at_once else frames

    assert b"".join(chunks.filter(piece) for piece in pieces) == b"".join([*frames[2:5], frames[6]])
    assert chunks.taken == 3


@pytest.mark.parametrize(
    ("usage", "progress", "out"),
    [
        (False, False, PROGRESS + TEXT + USAGE),
        (True, False, PROGRESS + TEXT),
        (False, True, TEXT + USAGE),
    ],
)
def test_what_the_client_has_asked_for_stays(usage: bool, progress: bool, out: bytes) -> None:
    assert passed(PROGRESS + TEXT + USAGE, usage=usage, progress=progress) == out


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": [], "usage": None},
        {"choices": [], "prompt_filter_results": [{"prompt_index": 0}]},  # Azure's first chunk
        {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}},
        {"choices": [{"text": "", "finish_reason": "length"}], "usage": {"prompt_tokens": 1}},
        {"usage": {"prompt_tokens": 1}},
        {"choices": [{"delta": {"content": "the \"usage\" of \"prompt_progress\""}}]},
        {"choices": [{"delta": {"content": "a"}}], "prompt_progress": {"total": 1}},
        {"choices": [{"delta": {"reasoning_content": "a"}}], "prompt_progress": {"total": 1}},
        {"choices": [{"delta": {"tool_calls": [{"index": 0}]}}], "prompt_progress": {"total": 1}},
        {"choices": [{"delta": {}, "finish_reason": "stop"}], "prompt_progress": {"total": 1}},
        {"choices": [{"text": "a"}], "prompt_progress": {"total": 1}},
        {"choices": [{"delta": {}}, {"delta": {"content": "a"}}], "prompt_progress": {"total": 1}},
        {"choices": [{"delta": "?"}], "prompt_progress": {"total": 1}},
        {"choices": [3], "prompt_progress": {"total": 1}},
        {"choices": [{"delta": {}}], "prompt_progress": {"total": 1}, "usage": {"prompt_tokens": 1}},
        {"error": {"message": "x"}, "prompt_progress": {"total": 1}},
        {"content": "a", "stop": False, "prompt_progress": {"total": 1}},
        {"content": "", "stop": True, "prompt_progress": {"total": 1}},
        {"choices": [{"delta": {}}], "prompt_progress": None},
        ["usage", "prompt_progress"],
    ],
)  # fmt: skip
def test_a_chunk_with_anything_else_in_it_passes_whole(chunk: Any) -> None:
    frame = b"data: %b\n\n" % json.dumps(chunk).encode()
    assert passed(frame, usage=True, progress=True) is frame


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_frame_of_several_lines_goes_as_a_whole(end: bytes) -> None:
    frame = (b": x\nevent: usage\nid: 7\n" + USAGE).replace(b"\n", end)
    after = TEXT.replace(b"\n", end)
    assert passed(after + frame + after, usage=True) == after + after


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": [{"text": "", "index": 0, "logprobs": None, "finish_reason": None}], "prompt_progress": {"total": 160}},
        {"content": "", "tokens": [0], "stop": False, "prompt_progress": {"total": 160}},
        {"choices": [{"delta": {"role": "assistant", "content": ""}}], "prompt_progress": {"total": 160}},
    ],
)  # fmt: skip
def test_progress_looks_different_on_each_route(chunk: Any) -> None:
    assert passed(b"data: %b\n\n" % json.dumps(chunk).encode(), progress=True) == b""


@pytest.mark.parametrize(
    "frames",
    [b"", b'data: {"usage":\n\n', b': "usage"\n\n', b'data: "usage"\xff\n\n', b'data: {"usage":{}'],
)
def test_what_cannot_be_read_passes(frames: bytes) -> None:
    assert passed(frames, usage=True, progress=True) is frames


def read(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return None


@given(
    st.lists(
        st.sampled_from(
            [PROGRESS, TEXT, USAGE, DONE, b": x\n\n", b"data: a\ndata: b\r\n\r\n", b"\n"]
        )
        | st.text("\r\ndata: ", max_size=6).map(str.encode),
        max_size=8,
    )
)
def test_only_whole_frames_go_and_all_others_stay_as_they_are(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    assert b"".join(split_frames(data)) == data

    out = passed(data, usage=True, progress=True)

    unasked = [json.loads(PROGRESS[5:]), json.loads(USAGE[5:])]
    before = [event.data for event in EventReader().push(data)]
    kept = [data for data in before if read(data) not in unasked]
    assert [event.data for event in EventReader().push(out)] == kept
