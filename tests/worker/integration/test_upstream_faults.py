"""What clients get of upstreams that fail, are slow, or ask for patience; for every API."""

import json
import struct
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio

from arriero.protocol.lease import Broken, Want
from arriero.protocol.records import RequestRecord
from arriero.protocol.worker_config import HeaderRules, ModelRoute, PeerModel, PeerRoute
from arriero.worker.streams.aws_event_stream import MessageReader, event_message

Opener = Callable[..., AbstractAsyncContextManager[Any]]

SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
STREAM = b'{"model":"m","stream":true}'


def data(**value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def event(kind: str, **value: Any) -> bytes:
    return b"event: " + kind.encode() + b"\n" + data(type=kind, **value)


class Api(NamedTuple):
    """One stream, frame by frame: the beginning, the frame that makes it whole, what follows."""

    path: bytes
    frames: bytes
    finish: bytes
    after: bytes


CHOICE = {"index": 0, "finish_reason": None}
APIS = {
    "chat": Api(
        b"/v1/chat/completions",
        data(
            id="c", object="chat.completion.chunk", choices=[CHOICE | {"delta": {"content": "a"}}]
        ),
        data(id="c", choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]),
        b"data: [DONE]\n\n",
    ),
    "completions": Api(
        b"/v1/completions",
        data(id="c", object="text_completion", choices=[CHOICE | {"text": "a"}]),
        data(id="c", choices=[{"index": 0, "text": "", "finish_reason": "stop"}]),
        b"data: [DONE]\n\n",
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
    data(candidates=[{"content": {"parts": [{"text": "a"}]}}], modelVersion="g"),
    data(candidates=[{"content": {"parts": []}, "finishReason": "STOP"}]),
    b"",
)

each_api = pytest.mark.parametrize("api", APIS.values(), ids=APIS)


@pytest.fixture
def opened(tmp_path: Path, kit: Any) -> Opener:
    def open_it(handler: Any, **options: Any) -> Any:
        return kit.open_rig(tmp_path, handler, **options)

    return open_it


def sends(*pieces: bytes, resets: bool = False) -> Any:
    async def answer(exchange: Any) -> None:
        for piece in pieces:
            await exchange.stream.send_all(piece)
        if resets:
            exchange.stream.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER: closing resets
        await exchange.stream.aclose()

    return answer


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
async def test_an_upstream_that_dies_before_its_head_gives_a_real_status(
    opened: Opener, kit: Any, api: Api
) -> None:
    async with opened(sends(resets=True)) as rig:
        answer = await rig.ask(kit.post(STREAM, path=api.path))
        record = await rig.record()

    assert answer.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]
    assert (record.outcome, record.error_code) == ("upstream_error", "upstream_disconnected")


@pytest.mark.parametrize("resets", [True, False])
@pytest.mark.parametrize("cut", [b"", b"data: {", b"event: x\ndata: {}\n"])
@each_api
async def test_a_stream_that_ends_too_early_ends_with_exactly_one_error_frame(
    opened: Opener, kit: Any, api: Api, cut: bytes, resets: bool
) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked"
    body = api.frames + cut
    raw = b"%b\r\n\r\n%x\r\n%b\r\n" % (chunked, len(body), body)
    async with opened(sends(raw, resets=resets)) as rig:
        got = kit.unchunk(await rig.ask(kit.post(STREAM, path=api.path)))
        record = await rig.record()

    (error,) = errors_after(got, api.frames, api)
    assert error["error"]["message"]
    assert record.outcome == "upstream_error"
    assert record.error_code == "upstream_disconnected"


@each_api
async def test_a_stream_that_ends_cleanly_without_its_end_is_an_error_as_well(
    opened: Opener, kit: Any, api: Api
) -> None:
    async with opened(sends(SSE, api.frames)) as rig:
        got = kit.unchunk(await rig.ask(kit.post(STREAM, path=api.path)))
        record = await rig.record()

    assert len(errors_after(got, api.frames, api)) == 1
    assert record.error_code == "upstream_truncated"


@each_api
async def test_after_its_end_was_there_no_error_is_added_but_the_end_marker(
    opened: Opener, kit: Any, api: Api
) -> None:
    whole = api.frames + api.finish
    async with opened(sends(SSE, whole, resets=True)) as rig:
        got = kit.unchunk(await rig.ask(kit.post(STREAM, path=api.path)))
        record = await rig.record()

    assert got == whole + api.after
    assert record.outcome == "ok"


@each_api
async def test_an_error_page_before_the_commit_arrives_as_it_is(
    opened: Opener, kit: Any, api: Api
) -> None:
    page = b"<html>later</html>"
    head = b"HTTP/1.1 503 Later\r\nContent-Type: text/html\r\nContent-Length: 18\r\n\r\n"
    async with opened(sends(head + page), max_retry_wait_s=0.0) as rig:
        answer = await rig.ask(kit.post(STREAM, path=api.path))

    assert answer.startswith(b"HTTP/1.1 503 Later\r\n")
    assert b"Content-Type: text/html\r\n" in answer
    assert answer.endswith(b"\r\n\r\n" + page)


@pytest.mark.parametrize("answers_first", [b"", b": comment\n\n"])
async def test_silence_of_an_upstream_has_an_end_and_comments_do_not_put_it_off(
    opened: Opener, kit: Any, answers_first: bytes
) -> None:
    chat = APIS["chat"]

    async def answer(exchange: Any) -> None:
        await exchange.stream.send_all(SSE + chat.frames)
        while True:
            await trio.sleep(0.1)
            if answers_first:
                await exchange.stream.send_all(answers_first)

    limits = {"upstream_idle_s": 60.0, "upstream_stall_s": 0.5}
    if not answers_first:
        limits = {"upstream_idle_s": 0.5, "upstream_stall_s": 60.0}
    async with opened(answer, **limits) as rig:
        with trio.fail_after(5):
            got = kit.unchunk(await rig.ask(kit.post(STREAM)))
        record = await rig.record()

    *_, error, done, end = got.split(b"\n\n")
    assert json.loads(error[6:])["error"]["code"] == "upstream_timeout"
    assert (done, end) == (b"data: [DONE]", b"")
    assert (record.outcome, record.error_code) == ("timeout", "upstream_timeout")


async def test_the_first_frame_arrives_while_the_second_is_not_written_yet(
    opened: Opener, kit: Any
) -> None:
    chat = APIS["chat"]
    go_on = trio.Event()

    async def answer(exchange: Any) -> None:
        await exchange.stream.send_all(SSE + chat.frames)
        await go_on.wait()
        await exchange.stream.send_all(chat.finish + chat.after)
        await exchange.stream.aclose()

    async with opened(answer) as rig, await rig.connect() as stream:
        await stream.send_all(kit.post(STREAM))
        got = b""
        with trio.fail_after(5):
            while chat.frames not in got:
                got += await stream.receive_some()
        go_on.set()
        got += await kit.read_to_end(stream)

    assert chat.finish in got


@pytest.mark.parametrize("mib", [5, 20])
async def test_a_line_of_many_mib_passes(opened: Opener, kit: Any, mib: int) -> None:
    chat = APIS["chat"]
    long = data(id="c", choices=[CHOICE | {"delta": {"content": "x" * (mib << 20)}}])
    stream = chat.frames + long + chat.finish + chat.after
    async with opened(sends(SSE, stream)) as rig:
        got = kit.unchunk(await rig.ask(kit.post(STREAM)))
        record = await rig.record()

    assert got == stream
    assert (record.outcome, record.finish_reason) == ("ok", "stop")


async def test_nonsense_between_two_frames_passes_and_the_rest_is_read(
    opened: Opener, kit: Any
) -> None:
    chat = APIS["chat"]
    usage = data(choices=[], usage={"prompt_tokens": 7, "completion_tokens": 1})
    stream = chat.frames + b"data: {nonsense\n\n" + chat.finish + usage + chat.after
    async with opened(sends(SSE, stream)) as rig:
        got = kit.unchunk(await rig.ask(kit.post(STREAM)))
        record = await rig.record()

    assert got == stream
    assert record.input_tokens == 7


# --- Amazon's binary streams --------------------------------------------------------------------

CONVERSE = b"/model/m/converse-stream"
BINARY = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.amazon.eventstream\r\n\r\n"
DELTA = event_message("contentBlockDelta", {"delta": {"text": "a"}, "contentBlockIndex": 0})
STOP = event_message("messageStop", {"stopReason": "end_turn"})
METADATA = event_message("metadata", {"usage": {"inputTokens": 7, "outputTokens": 1}})


async def ask_binary(opened: Opener, kit: Any, *pieces: bytes) -> tuple[bytes, RequestRecord]:
    async with opened(sends(BINARY, *pieces)) as rig:
        answer = await rig.ask(kit.post(b"{}", path=CONVERSE))
        record: RequestRecord = await rig.record()
    return answer, record


async def test_a_binary_stream_passes_and_is_read(opened: Opener, kit: Any) -> None:
    answer, record = await ask_binary(opened, kit, DELTA, STOP, METADATA)

    assert kit.unchunk(answer) == DELTA + STOP + METADATA
    assert (record.outcome, record.finish_reason, record.input_tokens) == ("ok", "stop", 7)


async def test_a_binary_stream_that_stops_between_messages_ends_with_an_exception(
    opened: Opener, kit: Any
) -> None:
    answer, record = await ask_binary(opened, kit, DELTA)

    got = kit.unchunk(answer)
    assert got.startswith(DELTA)
    (message,) = MessageReader().push(got[len(DELTA) :])
    assert (message.is_error, message.name) == (True, "modelStreamErrorException")
    assert record.error_code == "upstream_truncated"


async def test_a_binary_stream_that_stops_within_a_message_passes_to_its_last_byte_and_is_cut(
    opened: Opener, kit: Any
) -> None:
    answer, record = await ask_binary(opened, kit, DELTA, STOP[:-5])

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
async def test_a_binary_stream_that_makes_no_sense_passes_as_it_is(
    opened: Opener, kit: Any, broken: bytes
) -> None:
    answer, record = await ask_binary(opened, kit, DELTA, broken, STOP)

    assert kit.unchunk(answer) == DELTA + broken + STOP
    assert record.status == 200


@pytest.mark.parametrize(
    ("path", "head", "first"),
    [
        (CONVERSE, BINARY, DELTA),
        (APIS["gemini"].path, SSE, APIS["gemini"].frames),
    ],
)
async def test_streams_of_peers_arrive_while_they_are_written(
    opened: Opener, kit: Any, path: bytes, head: bytes, first: bytes
) -> None:
    async def answer(exchange: Any) -> None:
        await exchange.stream.send_all(head + first)
        await trio.sleep_forever()

    async with opened(answer) as rig, await rig.connect() as stream:
        await stream.send_all(kit.post(b"{}", path=path))
        got = b""
        with trio.fail_after(5):
            while first not in got:
                got += await stream.receive_some()


# --- a server that goes away while it is asked ----------------------------------------------------


def ends_without_a_word(*answers: bytes, resets: bool) -> Any:
    """Answers each request with the next of `answers`, and those that are empty with an end."""

    async def answer(exchange: Any) -> None:
        if said := answers[min(exchange.number, len(answers) - 1)]:
            await exchange.stream.send_all(said)
        else:
            await sends(resets=resets)(exchange)

    return answer


@pytest.mark.parametrize("resets", [True, False])
@pytest.mark.parametrize("told", [True, False])
@each_api
async def test_a_request_of_which_nothing_was_answered_goes_to_the_server_that_comes_next(
    opened: Opener, kit: Any, api: Api, told: bool, resets: bool
) -> None:
    good = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    whole = api.frames + api.finish + api.after
    good += b"Content-Length: %d\r\n\r\n%b" % (len(whole), whole)
    handler = ends_without_a_word(b"", good, resets=resets)
    options = {"models": (ModelRoute(model="m", progress="comment"),), "progress_delay_s": 0.0}
    async with opened(handler, **(options if told else {})) as rig:
        answer = await rig.ask(kit.post(STREAM, path=api.path))
        record = await rig.record()
        assert rig.count(Broken) == 1

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert kit.unchunk(answer).endswith(whole)
    assert answer.count(api.frames) == 1
    assert b"error" not in answer
    assert (record.outcome, record.status) == ("ok", 200)
    assert len(rig.upstream.exchanges) == 2


async def test_a_request_that_ends_each_server_it_meets_meets_two(opened: Opener, kit: Any) -> None:
    async with opened(ends_without_a_word(b"", resets=True)) as rig:
        answer = await rig.ask(kit.post(b'{"model":"m"}'))

    assert answer.startswith(b"HTTP/1.1 502 ")
    assert len(rig.upstream.exchanges) == 2


async def test_an_answer_that_was_begun_is_never_asked_for_again(opened: Opener, kit: Any) -> None:
    for begun in (b"H", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"):
        async with opened(sends(begun)) as rig:
            answer = await rig.ask(kit.post(b'{"model":"m"}'))

        assert answer.startswith(b"HTTP/1.1 502 ")
        assert len(rig.upstream.exchanges) == 1


async def test_a_client_that_leaves_meanwhile_is_not_asked_for(opened: Opener, kit: Any) -> None:
    async with opened(
        ends_without_a_word(b"", resets=True), models=(ModelRoute(model="m"),)
    ) as rig:
        rig.grants = False
        async with await rig.connect() as stream:
            await stream.send_all(kit.post(STREAM))
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


def one_after_the_other(*answers: bytes) -> Any:
    async def answer(exchange: Any) -> None:
        await exchange.stream.send_all(answers[min(exchange.number, len(answers) - 1)])

    return answer


GOOD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


async def test_a_model_that_has_just_come_up_may_stumble_twice(opened: Opener, kit: Any) -> None:
    handler = one_after_the_other(status(503), status(503), GOOD)
    async with opened(handler) as rig:
        answer = await rig.ask(kit.post())
        assert len(rig.upstream.exchanges) == 3

    assert answer.startswith(b"HTTP/1.1 200 OK")


async def test_a_wait_that_is_asked_for_is_kept(opened: Opener, kit: Any) -> None:
    async with opened(one_after_the_other(status(429, b"Retry-After: 1"), GOOD)) as rig:
        began = trio.current_time()
        answer = await rig.ask(kit.post())
        took = trio.current_time() - began

    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert 1.0 <= took < 3.0


async def test_a_wait_that_is_too_long_is_the_clients_to_know(opened: Opener, kit: Any) -> None:
    handler = one_after_the_other(status(429, b"Retry-After: 3600"), GOOD)
    async with opened(handler) as rig:
        answer = await rig.ask(kit.post())
        assert len(rig.upstream.exchanges) == 1

    assert answer.startswith(b"HTTP/1.1 429 ")
    assert b"Retry-After: 3600\r\n" in answer


async def test_the_last_answer_arrives_whole(opened: Opener, kit: Any) -> None:
    async with opened(one_after_the_other(status(503))) as rig:
        answer = await rig.ask(kit.post(STREAM))
        assert len(rig.upstream.exchanges) == 4

    assert answer.startswith(b"HTTP/1.1 503 X\r\n")
    assert answer.endswith(b'{"error":{"message":"no 503"}}')


async def test_a_500_is_never_tried_again(opened: Opener, kit: Any) -> None:
    async with opened(one_after_the_other(status(500), GOOD)) as rig:
        answer = await rig.ask(kit.post())
        assert len(rig.upstream.exchanges) == 1

    assert answer.startswith(b"HTTP/1.1 500 ")


async def test_nothing_is_tried_again_after_the_first_byte_of_an_answer(
    opened: Opener, kit: Any
) -> None:
    chat = APIS["chat"]
    async with opened(sends(SSE, chat.frames, resets=True)) as rig:
        await rig.ask(kit.post(STREAM))
        assert len(rig.upstream.exchanges) == 1


async def test_a_client_that_leaves_ends_the_wait(opened: Opener, kit: Any) -> None:
    handler = one_after_the_other(status(429, b"Retry-After: 15"), GOOD)
    async with opened(handler) as rig:
        async with await rig.connect() as stream:
            await stream.send_all(kit.post())
            await rig.upstream.asked.wait()
        with trio.fail_after(3):
            record = await rig.record()
        assert len(rig.upstream.exchanges) == 1

    assert record.outcome == "client_gone"


# --- fields --------------------------------------------------------------------------------------


async def test_fields_are_changed_on_their_way_but_not_those_of_the_message(
    opened: Opener, kit: Any
) -> None:
    head = b"HTTP/1.1 200 OK\r\nServer: s\r\nX-Old: 1\r\nContent-Length: 2\r\n\r\n{}"
    async with opened(
        one_after_the_other(head),
        request_headers=HeaderRules(remove=("OpenAI-Organization",), set=(("X-Team", "red"),)),
        response_headers=HeaderRules(remove=("SERVER",), set=(("x-old", "2"),)),
    ) as rig:
        answer = await rig.ask(kit.post(b'{"model":"m"}', b"openai-organization: acme"))
        (exchange,) = rig.upstream.exchanges

    assert b"acme" not in exchange.head
    assert b"\r\nX-Team: red\r\n" in exchange.head
    assert b"Server" not in answer
    assert b"x-old: 2\r\n" in answer
    assert b"X-Old: 1" not in answer
    assert answer.endswith(b"\r\n\r\n{}")


@pytest.mark.parametrize("cors", [True, False])
async def test_a_page_of_another_site_may_read_the_answer_if_that_is_wanted(
    opened: Opener, kit: Any, cors: bool
) -> None:
    async with opened(one_after_the_other(GOOD), cors=cors) as rig:
        good = await rig.ask(kit.post(b'{"model":"m"}', b"Origin: http://page"))
        bad = await rig.ask(kit.post(b'{"model":"nobody"}', b"Origin: http://page"))
        plain = await rig.ask(kit.post())

    for answer in (good, bad):
        assert (answer.count(b"Access-Control-Allow-Origin: *\r\n") == 1) is cors
    assert b"Access-Control" not in plain


# --- peers ---------------------------------------------------------------------------------------

LOCAL = (ModelRoute(model="m"), ModelRoute(model="openai/gpt-oss-20b"))


class Sent(NamedTuple):
    """What was answered, and what a peer and a model here were sent."""

    answer: bytes
    to_peer: list[Any]
    to_local: list[Any]


@pytest.fixture
def ask_peer(tmp_path: Path, kit: Any) -> Callable[..., Any]:
    async def ask(body: bytes, *fields: bytes, answers: Any = None, **settings: Any) -> Sent:
        folders = [tmp_path / name for name in ("peer", "here")]
        for folder in folders:
            folder.mkdir()
        handler = answers or one_after_the_other(GOOD)
        options = settings.pop("options", {})
        async with kit.open_rig(folders[0], handler) as far:
            names = ("cloud/gpt-x", "gpt-x")
            route = PeerRoute(peer="cloud", url=far.upstream.url + "/base/v1", **settings)
            async with kit.open_rig(
                folders[1],
                models=LOCAL,
                peers={"cloud": route},
                peer_models={name: PeerModel(peer="cloud", model="gpt-x") for name in names},
                **options,
            ) as here:
                answer = await here.ask(kit.post(body, *fields))
                return Sent(answer, far.upstream.exchanges, here.upstream.exchanges)

    return ask


async def test_a_name_with_a_slash_that_is_configured_here_is_served_here(
    ask_peer: Callable[..., Any],
) -> None:
    sent = await ask_peer(b'{"model":"openai/gpt-oss-20b"}')

    (exchange,) = sent.to_local
    assert exchange.body == b'{"model":"openai/gpt-oss-20b"}'
    assert sent.to_peer == []


@pytest.mark.parametrize("name", [b"gemma-x", b"claude-9", b"openai/gpt-x"])
async def test_a_name_that_nobody_has_goes_nowhere(
    ask_peer: Callable[..., Any], name: bytes
) -> None:
    sent = await ask_peer(b'{"model":"%b"}' % name)

    assert sent.answer.startswith(b"HTTP/1.1 404 ")
    assert (sent.to_peer, sent.to_local) == ([], [])


@pytest.mark.parametrize("name", [b"cloud/gpt-x", b"gpt-x"])
async def test_a_peer_gets_its_own_name_and_key_and_never_the_clients(
    ask_peer: Callable[..., Any], name: bytes
) -> None:
    sent = await ask_peer(
        b'{ "model":"%b","n":1.0}' % name,
        b"Authorization: Bearer ours",
        b"X-Provider: other",
        b"X-Forwarded-Host: secret",
        api_key="theirs",
        options={"api_keys": ("ours",)},
    )

    assert sent.answer.startswith(b"HTTP/1.1 200 OK")
    (exchange,) = sent.to_peer
    assert exchange.body == b'{ "model":"gpt-x","n":1.0}'
    assert exchange.head.startswith(b"POST /base/v1/chat/completions HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer theirs\r\n" in exchange.head
    for word in (b"ours", b"X-Provider", b"X-Forwarded", b"Host: x"):
        assert word not in exchange.head


async def test_a_peer_without_a_key_gets_none(
    ask_peer: Callable[..., Any],
) -> None:
    sent = await ask_peer(b'{"model":"gpt-x"}', b"Authorization: Bearer mine")
    assert b"mine" not in sent.to_peer[0].head


async def test_the_key_of_a_client_goes_to_a_peer_that_is_to_have_it(
    ask_peer: Callable[..., Any],
) -> None:
    sent = await ask_peer(b'{"model":"gpt-x"}', b"Authorization: Bearer mine", forward_auth=True)
    assert b"authorization: bearer mine\r\n" in sent.to_peer[0].head.lower()


async def test_a_peer_that_is_too_busy_is_asked_again(ask_peer: Callable[..., Any]) -> None:
    busy = one_after_the_other(status(503), GOOD)
    sent = await ask_peer(b'{"model":"gpt-x"}', answers=busy)

    assert sent.answer.startswith(b"HTTP/1.1 200 OK")
    assert len(sent.to_peer) == 2


async def test_a_peer_that_does_not_answer_in_time_is_given_up(
    ask_peer: Callable[..., Any],
) -> None:
    async def silent(exchange: Any) -> None:
        await trio.sleep_forever()

    sent = await ask_peer(b'{"model":"gpt-x"}', answers=silent, header_s=0.3)

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
async def test_without_a_path_the_body_says_which_api_is_meant(
    opened: Opener, kit: Any, body: bytes, path: bytes
) -> None:
    async with opened(one_after_the_other(GOOD)) as rig:
        await rig.ask(kit.post(body, path=b"/"))
        (exchange,) = rig.upstream.exchanges

    assert exchange.head.startswith(b"POST %b HTTP/1.1\r\n" % path)
    assert exchange.body == body
