"""Requests that somebody ends: in every phase, by whoever may, and how their clients see it."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

import httpx
import pytest
import trio
from msgspec.structs import replace

from arriero.protocol.lease import (
    CancelAnswer,
    CancelOrder,
    CancelOutcome,
    CancelQuery,
    Claim,
    Claimed,
    Leave,
    Unclaim,
    Want,
)
from arriero.protocol.records import RequestRecord
from arriero.protocol.worker_config import Timeouts
from arriero.worker.leases import queries as queries
from arriero.worker.relay.response_writer import ResponseWriter
from arriero.worker.upstreams.pool import Endpoint
from tests.examples import examples
from tests.official import anthropic_at, openai_at
from tests.worker.apis.recorded import MESSAGE, RESPONSE
from tests.worker.rig import (
    QUICK,
    REASONING,
    OpenRig,
    Rig,
    UpstreamExchange,
    answer_json,
    hangs_after,
    post,
    read_to_end,
    read_until,
    rig_options,
    unchunk,
)
from tests.worker.sse import CHAT, DONE, HELLO, MESSAGES, NAMED, RESPONSES, SSE_HEAD, STREAM, chunk

pytestmark = rig_options(models=REASONING)

T = TypeVar("T")

ID = "req-1"
HERE = "127.0.0.1"


async def cancel(rig: Rig, *fields: bytes, request_id: str = ID) -> tuple[int, dict[str, Any]]:
    """Ask for the end as a client does; return the status and the body of the answer."""
    path = f"/api/requests/{request_id}/cancel".encode()
    lines = [b"POST %b HTTP/1.1" % path, b"Host: x", b"Content-Length: 0", *fields]
    answer = await rig.ask(b"\r\n".join(lines) + b"\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def was_cancelled(record: RequestRecord) -> bool:
    return (record.outcome, record.error_code) == ("cancelled", "cancelled")


# --- in which phase -------------------------------------------------------------------------------


async def test_silent_waiter_is_cancelled_with_status(open_rig: OpenRig) -> None:
    for_long = 60.0
    async with open_rig(answer_json, progress_delay_s=for_long) as rig:
        rig.grants = False
        for count, body in enumerate((STREAM, b'{"model":"m"}'), 1):
            async with await rig.connect() as stream:
                await stream.send_all(post(body, NAMED + b"%d" % count))
                want = await rig.heard(Want, count)
                status, told = await cancel(rig, request_id=f"{ID}{count}")
                answer = await read_to_end(stream)
            assert await rig.heard(Leave, count) == Leave(request=want.request)
            assert was_cancelled(await rig.record(count))
            assert (status, told["interrupted"]) == (200, True)
            assert answer.startswith(b"HTTP/1.1 499 ")
            assert b'"type":"cancelled","param":null,"code":"cancelled"' in answer

    assert rig.upstream.connections == 0


@pytest.mark.parametrize(
    ("path", "error"),
    [
        (CHAT, b'data: {"error":{"message":"this request was cancelled","type":"cancelled",'),
        (MESSAGES, b'event: error\ndata: {"type":"error","error":{"type":"invalid_request_error",'),
        (RESPONSES, b"event: response.failed\ndata: {"),
    ],
)
async def test_told_waiter_is_cancelled_with_error(
    open_rig: OpenRig, path: bytes, error: bytes
) -> None:
    async with open_rig(answer_json, progress_delay_s=0.0) as rig:
        rig.grants = False
        async with await rig.connect() as stream:
            await stream.send_all(post(STREAM, NAMED, path=path))
            await rig.heard(Want)
            got = await read_until(stream, b"event: " if path != CHAT else b"queued")
            status, told = await cancel(rig)
            got += await read_to_end(stream)
        await rig.heard(Leave)
        record = await rig.record()

    assert (status, told["interrupted"]) == (200, True)
    assert unchunk(got).count(error) == 1, got
    assert was_cancelled(record)


@pytest.mark.parametrize("answered", [b"", SSE_HEAD], ids=["no head", "head"])
@pytest.mark.parametrize("told", [False, True])
async def test_prompt_is_cancelled_at_once(open_rig: OpenRig, answered: bytes, told: bool) -> None:
    async with open_rig(hangs_after(answered), progress_delay_s=0.0 if told else 60.0) as rig:
        rig.grants = False
        async with await rig.connect() as stream:
            await stream.send_all(post(STREAM, NAMED))
            want = await rig.heard(Want)
            got = await read_until(stream, b"queued") if told else b""
            rig.grant(want)
            await rig.upstream.asked.wait()
            if told:
                got += await read_until(stream, b"ready after")
            elif answered:
                got += await read_until(stream, b"\r\n\r\n")
            status, _ = await cancel(rig)
            with trio.fail_after(20):
                await rig.upstream.closed.wait()
            got += await read_to_end(stream)
        record = await rig.record()

    assert status == 200
    assert was_cancelled(record)
    if told:
        assert b'"code":"cancelled"' in got
    elif answered:  # its head has promised a stream
        assert b'"finish_reason":"stop"' in unchunk(got)
    else:
        assert got.startswith(b"HTTP/1.1 499 ")


async def test_stopped_stream_ends_well_and_counts(
    open_rig: OpenRig,
) -> None:
    async with open_rig(hangs_after(SSE_HEAD + HELLO), trailers=True) as rig:
        async with await rig.connect() as stream:
            await stream.send_all(post(STREAM, NAMED))
            got = await read_until(stream, b" you")
            status, told = await cancel(rig)
            await rig.upstream.closed.wait()  # which would go on for ever
            got += await read_to_end(stream)
        record = await rig.record()
        async with await rig.connect() as stream:  # as any other
            await stream.send_all(post(STREAM))
            await read_until(stream, b" you")

    assert (status, told) == (
        200,
        {
            "request_id": ID,
            "interrupted": True,
            "message": "the request ends now; what it has used so far is counted",
        },
    )
    body, trailers = got.partition(b"\r\n\r\n")[2].split(b"\r\n0\r\n")
    assert body.count(HELLO) == 1
    last, done, _ = body.split(b"\n\n")[-3:]
    chunk = json.loads(last.partition(b"data: ")[2])
    assert (chunk["id"], chunk["model"]) == ("c", "served")
    assert chunk["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    assert done == DONE.strip()
    assert b"X-Gateway-Outcome: cancelled" in trailers
    assert was_cancelled(record)
    assert (record.output_tokens, record.usage_source) == (2, "estimated")


@pytest.mark.parametrize("asked", [False, True])
async def test_stopped_chat_tells_counts_if_asked(open_rig: OpenRig, asked: bool) -> None:
    options = b',"stream_options":{"include_usage":%b}' % (b"true" if asked else b"false")
    async with (
        open_rig(hangs_after(SSE_HEAD + HELLO)) as rig,
        await rig.connect() as stream,
    ):
        await stream.send_all(post(STREAM[:-1] + options + b"}", NAMED))
        await read_until(stream, b" you")
        await cancel(rig)
        end = await read_to_end(stream)

    assert (b'"completion_tokens":2' in end) is asked


async def test_half_a_frame_is_not_sent(open_rig: OpenRig) -> None:
    async with (
        open_rig(hangs_after(SSE_HEAD + HELLO + HELLO[:30])) as rig,
        await rig.connect() as stream,
    ):
        await stream.send_all(post(STREAM, NAMED))
        got = await read_until(stream, b" you")
        await cancel(rig)
        body = unchunk(got + await read_to_end(stream))

    assert body.startswith(HELLO + b'data: {"id":"c"')
    assert body.endswith(b'"finish_reason":"stop"}]}\n\n' + DONE)


@pytest.mark.parametrize(
    ("head", "begun"),
    [
        (b"Content-Type: application/json\r\nContent-Length: 99", b""),  # is kept until it is whole
        (b"Content-Type: audio/wav\r\nContent-Length: 99", b"half"),
    ],
)
async def test_plain_response_is_refused_or_cut(
    open_rig: OpenRig, head: bytes, begun: bytes
) -> None:
    async with open_rig(hangs_after(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\nhalf")) as rig:
        async with await rig.connect() as stream:
            await stream.send_all(post(b'{"model":"m"}', NAMED))
            await rig.upstream.asked.wait()
            got = await read_until(stream, begun) if begun else b""
            while (await cancel(rig))[1].get("interrupted") is None:
                pass
            got += await read_to_end(stream)
        record = await rig.record()

    if begun:
        assert got.endswith(b"half<reset>")
    else:
        assert got.startswith(b"HTTP/1.1 499 ")
    assert was_cancelled(record)


async def test_cancel_while_connecting_is_not_lost(
    open_rig: OpenRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    connecting = trio.Event()

    async def never(endpoint: Any, timeouts: Timeouts) -> Any:
        connecting.set()
        await trio.sleep_forever()

    monkeypatch.setattr(Endpoint, "open", never)
    async with open_rig(answer_json) as rig:
        async with await rig.connect() as stream:
            await stream.send_all(post(STREAM, NAMED))
            await connecting.wait()
            await cancel(rig)
            with trio.fail_after(20):
                answer = await read_to_end(stream)
        leaves = await rig.connect()
        await leaves.send_all(post(STREAM))
        await leaves.aclose()
        with trio.fail_after(20):
            record = await rig.record(2)

    assert answer.startswith(b"HTTP/1.1 499 ")
    assert record.outcome == "client_gone"


# --- by whom --------------------------------------------------------------------------------------


def key(name: bytes) -> bytes:
    return b"Authorization: Bearer " + name


async def test_owner_may_cancel_others_may_not(open_rig: OpenRig) -> None:
    async with (
        open_rig(hangs_after(SSE_HEAD + HELLO), api_keys=("mine", "theirs")) as rig,
        await rig.connect() as stream,
    ):
        await stream.send_all(post(STREAM, NAMED, key(b"mine")))
        got = await read_until(stream, b" you")

        assert (await cancel(rig))[0] == 401
        status, refusal = await cancel(rig, key(b"theirs"))
        assert (status, refusal["error"]["code"]) == (403, "forbidden")
        assert rig.upstream.open_connections == 1

        assert (await cancel(rig, b"x-api-key: mine"))[1]["interrupted"] is True
        got += await read_to_end(stream)
        assert (await cancel(rig, key(b"theirs")))[0] == 403
        status, told = await cancel(rig, key(b"mine"))

    assert (status, told["interrupted"]) == (200, False)
    assert unchunk(got).endswith(DONE)


async def test_the_owner_of_the_machine_may(open_rig: OpenRig) -> None:
    async with (
        open_rig(hangs_after(SSE_HEAD + HELLO), api_keys=("mine",)) as rig,
        await rig.connect() as stream,
    ):
        await stream.send_all(post(STREAM, NAMED, key(b"mine")))
        got = await read_until(stream, b" you")
        rig.say(CancelOrder(ask=7, request_id=ID, caller=None))
        assert await rig.heard(CancelOutcome) == CancelOutcome(ask=7, result="cancelled")
        got += await read_to_end(stream)

        rig.say(CancelOrder(ask=8, request_id=ID, caller=None))
        assert await rig.heard(CancelOutcome, 2) == CancelOutcome(ask=8, result="finished")
        rig.say(CancelOrder(ask=9, request_id="another", caller=None))
        assert await rig.heard(CancelOutcome, 3) == CancelOutcome(ask=9, result="unknown")

    assert unchunk(got).endswith(DONE)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("path", "sent", "error"),
    [
        (CHAT, HELLO, b'data: {"error":{"message":"this request was cancelled by somebody else'),
        (MESSAGES, MESSAGE[: MESSAGE.index(b"event: content_block_stop")], b"event: error\n"),
        (
            RESPONSES,
            RESPONSE[: RESPONSE.index(b"event: response.output_text.d")],
            b"event: error\n",
        ),
    ],
)
@pytest.mark.parametrize(
    "who", [{"caller": None}, {"caller": "", "peer": "127.0.0.2"}, {"caller": "", "peer": ""}]
)
async def test_cancelled_by_others_looks_incomplete(
    open_rig: OpenRig, path: bytes, sent: bytes, error: bytes, who: Any, stream: bool
) -> None:
    head = SSE_HEAD if stream else b"HTTP/1.1 200 OK\r\nContent-Type: text/x\r\n\r\n"
    async with open_rig(hangs_after(head + sent)) as rig:
        async with await rig.connect() as client:
            await client.send_all(post(STREAM if stream else b'{"model":"m"}', NAMED, path=path))
            got = await read_until(client, sent[-20:])
            rig.say(CancelOrder(ask=1, request_id=ID, **who))
            got += await read_to_end(client)
        record = await rig.record()

    if stream:
        body = unchunk(got)
        assert body.startswith(sent)
        assert body.count(error) == 1
        assert b'"finish_reason":"stop"' not in body
        assert b"message_stop" not in body
        assert b"response.incomplete" not in body
    else:
        assert got.endswith(b"<reset>")
    assert was_cancelled(record)


async def test_ambiguous_id_is_no_proof(open_rig: OpenRig) -> None:
    async with (
        open_rig(hangs_after(SSE_HEAD + HELLO)) as rig,
        await rig.connect() as first,
        await rig.connect() as second,
    ):
        for stream in (first, second):
            await stream.send_all(post(STREAM, NAMED))
            got = await read_until(stream, b" you")
        await cancel(rig)  # the second one calls itself so, and has another id
        got = await read_to_end(first)

    assert b'"code":"cancelled"' in got
    assert b'"finish_reason":"stop"' not in got


async def test_second_cancel_interrupts_nothing(
    open_rig: OpenRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = trio.Event()
    end = ResponseWriter.end_stream

    async def slow(writer: ResponseWriter, frames: bytes) -> None:
        await blocked.wait()
        await end(writer, frames)

    monkeypatch.setattr(ResponseWriter, "end_stream", slow)
    async with (
        open_rig(hangs_after(SSE_HEAD + HELLO)) as rig,
        await rig.connect() as stream,
    ):
        await stream.send_all(post(STREAM, NAMED))
        await read_until(stream, b" you")
        first, second = [await cancel(rig) for _ in range(2)]
        blocked.set()
        await read_to_end(stream)
        third = await cancel(rig)

    assert [told["interrupted"] for _, told in (first, second, third)] == [True, False, False]
    assert third == (
        200,
        {"request_id": ID, "interrupted": False, "message": "the request had ended before"},
    )


@pytest.mark.parametrize(
    ("result", "status", "interrupted"),
    [("cancelled", 200, True), ("finished", 200, False), ("forbidden", 403, None),
     ("unknown", 404, None)],
)  # fmt: skip
async def test_unknown_request_is_asked_for_elsewhere(
    open_rig: OpenRig, result: Any, status: int, interrupted: bool | None
) -> None:
    async with open_rig(answer_json) as rig:

        async def supervise() -> None:
            asked = await rig.heard(CancelQuery)
            assert (asked.request_id, asked.caller) == ("else/where", "")
            rig.say(CancelAnswer(ask=asked.ask, result=result))

        rig.nursery.start_soon(supervise)
        found, told = await cancel(rig, request_id="else/where")

    assert (found, told.get("interrupted")) == (status, interrupted)


async def test_request_may_be_named_in_body(open_rig: OpenRig) -> None:
    interrupt = partial(post, path=b"/v1/streaming_query/interrupt")
    async with (
        open_rig(hangs_after(SSE_HEAD + HELLO)) as rig,
        await rig.connect() as stream,
    ):
        await stream.send_all(post(STREAM, NAMED))
        await read_until(stream, b" you")
        answer = await rig.ask(interrupt(b'{"request_id":"req-1"}'))
        refused = await rig.ask(interrupt(b'{"request":"req-1"}'))
        end = await read_to_end(stream)

    assert b'{"request_id":"req-1","interrupted":true,' in answer
    assert refused.startswith(b"HTTP/1.1 400 ")
    assert DONE in end


@pytest.mark.parametrize("by_client", [True, False])
async def test_cancel_racing_the_end_is_harmless(open_rig: OpenRig, by_client: bool) -> None:
    rounds = examples(200, 2000)
    who = {"caller": "", "peer": HERE} if by_client else {"caller": None}
    answer = SSE_HEAD[:-2] + b"Content-Length: %d\r\n\r\n"
    whole = HELLO + chunk({}, "stop") + DONE
    chance = random.Random(7)

    async def fast(exchange: UpstreamExchange) -> None:
        cut = chance.randrange(len(whole))
        await exchange.stream.send_all(answer % len(whole) + whole[:cut])
        for _ in range(chance.randrange(3)):
            await trio.lowlevel.checkpoint()
        await exchange.stream.send_all(whole[cut:])

    ends = Counter[str]()
    seen_as_error = 0
    async with open_rig(fast) as rig, await rig.connect() as stream:
        for number in range(rounds):
            await stream.send_all(post(STREAM, b"X-Request-Id: r%d" % number, close=False))
            for _ in range(chance.randrange(12)):
                await trio.lowlevel.checkpoint()
            rig.say(CancelOrder(ask=number, request_id=f"r{number}", **who))
            got = b""
            while not got.endswith((b"0\r\n\r\n", b'"code":"cancelled"}}')):
                more = await stream.receive_some()
                assert more, got
                got += more
            if got.startswith(b"HTTP/1.1 499"):
                ends["refused"] += 1
                continue
            body = unchunk(got)
            ends["whole" if body == whole else "stopped"] += 1
            assert body.count(DONE) == 1
            assert body.endswith(DONE)
            stops = body.count(b'"finish_reason":"stop"') + body.count(b'"finish_reason": "stop"')
            errors = body.count(b'data: {"error":')
            assert (stops, errors) in ([(1, 0)] if by_client or body == whole else [(1, 0), (0, 1)])
            seen_as_error += errors
        await rig.heard(CancelOutcome, rounds)
        records = [(await rig.record(number + 1)) for number in range(rounds)]
        assert rig.upstream.open_connections <= 1

    print(dict(ends))
    assert {record.outcome for record in records} <= {"ok", "cancelled"}
    assert len({record.request_id for record in records}) == rounds
    assert ends["whole"] >= 10
    assert ends["refused"] + ends["stopped"] >= 10
    assert (seen_as_error > 0) is not by_client


# --- as the official clients see it ---------------------------------------------------------------


def stop_after(stream: Iterable[T], port: int, is_last: Callable[[T], bool]) -> list[T]:
    """Read a stream to its end; a user stops it when the last words have come."""
    found: list[T] = []
    for event in stream:
        found.append(event)
        if is_last(event):
            httpx.post(f"http://127.0.0.1:{port}/api/requests/{ID}/cancel").raise_for_status()
    return found


def ask_openai(port: int) -> tuple[str, str | None]:
    with openai_at(port, headers={"X-Request-Id": ID}) as client:
        stream = client.chat.completions.create(model="m", messages=[], stream=True)
        chunks = stop_after(stream, port, lambda chunk: chunk.choices[0].delta.content == " you")
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    return text, chunks[-1].choices[0].finish_reason


def ask_responses(port: int) -> tuple[str, str | None]:
    with openai_at(port, headers={"X-Request-Id": ID}) as client:
        stream = client.responses.create(model="m", input="hi", stream=True)
        events = stop_after(stream, port, lambda event: event.type == "response.output_text.delta")
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    last = events[-1]
    assert last.type == "response.incomplete"
    details: Any = last.response.incomplete_details
    return text, details.reason


def ask_anthropic(port: int) -> tuple[str, str | None]:
    with (
        anthropic_at(port, headers={"X-Request-Id": ID}) as client,
        client.messages.stream(model="m", max_tokens=8, messages=[]) as stream,
    ):
        stop_after(stream, port, lambda event: event.type == "text" and event.text == ' "index":0')
        return stream.get_final_text(), stream.get_final_message().stop_reason


@pytest.mark.parametrize(
    ("ask", "said", "text", "reason"),
    [
        (ask_openai, HELLO, "Hello you", "stop"),
        (ask_anthropic, MESSAGE[: MESSAGE.index(b"event: content_block_stop")],
         ' mule \u2713 "index":0', "end_turn"),
        (ask_responses, RESPONSE[: RESPONSE.index(b"event: response.output_text.done")],
         " salt mule", "cancelled"),
    ],
)  # fmt: skip
async def test_official_clients_keep_what_was_said(
    open_rig: OpenRig, ask: Any, said: bytes, text: str, reason: str
) -> None:
    async with open_rig(hangs_after(SSE_HEAD + said)) as rig:
        found = await trio.to_thread.run_sync(ask, rig.port)
        record = await rig.record()

    assert found == (text, reason)
    assert was_cancelled(record)
    assert record.output_tokens > 0


# --- the same request twice -----------------------------------------------------------------------


async def test_taken_key_is_a_conflict(
    open_rig: OpenRig,
) -> None:
    field = b"Idempotency-Key: k-1"
    async with open_rig(answer_json) as rig:

        async def supervise() -> None:
            for count, taken_by in enumerate(("", "req-0", ""), 1):
                claim = await rig.heard(Claim, count)
                rig.say(Claimed(ask=claim.ask, taken_by=taken_by))

        rig.nursery.start_soon(supervise)
        answers = [await rig.ask(post(b'{"model":"m"}', field, NAMED)) for _ in range(3)]
        claims = [message for message in rig.received if isinstance(message, Claim)]
        await rig.heard(Unclaim, 2)
        records = [await rig.record(count) for count in (1, 2, 3)]

    assert [answer.split()[1] for answer in answers] == [b"200", b"409", b"200"]
    assert b"'req-0' runs already with the same Idempotency-Key" in answers[1]
    assert b"x-should-retry: false\r\n" in answers[1]
    assert {claim.key for claim in claims} == {"k-1"}
    assert rig.count(Unclaim) == 2  # the one that was refused has nothing to give back
    assert [record.outcome for record in records] == ["ok", "rejected", "ok"]


async def test_cancel_while_claiming_is_not_lost(open_rig: OpenRig) -> None:
    async with open_rig(answer_json) as rig:
        await rig.ask(post(b'{"model":"m"}'))  # from here on the model needs no waiting
        async with await rig.connect() as stream:
            await stream.send_all(post(b'{"model":"m"}', NAMED, b"Idempotency-Key: k-1"))
            claim = await rig.heard(Claim)
            await cancel(rig)
            rig.say(Claimed(ask=claim.ask))
            answer = await read_to_end(stream)
        await rig.heard(Unclaim)

    assert answer.startswith(b"HTTP/1.1 499 ")
    assert len(rig.upstream.exchanges) == 1


async def test_silent_supervisor_refuses_no_key(
    open_rig: OpenRig,
) -> None:
    # the time of a head is for the client's words, which are over
    limits = replace(QUICK, query_s=0.6, head_s=0.1, tick_s=0.1)
    async with open_rig(answer_json, limits=limits) as rig:
        answer = await rig.ask(post(b'{"model":"m"}', b"Idempotency-Key: k-1"))

        await rig.heard(Unclaim)  # it may have noted the key all the same

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_ended_request_frees_its_key(open_rig: OpenRig) -> None:
    async with open_rig(hangs_after(SSE_HEAD + HELLO)) as rig:
        stream = await rig.connect()
        await stream.send_all(post(STREAM, NAMED, b"Idempotency-Key: k-1"))
        claim = await rig.heard(Claim)
        rig.say(Claimed(ask=claim.ask))
        await read_until(stream, b" you")
        await stream.aclose()

        assert await rig.heard(Unclaim) == Unclaim(caller="", key="k-1", request_id=ID)
