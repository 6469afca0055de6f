"""What clients get of upstreams that fail, are slow, or ask for patience; for every API."""

import json
import struct
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from arriero.protocol.lease import Broken, Want
from arriero.protocol.records import RequestRecord
from arriero.protocol.worker_config import HeaderRules, ModelRoute, PeerModel, PeerRoute, Timeouts
from arriero.worker.relay.frame_pipeline import FramePipeline
from arriero.worker.streams.aws_event_stream import MessageReader, event_message
from tests.worker.rig import (
    Handler,
    OpenRig,
    UpstreamExchange,
    in_turn,
    open_rig_in,
    post,
    read_to_end,
    sends,
    unchunk,
)
from tests.worker.sse import (
    CHUNKED_HEAD,
    DONE,
    SSE_HEAD,
    STREAM,
    chunk,
    data,
    event,
    streams,
    text_chunk,
)


class Api(NamedTuple):
    """One stream, frame by frame: the beginning, the frame that makes it whole, what follows."""

    path: bytes
    frames: bytes
    finish: bytes
    after: bytes


APIS = {
    "chat": Api(
        b"/v1/chat/completions",
        chunk({"content": "a"}),
        chunk({}, "stop"),
        DONE,
    ),
    "completions": Api(
        b"/v1/completions",
        text_chunk("a"),
        text_chunk("", "stop"),
        DONE,
    ),
    "messages": Api(
        b"/v1/messages",
        event("message_start", message={"id": "m", "usage": {"input_tokens": 1}}),
        event("message_stop"),
        b"",
    ),
    "responses": Api(
        b"/v1/responses",
        event("response.created", response={"id": "r", "output": []}, sequence_number=0),
        event("response.completed", response={"id": "r", "output": []}, sequence_number=1),
        b"",
    ),
}

APIS["gemini"] = Api(
    b"/v1beta/models/m:streamGenerateContent?alt=sse",
    data({"candidates": [{"content": {"parts": [{"text": "a"}]}}], "modelVersion": "g"}),
    data({"candidates": [{"content": {"parts": []}, "finishReason": "STOP"}]}),
    b"",
)

each_api = pytest.mark.parametrize("api", APIS.values(), ids=APIS)


def errors_after(got: bytes, passed: bytes, api: Api) -> list[dict[str, Any]]:
    """The error frames behind what had to pass, and nothing else may be there."""
    assert got.startswith(passed)
    found = []
    for frame in got[len(passed) :].split(b"\n\n"):
        if frame and frame != b"data: [DONE]":
            value = json.loads(frame.partition(b"data: ")[2])
            if value.get("type") != "response.failed":  # which comes before the error of Responses
                found.append(value)
    assert (got[len(passed) :].count(b"[DONE]") == 1) is (api.after != b"")
    return found


@each_api
async def test_death_before_head_has_real_status(open_rig: OpenRig, api: Api) -> None:
    async with open_rig(sends(resets=True)) as rig:
        answer = await rig.ask(post(STREAM, path=api.path))
        record = await rig.record()

    assert answer.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]
    assert (record.outcome, record.error_code) == ("upstream_error", "upstream_disconnected")


@pytest.mark.parametrize("resets", [True, False])
@pytest.mark.parametrize("cut", [b"", b"data: {", b"event: x\ndata: {}\n"])
@each_api
async def test_early_end_gives_one_error_frame(
    open_rig: OpenRig, api: Api, cut: bytes, resets: bool
) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked"
    body = api.frames + cut
    raw = b"%b\r\n\r\n%x\r\n%b\r\n" % (chunked, len(body), body)
    async with open_rig(sends(raw, resets=resets)) as rig:
        got = unchunk(await rig.ask(post(STREAM, path=api.path)))
        record = await rig.record()

    (error,) = errors_after(got, api.frames, api)
    assert error["error"]["message"]
    assert record.outcome == "upstream_error"
    assert record.error_code == "upstream_disconnected"


@each_api
async def test_clean_end_without_end_is_error(open_rig: OpenRig, api: Api) -> None:
    async with open_rig(streams(api.frames)) as rig:
        got = unchunk(await rig.ask(post(STREAM, path=api.path)))
        record = await rig.record()

    assert len(errors_after(got, api.frames, api)) == 1
    assert record.error_code == "upstream_truncated"


async def test_nonsense_behind_the_head_is_error(open_rig: OpenRig) -> None:
    async with open_rig(sends(CHUNKED_HEAD + b"nonsense\r\n")) as rig:
        response = await rig.ask(post(STREAM))

    assert response.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"the model's server went away" in unchunk(response)


@each_api
async def test_after_the_end_no_error_follows(open_rig: OpenRig, api: Api) -> None:
    whole = api.frames + api.finish
    async with open_rig(streams(whole, resets=True)) as rig:
        got = unchunk(await rig.ask(post(STREAM, path=api.path)))
        record = await rig.record()

    assert got == whole + api.after
    assert record.outcome == "ok"


@each_api
async def test_early_error_page_passes(open_rig: OpenRig, api: Api) -> None:
    page = b"<html>later</html>"
    head = b"HTTP/1.1 503 Later\r\nContent-Type: text/html\r\nContent-Length: 18\r\n\r\n"
    async with open_rig(sends(head + page), max_retry_wait_s=0.0) as rig:
        answer = await rig.ask(post(STREAM, path=api.path))

    assert answer.startswith(b"HTTP/1.1 503 Later\r\n")
    assert b"Content-Type: text/html\r\n" in answer
    assert answer.endswith(b"\r\n\r\n" + page)


@pytest.mark.parametrize("answers_first", [b"", b": comment\n\n"])
async def test_comments_do_not_extend_the_stall(
    own_time: MockClock, open_rig: OpenRig, answers_first: bytes
) -> None:
    chat = APIS["chat"]

    async def answer(exchange: UpstreamExchange) -> None:
        await exchange.stream.send_all(SSE_HEAD + chat.frames)
        while True:
            await trio.sleep(0.1)
            if answers_first:
                await exchange.stream.send_all(answers_first)

    idle_s, stall_s = (60.0, 0.5) if answers_first else (0.5, 60.0)
    async with open_rig(answer, upstream_idle_s=idle_s, upstream_stall_s=stall_s) as rig:
        with trio.fail_after(20):
            got = unchunk(await rig.ask(post(STREAM)))
        record = await rig.record()

    *_, error, done, end = got.split(b"\n\n")
    assert json.loads(error[6:])["error"]["code"] == "upstream_timeout"
    assert (done, end) == (b"data: [DONE]", b"")
    assert (record.outcome, record.error_code) == ("timeout", "upstream_timeout")


async def test_first_frame_passes_before_the_second(
    open_rig: OpenRig,
) -> None:
    chat = APIS["chat"]
    go_on = trio.Event()

    async def answer(exchange: UpstreamExchange) -> None:
        await exchange.stream.send_all(SSE_HEAD + chat.frames)
        await go_on.wait()
        await exchange.stream.send_all(chat.finish + chat.after)
        await exchange.stream.aclose()

    async with open_rig(answer) as rig, await rig.connect() as stream:
        await stream.send_all(post(STREAM))
        got = b""
        with trio.fail_after(20):
            while chat.frames not in got:
                got += await stream.receive_some()
        go_on.set()
        got += await read_to_end(stream)

    assert chat.finish in got


async def test_no_piece_is_left_out_for_want_of_memory(
    open_rig: OpenRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = APIS["chat"]
    frames = [chunk({"content": f"piece {number}"}) for number in range(6)]
    seen = [trio.Event() for _ in frames]
    take = FramePipeline.take

    def short_of_memory(self: FramePipeline, frames: bytes, now: float) -> bytes:
        if b"piece 4" in frames:
            raise MemoryError
        return take(self, frames, now)

    async def answer(exchange: UpstreamExchange) -> None:
        await exchange.stream.send_all(SSE_HEAD)
        for frame, event in zip(frames, seen, strict=True):
            await exchange.stream.send_all(frame)
            await event.wait()
        await exchange.stream.send_all(chat.finish + chat.after)
        await exchange.stream.aclose()

    monkeypatch.setattr(FramePipeline, "take", short_of_memory)
    async with open_rig(answer) as rig, await rig.connect() as stream:
        await stream.send_all(post(STREAM))
        got = b""
        with trio.fail_after(20):
            for number, event in enumerate(seen[:4]):
                while b"piece %d" % number not in got:
                    got += await stream.receive_some()
                event.set()
            rest = await read_to_end(stream)  # it is cut, which a client does not take for an end
        record = await rig.record()

    assert b"0\r\n\r\n" not in rest
    assert record.outcome == "upstream_error"


@pytest.mark.parametrize("mib", [5, pytest.param(20, marks=pytest.mark.nightly)])
async def test_a_line_of_many_mib_passes(open_rig: OpenRig, mib: int) -> None:
    chat = APIS["chat"]
    long = chunk({"content": "x" * (mib << 20)})
    stream = chat.frames + long + chat.finish + chat.after
    async with open_rig(streams(stream)) as rig:
        got = unchunk(await rig.ask(post(STREAM)))
        record = await rig.record()

    assert got == stream
    assert (record.outcome, record.finish_reason) == ("ok", "stop")


async def test_nonsense_frame_passes(open_rig: OpenRig) -> None:
    chat = APIS["chat"]
    usage = chunk(None, usage={"prompt_tokens": 7, "completion_tokens": 1})
    stream = chat.frames + b"data: {nonsense\n\n" + chat.finish + usage + chat.after
    async with open_rig(streams(stream)) as rig:
        got = unchunk(await rig.ask(post(STREAM)))
        record = await rig.record()

    assert got == stream
    assert record.input_tokens == 7


# --- Amazon's binary streams --------------------------------------------------------------------

CONVERSE = b"/model/m/converse-stream"
BINARY = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.amazon.eventstream\r\n\r\n"
DELTA = event_message("contentBlockDelta", {"delta": {"text": "a"}, "contentBlockIndex": 0})
STOP = event_message("messageStop", {"stopReason": "end_turn"})
METADATA = event_message("metadata", {"usage": {"inputTokens": 7, "outputTokens": 1}})


async def ask_binary(open_rig: OpenRig, *pieces: bytes) -> tuple[bytes, RequestRecord]:
    async with open_rig(sends(BINARY, *pieces)) as rig:
        answer = await rig.ask(post(b"{}", path=CONVERSE))
        return answer, await rig.record()


async def test_binary_stream_passes_and_is_read(open_rig: OpenRig) -> None:
    answer, record = await ask_binary(open_rig, DELTA, STOP, METADATA)

    assert unchunk(answer) == DELTA + STOP + METADATA
    assert (record.outcome, record.finish_reason, record.input_tokens) == ("ok", "stop", 7)


async def test_binary_stream_between_messages_gets_exception(
    open_rig: OpenRig,
) -> None:
    answer, record = await ask_binary(open_rig, DELTA)

    got = unchunk(answer)
    assert got.startswith(DELTA)
    (message,) = MessageReader().push(got[len(DELTA) :])
    assert (message.is_error, message.name) == (True, "modelStreamErrorException")
    assert record.error_code == "upstream_truncated"


async def test_binary_stream_within_message_is_cut(
    open_rig: OpenRig,
) -> None:
    answer, record = await ask_binary(open_rig, DELTA, STOP[:-5])

    assert answer.endswith(b"\r\n%b\r\n<reset>" % STOP[:-5])
    assert record.outcome == "upstream_error"


@pytest.mark.parametrize(
    "broken",
    [
        DELTA[:-1] + bytes([DELTA[-1] ^ 1]),  # a wrong checksum
        struct.pack(">II", 100, 200) + b"x" * 92,  # headers longer than the message
        struct.pack(">II", 15, 0) + b"x" * 7,
        struct.pack(">II", 17 << 20, 0) + b"x" * 100,
    ],
)
async def test_nonsense_binary_stream_passes(open_rig: OpenRig, broken: bytes) -> None:
    answer, record = await ask_binary(open_rig, DELTA, broken, STOP)

    assert unchunk(answer) == DELTA + broken + STOP
    assert record.status == 200


@pytest.mark.parametrize(
    ("path", "head", "first"),
    [
        (CONVERSE, BINARY, DELTA),
        (APIS["gemini"].path, SSE_HEAD, APIS["gemini"].frames),
    ],
)
async def test_peer_streams_pass_as_written(
    open_rig: OpenRig, path: bytes, head: bytes, first: bytes
) -> None:
    async def answer(exchange: UpstreamExchange) -> None:
        await exchange.stream.send_all(head + first)
        await trio.sleep_forever()

    async with open_rig(answer) as rig, await rig.connect() as stream:
        await stream.send_all(post(b"{}", path=path))
        got = b""
        with trio.fail_after(20):
            while first not in got:
                got += await stream.receive_some()


# --- a server that goes away while it is asked ----------------------------------------------------


@pytest.mark.parametrize("resets", [True, False])
@pytest.mark.parametrize("told", [True, False])
@each_api
async def test_unanswered_request_goes_to_next_server(
    open_rig: OpenRig, api: Api, told: bool, resets: bool
) -> None:
    good = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    whole = api.frames + api.finish + api.after
    good += b"Content-Length: %d\r\n\r\n%b" % (len(whole), whole)
    handler = in_turn(sends(resets=resets), sends(good, close=False))
    models = (ModelRoute(model="m", progress="comment"),)
    async with (
        open_rig(handler, models=models, progress_delay_s=0.0) if told else open_rig(handler)
    ) as rig:
        answer = await rig.ask(post(STREAM, path=api.path))
        record = await rig.record()
        assert rig.count(Broken) == 1

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert unchunk(answer).endswith(whole)
    assert answer.count(api.frames) == 1
    assert b"error" not in answer
    assert (record.outcome, record.status) == ("ok", 200)
    assert len(rig.upstream.exchanges) == 2


async def test_request_meets_two_servers_at_most(open_rig: OpenRig) -> None:
    async with open_rig(sends(resets=True)) as rig:
        answer = await rig.ask(post(b'{"model":"m"}'))

    assert answer.startswith(b"HTTP/1.1 502 ")
    assert len(rig.upstream.exchanges) == 2


async def test_begun_response_is_never_repeated(open_rig: OpenRig) -> None:
    for begun in (b"H", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"):
        async with open_rig(sends(begun)) as rig:
            answer = await rig.ask(post(b'{"model":"m"}'))

        assert answer.startswith(b"HTTP/1.1 502 ")
        assert len(rig.upstream.exchanges) == 1


async def test_client_gone_is_not_repeated(open_rig: OpenRig) -> None:
    async with open_rig(sends(resets=True), models=(ModelRoute(model="m"),)) as rig:
        rig.grants = False
        async with await rig.connect() as stream:
            await stream.send_all(post(STREAM))
            rig.grant(await rig.heard(Want))
            await rig.heard(Want, 2)
        record = await rig.record()

    assert record.outcome == "client_gone"
    assert len(rig.upstream.exchanges) == 1


# --- patience ------------------------------------------------------------------------------------


def status(code: int, *fields: bytes) -> bytes:
    body = b'{"error":{"message":"no %d"}}' % code
    lines = [b"HTTP/1.1 %d X" % code, *fields, b"Content-Type: application/json"]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body)]) + b"\r\n\r\n" + body


def replies(*responses: bytes) -> Handler:
    """Make an upstream that answers each request with the next of `responses`, then the last."""
    return in_turn(*[sends(response, close=False) for response in responses])


GOOD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


async def test_new_model_may_stumble_twice(open_rig: OpenRig) -> None:
    handler = replies(status(503), status(503), GOOD)
    async with open_rig(handler) as rig:
        answer = await rig.ask(post())
        assert len(rig.upstream.exchanges) == 3

    assert answer.startswith(b"HTTP/1.1 200 OK")


async def test_requested_wait_is_kept(own_time: MockClock, open_rig: OpenRig) -> None:
    async with open_rig(replies(status(429, b"Retry-After: 1"), GOOD)) as rig:
        began = trio.current_time()
        answer = await rig.ask(post())
        took = trio.current_time() - began

    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert 1.0 <= took < 10.0


async def test_too_long_wait_is_passed_on(open_rig: OpenRig) -> None:
    handler = replies(status(429, b"Retry-After: 3600"), GOOD)
    async with open_rig(handler) as rig:
        answer = await rig.ask(post())
        assert len(rig.upstream.exchanges) == 1

    assert answer.startswith(b"HTTP/1.1 429 ")
    assert b"Retry-After: 3600\r\n" in answer


async def test_the_last_answer_arrives_whole(open_rig: OpenRig) -> None:
    async with open_rig(replies(status(503))) as rig:
        answer = await rig.ask(post(STREAM))
        assert len(rig.upstream.exchanges) == 4

    assert answer.startswith(b"HTTP/1.1 503 X\r\n")
    assert answer.endswith(b'{"error":{"message":"no 503"}}')


async def test_a_500_is_never_tried_again(open_rig: OpenRig) -> None:
    async with open_rig(replies(status(500), GOOD)) as rig:
        answer = await rig.ask(post())
        assert len(rig.upstream.exchanges) == 1

    assert answer.startswith(b"HTTP/1.1 500 ")


async def test_begun_stream_is_never_retried(open_rig: OpenRig) -> None:
    chat = APIS["chat"]
    async with open_rig(streams(chat.frames, resets=True)) as rig:
        await rig.ask(post(STREAM))
        assert len(rig.upstream.exchanges) == 1


async def test_client_gone_ends_the_wait(open_rig: OpenRig) -> None:
    handler = replies(status(429, b"Retry-After: 15"), GOOD)
    async with open_rig(handler) as rig:
        async with await rig.connect() as stream:
            await stream.send_all(post())
            await rig.upstream.asked.wait()
        with trio.fail_after(12):
            record = await rig.record()
        assert len(rig.upstream.exchanges) == 1

    assert record.outcome == "client_gone"


# --- fields --------------------------------------------------------------------------------------


async def test_configured_headers_are_changed(
    open_rig: OpenRig,
) -> None:
    head = b"HTTP/1.1 200 OK\r\nServer: s\r\nX-Old: 1\r\nContent-Length: 2\r\n\r\n{}"
    async with open_rig(
        replies(head),
        request_headers=HeaderRules(remove=("OpenAI-Organization",), set=(("X-Team", "red"),)),
        response_headers=HeaderRules(remove=("SERVER",), set=(("x-old", "2"),)),
    ) as rig:
        answer = await rig.ask(post(b'{"model":"m"}', b"openai-organization: acme"))
        (exchange,) = rig.upstream.exchanges

    assert b"acme" not in exchange.head
    assert b"\r\nX-Team: red\r\n" in exchange.head
    assert b"Server" not in answer
    assert b"x-old: 2\r\n" in answer
    assert b"X-Old: 1" not in answer
    assert answer.endswith(b"\r\n\r\n{}")


@pytest.mark.parametrize("cors", [True, False])
async def test_cors_opens_responses_to_pages(open_rig: OpenRig, cors: bool) -> None:
    async with open_rig(replies(GOOD), cors=cors) as rig:
        good = await rig.ask(post(b'{"model":"m"}', b"Origin: http://page"))
        bad = await rig.ask(post(b'{"model":"nobody"}', b"Origin: http://page"))
        plain = await rig.ask(post())

    for answer in (good, bad):
        assert (answer.count(b"Access-Control-Allow-Origin: *\r\n") == 1) is cors
    assert b"Access-Control" not in plain


# --- peers ---------------------------------------------------------------------------------------

LOCAL = (ModelRoute(model="m"), ModelRoute(model="openai/gpt-oss-20b"))


class Sent(NamedTuple):
    """What was answered, and what a peer and a model here were sent."""

    answer: bytes
    to_peer: list[UpstreamExchange]
    to_local: list[UpstreamExchange]


CLOUD = PeerRoute(peer="cloud", url="")


async def ask_peer(
    folder: Path,
    body: bytes,
    *fields: bytes,
    handler: Handler | None = None,
    peer: PeerRoute = CLOUD,
    api_keys: tuple[str, ...] = (),
) -> Sent:
    """Ask a rig that has `LOCAL` and `peer`, which is another rig that `handler` answers for."""
    folders = [folder / name for name in ("peer", "here")]
    for each in folders:
        each.mkdir()
    async with open_rig_in(folders[0], handler or replies(GOOD)) as far:
        names = ("cloud/gpt-x", "gpt-x")
        async with open_rig_in(
            folders[1],
            models=LOCAL,
            peers={"cloud": replace(peer, url=far.upstream.url + "/base/v1")},
            peer_models={name: PeerModel(peer="cloud", model="gpt-x") for name in names},
            api_keys=api_keys,
        ) as here:
            response = await here.ask(post(body, *fields))
            return Sent(response, far.upstream.exchanges, here.upstream.exchanges)


async def test_local_name_with_slash_stays_local(
    tmp_path: Path,
) -> None:
    sent = await ask_peer(tmp_path, b'{"model":"openai/gpt-oss-20b"}')

    (exchange,) = sent.to_local
    assert exchange.body == b'{"model":"openai/gpt-oss-20b"}'
    assert sent.to_peer == []


@pytest.mark.parametrize("name", [b"gemma-x", b"claude-9", b"openai/gpt-x"])
async def test_unknown_name_goes_nowhere(tmp_path: Path, name: bytes) -> None:
    sent = await ask_peer(tmp_path, b'{"model":"%b"}' % name)

    assert sent.answer.startswith(b"HTTP/1.1 404 ")
    assert (sent.to_peer, sent.to_local) == ([], [])


@pytest.mark.parametrize("name", [b"cloud/gpt-x", b"gpt-x"])
async def test_peer_gets_own_name_and_key(tmp_path: Path, name: bytes) -> None:
    sent = await ask_peer(
        tmp_path,
        b'{ "model":"%b","n":1.0}' % name,
        b"Authorization: Bearer ours",
        b"X-Provider: other",
        b"X-Forwarded-Host: secret",
        peer=replace(CLOUD, api_key="theirs"),
        api_keys=("ours",),
    )

    assert sent.answer.startswith(b"HTTP/1.1 200 OK")
    (exchange,) = sent.to_peer
    assert exchange.body == b'{ "model":"gpt-x","n":1.0}'
    assert exchange.head.startswith(b"POST /base/v1/chat/completions HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer theirs\r\n" in exchange.head
    for word in (b"ours", b"X-Provider", b"X-Forwarded", b"Host: x"):
        assert word not in exchange.head


async def test_peer_without_key_gets_none(
    tmp_path: Path,
) -> None:
    sent = await ask_peer(tmp_path, b'{"model":"gpt-x"}', b"Authorization: Bearer mine")
    assert b"mine" not in sent.to_peer[0].head


async def test_forward_auth_passes_the_clients_key(
    tmp_path: Path,
) -> None:
    sent = await ask_peer(
        tmp_path,
        b'{"model":"gpt-x"}',
        b"Authorization: Bearer mine",
        peer=replace(CLOUD, forward_auth=True),
    )
    assert b"authorization: bearer mine\r\n" in sent.to_peer[0].head.lower()


async def test_busy_peer_is_asked_again(tmp_path: Path) -> None:
    busy = replies(status(503), GOOD)
    sent = await ask_peer(tmp_path, b'{"model":"gpt-x"}', handler=busy)

    assert sent.answer.startswith(b"HTTP/1.1 200 OK")
    assert len(sent.to_peer) == 2


async def test_silent_peer_is_given_up(
    tmp_path: Path,
) -> None:
    async def silent(exchange: UpstreamExchange) -> None:
        await trio.sleep_forever()

    sent = await ask_peer(
        tmp_path,
        b'{"model":"gpt-x"}',
        handler=silent,
        peer=replace(CLOUD, timeouts=Timeouts(response_header_s=0.3)),
    )

    assert sent.answer.startswith(b"HTTP/1.1 504 ")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"model":"m","messages":[]}', b"/v1/chat/completions"),
        (b'{"model":"m","system":"","messages":[]}', b"/v1/messages"),
        (b'{"model":"m","input":"a"}', b"/v1/responses"),
        (b'{"model":"m","prompt":"a"}', b"/v1/completions"),
        (b'{"model":"m","contents":[]}', b"/v1beta/models/m:generateContent"),
    ],
)
async def test_body_tells_the_api_without_path(open_rig: OpenRig, body: bytes, path: bytes) -> None:
    async with open_rig(replies(GOOD)) as rig:
        await rig.ask(post(body, path=b"/"))
        (exchange,) = rig.upstream.exchanges

    assert exchange.head.startswith(b"POST %b HTTP/1.1\r\n" % path)
    assert exchange.body == body
