"""What becomes of the frames of one stream."""

import json
from typing import Any

import pytest

from arriero.worker.accounting.account import Account, open_account
from arriero.worker.accounting.record import make_record
from arriero.worker.accounting.response_reader import usage_of
from arriero.worker.apis.chat.chunk_filter import ChunkFilter
from arriero.worker.apis.chat.dialect import SHAPE, ChatDialect
from arriero.worker.apis.routes import CHAT
from arriero.worker.progress.model_view import ModelView
from arriero.worker.progress.prefill import PrefillProgress, Style
from arriero.worker.progress.status_stream import StatusStream
from arriero.worker.relay.frame_pipeline import FramePipeline


def frame(**members: Any) -> bytes:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"} | members
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def choices(**delta: str) -> list[dict[str, Any]]:
    return [{"index": 0, "delta": delta, "finish_reason": None}]


def prompt(processed: int, total: int = 100) -> bytes:
    progress = {"processed": processed, "total": total, "cache": 0, "time_ms": 7}
    return frame(choices=choices(role="assistant"), prompt_progress=progress)


TOKEN = frame(choices=choices(content="Hi"))
USAGE = frame(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4})


def new_account() -> Account:
    return open_account(request_id="r", path=b"/v1/chat/completions", api=CHAT, now=0.0, t=0.0)


def new_prefill(style: Style = "comment") -> PrefillProgress:
    return PrefillProgress(style=style, shape=SHAPE, ident="p", created=1, model="m", came=0.0)


def test_without_a_wish_frames_pass_as_the_same_object_and_are_read() -> None:
    account = new_account()
    pipeline = FramePipeline(account, 0.0)

    for piece in (TOKEN, USAGE):
        assert pipeline.take(piece, 1.0) is piece

    record = make_record(account, 2.0)
    assert record is not None
    assert (record.input_tokens, record.output_tokens, record.ttft_ms) == (3, 1, 1000.0)


def test_what_was_not_asked_for_is_read_and_taken_out() -> None:
    account = new_account()
    pipeline = FramePipeline(account, 0.0, chunks=ChunkFilter(usage=True, progress=False))

    assert pipeline.take(TOKEN + USAGE, 1.0) == TOKEN
    assert usage_of(account).input_tokens == 3


def test_the_prompt_is_told_until_the_first_token_and_ends_complete() -> None:
    pipeline = FramePipeline(
        new_account(), 0.0, chunks=ChunkFilter(usage=False, progress=True), prefill=new_prefill()
    )

    assert pipeline.take(prompt(20), 1.0) == b": prefill 20/100 cache=0\n\n"
    assert pipeline.take(prompt(60), 1.1) == b""  # too soon after the last word
    assert pipeline.take(prompt(80) + TOKEN, 1.2) == b": prefill 100/100 cache=0\n\n" + TOKEN
    assert pipeline.take(prompt(90), 9.0) == b""
    assert pipeline.end(9.5) == b""


def test_a_stream_that_ends_without_a_token_has_its_last_word() -> None:
    pipeline = FramePipeline(new_account(), 0.0, prefill=new_prefill())
    pipeline.take(prompt(20), 1.0)

    assert pipeline.end(1.1) == b": prefill 100/100 cache=0\n\n"


def waited(committed: bool = True) -> StatusStream:
    waiting = StatusStream(
        mode="reasoning",
        dialect=ChatDialect(model="m", ident="0" * 24, created=1),
        model="m",
        now=0.0,
        delay_s=0.5,
        heartbeat_s=10.0,
        marker="swap-progress: ",
        details=False,
    )
    if committed:
        waiting.on_time(1.0, ModelView("loading"))
    waiting.on_ready(2.0)
    return waiting


def test_a_long_prompt_is_told_in_lines_to_those_who_heard_of_the_load_in_lines() -> None:
    pipeline = FramePipeline(
        new_account(), 0.0, chunks=ChunkFilter(usage=False, progress=True), status=waited()
    )

    assert pipeline.take(prompt(10), 2.5) == b""  # the prompt may be short
    line = pipeline.take(prompt(42), 3.1)
    assert b'"swap-progress: m: prefill 42%\\n"' in line
    assert pipeline.take(prompt(45), 9.0) == b""
    assert b"prefill 60%" in pipeline.take(prompt(60), 9.1)
    assert pipeline.take(TOKEN, 9.2) == TOKEN
    assert pipeline.take(prompt(90), 20.0) == b""


def test_a_short_load_that_said_nothing_is_followed_by_a_prompt_that_says_nothing() -> None:
    pipeline = FramePipeline(
        new_account(),
        0.0,
        chunks=ChunkFilter(usage=False, progress=True),
        status=waited(committed=False),
    )
    assert pipeline.take(prompt(42), 9.0) == b""


@pytest.mark.parametrize(
    ("frames", "has_ids"),
    [
        (b"id: 7\ndata: x\n\n", True),
        (b"data: x\nid:7\n\n", True),
        (b"data: x\r\rid:7\r\r", True),
        (TOKEN, False),
        (b'data: {"text":"id: 7"}\n\n', False),
    ],
)
def test_ids_of_events_are_noticed(frames: bytes, has_ids: bool) -> None:
    pipeline = FramePipeline(new_account(), 0.0)
    pipeline.take(frames, 1.0)
    assert pipeline.has_ids is has_ids


def test_comments_are_no_data() -> None:
    pipeline = FramePipeline(new_account(), 0.0)

    pipeline.take(b": hb\n\n", 1.0)
    assert pipeline.data_at == 0.0
    pipeline.take(TOKEN, 2.0)
    assert pipeline.data_at == 2.0


@pytest.mark.parametrize("count", [1, 3000])
def test_an_id_is_noticed_whatever_follows(count: int) -> None:
    pipeline = FramePipeline(new_account(), 0.0)
    seen = [pipeline.has_ids]
    for frames in (TOKEN, b"id: 7\ndata: x\n\n", *[TOKEN] * count):
        pipeline.take(frames, 1.0)
    seen.append(pipeline.has_ids)
    pipeline.take(TOKEN, 2.0)
    seen.append(pipeline.has_ids)
    assert seen == [False, True, True]
