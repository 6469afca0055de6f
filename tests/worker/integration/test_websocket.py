"""WebSockets through a worker: clients and models that speak it, on real sockets."""

import json
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest
import trio
import trio.testing
import trustme
from msgspec.structs import replace
from trio.testing import MockClock
from wsproto import ConnectionType
from wsproto import events as ws
from wsproto.connection import Connection

from arriero.protocol.lease import (
    Broken,
    CancelOrder,
    CancelOutcome,
    Finish,
    Leave,
    Release,
    Revoke,
    Want,
)
from arriero.protocol.values import ErrorInfo
from arriero.protocol.worker_config import ModelRoute, PeerModel, PeerRoute
from arriero.worker.connections.stream import SocketStream
from arriero.worker.connections.time_slices import TimeSlices
from arriero.worker.websocket.frames import WsClose, WsCodec, WsMessage
from arriero.worker.websocket.responses_relay import WsSide
from tests.worker.rig import QUICK, OpenRig, rig_options
from tests.worker.websocket_client import (
    DONE,
    HERE,
    ID,
    MODEL,
    Model,
    Talker,
    answer_turns,
    create,
    dialled,
    fields_of,
    listen,
    opened,
    serve_model,
    serve_raw,
)

pytestmark = rig_options(models=(MODEL,))


# --- turns ---------------------------------------------------------------------------------------


async def test_two_turns_share_one_lease(open_rig: OpenRig) -> None:
    async with open_rig() as rig, serve_model(rig, answer_turns) as model:
        async with opened(rig, "/v1/responses?a=b", ID) as client:
            for number in range(2):
                await client.text(create(input=str(number)))
                heard = await client.json()
                assert json.loads(heard["words"]) == create(model="real", input=str(number))
                assert await client.json() == DONE
            await rig.record(2)
            rig.say(CancelOrder(ask=1, request_id="chosen-t2", caller="", peer=HERE))
            assert (await rig.heard(CancelOutcome)).result == "finished"
            await client.say(ws.CloseConnection(code=1000))
            assert (await client.closed())[0] == 1000
        await model.over.wait()
        assert rig.count(Want) == 1

    (request,) = model.requests
    assert request.target == "/v1/responses?a=b"
    assert fields_of(request)[b"x-request-id"] == b"chosen"
    records = rig.records
    assert [it.request_id for it in records] == ["chosen", "chosen-t2"]
    assert [(it.outcome, it.status, it.asked, it.model) for it in records] == [
        ("ok", 101, "em", "m")
    ] * 2
    assert [it.input_tokens for it in records] == [7, 7]
    assert [it.upstream_kind for it in records] == ["vllm", "vllm"]


async def test_another_model_serves_all_turns(open_rig: OpenRig) -> None:
    """Whichever kind of message begins: one that is read at once, and one that takes long."""
    x = ModelRoute(model="x", aliases=("ex",))
    for said in ("0", "0" * 300_000):
        async with open_rig(models=(MODEL, x)) as rig, serve_model(rig, answer_turns):
            rig.grants = False
            async with opened(rig) as client:
                await client.text(create(input=said))
                rig.grant(replace(await rig.heard(Want), model="x"))
                for name in ("em", "m", "ex", "x"):
                    assert json.loads((await client.json())["words"]) == create(
                        model="x", input=said
                    )
                    assert await client.json() == DONE
                    said = name
                    await client.text(create(model=name, input=name))
            records = (await rig.record(4), rig.records)[1]
        assert {it.model for it in records} == {"x"}


async def test_all_but_create_passes_unchanged(open_rig: OpenRig) -> None:
    said: list[str | bytes] = [
        '{"type" : "response.cancel",  "a":1.0}',
        b"\x00\xff" * 500_000,
        "é" * 200_000,
        "",
    ]

    async def echo(talker: Talker) -> None:
        await talker.message()
        for _ in said:
            data = await talker.message()
            kind = ws.TextMessage if isinstance(data, str) else ws.BytesMessage
            await talker.say(kind(data=data))
        await talker.closed()

    async with open_rig() as rig, serve_model(rig, echo), opened(rig) as client:
        await client.text(create())
        for data in said:
            if isinstance(data, str):  # in two frames, wherever that cuts it
                await client.say(ws.TextMessage(data=data[:7], message_finished=False))
                await client.say(ws.TextMessage(data=data[7:]))
            else:
                await client.say(ws.BytesMessage(data=data))
            assert await client.message() == data


async def test_bytewise_frames_are_the_same(open_rig: OpenRig) -> None:
    async with open_rig() as rig, serve_model(rig, answer_turns), opened(rig) as client:
        data = client.ws.send(ws.TextMessage(data=json.dumps(create(input="€"))))
        for byte in data:
            await client.stream.send_all(bytes([byte]))
        heard = json.loads((await client.json())["words"])
        assert heard == create(model="real", input="€")


@pytest.mark.parametrize("target", ["/v1/responses", "/v1/realtime?model=m"])
async def test_bytes_behind_request_are_frames(open_rig: OpenRig, target: str) -> None:
    async with (
        open_rig() as rig,
        serve_model(rig, answer_turns),
        await rig.connect() as stream,
    ):
        client = Talker(stream, ConnectionType.CLIENT)
        request = client.ws.send(ws.Request(host="here", target=target))
        early = ws.TextMessage(data=json.dumps(create(input="early")))
        await stream.send_all(request + Connection(ConnectionType.CLIENT).send(early))
        assert isinstance(await client.next(), ws.AcceptConnection)
        assert "early" in (await client.json())["words"]


@pytest.mark.parametrize("target", ["/v1/responses", "/v1/realtime?model=m"])
async def test_bytes_behind_response_are_frames(open_rig: OpenRig, target: str) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            model = Talker(stream, ConnectionType.SERVER)
            await model.next()
            accepted = model.ws.send(ws.AcceptConnection())
            await stream.send_all(accepted + model.ws.send(ws.TextMessage(data="early")))
            await model.closed()

    async with open_rig() as rig:
        rig.upstream.port = await listen(rig.nursery, serve)
        async with opened(rig, target) as client:
            await client.text(create())
            assert await client.message() == "early"


# --- closes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_turn", [True, False])
async def test_client_close_reaches_the_upstream(open_rig: OpenRig, in_turn: bool) -> None:
    heard: list[tuple[int, str]] = []

    async def hear(talker: Talker) -> None:
        await talker.message()
        await talker.text({"type": "response.created"} if in_turn else DONE)
        heard.append(await talker.closed())

    async with open_rig() as rig, serve_model(rig, hear) as model:
        async with opened(rig) as client:
            await client.text(create())
            await client.message()
            await client.say(ws.CloseConnection(code=4002, reason="enough"))
            assert await client.closed() == (4002, "enough")
        await model.over.wait()
        record = await rig.record()

    assert heard == [(4002, "enough")]
    assert record.outcome == ("client_gone" if in_turn else "ok")


@pytest.mark.parametrize("in_turn", [True, False])
async def test_upstream_close_reaches_the_client(open_rig: OpenRig, in_turn: bool) -> None:
    async def leave(talker: Talker) -> None:
        await talker.message()
        await talker.text({"type": "response.created"} if in_turn else DONE)
        await talker.say(ws.CloseConnection(code=1013, reason="busy"))

    async with open_rig() as rig, serve_model(rig, leave), opened(rig) as client:
        await client.text(create())
        await client.message()
        assert await client.closed() == (1013, "busy")
        record = await rig.record()

    assert record.outcome == ("upstream_error" if in_turn else "ok")


async def test_talking_upstream_hears_the_close(open_rig: OpenRig) -> None:
    heard: list[tuple[int, str]] = []

    async def talk(talker: Talker) -> None:
        await talker.message()
        for _ in range(50):
            await talker.say(ws.BytesMessage(data=b"x" * 500_000))
        heard.append(await talker.closed())

    async with open_rig() as rig, serve_model(rig, talk) as model:
        async with opened(rig) as client:
            await client.text(create())
            await client.message()
            await client.say(ws.CloseConnection(code=4002, reason="enough"))
            await client.closed()
        await model.over.wait()

    assert heard == [(4002, "enough")]


async def test_endless_talker_can_be_cancelled() -> None:
    class Endless:
        async def receive(self) -> bytes:
            await (
                trio.lowlevel.cancel_shielded_checkpoint()
            )  # as `SocketStream` does after a full read
            return b"\x81\x02hi"

    async def send(_: bytes) -> None:
        raise AssertionError("there is nothing to say")

    side = WsSide(WsCodec(serves=False), cast("SocketStream", Endless()), send, b"", TimeSlices())
    with trio.CancelScope() as scope:
        assert await side.next() == WsMessage(b"hi")
        scope.cancel()
        await side.next()
    assert scope.cancelled_caught


async def test_close_does_not_complete_a_message(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sent: list[bytes] = []

    async def send(frame: bytes) -> None:
        sent.append(frame)
        await trio.sleep(len(frame))

    with socket.socket() as sock:
        side = WsSide(WsCodec(serves=True), SocketStream(sock), send, b"", TimeSlices())
        assert await side.send(WsMessage(b"whole"))
        with trio.move_on_after(1):
            await side.send(WsMessage(b"cut short"))
        await side.end(WsClose(1000))
    assert [frame[2:] for frame in sent] == [b"whole", b"cut short"]


async def test_upstream_gone_is_1011(open_rig: OpenRig) -> None:
    async def vanish(talker: Talker) -> None:
        await talker.message()

    async with open_rig() as rig, serve_model(rig, vanish), opened(rig) as client:
        await client.text(create())
        code, reason = await client.closed()
        record = await rig.record()

    assert code == 1011
    assert "went away" in reason
    assert (record.outcome, record.error_code) == ("upstream_error", "upstream_disconnected")


async def test_client_gone_is_1001_upstream(open_rig: OpenRig) -> None:
    heard: list[tuple[int, str]] = []

    async def hear(talker: Talker) -> None:
        await talker.message()
        await talker.text({"type": "response.created"})
        heard.append(await talker.closed())

    async with open_rig() as rig, serve_model(rig, hear) as model:
        async with opened(rig) as client:
            await client.text(create())
            await client.message()
        await model.over.wait()
        record = await rig.record()

    assert heard[0][0] == 1001
    assert record.outcome == "client_gone"


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ("no JSON", "response.create"),
        ({"type": "response.cancel"}, "response.create"),
        ({"type": "response.create"}, "no 'model'"),
        (create(model="emm"), "did you mean 'em'"),
    ],
)
async def test_bad_first_message_is_1008(open_rig: OpenRig, first: object, words: str) -> None:
    async with open_rig() as rig, serve_model(rig, answer_turns), opened(rig) as client:
        await client.text(first)
        code, reason = await client.closed()
        record = await rig.record()
        assert rig.count(Want) == 0

    assert code == 1008
    assert words in reason
    assert record.outcome == "rejected"


async def test_refusal_reaches_a_talking_client(open_rig: OpenRig) -> None:
    async with open_rig() as rig, opened(rig) as client:
        bad = client.ws.send(ws.TextMessage(data="bad"))
        await client.stream.send_all(bad + client.ws.send(ws.BytesMessage(data=b"x" * 2_000_000)))
        assert (await client.closed())[0] == 1008


async def test_bytes_without_frames_are_1002(open_rig: OpenRig) -> None:
    async with open_rig() as rig, opened(rig) as client:
        await client.stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
        assert (await client.closed())[0] == 1002


async def test_too_large_message_is_1009(open_rig: OpenRig) -> None:
    large = b"x" * (16 * 1024 * 1024 + 1)
    heard: list[tuple[int, str]] = []

    async def hear(talker: Talker) -> None:
        await talker.message()
        heard.append(await talker.closed())

    async with open_rig() as rig, serve_model(rig, hear) as model:
        async with opened(rig) as client:
            await client.text(create())
            async with trio.open_nursery() as nursery:

                async def send() -> None:
                    with suppress(trio.BrokenResourceError):
                        await client.say(ws.BytesMessage(data=large))

                nursery.start_soon(send)
                code, reason = await client.closed()
        await model.over.wait()
        record = await rig.record()

    assert code == 1009
    assert str(16 * 1024 * 1024) in reason
    assert heard[0][0] == 1001
    assert (record.outcome, record.error_code) == ("rejected", "request_too_large")


async def test_too_large_message_upstream_is_1009(open_rig: OpenRig) -> None:
    large = b"x" * (16 * 1024 * 1024 + 1)
    heard: list[tuple[int, str]] = []

    async def boast(talker: Talker) -> None:
        await talker.message()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talker.say, ws.BytesMessage(data=large))
            heard.append(await talker.closed())

    async with open_rig() as rig, serve_model(rig, boast) as model, opened(rig) as client:
        await client.text(create())
        assert (await client.closed())[0] == 1009
        await model.over.wait()

    assert heard[0][0] == 1009


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", "404"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", "200"),
        (b"", "went away"),
        (b"+OK\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 503 Busy\r\n\r\n", "503"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, "too long"),
    ],
)
async def test_refusing_upstream_is_1011(open_rig: OpenRig, answer: bytes, words: str) -> None:
    async with open_rig() as rig, serve_raw(rig, answer), opened(rig) as client:
        await client.text(create())
        code, reason = await client.closed()
        record = await rig.record()

    assert code == 1011
    assert words in reason
    assert record.outcome == "upstream_error"


@pytest.mark.parametrize("target", ["/v1/responses", "/v1/realtime?model=m"])
async def test_silent_upstream_is_given_up(open_rig: OpenRig, target: str) -> None:
    async def say_nothing(_: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with open_rig(upstream_idle_s=0.3) as rig:
        rig.upstream.port = await listen(rig.nursery, say_nothing)
        async with dialled(rig, target) as client:
            answer = await client.next()
            if isinstance(answer, ws.RejectConnection):
                assert answer.status_code == 504
            else:
                await client.text(create())
                assert (await client.closed())[0] == 1011
            record = await rig.record()
    assert record.outcome == "timeout"


async def test_failed_load_is_1011(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        rig.grants = False
        async with opened(rig) as client:
            await client.text(create())
            want = await rig.heard(Want)
            error = ErrorInfo(code="load_failed", message="out of memory", transient=False)
            rig.refuse(want, error)
            code, reason = await client.closed()
            record = await rig.record()

    assert code == 1011
    assert reason == "model m failed to load: out of memory"
    assert (record.outcome, record.error_code) == ("upstream_error", "model_load_failed")


async def test_dead_model_is_asked_again(open_rig: OpenRig, free_port: int) -> None:
    async with open_rig() as rig, serve_model(rig, answer_turns) as model:
        rig.grants = False
        async with opened(rig) as client:
            await client.text(create())
            rig.grant(await rig.heard(Want), f"http://127.0.0.1:{free_port}")
            await rig.heard(Broken)
            rig.grant(await rig.heard(Want, 2))
            assert (await client.json())["type"] == "heard"
        await model.over.wait()


async def test_vanished_model_is_asked_again(
    open_rig: OpenRig,
) -> None:
    async with open_rig() as rig, serve_model(rig, answer_turns) as model:
        rig.grants = False
        port = await listen(rig.nursery, trio.SocketStream.aclose)
        async with opened(rig) as client:
            await client.text(create())
            rig.grant(await rig.heard(Want), f"http://127.0.0.1:{port}")
            await rig.heard(Broken)
            rig.grant(await rig.heard(Want, 2))
            assert (await client.json())["type"] == "heard"
        await model.over.wait()


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


# --- waiting, idling, ending ---------------------------------------------------------------------


async def test_pings_are_answered_while_loading(open_rig: OpenRig) -> None:
    pongs: list[bytes] = []

    async def ping(talker: Talker) -> None:
        await talker.message()
        await talker.say(ws.Ping(payload=b"from the model"))
        pongs.append(bytes((await talker.next()).payload))
        await talker.text(DONE)
        await talker.closed()

    async with open_rig() as rig, serve_model(rig, ping):
        rig.grants = False
        async with opened(rig) as client:
            await client.text(create())
            want = await rig.heard(Want)
            await client.say(ws.Ping(payload=b"from the client"))
            assert bytes((await client.next()).payload) == b"from the client"
            rig.grant(want)
            assert await client.json() == DONE  # and no ping before it
    assert pongs == [b"from the model"]


async def test_client_gone_while_loading_stops_waiting(
    open_rig: OpenRig,
) -> None:
    async with open_rig() as rig:
        rig.grants = False
        async with opened(rig) as client:
            await client.text(create())
            await rig.heard(Want)
            await client.say(ws.CloseConnection(code=1000))
            assert (await client.closed())[0] == 1000
        with trio.fail_after(20):
            await rig.heard(Leave)
        assert (await rig.record()).outcome == "client_gone"


async def test_waiting_request_can_be_cancelled(open_rig: OpenRig) -> None:
    async with open_rig(upstream_idle_s=0.2) as rig:
        rig.grants = False
        async with opened(rig, "/v1/responses", ID) as client:
            await client.text(create())
            await rig.heard(Want)
            await trio.sleep(0.5)  # a load may take longer than a model is silent
            rig.say(CancelOrder(ask=1, request_id="chosen", caller="", peer=HERE))
            assert (await client.closed())[0] == 1000
        await rig.heard(Leave)
        assert (await rig.record()).outcome == "cancelled"


@pytest.mark.parametrize("in_turn", [True, False])
async def test_silent_socket_ends(open_rig: OpenRig, in_turn: bool) -> None:
    async def hear(talker: Talker) -> None:
        await talker.message()
        if not in_turn:
            await talker.text(DONE)
        await talker.closed()

    async with open_rig(upstream_idle_s=0.3) as rig, serve_model(rig, hear) as model:
        async with opened(rig) as client:
            await client.text(create())
            code, _ = await client.closed()
        await model.over.wait()
        record = await rig.record()

    assert code == (1011 if in_turn else 1001)
    assert record.outcome == ("timeout" if in_turn else "ok")


async def test_head_limit_spares_the_socket(
    open_rig: OpenRig,
) -> None:
    limits = replace(QUICK, head_s=0.5)
    async with (
        open_rig(limits=limits) as rig,
        serve_model(rig, answer_turns),
        opened(rig) as client,
    ):
        await trio.sleep(limits.head_s + 2 * limits.tick_s)
        await client.text(create())
        assert (await client.json())["type"] == "heard"


async def test_talking_socket_does_not_end(own_time: MockClock, open_rig: OpenRig) -> None:
    async def hear(talker: Talker) -> None:
        for _ in range(7):
            await talker.message()
        await talker.text(DONE)
        await talker.closed()

    async with open_rig(upstream_idle_s=2.0) as rig, serve_model(rig, hear), opened(rig) as client:
        await client.text(create())
        for _ in range(6):
            await trio.sleep(0.4)
            await client.text("on")
        assert await client.json() == DONE


async def test_pings_are_no_words(own_time: MockClock, open_rig: OpenRig) -> None:
    async with (
        open_rig(upstream_idle_s=0.5) as rig,
        opened(rig) as client,
        trio.open_nursery() as nursery,
    ):

        async def ping() -> None:
            while True:
                await client.say(ws.Ping())
                await trio.sleep(0.05)

        nursery.start_soon(ping)
        with trio.fail_after(20):
            assert (await client.closed())[0] == 1001
        nursery.cancel_scope.cancel()


async def test_socket_holds_its_lease(open_rig: OpenRig) -> None:
    async with open_rig() as rig, serve_model(rig, answer_turns), opened(rig) as client:
        await client.text(create())
        await client.json()
        assert await client.json() == DONE
        rig.say(Revoke(model="m", lease=1, when_idle=True))
        await client.text(create())
        await client.json()
        assert await client.json() == DONE
        assert rig.count(Release) == 0
        await client.say(ws.CloseConnection(code=1000))
        with trio.fail_after(20):
            await rig.heard(Release)


async def test_idle_socket_makes_room(open_rig: OpenRig) -> None:
    async def answer_when_told(talker: Talker) -> None:
        await talker.message()
        await talker.text({"type": "response.created"})
        await finish.wait()
        await talker.text(DONE)
        await talker.closed()

    finish = trio.Event()
    async with open_rig() as rig, serve_model(rig, answer_when_told), opened(rig) as client:
        await client.text(create())
        assert (await client.json())["type"] == "response.created"
        rig.say(Revoke(model="m", lease=1, when_idle=False))
        with trio.move_on_after(1.5) as waiting:  # longer than between two looks
            await client.next()
        assert waiting.cancelled_caught
        finish.set()
        assert await client.json() == DONE
        assert (await client.closed())[0] == 1001
        await rig.heard(Release)


async def test_finishing_worker_waits_for_turns_only(open_rig: OpenRig) -> None:
    async with open_rig() as rig, serve_model(rig, answer_turns), opened(rig) as client:
        await client.text(create())
        await client.json()
        assert await client.json() == DONE
        rig.say(Finish())
        assert (await client.closed())[0] == 1001
        with trio.fail_after(20):
            await rig.ended.wait()


@pytest.mark.parametrize("request_id", ["chosen", "chosen-t2"])
async def test_cancelled_turn_ends_the_socket(open_rig: OpenRig, request_id: str) -> None:
    async def begin(talker: Talker) -> None:
        await talker.message()
        await talker.text(DONE)
        await talker.message()
        await talker.text({"type": "response.created"})
        await talker.closed()

    async with open_rig() as rig, serve_model(rig, begin) as model:
        async with opened(rig, "/v1/responses", ID) as client:
            for _ in range(2):
                await client.text(create())
                await client.json()
            rig.say(CancelOrder(ask=1, request_id=request_id, caller="", peer=HERE))
            code, reason = await client.closed()
            told = await rig.heard(CancelOutcome)
        await model.over.wait()
        record = await rig.record(2)

    assert (code, reason) == (1000, "this request was cancelled")
    assert told.result == "cancelled"
    assert (record.request_id, record.outcome) == ("chosen-t2", "cancelled")


# --- who may ask, and where ----------------------------------------------------------------------


async def test_socket_key_stays_here(open_rig: OpenRig) -> None:
    async with open_rig(api_keys=("sk-1",)) as rig, serve_model(rig, answer_turns) as model:
        for target in ("/v1/responses", "/v1/realtime?model=m"):
            async with dialled(rig, target) as client:
                answer = await client.next()
                assert isinstance(answer, ws.RejectConnection)
                assert answer.status_code == 401
        key = (b"Authorization", b"Bearer sk-1")
        async with opened(rig, "/v1/responses", key) as client:
            await client.text(create())
            await client.json()
    assert not any(b"sk-1" in value for value in fields_of(model.requests[0]).values())


@pytest.mark.parametrize("target", ["/v1/responses", "/v1/realtime?model=m"])
async def test_without_cors_pages_open_no_socket(open_rig: OpenRig, target: str) -> None:
    async with open_rig(cors=False) as rig, serve_model(rig, answer_turns):
        async with dialled(rig, target, (b"Origin", b"http://there")) as client:
            answer = await client.next()
            assert isinstance(answer, ws.RejectConnection)
            assert answer.status_code == 403
        async with opened(rig, target, (b"Origin", b"http://here")):
            pass


@pytest.mark.parametrize("tls", [False, True])
async def test_peer_gets_own_key_and_name(
    open_rig: OpenRig, tls: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    model = Model(answer_turns)

    async def serve(stream: trio.SocketStream) -> None:
        await model.serve(trio.SSLStream(stream, context, server_side=True) if tls else stream)

    async with trio.open_nursery() as nursery:
        port = await listen(nursery, serve)
        url = f"{'https' if tls else 'http'}://localhost:{port}/base/v1"
        peers = {"p": PeerRoute(peer="p", url=url, api_key="theirs")}
        peer_models = {"far": PeerModel(peer="p", model="their-m")}
        async with open_rig(peers=peers, peer_models=peer_models) as rig:
            key = (b"Authorization", b"Bearer mine")
            async with opened(rig, "/v1/responses", key) as client:
                for _ in range(2):
                    await client.text(create(model="far", input="x" * 100_000))
                    words = (await client.json())["words"]
                    assert json.loads(words) == create(model="their-m", input="x" * 100_000)
                    assert await client.json() == DONE
            async with opened(rig, "/v1/realtime?model=far&a=b", key) as client:
                await client.text("anything")
                assert (await client.json())["words"] == "anything"
            assert rig.count(Want) == 0
        nursery.cancel_scope.cancel()

    first, second = model.requests
    assert first.target == "/base/v1/responses"
    assert second.target == "/base/v1/realtime?model=their-m&a=b"
    for request in model.requests:
        assert request.host == f"localhost:{port}"
        assert fields_of(request)[b"authorization"] == b"Bearer theirs"
        assert not any(b"mine" in value for value in fields_of(request).values())
