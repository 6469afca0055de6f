"""Requests that wait for their model, with real sockets and the official client."""

import json
from functools import partial
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from arriero.protocol.events import ProgressMade, QueueChanged, StateChanged
from arriero.protocol.lease import Leave, Refuse, Report, Resync, Resynced, Want, Welcome
from arriero.protocol.values import ErrorInfo, ModelStatus, QueueEntry
from arriero.protocol.worker_config import ModelRoute
from arriero.worker.limits import Limits
from tests.official import openai, openai_at
from tests.worker.rig import (
    BROKEN,
    LATER,
    REASONING,
    OpenRig,
    UpstreamExchange,
    post,
    progress,
    read_to_end,
    read_until,
    rig_options,
    sends,
    unchunk,
    without_id,
)
from tests.worker.sse import SSE_HEAD, STREAM, streams

ANSWER = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"role":"assistant","content":"Hello"},'
    b'"finish_reason":null}]}\n\n'
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b"data: [DONE]\n\n"
)

# A tenth of a second after a request its stream is committed to a 200.
pytestmark = rig_options(streams(ANSWER), models=REASONING, progress_delay_s=0.1)


def reasoning_in(body: bytes) -> list[str]:
    found = []
    for frame in body.split(b"\n\n"):
        if frame.startswith(b'data: {"id":"chatcmpl-swap-'):
            delta = json.loads(frame[6:])["choices"][0]["delta"]
            found.append(delta.get("reasoning_content"))
    return found


async def test_waiting_stream_is_told_each_phase(
    open_rig: OpenRig,
) -> None:
    async with open_rig() as rig:
        rig.grants = False
        async with await rig.connect() as stream:
            await stream.send_all(post(STREAM))
            want = await rig.heard(Want)
            rig.publish(
                QueueChanged,
                queue=(QueueEntry(model="x", waiting=1),) * 2 + (QueueEntry(model="m", waiting=1),),
            )
            got = await read_until(stream, b"queued (2 ahead)")
            rig.publish(ProgressMade, model="m", progress=progress("stopping", other="x"))
            got += await read_until(stream, b"stopping x")
            rig.publish(ProgressMade, model="m", progress=progress("loading", 0.42))
            got += await read_until(stream, b"loading 42%")
            rig.publish(StateChanged, model="m", state="ready", swap=1)
            rig.grant(want)
            got += await read_to_end(stream)

    head = without_id(got).partition(b"\r\n\r\n")[0]
    assert head == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
        b"Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\nX-Swap-Progress: reasoning\r\n"
        b"Transfer-Encoding: chunked\r\nConnection: close"
    )
    body = unchunk(got)
    lines = reasoning_in(body)
    assert [line.split(": ")[2].split("(")[0].rstrip("\n") for line in lines[:3]] == [
        "queued ",
        "stopping x",
        "loading 42% ",
    ]
    assert lines[3].startswith("swap-progress: m: ready after ")
    assert body.endswith(b"\n\n" + ANSWER)
    assert body.count(b"swap-progress: ") == 4


@pytest.mark.parametrize("mode", ["reasoning", "heartbeat", "comment", "event", "off"])
async def test_short_load_leaves_no_trace(
    own_time: MockClock, open_rig: OpenRig, mode: str
) -> None:
    async with open_rig(progress_delay_s=5.0) as rig:
        answer = await rig.ask(post(STREAM, b"X-Swap-Progress: %b" % mode.encode()))

    assert unchunk(answer) == ANSWER
    assert b"X-Swap-Progress: %b\r\n" % mode.encode() in answer


async def test_ready_model_gets_no_progress(
    own_time: MockClock,
    open_rig: OpenRig,
) -> None:
    slow = trio.Event()

    async def handler(exchange: UpstreamExchange) -> None:
        if exchange.number:
            with trio.move_on_after(0.4):
                await slow.wait()
        await streams(ANSWER)(exchange)

    async with open_rig(handler, heartbeat_s=0.1) as rig:
        await rig.ask(post(STREAM))
        answer = await rig.ask(post(STREAM))

    assert unchunk(answer) == ANSWER
    assert b"X-Swap-Progress" not in answer


async def test_heartbeats_last_until_first_byte(open_rig: OpenRig) -> None:
    go_on = trio.Event()

    async def handler(exchange: UpstreamExchange) -> None:
        await exchange.stream.send_all(SSE_HEAD)  # a head is not seen by the client
        await go_on.wait()
        await sends(ANSWER)(exchange)

    async with open_rig(handler, heartbeat_s=0.1) as rig:
        rig.grants = False
        async with await rig.connect() as stream:
            await stream.send_all(post(STREAM))
            want = await rig.heard(Want)
            got = await read_until(stream, b"queued")
            rig.grant(want)
            got += await read_until(stream, b"ready after")
            for _ in range(3):
                got += await read_until(stream, b'"delta":{}')
            go_on.set()
            got += await read_to_end(stream)

    assert unchunk(got).endswith(b"\n\n" + ANSWER)


@pytest.mark.parametrize(
    ("error", "status", "field", "kind"),
    [
        (BROKEN, b"500", b"x-should-retry: false", b"model_load_error"),
        (LATER, b"503", b"Retry-After: 2", b"server_error"),
    ],
)
@pytest.mark.parametrize("body", [STREAM, b'{"model":"m"}'])
async def test_early_failure_keeps_its_status(
    open_rig: OpenRig,
    error: ErrorInfo,
    status: bytes,
    field: bytes,
    kind: bytes,
    body: bytes,
) -> None:
    async with open_rig(progress_delay_s=5.0) as rig:
        rig.grants = False
        async with await rig.connect() as stream:
            await stream.send_all(post(body))
            rig.refuse(await rig.heard(Want), error)
            answer = await read_to_end(stream)

    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"\r\n" + field + b"\r\n" in answer
    assert b'"type":"%b","param":null' % kind in answer


async def test_late_failure_is_a_frame(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        rig.grants = False
        async with await rig.connect() as stream:
            await stream.send_all(post(STREAM))
            want = await rig.heard(Want)
            got = await read_until(stream, b"queued")
            rig.refuse(want, BROKEN)
            got += await read_to_end(stream)

    assert unchunk(got).endswith(
        b'\n\ndata: {"error":{"message":"model m failed to load: the file is no model",'
        b'"type":"model_load_error","param":null,"code":"model_load_failed"}}\n\n'
        b"data: [DONE]\n\n"
    )


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (
            b'HTTP/1.1 400 Bad Request\r\nContent-Length: 54\r\n\r\n{"error":{"message":"too long",'
            b'"type":"x","code":400}}',
            {"message": "too long", "type": "x", "param": None, "code": "400"},
        ),
        (
            b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy",
            {
                "message": "the model's server answered 503",
                "type": "upstream_error",
                "param": None,
                "code": "http_503",
            },
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            {
                "message": "the model's server answered 200",
                "type": "upstream_error",
                "param": None,
                "code": "http_200",
            },
        ),
    ],
)
async def test_late_plain_response_becomes_a_frame(
    open_rig: OpenRig, answer: bytes, error: dict[str, Any]
) -> None:
    async def handler(exchange: UpstreamExchange) -> None:
        await exchange.stream.send_all(answer)

    async with open_rig(handler) as rig:
        rig.grants = False
        async with await rig.connect() as stream:
            await stream.send_all(post(STREAM))
            want = await rig.heard(Want)
            got = await read_until(stream, b"queued")
            rig.grant(want)
            got += await read_to_end(stream)

    *_, frame, done, end = unchunk(got).split(b"\n\n")
    assert (done, end) == (b"data: [DONE]", b"")
    assert json.loads(frame[6:]) == {"error": error}


async def test_held_request_may_come_again(
    open_rig: OpenRig,
) -> None:
    async with open_rig(nonstream_hold_s=0.2) as rig:
        rig.grants = False
        answer = await rig.ask(post())
        assert await rig.heard(Leave) == Leave(request=1)

    assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"Retry-After: 2\r\n" in answer
    assert b'"type":"server_error","param":null,"code":"model_loading"' in answer


async def test_waiter_leaves_and_others_stay(
    open_rig: OpenRig,
) -> None:
    async with open_rig() as rig:
        rig.grants = False
        async with await rig.connect() as stays:
            leaves = await rig.connect()
            await leaves.send_all(post(STREAM))
            await rig.heard(Want)
            await stays.send_all(post(STREAM))
            want = await rig.heard(Want, 2)
            await leaves.aclose()

            assert await rig.heard(Leave) == Leave(request=1)
            rig.grant(want)
            assert unchunk(await read_to_end(stays)).endswith(ANSWER)


async def test_lost_supervisor_is_not_waited_for(open_rig: OpenRig) -> None:
    limits = Limits(lost_s=0.3, report_s=0.1)
    async with open_rig(limits=limits, progress_delay_s=60.0) as rig:
        await rig.ask(post(STREAM))  # a lease on m
        rig.grants = False
        rig.say(Refuse(request=99, model="m", error=LATER))  # nobody's
        other = await rig.ask(post(STREAM))
        models = (*REASONING, ModelRoute(model="n"))
        rig.config = replace(rig.config, generation=2, models=models)
        rig.say(Welcome(config=rig.config, snapshot=rig.snapshot))
        while (await rig.heard(Report, rig.count(Report) + 1)).generation < 2:
            pass

        answer = await rig.ask(post(b'{"model":"n"}'))

    assert unchunk(other) == ANSWER
    assert answer.startswith(b"HTTP/1.1 503")
    assert b'"type":"server_error","param":null,"code":"supervisor_lost"' in answer


async def test_missed_event_leads_to_snapshot(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        rig.grants = False
        async with await rig.connect() as stream:
            await stream.send_all(post(STREAM))
            want = await rig.heard(Want)
            rig.seq += 3
            rig.publish(QueueChanged, queue=())
            await rig.heard(Resync)
            status = ModelStatus(
                model="m", state="starting", since=0.0, progress=progress("loading", 0.77)
            )
            rig.say(
                Resynced(
                    snapshot=type(rig.snapshot)(epoch="e", seq=rig.seq, t=0.0, models=(status,))
                )
            )
            await read_until(stream, b"loading 77%")
            rig.grant(want)
            await read_to_end(stream)


def _ask_with_openai(port: int, mode: str) -> tuple[str, str, list[str]]:
    client = openai_at(port)
    content, reasoning = "", ""
    roles: list[str] = []
    with client:
        stream = client.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "hi"}],
            stream=True,
            extra_headers={"X-Swap-Progress": mode},
        )
        for chunk in stream:
            delta = chunk.choices[0].delta
            content += delta.content or ""
            reasoning += getattr(delta, "reasoning_content", None) or ""
            roles += [delta.role] if delta.role else []
    return content, reasoning, roles


@pytest.mark.parametrize("mode", ["reasoning", "heartbeat", "event", "comment"])
async def test_official_client_takes_progress(open_rig: OpenRig, mode: str) -> None:
    async with open_rig(heartbeat_s=0.1) as rig:
        rig.grants = False

        async def supervise() -> None:
            want = await rig.heard(Want)
            rig.publish(ProgressMade, model="m", progress=progress("loading", 0.5))
            await rig.heard(Report, rig.count(Report) + 2)
            rig.grant(want)

        rig.nursery.start_soon(supervise)
        content, reasoning, roles = await trio.to_thread.run_sync(
            partial(_ask_with_openai, rig.port, mode)
        )

    assert (content, roles) == ("Hello", ["assistant"])
    assert ("swap-progress: m: loading 50%" in reasoning) is (mode == "reasoning")


async def test_official_client_raises_on_error_frame(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        rig.grants = False

        async def supervise() -> None:
            want = await rig.heard(Want)
            await rig.heard(Report, rig.count(Report) + 2)
            rig.refuse(want, BROKEN)

        rig.nursery.start_soon(supervise)
        with pytest.raises(openai.APIError, match="failed to load: the file is no model"):
            await trio.to_thread.run_sync(partial(_ask_with_openai, rig.port, "reasoning"))
