"""Anthropic's messages and OpenAI's responses, with real sockets and the official clients."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio

from arriero.protocol.events import ProgressMade
from arriero.protocol.lease import CancelOrder, CancelOutcome, Leave, Report, Want
from arriero.protocol.values import ErrorInfo
from arriero.protocol.worker_config import ModelRoute
from arriero.worker.limits import Limits
from tests.official import anthropic, anthropic_at, openai, openai_at
from tests.worker.apis.recorded import (
    MESSAGE,
    MESSAGE_WITH_TOOL,
    RESPONSE,
    RESPONSE_OF_OPENAI,
    RESPONSE_WITH_TOOL,
    read,
)
from tests.worker.rig import (
    BROKEN,
    LATER,
    REASONING,
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
from tests.worker.sse import MESSAGES, RESPONSES, SSE_HEAD, streams

THINKING_STREAM = b'{"model":"m","stream":true,"thinking":{"type":"enabled","budget_tokens":1024}}'

pytestmark = rig_options(
    streams(MESSAGE),
    models=REASONING,
    progress_delay_s=0.1,
    heartbeat_s=0.05,
    limits=Limits(report_s=0.2),
)


async def load_for_a_while(rig: Rig, error: ErrorInfo | None = None) -> None:
    """Let the next request wait for some heartbeats; then grant it, or refuse it with `error`."""
    want = await rig.heard(Want)
    rig.publish(ProgressMade, model="m", progress=progress("loading", 0.5))
    await rig.heard(Report, rig.count(Report) + 3)  # it was told in between
    if error is None:
        rig.grant(want)
    else:
        rig.refuse(want, error)


async def ask(rig: Rig, function: Callable[..., Any], *args: Any) -> Any:
    """Call `function` in a thread while the model loads."""
    rig.grants = False
    rig.nursery.start_soon(load_for_a_while, rig)
    return await trio.to_thread.run_sync(partial(function, rig.port, *args))


def ask_messages(port: int, mode: str, *, thinks: bool = True) -> anthropic.types.Message:
    client = anthropic_at(port)
    thinking: Any = {"type": "enabled", "budget_tokens": 1024} if thinks else {"type": "disabled"}
    with (
        client,
        client.messages.stream(
            model="m",
            max_tokens=8,
            messages=[{"role": "user", "content": "hi"}],
            thinking=thinking,
            extra_headers={"X-Swap-Progress": mode} if mode else {},
        ) as stream,
    ):
        return stream.get_final_message()


def ask_responses(port: int, mode: str) -> tuple[list[Any], Any]:
    client = openai_at(port)
    headers = {"X-Swap-Progress": mode}
    with client, client.responses.stream(model="m", input="hi", extra_headers=headers) as stream:
        return list(stream), stream.get_final_response()


# --- Anthropic --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "thinks", "lines"),
    [
        ("", True, True),
        ("", False, False),  # it has not asked for thinking
        ("reasoning", False, True),  # but its header does
        ("heartbeat", True, False),
        ("comment", True, False),
        ("event", True, False),
        ("off", True, False),
    ],
)
async def test_anthropic_helper_gets_one_message(
    open_rig: OpenRig, mode: str, thinks: bool, lines: bool
) -> None:
    async with open_rig(streams(MESSAGE_WITH_TOOL)) as rig:
        message = await ask(rig, partial(ask_messages, thinks=thinks), mode)

    ours, *theirs = message.content if lines else [None, *message.content]
    if lines:
        assert ours.type == "thinking"
        assert ours.signature == "swap-progress-v1"
        told = ours.thinking.splitlines()
        assert told[0].startswith("swap-progress: m: loading 50% (")
        assert told[-1].startswith("swap-progress: m: ready after ")
    thinking, text, tool = theirs
    assert (thinking.type, thinking.thinking) == ("thinking", "Let me see.")
    assert (text.type, text.text) == ("text", "I look.")
    assert (tool.type, tool.name, tool.input) == ("tool_use", "look", {"at": "hill"})
    assert message.role == "assistant"
    assert message.stop_reason == "tool_use"
    usage = message.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens) == (21, 9, 0)


@pytest.mark.parametrize(("error", "kind"), [(BROKEN, "api_error"), (LATER, "overloaded_error")])
@pytest.mark.parametrize("mode", ["reasoning", "heartbeat", "comment"])
async def test_late_load_failure_raises_in_anthropic(
    open_rig: OpenRig, mode: str, error: ErrorInfo, kind: str
) -> None:
    async with open_rig() as rig:
        rig.grants = False
        rig.nursery.start_soon(load_for_a_while, rig, error)
        with pytest.raises(anthropic.APIStatusError, match=error.message) as caught:
            await trio.to_thread.run_sync(partial(ask_messages, rig.port, mode))

    assert caught.value.status_code == 200
    assert caught.value.body["error"]["type"] == kind  # type: ignore[index]


@pytest.mark.parametrize(
    ("path", "body", "error", "status", "kind"),
    [
        (MESSAGES, THINKING_STREAM, BROKEN, b"500", "api_error"),
        (MESSAGES, THINKING_STREAM, LATER, b"503", "overloaded_error"),
        (MESSAGES, b'{"model":"m"}', BROKEN, b"500", "api_error"),
        (MESSAGES + b"/count_tokens", b'{"model":"m"}', LATER, b"503", "overloaded_error"),
        (MESSAGES, b'{"model":"nobody"}', None, b"404", "not_found_error"),
        (MESSAGES + b"/count_tokens", b"{", None, b"400", "invalid_request_error"),
    ],
)
async def test_early_errors_have_anthropic_shape(
    open_rig: OpenRig,
    path: bytes,
    body: bytes,
    error: ErrorInfo | None,
    status: bytes,
    kind: str,
) -> None:
    async with open_rig(progress_delay_s=5.0) as rig:
        rig.grants = False
        async with await rig.connect() as stream:
            await stream.send_all(post(body, path=path))
            if error is not None:
                want = await rig.heard(Want)
                rig.refuse(want, error)
            head, _, found = (await read_to_end(stream)).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 " + status)
    assert (b"x-should-retry: false" in head) is (error is BROKEN)
    assert (b"Retry-After: 2" in head) is (error is LATER)
    value = json.loads(found)
    error_of_it = {"type": kind, "message": value["error"]["message"]}
    assert value == {"src": "arriero", "type": "error", "error": error_of_it}


async def test_plain_message_is_held_then_503(
    open_rig: OpenRig,
) -> None:
    async with open_rig(nonstream_hold_s=0.2) as rig:
        rig.grants = False
        answer = await rig.ask(post(path=MESSAGES))

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 2\r\n" in answer
    assert b'"type":"overloaded_error"' in answer


def create_message(port: int) -> str:
    client = anthropic_at(port, max_retries=2)
    with client:
        return client.messages.create(model="m", max_tokens=8, messages=[]).id


def create_response(port: int) -> str:
    with openai_at(port, max_retries=2) as client:
        return client.responses.create(model="m", input="hi").id


@pytest.mark.parametrize("create", [create_message, create_response])
async def test_client_retry_joins_the_load(open_rig: OpenRig, create: Callable[[int], str]) -> None:
    body = b'{"id":"x"}'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n"
    async with open_rig(sends(head, body), nonstream_hold_s=0.2) as rig:
        rig.grants = False

        async def grant_the_second() -> None:
            await rig.heard(Leave)
            rig.grant(await rig.heard(Want, 2))

        rig.nursery.start_soon(grant_the_second)
        assert await trio.to_thread.run_sync(create, rig.port) == "x"
        assert rig.count(Want) == 2
        assert len(rig.upstream.exchanges) == 1


# --- Responses --------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["reasoning", "heartbeat", "event"])
async def test_openai_helper_gets_one_response(open_rig: OpenRig, mode: str) -> None:
    async with open_rig(streams(RESPONSE_WITH_TOOL)) as rig:
        events, final = await ask(rig, ask_responses, mode)

    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call"]
    assert final.output_text == " salt mule"
    assert final.output[1].role == "assistant"
    assert final.output[2].arguments == '{"at":"hill"}'
    assert final.id.startswith("resp_swap_")
    assert final.usage is not None
    assert (final.usage.input_tokens, final.usage.output_tokens) == (21, 3)
    told = "".join(e.delta for e in events if e.type == "response.reasoning_summary_text.delta")
    assert ("swap-progress: m: loading 50% (" in told) is (mode == "reasoning")


async def test_comments_leave_response_unchanged(open_rig: OpenRig) -> None:
    async with open_rig(streams(RESPONSE_OF_OPENAI)) as rig:
        _, final = await ask(rig, ask_responses, "comment")

    assert final.id == "resp_up"
    assert final.output_text == " salt mule"


@pytest.mark.parametrize("mode", ["reasoning", "heartbeat", "comment"])
async def test_late_load_failure_raises_in_openai(open_rig: OpenRig, mode: str) -> None:
    async with open_rig(streams(RESPONSE)) as rig:
        rig.grants = False
        rig.nursery.start_soon(load_for_a_while, rig, BROKEN)
        with pytest.raises(openai.APIError, match="failed to load: the file is no model"):
            await trio.to_thread.run_sync(partial(ask_responses, rig.port, mode))


# --- cancelled midway -------------------------------------------------------------------------

MIDWAY = {"X-Request-Id": "r-1"}


def read_message(port: int, heard: Callable[[], object]) -> tuple[str, str | None, int]:
    """Return text, reason and output tokens of a message; `heard` is called at its first text."""
    client = anthropic_at(port)
    with (
        client,
        client.messages.stream(
            model="m",
            max_tokens=8,
            messages=[{"role": "user", "content": "hi"}],
            thinking={"type": "enabled", "budget_tokens": 1024},
            extra_headers=MIDWAY,
        ) as stream,
    ):
        for event in stream:
            if event.type == "text":
                heard()
        final = stream.get_final_message()
    text = "".join(block.text for block in final.content if block.type == "text")
    return text, final.stop_reason, final.usage.output_tokens


def read_responses(port: int, heard: Callable[[], object]) -> tuple[str, str | None, int]:
    client = openai_at(port)
    text = ""
    with client, client.responses.stream(model="m", input="hi", extra_headers=MIDWAY) as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                text += event.delta
                heard()
    assert event.type == "response.incomplete"
    assert event.response.incomplete_details is not None
    assert event.response.usage is not None
    return text, event.response.incomplete_details.reason, event.response.usage.output_tokens


def read_chat(port: int, heard: Callable[[], object]) -> tuple[str, str | None, int]:
    client = openai_at(port)
    with (
        client,
        client.chat.completions.stream(
            model="m",
            messages=[{"role": "user", "content": "hi"}],
            stream_options={"include_usage": True},
            extra_headers=MIDWAY,
        ) as stream,
    ):
        for event in stream:
            if event.type == "content.delta":
                heard()
        final = stream.get_final_completion()
    (choice,) = final.choices
    assert final.usage is not None
    return choice.message.content or "", choice.finish_reason, final.usage.completion_tokens


def beginning(stream: bytes, mark: bytes) -> bytes:
    """Return `stream` up to and including the first frame with `mark`."""
    before, _, after = stream.partition(mark)
    return before + mark + after.partition(b"\n\n")[0] + b"\n\n"


CHUNK = b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":%b,"finish_reason":null}]}\n\n'  # noqa: E501
CHAT = CHUNK % b'{"role":"assistant"}' + CHUNK % b'{"content":" mule"}'


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize(
    ("client", "begun", "answer"),
    [
        (read_message, beginning(MESSAGE, b"mule"), (" mule \u2713", "end_turn", 1)),
        (read_responses, beginning(RESPONSE_OF_OPENAI, b"salt"), (" salt", "cancelled", 1)),
        (read_chat, CHAT, (" mule", "stop", 1)),
    ],
)
async def test_cancelled_stream_is_whole_to_clients(
    open_rig: OpenRig,
    client: Callable[..., Any],
    begun: bytes,
    answer: Any,
    waits: bool,
) -> None:
    left = trio.Event()

    async def begin_and_hang(exchange: UpstreamExchange) -> None:
        await exchange.stream.send_all(SSE_HEAD + begun)
        assert await exchange.stream.receive_some() == b""
        left.set()

    async with open_rig(begin_and_hang, progress_delay_s=0.1 if waits else 5.0) as rig:
        if waits:
            rig.grants = False
            rig.nursery.start_soon(load_for_a_while, rig)

        def cancel() -> None:
            rig.say(CancelOrder(ask=1, request_id="r-1", caller="", peer="127.0.0.1"))

        found = await trio.to_thread.run_sync(
            client, rig.port, lambda: trio.from_thread.run_sync(cancel)
        )
        assert (await rig.heard(CancelOutcome)).result == "cancelled"
        with trio.fail_after(20):
            await left.wait()

    assert found == answer


# --- both -------------------------------------------------------------------------------------

BOTH = [(MESSAGES, MESSAGE), (RESPONSES, RESPONSE)]


@pytest.mark.parametrize(("path", "recorded"), BOTH)
@pytest.mark.parametrize("mode", [b"reasoning", b"heartbeat", b"comment", b"event", b"off"])
@pytest.mark.parametrize("waits", [False, True])
async def test_short_wait_leaves_no_trace(
    open_rig: OpenRig, path: bytes, recorded: bytes, mode: bytes, waits: bool
) -> None:
    async with open_rig(streams(recorded), progress_delay_s=5.0) as rig:
        if not waits:
            await rig.ask(post(path=path))  # takes a lease
        answer = await rig.ask(post(THINKING_STREAM, b"X-Swap-Progress: " + mode, path=path))

    assert unchunk(answer) == recorded
    assert (b"X-Swap-Progress: " in answer) is waits


@pytest.mark.parametrize(("path", "recorded"), BOTH)
async def test_without_comments_stream_is_the_upstreams(
    open_rig: OpenRig, path: bytes, recorded: bytes
) -> None:
    async with open_rig(streams(recorded)) as rig:
        rig.grants = False
        rig.nursery.start_soon(load_for_a_while, rig)
        answer = await rig.ask(post(THINKING_STREAM, b"X-Swap-Progress: comment", path=path))

    body = unchunk(answer)
    comments, _, rest = body.partition(b"\n\nevent: ")
    assert comments.startswith(b": m: loading 50%")
    assert b"event: " + rest == recorded


@pytest.mark.parametrize(("path", "recorded"), BOTH)
@pytest.mark.parametrize("mode", [b"reasoning", b"heartbeat", b"comment", b"off"])
@pytest.mark.parametrize("waits", [False, True])
async def test_stream_cut_anywhere_ends_with_error(
    open_rig: OpenRig, path: bytes, recorded: bytes, mode: bytes, waits: bool
) -> None:
    frames = recorded.split(b"\n\n")[:-1]
    for kept in (1, 4, len(frames) - 1):
        part = b"\n\n".join(frames[:kept]) + b"\n\n"
        async with open_rig(streams(part + frames[kept][:20])) as rig:
            if waits:
                rig.grants = False
                rig.nursery.start_soon(load_for_a_while, rig)
            answer = await rig.ask(post(THINKING_STREAM, b"X-Swap-Progress: " + mode, path=path))

        got = read(b"event: " + unchunk(answer).partition(b"event: ")[2])
        assert got[-1]["type"] == "error"
        if path == MESSAGES:
            assert got[-1]["error"]["type"] == "api_error"
        else:
            assert got[-1]["error"]["code"] == "upstream_truncated"
            ids = {value["response"]["id"] for value in got if "response" in value}
            assert got[-2]["type"] == "response.failed"
            assert len(ids) == 1


@pytest.mark.parametrize(("path", "recorded"), BOTH)
@pytest.mark.parametrize("mode", [b"reasoning", b"heartbeat"])
async def test_waiter_leaves_and_the_other_stays(
    open_rig: OpenRig, path: bytes, recorded: bytes, mode: bytes
) -> None:
    asked = post(THINKING_STREAM, b"X-Swap-Progress: " + mode, path=path)
    for frames in (1, 3, 5):
        async with open_rig(streams(recorded)) as rig:
            rig.grants = False
            async with await rig.connect() as stays:
                leaves = await rig.connect()
                await leaves.send_all(asked)
                await rig.heard(Want)
                await stays.send_all(asked)
                want = await rig.heard(Want, 2)
                heard = b""
                while heard.count(b"\n\n") < frames:
                    heard += await leaves.receive_some()
                await leaves.aclose()
                await rig.heard(Leave)
                rig.grant(want)
                answer = await read_to_end(stays)
            await rig.heard(Report, rig.count(Report) + 3)  # it was told in between
            assert len(rig.upstream.exchanges) == 1

        assert read(unchunk(answer))[-1] == read(recorded)[-1] or path == RESPONSES
        assert read(unchunk(answer))[-1]["type"] in {"message_stop", "response.completed"}


@pytest.mark.parametrize(("path", "recorded"), BOTH)
async def test_bytewise_crlf_stream_is_merged(
    open_rig: OpenRig, path: bytes, recorded: bytes
) -> None:
    crlf = recorded.replace(b"\n", b"\r\n")
    async with open_rig(streams(*[bytes([byte]) for byte in crlf])) as rig:
        rig.grants = False
        rig.nursery.start_soon(load_for_a_while, rig)
        answer = await rig.ask(post(THINKING_STREAM, path=path))

    # a busy machine pauses for longer than a heartbeat
    got = read(unchunk(answer).replace(b"\r\n", b"\n").replace(b": hb\n\n", b""))
    assert got[-1]["type"] in {"message_stop", "response.completed"}


@pytest.mark.parametrize(
    ("path", "kind"), [(MESSAGES, "invalid_request_error"), (RESPONSES, "invalid_request_error")]
)
async def test_late_upstream_error_keeps_its_words(
    open_rig: OpenRig, path: bytes, kind: str
) -> None:
    body = b'{"error":{"code":400,"message":"too long","type":"invalid_request_error"}}'
    head = b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with open_rig(sends(head, body)) as rig:
        rig.grants = False
        rig.nursery.start_soon(load_for_a_while, rig)
        answer = await rig.ask(post(THINKING_STREAM, path=path))

    error = read(unchunk(answer))[-1]["error"]
    assert (error["type"], error["message"]) == (kind, "too long")


@pytest.mark.parametrize("path", [b"/completion", b"/infill", b"/rerank", b"/v1/rerank"])
async def test_plain_routes_are_held_silently(open_rig: OpenRig, path: bytes) -> None:
    async with open_rig(nonstream_hold_s=0.3) as rig:
        rig.grants = False
        answer = await rig.ask(post(THINKING_STREAM, path=path))

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"model_loading"' in answer


@pytest.mark.parametrize("path", [b"/v1/chat/completions", MESSAGES, RESPONSES])
async def test_our_lines_never_reach_a_model(open_rig: OpenRig, path: bytes) -> None:
    line = "swap-progress: m: loading 42% (12 s)\n"
    turn = {"role": "assistant", "content": f"<think>{line}</think>hello"}
    key = "input" if path == RESPONSES else "messages"
    item = {"type": "reasoning", "id": "rs_swapprogress_1", "summary": []}
    said = [turn, item] if path == RESPONSES else [turn]
    models = (ModelRoute(model="m", send_as="real"),)
    async with open_rig(models=models) as rig:
        await rig.ask(post(json.dumps({"model": "m", key: said}).encode(), path=path))
        (exchange,) = rig.upstream.exchanges

    assert json.loads(exchange.body) == {
        "model": "real",
        key: [{"role": "assistant", "content": "hello"}],
    }


async def test_configured_marker_is_stripped(
    open_rig: OpenRig,
) -> None:
    body = b'{"model":"m","messages":[{"role":"assistant","content":"x","thinking":"~~ y"}]}'
    async with open_rig(marker="~~ ") as rig:
        await rig.ask(post(body))
        (exchange,) = rig.upstream.exchanges

    assert b"~~" not in exchange.body
