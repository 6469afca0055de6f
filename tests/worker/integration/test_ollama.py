"""Ollama's API through a real worker."""

import json
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from arriero.protocol.events import ProgressMade
from arriero.protocol.lease import Report, Want, Welcome
from arriero.protocol.worker_config import ModelRoute, PeerModel, PeerRoute
from tests.worker.rig import (
    BROKEN,
    QUICK,
    Handler,
    OpenRig,
    hangs_after,
    post,
    progress,
    read_to_end,
    read_until,
    rig_options,
    sends,
    unchunk,
)
from tests.worker.sse import CHUNKED_HEAD, DONE, HELLO, NAMED, chunk, chunked, in_chunk

pytestmark = rig_options(
    models=(ModelRoute(model="m"),), progress_delay_s=0.0, limits=replace(QUICK, tick_s=0.1)
)

CHAT, GENERATE, EMBED = b"/api/chat", b"/api/generate", b"/api/embed"
HI = {"role": "user", "content": "hi"}
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
END = chunk({}, "stop") + chunk(None, usage=USAGE) + DONE


def body(**members: Any) -> bytes:
    return json.dumps(
        {"model": "m", "messages": [HI], "prompt": "hi", "input": "hi"} | members
    ).encode()


def lines(response: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in unchunk(response).splitlines()]


def parts(response: bytes) -> tuple[int, dict[str, Any]]:
    head, _, content = response.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(content)


def answers(value: object, status: bytes = b"200 OK") -> Handler:
    text = json.dumps(value).encode()
    head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return sends(head % (status, len(text)), text, close=False)


WHOLE = {
    "choices": [{"message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": USAGE,
}


async def test_waiting_stream_is_told_in_thinking(open_rig: OpenRig) -> None:
    handler = chunked(chunk({"reasoning_content": "hm"}), HELLO, 0.5, END)
    models = (ModelRoute(model="m", progress="reasoning"),)
    async with open_rig(handler, models=models, heartbeat_s=0.2) as rig:
        rig.grants = False
        async with await rig.connect() as stream:
            await stream.send_all(post(body(model="m:latest"), NAMED, path=CHAT))
            want = await rig.heard(Want)
            rig.publish(ProgressMade, model="m", progress=progress("loading", 0.5))
            got = await read_until(stream, b"loading 50%")
            rig.grant(want)
            got += await read_to_end(stream)
        record = await rig.record()

    assert b"Content-Type: application/x-ndjson\r\n" in got
    told = lines(got)
    assert {it["model"] for it in told} == {"m"}
    assert "swap-progress: m: loading 50%" in "".join(
        it["message"].get("thinking", "") for it in told
    )
    assert "".join(it["message"]["content"] for it in told) == "Hello you"
    assert sum(it["message"] == {"role": "assistant", "content": ""} for it in told[:-1]) >= 1
    last = told[-1]
    assert (last["done"], last["done_reason"]) == (True, "stop")
    assert (last["prompt_eval_count"], last["eval_count"]) == (7, 3)
    assert last["total_duration"] > last["load_duration"] > 0
    assert [it["done"] for it in told[:-1]] == [False] * (len(told) - 1)
    sent = json.loads(rig.upstream.exchanges[0].body)
    assert rig.upstream.exchanges[0].head.startswith(b"POST /v1/chat/completions HTTP/1.1")
    assert sent == {
        "model": "m",
        "messages": [HI],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert (record.path, record.outcome, record.finish_reason) == ("/api/chat", "ok", "stop")
    assert (record.input_tokens, record.output_tokens, record.served_as) == (7, 3, "served")


@pytest.mark.parametrize("mode", [b"off", b"comment", b"heartbeat", b"reasoning", b"event"])
async def test_every_mode_is_lines_only(
    own_time: MockClock, open_rig: OpenRig, mode: bytes
) -> None:
    wish = b"X-Swap-Progress: " + mode
    async with open_rig(chunked(HELLO, END), heartbeat_s=0.1) as rig:
        rig.grants = False
        async with await rig.connect() as stream:
            await stream.send_all(post(body(), wish, path=GENERATE))
            want = await rig.heard(Want)
            rig.publish(ProgressMade, model="m", progress=progress("loading", 0.5))
            await trio.sleep(0.3)
            rig.grant(want)
            told = lines(await read_to_end(stream))

    assert "".join(it["response"] for it in told) == "Hello you"
    assert ("thinking" in told[0]) == (mode == b"reasoning")


async def test_whole_responses_are_translated(open_rig: OpenRig) -> None:
    async with open_rig(answers(WHOLE)) as rig:
        chat = await rig.ask(post(body(stream=False), path=CHAT))
        generation = await rig.ask(post(body(stream=False), path=GENERATE))
        record = await rig.record(2)

    status, told = parts(chat)
    assert status == 200
    assert told["message"] == {"role": "assistant", "content": "Hello"}
    assert (told["prompt_eval_count"], told["eval_count"], told["done"]) == (7, 3, True)
    assert parts(generation)[1]["response"] == "Hello"
    assert b"X-Gateway-Prompt-Tokens: 7\r\n" in chat
    assert (record.path, record.outcome, record.input_tokens) == ("/api/generate", "ok", 7)


async def test_long_embeddings_are_translated(open_rig: OpenRig) -> None:
    vector = [0.123456789] * 30_000
    found = {"data": [{"index": n, "embedding": vector} for n in range(3)], "usage": USAGE}
    async with open_rig(answers(found)) as rig:
        got = await rig.ask(post(body(input=["x" * 300_000, "b", "c"]), path=EMBED))
        record = await rig.record()

    status, told = parts(got)
    assert (status, told["prompt_eval_count"]) == (200, 7)
    assert told["embeddings"] == [vector] * 3
    assert json.loads(rig.upstream.exchanges[0].body)["input"][0] == "x" * 300_000
    assert (record.outcome, record.input_tokens) == ("ok", 7)


NO_MODEL = {"error": {"message": "too long", "type": "x", "code": 400}}


@pytest.mark.parametrize("stream", [True, False])
async def test_upstream_errors_keep_their_status(open_rig: OpenRig, stream: bool) -> None:
    async with open_rig(answers(NO_MODEL, b"400 Bad Request")) as rig:
        status, told = parts(await rig.ask(post(body(stream=stream), path=CHAT)))
        record = await rig.record()

    assert (status, told["error"]) == (400, "too long")
    assert (record.status, record.outcome) == (400, "upstream_error")


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ((HELLO,), "before it was complete"),
        ((HELLO, b'data: {"error":{"code":500,"message":"no memory"}}\n\n', DONE), "no memory"),
    ],
)
async def test_broken_streams_end_with_an_error(
    open_rig: OpenRig, steps: tuple[bytes, ...], why: str
) -> None:
    async with open_rig(chunked(*steps)) as rig:
        told = lines(await rig.ask(post(body(), path=CHAT)))

    assert why in told[-1]["error"]
    assert not any(it.get("done") for it in told)


async def test_late_load_failure_is_a_line(open_rig: OpenRig) -> None:
    async with open_rig(models=(ModelRoute(model="m", progress="reasoning"),)) as rig:
        rig.grants = False
        async with await rig.connect() as stream:
            await stream.send_all(post(body(), path=CHAT))
            want = await rig.heard(Want)
            rig.publish(ProgressMade, model="m", progress=progress("loading", 0.5))
            got = await read_until(stream, b"loading 50%")
            rig.refuse(want, BROKEN)
            got += await read_to_end(stream)

    assert "the file is no model" in lines(got)[-1]["error"]


@pytest.mark.parametrize(
    ("path", "members", "status", "why"),
    [
        (CHAT, {"model": "x"}, 404, "cannot find a model named 'x'"),
        (CHAT, {"format": "xml"}, 400, "format"),
        (EMBED, {"model": 7}, 400, "Expected `str"),
        (GENERATE, {"suffix": "y" * 300_000}, 400, "/infill"),
    ],
)
async def test_refusals_have_its_shape(
    open_rig: OpenRig, path: bytes, members: dict[str, Any], status: int, why: str
) -> None:
    async with open_rig() as rig:
        found, told = parts(await rig.ask(post(body(**members), path=path)))

    assert found == status
    assert why in told["error"]


async def test_a_model_is_loaded_for_nothing(open_rig: OpenRig) -> None:
    empty = b'{"model":"m"}'
    async with open_rig() as rig:
        unloaded = lines(await rig.ask(post(b'{"model":"m","keep_alive":0}', path=GENERATE)))
        assert rig.count(Want) == 0
        loaded = lines(await rig.ask(post(empty, path=GENERATE)))
        chat = lines(await rig.ask(post(b'{"model":"m","stream":false}', path=CHAT)))
        record = await rig.record(3)

    assert [it[0]["done_reason"] for it in (unloaded, loaded, chat)] == ["unload", "load", "load"]
    assert rig.count(Want) == 1
    assert rig.upstream.exchanges == []
    assert (record.outcome, record.status) == ("ok", 200)


async def test_a_peer_is_asked_for_a_chat(open_rig: OpenRig) -> None:
    async with open_rig(chunked(HELLO, END)) as rig:
        url = rig.upstream.url
        peers = {"p": PeerRoute(peer="p", url=f"{url}/v1")}
        names = {"x": PeerModel(peer="p", model="y")}
        config = replace(rig.config, generation=2, peers=peers, peer_models=names)
        rig.say(Welcome(config=config, snapshot=rig.snapshot))
        while (await rig.heard(Report, rig.count(Report) + 1)).generation != 2:
            pass
        told = lines(await rig.ask(post(body(model="x"), path=CHAT)))

    (asked,) = rig.upstream.exchanges
    assert asked.head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert json.loads(asked.body)["model"] == "y"
    assert "".join(it["message"]["content"] for it in told) == "Hello you"


async def test_cut_bytes_make_the_same_lines(open_rig: OpenRig) -> None:
    whole = HELLO + END
    pieces = [in_chunk(whole[at : at + 7]) for at in range(0, len(whole), 7)]
    async with open_rig(sends(CHUNKED_HEAD, *pieces, b"0\r\n\r\n")) as rig:
        told = lines(await rig.ask(post(body(), path=CHAT)))

    assert [it["message"]["content"] for it in told] == ["Hello", " you", ""]


async def test_what_is_too_long_is_no_answer(open_rig: OpenRig) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n"
    handler = hangs_after(head + b"[" * (17 * 1024 * 1024))
    async with open_rig(handler) as rig:
        status, told = parts(await rig.ask(post(body(stream=False), path=CHAT)))

    assert (status, "more than" in told["error"]) == (502, True)
