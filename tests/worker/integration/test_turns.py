"""Turns, told as events or as text, through a real worker."""

import json
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from arriero.protocol.events import ProgressMade, QueueChanged
from arriero.protocol.lease import Want
from arriero.protocol.values import QueueEntry
from arriero.protocol.worker_config import ModelRoute
from tests.worker.rig import (
    BROKEN,
    QUICK,
    OpenRig,
    UpstreamExchange,
    answer_json,
    post,
    progress,
    read_to_end,
    read_until,
    rig_options,
    unchunk,
)
from tests.worker.sse import DONE, HELLO, NAMED, STREAM, chunk, chunked, prompt_chunk

pytestmark = rig_options(
    models=(ModelRoute(model="m"),), progress_delay_s=0.0, limits=replace(QUICK, tick_s=0.1)
)

Told = list[tuple[str, dict[str, Any]]]

TURN = b"X-Stream-Format: turn-events"
TEXT = b"X-Stream-Format: turn-events; media_type=text/plain"
QUERY = b"/v1/streaming_query"
EVERY_S = 0.2


def call_piece(arguments: str, **more: Any) -> bytes:
    return chunk({"tool_calls": [{"index": 0, "function": {"arguments": arguments} | more}]})


USAGE = chunk(None, usage={"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10})
END = chunk({}, "stop") + USAGE + DONE


def read_turn(body: bytes) -> Told:
    """Return the events; every one of them is one line of data."""
    *frames, rest = body.split(b"\n\n")
    assert rest == b""
    values = [json.loads(found.removeprefix(b"data: ")) for found in frames]
    return [(value["event"], value["data"]) for value in values]


def kinds(told: Told) -> list[str]:
    return [kind for kind, _ in told]


def texts(told: Told, kind: str) -> str:
    return "".join(data["token"] for found, data in told if found == kind)


# --- in which order -------------------------------------------------------------------------------


async def test_waiting_turn_is_told_throughout(own_time: MockClock, open_rig: OpenRig) -> None:
    reasoning = chunk({"reasoning_content": "Let me see."})
    steps: list[bytes | float] = [
        prompt_chunk(5, 10, 0),
        2.5 * EVERY_S,
        prompt_chunk(10, 10, 0),
        reasoning,
        HELLO,
        2.5 * EVERY_S,
        END,
    ]
    async with open_rig(chunked(*steps), heartbeat_s=EVERY_S) as rig:
        rig.grants = False
        rig.kind = "llama-server"
        async with await rig.connect() as stream:
            await stream.send_all(post(STREAM, TURN, NAMED))
            want = await rig.heard(Want)
            rig.publish(
                QueueChanged,
                queue=(QueueEntry(model="x", waiting=1), QueueEntry(model="m", waiting=1)),
            )
            got = await read_until(stream, b"m: queued (1 ahead)")
            rig.publish(ProgressMade, model="m", progress=progress("loading", 0.5))
            got += await read_until(stream, b"loading 50%")
            got += await read_until(stream, b'"heartbeat"')
            rig.grant(want)
            got += await read_to_end(stream)
        record = await rig.record()

    assert b"Content-Type: text/event-stream; charset=utf-8\r\n" in got
    told = read_turn(unchunk(got))
    assert told[0] == (
        "start",
        {"request_id": "req-1", "conversation_id": "req-1", "model": "m"},
    )
    phases = [data["phase"] for kind, data in told if kind == "status"]
    assert list(dict.fromkeys(phases)) == ["queued", "loading", "prefill"]
    without = [kind for kind in kinds(told)[1:] if kind not in {"status", "heartbeat"}]
    assert without == ["reasoning", "token", "token", "turn_complete", "end"]
    assert "status" not in kinds(told)[kinds(told).index("reasoning") :]
    ids = [data["id"] for _, data in told if "id" in data]
    assert ids == list(range(len(ids)))
    assert texts(told, "token") == texts(told, "turn_complete") == "Hello you"
    assert {data["token"] for kind, data in told if kind == "heartbeat"} == {"heartbeat"}
    beats = [number for number, kind in enumerate(kinds(told)) if kind == "heartbeat"]
    assert beats[0] < kinds(told).index("reasoning") < beats[-1]  # before the answer, and in it
    assert told[-1][1]["input_tokens"] == 7
    assert told[-1][1]["output_tokens"] == 3
    assert (record.outcome, record.output_tokens, record.heartbeats) == ("ok", 3, len(beats))


async def test_other_streams_are_never_altered(open_rig: OpenRig) -> None:
    async with open_rig(chunked(HELLO, END), progress_delay_s=60.0) as rig:
        plain = await rig.ask(post(STREAM))
        other = await rig.ask(post(STREAM, b"X-Stream-Format: something"))
        told = await rig.ask(post(STREAM, TURN))

    assert unchunk(plain) == unchunk(other) == HELLO + END
    turn = kinds(read_turn(unchunk(told)))
    assert turn == ["start", "token", "token", "turn_complete", "end"]
    assert not [it for it in rig.upstream.exchanges if b"x-stream-format" in it.head.lower()]


async def test_plain_response_is_no_turn(open_rig: OpenRig) -> None:
    async with open_rig(answer_json) as rig:
        answer = await rig.ask(post(b'{"model":"m"}', TURN))

    assert answer.endswith(b'{"hello":"x"}')


# --- errors ---------------------------------------------------------------------------------------


FORGED = (chunk({"content": '{"finish_reason":"stop"'}), chunk({"content": "} data: [DONE]"}))


@pytest.mark.parametrize(
    ("steps", "cause"),
    [
        ((HELLO,), "before it was complete"),
        ((HELLO, HELLO[:40]), "before it was complete"),
        ((HELLO, b'data: {"error":{"code":500,"message":"no memory"}}\n\n', DONE), "no memory"),
        (FORGED, "complete"),
    ],
)
async def test_error_after_tokens_is_last(
    open_rig: OpenRig, steps: tuple[bytes, ...], cause: str
) -> None:
    async with open_rig(chunked(*steps)) as rig:
        told = read_turn(unchunk(await rig.ask(post(STREAM, TURN))))
        record = await rig.record()

    said = [kind for kind in kinds(told) if kind != "heartbeat"]  # the machine may be busy
    assert said == ["start", "token", "token", "error"]
    assert cause in told[-1][1]["cause"]
    assert record.outcome == "upstream_error"


async def test_dying_upstream_is_an_error(
    open_rig: OpenRig,
) -> None:
    said = 'The chunk had "finish_reason":"stop" in it.\n\ndata: [DONE]\n\n'
    async with open_rig(chunked(chunk({"content": said}), cut=True)) as rig:
        turn = await rig.ask(post(STREAM, TURN))
        query = await rig.ask(post(b'{"query":"what?"}', path=QUERY))

    for answer in (turn, query):
        told = read_turn(unchunk(answer))
        assert kinds(told) == ["start", "token", "error"]
        assert told[1][1]["token"] == said
        assert told[2][1]["status_code"] == 502


TOO_LONG = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 68\r\n\r\n"
    b'{"error":{"message":"the prompt is too long","type":"x","code":400}}'
)


async def refuse_it(exchange: UpstreamExchange) -> None:
    await exchange.stream.send_all(TOO_LONG)


@pytest.mark.parametrize("field", [TURN, TEXT])
async def test_early_refusal_has_the_real_status(open_rig: OpenRig, field: bytes) -> None:
    async with open_rig(refuse_it, progress_delay_s=60.0) as rig:
        refused = await rig.ask(post(STREAM, field))
        unknown = await rig.ask(post(b'{"model":"n","stream":true}', field))
        answers = [
            await rig.ask(post(body, path=QUERY))
            for body in (b'{"query":""}', b'{"query":"a","model":"n"}', b"[1]")
        ]

    assert refused.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert refused.endswith(b'{"error":{"message":"the prompt is too long","type":"x","code":400}}')
    assert unknown.startswith(b"HTTP/1.1 404 ")
    assert [answer.split()[1] for answer in answers] == [b"400", b"404", b"400"]


async def test_failed_load_has_its_own_status(open_rig: OpenRig) -> None:
    async with open_rig(answer_json, progress_delay_s=60.0) as rig:
        rig.grants = False

        async def supervise() -> None:
            want = await rig.heard(Want)
            rig.refuse(want, BROKEN)

        rig.nursery.start_soon(supervise)
        answer = await rig.ask(post(STREAM, TURN))

    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b'"type":"model_load_error"' in answer


@pytest.mark.parametrize("loads", [True, False])
async def test_late_refusal_tells_status_in_event(open_rig: OpenRig, loads: bool) -> None:
    async with open_rig(refuse_it) as rig:
        rig.grants = False
        async with await rig.connect() as stream:
            await stream.send_all(post(STREAM, TURN))
            want = await rig.heard(Want)
            rig.publish(ProgressMade, model="m", progress=progress("loading", 0.5))
            got = await read_until(stream, b"loading 50%")
            if loads:
                rig.grant(want)
            else:
                rig.refuse(want, BROKEN)
            got += await read_to_end(stream)

    told = read_turn(unchunk(got))
    assert set(kinds(told)[1:-1]) == {"status"}
    kind, data = told[-1]
    expected = (400, "the prompt is too long") if loads else (500, "the file is no model")
    assert kind == "error"
    assert data["status_code"] == expected[0]
    assert data["cause"].endswith(expected[1])


async def test_late_chat_refusal_is_a_frame(
    open_rig: OpenRig,
) -> None:
    models = (ModelRoute(model="m", progress="reasoning"),)
    async with open_rig(refuse_it, models=models) as rig:
        rig.grants = False
        async with await rig.connect() as stream:
            await stream.send_all(post(STREAM))
            want = await rig.heard(Want)
            got = await read_until(stream, b"queued")
            rig.grant(want)
            got += await read_to_end(stream)

    *_, last, done, rest = unchunk(got).split(b"\n\n")
    assert (done, rest) == (DONE.strip(), b"")
    error = json.loads(last.removeprefix(b"data: "))["error"]
    assert (error["message"], error["code"]) == ("the prompt is too long", "400")


# --- stopped --------------------------------------------------------------------------------------


async def test_stopped_turn_says_only_so(open_rig: OpenRig) -> None:
    async with (
        open_rig(chunked(HELLO, 60.0)) as rig,
        await rig.connect() as stream,
    ):
        await stream.send_all(post(b'{"query":"a"}', NAMED, path=QUERY))
        got = await read_until(stream, b" you")
        interrupt = post(b'{"request_id":"req-1"}', path=QUERY + b"/interrupt")
        assert b'"interrupted":true' in await rig.ask(interrupt)
        got += await read_to_end(stream)
        record = await rig.record()

    told = read_turn(unchunk(got))
    assert kinds(told) == ["start", "token", "token", "interrupted"]
    assert told[-1][1] == {"request_id": "req-1"}
    assert (record.outcome, record.output_tokens) == ("cancelled", 2)


# --- tools ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "args"),
    [
        ('{"city":"San Juan","days":[1,2,3],"deep":{"a":null}}', None),
        ('{"city":"San Juan","days":[1,2', {"_raw": '{"city":"San Juan","days":[1,2'}),
    ],
)
async def test_tool_call_pieces_are_one_event(open_rig: OpenRig, arguments: str, args: Any) -> None:
    step = -(-len(arguments) // 20)
    pieces = [arguments[at : at + step] for at in range(0, len(arguments), step)]
    frames = [call_piece("", name="weather"), *map(call_piece, pieces)]
    frames += [chunk({}, "tool_calls"), DONE]
    async with open_rig(chunked(*frames)) as rig:
        told = read_turn(unchunk(await rig.ask(post(STREAM, TURN))))

    assert kinds(told) == ["start", "tool_call", "turn_complete", "end"]
    assert told[1][1] == {
        "id": 0,
        "name": "weather",
        "args": args or json.loads(arguments),
        "type": "tool_call",
    }


# --- as text --------------------------------------------------------------------------------------


async def test_text_has_no_heartbeat(own_time: MockClock, open_rig: OpenRig) -> None:
    steps: list[bytes | float] = [HELLO, 2.5 * EVERY_S, chunk({"content": " heart\nbeat"}), END]
    async with open_rig(chunked(*steps), heartbeat_s=EVERY_S) as rig:
        rig.grants = False
        async with await rig.connect() as stream:
            await stream.send_all(post(STREAM, TEXT))
            want = await rig.heard(Want)
            rig.publish(QueueChanged, queue=(QueueEntry(model="m", waiting=1),))
            with trio.move_on_after(2.5 * EVERY_S) as silence:
                await stream.receive_some()
            rig.grant(want)
            turn = await read_to_end(stream)
        query = await rig.ask(post(b'{"query":"a","media_type":"text/plain"}', path=QUERY))
        record = await rig.record()

    assert silence.cancelled_caught
    for answer in (turn, query):
        assert b"Content-Type: text/plain; charset=utf-8\r\n" in answer
        assert unchunk(answer) == b"Hello you heart\nbeat"
    assert record.heartbeats == 0


async def test_error_in_text_is_last_line(open_rig: OpenRig) -> None:
    async with open_rig(chunked(HELLO, cut=True)) as rig:
        body = unchunk(await rig.ask(post(STREAM, TEXT)))

    assert body.startswith(b"Hello you\nStatus: 502 - Model server failed - ")
    assert body.count(b"\n") == 2


# --- queries --------------------------------------------------------------------------------------


async def test_query_goes_to_named_or_first(
    open_rig: OpenRig,
) -> None:
    models = (ModelRoute(model="m", send_as="real-m"), ModelRoute(model="n", aliases=("en",)))
    async with open_rig(chunked(HELLO, END), models=models) as rig:
        body = {"query": "what?", "system_prompt": "be brief", "conversation_id": "conv"}
        first = await rig.ask(post(json.dumps(body).encode(), path=QUERY))
        named = await rig.ask(post(b'{"query":"what?","model":"en"}', path=QUERY))
        wants = [message.model for message in rig.received if isinstance(message, Want)]
        sent = [json.loads(exchange.body) for exchange in rig.upstream.exchanges]
        heads = [exchange.head for exchange in rig.upstream.exchanges]

    assert wants == ["m", "n"]
    assert [body["model"] for body in sent] == ["real-m", "en"]
    assert sent[0]["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "what?"},
    ]
    assert all(body["stream"] for body in sent)
    assert all(head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n") for head in heads)
    start = read_turn(unchunk(first))[0][1]
    assert (start["conversation_id"], start["model"]) == ("conv", "m")
    assert texts(read_turn(unchunk(named)), "turn_complete") == "Hello you"
