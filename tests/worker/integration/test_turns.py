"""Turns, told as events or as text, through a real worker."""

import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import trio

from arriero.protocol.events import ProgressMade, QueueChanged
from arriero.protocol.lease import Grant, Refuse, Want
from arriero.protocol.records import RequestRecord
from arriero.protocol.values import ErrorInfo, Progress, QueueEntry
from arriero.protocol.worker_config import ModelRoute
from arriero.worker.connections import connection as monitor

Opener = Callable[..., AbstractAsyncContextManager[Any]]
Handler = Callable[[Any], Awaitable[None]]
Steps = Sequence[bytes | float]
Told = list[tuple[str, dict[str, Any]]]

SSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
STREAM = b'{"model":"m","stream":true}'
TURN = b"X-Stream-Format: turn-events"
TEXT = b"X-Stream-Format: turn-events; media_type=text/plain"
NAMED = b"X-Request-Id: req-1"
QUERY = b"/v1/streaming_query"
DONE = b"data: [DONE]\n\n"
BROKEN = ErrorInfo(code="model_load_failed", message="the file is no model")
EVERY_S = 0.2


def frame(**members: Any) -> bytes:
    value = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "real"}
    return b"data: %b\n\n" % json.dumps(value | members).encode()


def delta(finish: str | None = None, **members: Any) -> bytes:
    return frame(choices=[{"index": 0, "delta": members, "finish_reason": finish}])


def call_piece(arguments: str, **more: Any) -> bytes:
    return delta(tool_calls=[{"index": 0, "function": {"arguments": arguments} | more}])


def prompt(processed: int) -> bytes:
    progress = {"total": 10, "cache": 0, "processed": processed, "time_ms": 1}
    choice = {"index": 0, "delta": {"role": "assistant", "content": None}, "finish_reason": None}
    return frame(choices=[choice], prompt_progress=progress)


USAGE = frame(choices=[], usage={"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10})
HELLO = delta(role="assistant", content="Hello") + delta(content=" you")
END = delta("stop") + USAGE + DONE


def streams(*steps: bytes | float, cut: bool = False) -> Handler:
    """Make an upstream that sends these pieces, with such pauses between them."""

    async def handler(exchange: Any) -> None:
        await exchange.stream.send_all(SSE_HEAD[:-2] + b"Transfer-Encoding: chunked\r\n\r\n")
        for step in steps:
            if isinstance(step, bytes):
                await exchange.stream.send_all(b"%x\r\n%b\r\n" % (len(step), step))
            else:
                await trio.sleep(step)
        if not cut:
            await exchange.stream.send_all(b"0\r\n\r\n")
        await exchange.stream.aclose()

    return handler


@pytest.fixture
def opened(tmp_path: Path, kit: Any, monkeypatch: pytest.MonkeyPatch) -> Opener:
    monkeypatch.setattr(monitor, "TICK_S", 0.1)

    def open_it(handler: Handler, **options: Any) -> Any:
        settings = {"models": (ModelRoute(model="m"),), "progress_delay_s": 0.0} | options
        return kit.open_rig(tmp_path, handler, **settings)

    return open_it


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


async def read_until(stream: trio.SocketStream, mark: bytes) -> bytes:
    data = b""
    while mark not in data:
        more = await stream.receive_some()
        assert more, data
        data += more
    return data


async def record_of(rig: Any) -> RequestRecord:
    return await rig.record()  # type: ignore[no-any-return]


# --- in which order -------------------------------------------------------------------------------


async def test_a_turn_that_waits_is_told_from_the_queue_to_its_end(
    opened: Opener, kit: Any
) -> None:
    reasoning = delta(reasoning_content="Let me see.")
    steps: Steps = [prompt(5), 2.5 * EVERY_S, prompt(10), reasoning, HELLO, 2.5 * EVERY_S, END]
    async with opened(streams(*steps), heartbeat_s=EVERY_S) as rig:
        rig.grants = False
        say = rig.say
        rig.say = lambda message: say(
            Grant(**{name: getattr(message, name) for name in message.__struct_fields__}
                    | {"kind": "llama-server"})
            if isinstance(message, Grant)
            else message
        )  # fmt: skip
        async with await rig.connect() as stream:
            await stream.send_all(kit.post(STREAM, TURN, NAMED))
            want = await rig.heard(Want)
            got = await read_until(stream, b"m: queued")
            loading = Progress(
                model="m", swap=1, phase="loading", elapsed_s=1.0, fraction=0.5, other=None
            )
            rig.publish(ProgressMade, model="m", progress=loading)
            got += await read_until(stream, b"loading 50%")
            got += await read_until(stream, b'"heartbeat"')
            rig.grant(want)
            got += await kit.read_to_end(stream)
        record = await record_of(rig)

    assert b"Content-Type: text/event-stream; charset=utf-8\r\n" in got
    told = read_turn(kit.unchunk(got))
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


async def test_a_stream_that_did_not_ask_for_it_is_never_altered(opened: Opener, kit: Any) -> None:
    async with opened(streams(HELLO, END)) as rig:
        plain = await rig.ask(kit.post(STREAM))
        other = await rig.ask(kit.post(STREAM, b"X-Stream-Format: something"))
        told = await rig.ask(kit.post(STREAM, TURN))

    assert kit.unchunk(plain) == kit.unchunk(other) == HELLO + END
    turn = kinds(read_turn(kit.unchunk(told)))
    assert turn == ["start", "token", "token", "turn_complete", "end"]
    assert not [it for it in rig.upstream.exchanges if b"x-stream-format" in it.head.lower()]


async def test_an_answer_in_one_piece_is_no_turn(opened: Opener, kit: Any) -> None:
    async with opened(kit.answer_json) as rig:
        answer = await rig.ask(kit.post(b'{"model":"m"}', TURN))

    assert answer.endswith(b'{"hello":"x"}')


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "cause"),
    [
        ((HELLO,), "before it was complete"),
        ((HELLO, HELLO[:40]), "before it was complete"),
        ((HELLO, b'data: {"error":{"code":500,"message":"no memory"}}\n\n', DONE), "no memory"),
        ((delta(content='{"finish_reason":"stop"'), delta(content="} data: [DONE]")), "complete"),
    ],
)  # fmt: skip
async def test_an_error_after_two_tokens_is_the_last_word(
    opened: Opener, kit: Any, steps: tuple[bytes, ...], cause: str
) -> None:
    async with opened(streams(*steps)) as rig:
        told = read_turn(kit.unchunk(await rig.ask(kit.post(STREAM, TURN))))
        record = await record_of(rig)

    assert kinds(told) == ["start", "token", "token", "error"]
    assert cause in told[-1][1]["cause"]
    assert record.outcome == "upstream_error"


async def test_an_upstream_that_dies_is_an_error_whatever_its_answer_looked_like(
    opened: Opener, kit: Any
) -> None:
    said = 'The chunk had "finish_reason":"stop" in it.\n\ndata: [DONE]\n\n'
    async with opened(streams(delta(content=said), cut=True)) as rig:
        turn = await rig.ask(kit.post(STREAM, TURN))
        query = await rig.ask(kit.post(b'{"query":"what?"}', path=QUERY))

    for answer in (turn, query):
        told = read_turn(kit.unchunk(answer))
        assert kinds(told) == ["start", "token", "error"]
        assert told[1][1]["token"] == said
        assert told[2][1]["status_code"] == 502


TOO_LONG = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 68\r\n\r\n"
    b'{"error":{"message":"the prompt is too long","type":"x","code":400}}'
)


async def refuse_it(exchange: Any) -> None:
    await exchange.stream.send_all(TOO_LONG)


@pytest.mark.parametrize("field", [TURN, TEXT])
async def test_before_its_beginning_a_turn_is_refused_with_the_real_status(
    opened: Opener, kit: Any, field: bytes
) -> None:
    async with opened(refuse_it, progress_delay_s=60.0) as rig:
        refused = await rig.ask(kit.post(STREAM, field))
        unknown = await rig.ask(kit.post(b'{"model":"n","stream":true}', field))
        answers = [
            await rig.ask(kit.post(body, path=QUERY))
            for body in (b'{"query":""}', b'{"query":"a","model":"n"}', b"[1]")
        ]

    assert refused.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert refused.endswith(b'{"error":{"message":"the prompt is too long","type":"x","code":400}}')
    assert unknown.startswith(b"HTTP/1.1 404 ")
    assert [answer.split()[1] for answer in answers] == [b"400", b"404", b"400"]


async def test_a_model_that_does_not_come_up_in_time_has_its_own_status(
    opened: Opener, kit: Any
) -> None:
    async with opened(kit.answer_json, progress_delay_s=60.0) as rig:
        rig.grants = False

        async def supervise() -> None:
            want = await rig.heard(Want)
            rig.say(Refuse(request=want.request, model="m", error=BROKEN))

        rig.nursery.start_soon(supervise)
        answer = await rig.ask(kit.post(STREAM, TURN))

    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b'"type":"model_load_error"' in answer


@pytest.mark.parametrize("loads", [True, False])
async def test_after_its_beginning_the_status_is_told_in_an_event(
    opened: Opener, kit: Any, loads: bool
) -> None:
    async with opened(refuse_it) as rig:
        rig.grants = False
        async with await rig.connect() as stream:
            await stream.send_all(kit.post(STREAM, TURN))
            want = await rig.heard(Want)
            got = await read_until(stream, b"queued")
            if loads:
                rig.grant(want)
            else:
                rig.say(Refuse(request=want.request, model="m", error=BROKEN))
            got += await kit.read_to_end(stream)

    told = read_turn(kit.unchunk(got))
    assert set(kinds(told)[1:-1]) == {"status"}
    kind, data = told[-1]
    expected = (400, "the prompt is too long") if loads else (500, "the file is no model")
    assert kind == "error"
    assert data["status_code"] == expected[0]
    assert data["cause"].endswith(expected[1])


async def test_a_chat_that_was_begun_is_told_of_the_upstream_s_refusal_in_a_frame(
    opened: Opener, kit: Any
) -> None:
    models = (ModelRoute(model="m", progress="reasoning"),)
    async with opened(refuse_it, models=models) as rig:
        rig.grants = False
        async with await rig.connect() as stream:
            await stream.send_all(kit.post(STREAM))
            want = await rig.heard(Want)
            got = await read_until(stream, b"queued")
            rig.grant(want)
            got += await kit.read_to_end(stream)

    *_, last, done, rest = kit.unchunk(got).split(b"\n\n")
    assert (done, rest) == (DONE.strip(), b"")
    error = json.loads(last.removeprefix(b"data: "))["error"]
    assert (error["message"], error["code"]) == ("the prompt is too long", "400")


# --- stopped --------------------------------------------------------------------------------------


async def test_a_turn_that_was_stopped_says_so_and_nothing_else(opened: Opener, kit: Any) -> None:
    async with (
        opened(streams(HELLO, 60.0)) as rig,
        await rig.connect() as stream,
    ):
        await stream.send_all(kit.post(b'{"query":"a"}', NAMED, path=QUERY))
        got = await read_until(stream, b" you")
        interrupt = kit.post(b'{"request_id":"req-1"}', path=QUERY + b"/interrupt")
        assert b'"interrupted":true' in await rig.ask(interrupt)
        got += await kit.read_to_end(stream)
        record = await record_of(rig)

    told = read_turn(kit.unchunk(got))
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
async def test_a_call_of_a_tool_in_twenty_pieces_is_one_event(
    opened: Opener, kit: Any, arguments: str, args: Any
) -> None:
    step = -(-len(arguments) // 20)
    pieces = [arguments[at : at + step] for at in range(0, len(arguments), step)]
    frames = [call_piece("", name="weather"), *map(call_piece, pieces)]
    frames += [delta("tool_calls"), DONE]
    async with opened(streams(*frames)) as rig:
        told = read_turn(kit.unchunk(await rig.ask(kit.post(STREAM, TURN))))

    assert kinds(told) == ["start", "tool_call", "turn_complete", "end"]
    assert told[1][1] == {
        "id": 0,
        "name": "weather",
        "args": args or json.loads(arguments),
        "type": "tool_call",
    }


# --- as text --------------------------------------------------------------------------------------


async def test_as_text_there_is_the_answer_only_and_no_heartbeat(opened: Opener, kit: Any) -> None:
    steps: Steps = [HELLO, 2.5 * EVERY_S, delta(content=" heart\nbeat"), END]
    async with opened(streams(*steps), heartbeat_s=EVERY_S) as rig:
        rig.grants = False
        async with await rig.connect() as stream:
            await stream.send_all(kit.post(STREAM, TEXT))
            want = await rig.heard(Want)
            rig.publish(QueueChanged, queue=(QueueEntry(model="m", waiting=1),))
            with trio.move_on_after(2.5 * EVERY_S) as silence:
                await stream.receive_some()
            rig.grant(want)
            turn = await kit.read_to_end(stream)
        query = await rig.ask(kit.post(b'{"query":"a","media_type":"text/plain"}', path=QUERY))
        record = await record_of(rig)

    assert silence.cancelled_caught
    for answer in (turn, query):
        assert b"Content-Type: text/plain; charset=utf-8\r\n" in answer
        assert kit.unchunk(answer) == b"Hello you heart\nbeat"
    assert record.heartbeats == 0


async def test_as_text_an_error_is_the_last_line(opened: Opener, kit: Any) -> None:
    async with opened(streams(HELLO, cut=True)) as rig:
        body = kit.unchunk(await rig.ask(kit.post(STREAM, TEXT)))

    assert body.startswith(b"Hello you\nStatus: 502 - Model server failed - ")
    assert body.count(b"\n") == 2


# --- queries --------------------------------------------------------------------------------------


async def test_a_query_goes_to_the_model_that_it_names_or_to_the_first_one(
    opened: Opener, kit: Any
) -> None:
    models = (ModelRoute(model="m", send_as="real-m"), ModelRoute(model="n", aliases=("en",)))
    async with opened(streams(HELLO, END), models=models) as rig:
        body = {"query": "what?", "system_prompt": "be brief", "conversation_id": "conv"}
        first = await rig.ask(kit.post(json.dumps(body).encode(), path=QUERY))
        named = await rig.ask(kit.post(b'{"query":"what?","model":"en"}', path=QUERY))
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
    start = read_turn(kit.unchunk(first))[0][1]
    assert (start["conversation_id"], start["model"]) == ("conv", "m")
    assert texts(read_turn(kit.unchunk(named)), "turn_complete") == "Hello you"
