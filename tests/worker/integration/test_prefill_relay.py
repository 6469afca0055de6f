"""Clients that want to know how far their prompt is read, and those that do not."""

import itertools
import json
import re
from collections.abc import Iterable
from functools import partial
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from arriero.protocol.events import ProgressMade, QueueChanged, StateChanged
from arriero.protocol.lease import Want
from arriero.protocol.records import UpstreamKind
from arriero.protocol.values import QueueEntry
from arriero.protocol.worker_config import ModelRoute
from tests.official import openai_at
from tests.worker.rig import (
    QUICK,
    OpenRig,
    Rig,
    UpstreamExchange,
    post,
    progress,
    read_to_end,
    rig_options,
    sends,
    unchunk,
)
from tests.worker.sse import (
    CHAT,
    COMPLETIONS,
    DONE,
    END,
    SSE_HEAD,
    STREAM,
    chunk,
    prompt_chunk,
    streams,
    text_chunk,
)

ANSWER = chunk({"role": "assistant", "content": "Hel"}) + chunk({"content": "lo"})


LLAMA_SERVER = (ModelRoute(model="m", kind="llama-server"),)
# A tenth of the usual times.
pytestmark = rig_options(
    models=LLAMA_SERVER,
    limits=replace(QUICK, prompt_pause_s=0.0, prompt_every_s=0.2, line_pause_s=0.0),
)
PROMPT: list[bytes | float] = [
    prompt_chunk(128),
    0.1,
    prompt_chunk(512),
    0.1,
    prompt_chunk(1024),
    0.1,
    ANSWER,
    END,
]


def events(body: bytes) -> list[dict[str, Any]]:
    """The named events in `body`, whose form is checked."""
    found = re.findall(rb"event: prefill_progress\r\ndata: ([^\r\n]*)\r\n\r\n", body)
    assert len(found) == body.count(b"event:")
    return [json.loads(data) for data in found]


def in_order(numbers: Iterable[int]) -> list[int]:
    """Return what was told, each once: on a busy machine it is told again, or a clock before it."""
    return [number for number, _ in itertools.groupby(numbers) if number]


@pytest.mark.parametrize(
    ("path", "stream"),
    [
        (CHAT, ANSWER + END),
        (CHAT, b": hello\r\n\r\n" + ANSWER.replace(b"\n", b"\r\n") + b": x\r\n\r\n" + END),
        (COMPLETIONS, text_chunk("Hi") + text_chunk("", "stop") + DONE),
    ],
)
async def test_without_wish_stream_is_unchanged(
    open_rig: OpenRig, path: bytes, stream: bytes
) -> None:
    async with open_rig(streams(stream)) as rig:
        got = unchunk(await rig.ask(post(STREAM, path=path)))
        (exchange,) = rig.upstream.exchanges

    assert got == stream
    assert b"event:" not in got
    assert exchange.body == STREAM


@pytest.mark.parametrize("field", [b"X-Prefill-Progress", b"X-SwiftLM-Prefill-Progress"])
async def test_events_show_the_prompts_numbers(open_rig: OpenRig, field: bytes) -> None:
    async with open_rig(streams(*PROMPT)) as rig:
        got = unchunk(await rig.ask(post(STREAM, field + b": true")))
        (exchange,) = rig.upstream.exchanges

    found = [event for event in events(got) if event["n_past"]]
    assert in_order(event["n_past"] for event in found) == [128, 512, 1024]
    assert {event["n_prompt_tokens"] for event in found} == {1024}
    assert all(event["fraction"] == event["n_past"] / 1024 for event in found)
    assert {event["cached"] for event in found} == {128}
    for event in found:
        assert event["status"] == "processing"
        assert isinstance(event["elapsed_seconds"], int)
        assert not {"id", "object", "model", "choices"} & set(event)
    assert got.endswith(b"\r\n\r\n" + ANSWER + END)
    assert json.loads(exchange.body)["return_progress"] is True
    assert field.lower() not in exchange.head.lower()


@pytest.mark.parametrize("value", [b"0", b"", b"2", b"off"])
async def test_other_values_are_no_wish(open_rig: OpenRig, value: bytes) -> None:
    async with open_rig(streams(ANSWER, END)) as rig:
        got = unchunk(await rig.ask(post(STREAM, b"X-Prefill-Progress: " + value)))
        (exchange,) = rig.upstream.exchanges

    assert got == ANSWER + END
    assert exchange.body == STREAM


async def test_comments_say_the_same(open_rig: OpenRig) -> None:
    async with open_rig(streams(*PROMPT)) as rig:
        got = unchunk(await rig.ask(post(STREAM, b"X-Prefill-Progress: comment")))

    comments = [frame for frame in got.split(b"\n\n") if frame.startswith(b":")]
    told = [int(comment.split()[2].partition(b"/")[0]) for comment in comments]
    assert in_order(told) == [128, 512, 1024]
    said = [b": prefill %d/1024 cache=128" % number for number in told if number]
    assert [comment for comment, number in zip(comments, told, strict=True) if number] == said
    assert got.endswith(ANSWER + END)


async def test_official_clients_read_chunks(open_rig: OpenRig) -> None:
    async with open_rig(streams(*PROMPT)) as rig:

        def read() -> tuple[list[Any], Any]:
            with openai_at(rig.port, max_retries=2) as client:
                headers = {"X-Prefill-Progress": "chunk"}
                ask: dict[str, Any] = {"model": "m", "messages": [], "extra_headers": headers}
                raw = list(client.chat.completions.create(**ask, stream=True))
                with client.chat.completions.stream(**ask) as stream:
                    return raw, stream.get_final_completion()

        raw, final = await trio.to_thread.run_sync(read)

    progress = [chunk for chunk in raw if getattr(chunk, "prompt_progress", None)]
    told = in_order(chunk.prompt_progress["processed"] for chunk in progress)
    assert told == [128, 512, 1024]
    assert len({chunk.id for chunk in progress}) == 1
    assert "".join(chunk.choices[0].delta.content or "" for chunk in raw) == "Hello"
    assert (final.choices[0].message.role, final.choices[0].message.content) == (
        "assistant",
        "Hello",
    )


async def test_llama_cpp_client_is_left_alone(open_rig: OpenRig) -> None:
    body = STREAM[:-1] + b',"return_progress":true}'
    stream = prompt_chunk(512) + prompt_chunk(1024) + ANSWER + END
    async with open_rig(streams(stream)) as rig:
        got = unchunk(await rig.ask(post(body, b"X-Prefill-Progress: true")))
        (exchange,) = rig.upstream.exchanges

    assert got == stream
    assert exchange.body == body


@pytest.mark.parametrize("kind", ["vllm", "openai", "anthropic", "gemini", "unknown"])
async def test_other_upstreams_get_the_clock_only(open_rig: OpenRig, kind: UpstreamKind) -> None:
    handler, models = sends(0.5, SSE_HEAD, ANSWER, END), (ModelRoute(model="m", kind=kind),)
    async with open_rig(handler, models=models, progress_delay_s=0.0) as rig:
        got = unchunk(await rig.ask(post(STREAM, b"X-Prefill-Progress: 1")))
        (exchange,) = rig.upstream.exchanges

    assert "return_progress" not in json.loads(exchange.body)
    found = events(got)
    assert len(found) >= 2
    for event in found:
        assert (event["n_past"], event["n_prompt_tokens"], event["fraction"]) == (0, 0, 0.0)
    assert got.endswith(b"\r\n\r\n" + ANSWER + END)


async def test_each_stream_hears_its_own_prompt(open_rig: OpenRig) -> None:
    async def answer(exchange: UpstreamExchange) -> None:
        total = json.loads(exchange.body)["total"]
        pieces: list[bytes | float] = []
        if json.loads(exchange.body).get("return_progress"):
            pieces += [prompt_chunk(total // 2, total), 0.1, prompt_chunk(total, total), 0.1]
        await streams(*pieces, ANSWER, END)(exchange)

    bodies: dict[int, bytes] = {}

    async def ask(rig: Rig, total: int) -> None:
        fields = (b"X-Prefill-Progress: yes",) if total % 2 else ()
        body = b'{"model":"m","stream":true,"total":%d}' % total
        bodies[total] = unchunk(await rig.ask(post(body, *fields)))

    async with open_rig(answer) as rig, trio.open_nursery() as nursery:
        for total in range(1001, 1021):
            nursery.start_soon(partial(ask, rig, total))

    for total, body in bodies.items():
        heard = {event["n_prompt_tokens"] for event in events(body)}
        # 0: the machine is busy, and nothing was known of the prompt for a second
        assert heard - {0} == ({total} if total % 2 else set())
        assert body.endswith(ANSWER + END)


async def test_waiter_hears_queue_load_and_prompt(
    own_time: MockClock,
    open_rig: OpenRig,
) -> None:
    waits = (QueueEntry(model="x", waiting=1), QueueEntry(model="m", waiting=1))
    async with open_rig(streams(*PROMPT), progress_delay_s=0.1) as rig:
        rig.grants = False
        async with await rig.connect() as stream:
            began = trio.current_time()
            await stream.send_all(post(STREAM, b"X-Prefill-Progress: event"))
            want = await rig.heard(Want)
            rig.publish(QueueChanged, queue=waits)
            got = await stream.receive_some()
            rig.publish(QueueChanged, queue=waits[1:])
            rig.publish(ProgressMade, model="m", progress=progress("loading", 0.5))
            while b'"loading"' not in got:
                got += await stream.receive_some()
            await trio.sleep(0.9)
            rig.publish(StateChanged, model="m", state="ready", swap=1)
            rig.grant(want)
            got = unchunk(got + await read_to_end(stream))
            took = trio.current_time() - began

    found = events(got)
    phases = [phase for phase, _ in itertools.groupby(event["phase"] for event in found)]
    assert phases == ["queued", "loading", "prefill"]
    assert found[0]["queue_position"] == 1
    elapsed = [event["elapsed_seconds"] for event in found]
    assert elapsed == sorted(elapsed)
    assert 0.9 <= elapsed[-1] <= took  # since the request came
    assert got.endswith(ANSWER + END)


async def test_long_prompt_is_told_in_lines(own_time: MockClock, open_rig: OpenRig) -> None:
    reasoning = (ModelRoute(model="m", kind="llama-server", progress="reasoning"),)
    async with open_rig(streams(0.2, *PROMPT), models=reasoning, progress_delay_s=0.0) as rig:
        rig.grants = False
        async with await rig.connect() as stream:
            await stream.send_all(post(STREAM))
            want = await rig.heard(Want)
            got = await stream.receive_some()
            rig.grant(want)
            got = unchunk(got + await read_to_end(stream))
        (exchange,) = rig.upstream.exchanges

    lines = re.findall(rb'"reasoning_content":"swap-progress: m: ([^"]*)\\n"', got)
    assert [line for line in lines if line.startswith(b"prefill")] == [
        b"prefill 12%",
        b"prefill 50%",
        b"prefill 99%",
    ]
    assert b"prompt_progress" not in got
    assert got.endswith(ANSWER + END)
    assert json.loads(exchange.body)["return_progress"] is True


async def test_failure_in_prompt_is_an_error(open_rig: OpenRig) -> None:
    async with open_rig(streams(prompt_chunk(128), 0.1)) as rig:
        got = unchunk(await rig.ask(post(STREAM, b"X-Prefill-Progress: chunk")))

    *_, error, done, end = got.split(b"\n\n")
    assert json.loads(error[6:])["error"]["code"] == "upstream_truncated"
    assert (done, end) == (b"data: [DONE]", b"")


async def test_found_kind_is_enough(open_rig: OpenRig) -> None:
    async with open_rig(streams(*PROMPT), models=(ModelRoute(model="m"),)) as rig:
        rig.kind = "llama-server"
        got = unchunk(await rig.ask(post(STREAM, b"X-Prefill-Progress: event")))

    assert len(events(got)) >= 3
