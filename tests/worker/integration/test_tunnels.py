"""WebSockets that are passed on as bytes: all but those of the Responses API."""

import json
from contextlib import suppress

import pytest
import trio
import trio.testing
from msgspec.structs import replace
from trio.testing import MockClock
from wsproto import ConnectionType, WSConnection
from wsproto import events as ws
from wsproto.extensions import PerMessageDeflate

from arriero.protocol.lease import (
    CancelOrder,
    Want,
)
from arriero.protocol.values import ErrorInfo
from tests.worker.rig import QUICK, OpenRig, Rig, read_to_end, rig_options
from tests.worker.websocket_client import (
    HERE,
    ID,
    MODEL,
    Talker,
    answer_turns,
    create,
    dialled,
    listen,
    opened,
    serve_model,
    serve_raw,
)

pytestmark = rig_options(models=(MODEL,))
REALTIME = "/v1/realtime?model=em&x=%20y"


async def test_other_sockets_pass_unchanged(open_rig: OpenRig) -> None:
    async def echo(talker: Talker) -> None:
        data = await talker.message()
        await talker.say(ws.TextMessage(data=data))
        await talker.closed()
        await talker.say(ws.CloseConnection(code=1000))

    async with open_rig() as rig, serve_model(rig, echo) as model:
        model.extensions = (PerMessageDeflate(),)
        async with dialled(rig, REALTIME, ID, extensions=[PerMessageDeflate()]) as client:
            answer = await client.next()
            assert [type(it) for it in answer.extensions] == [PerMessageDeflate]
            await client.text("hello " * 1000)
            assert await client.message() == "hello " * 1000
            await client.say(ws.CloseConnection(code=1000))
            await client.closed()
        record = await rig.record()

    assert model.requests[0].target == "/v1/realtime?model=real&x=%20y"
    assert (record.request_id, record.asked, record.model) == ("chosen", "em", "m")
    assert (record.status, record.outcome, record.path) == (101, "ok", "/v1/realtime")
    assert 10 < record.bytes_out < 200  # compressed: nobody has looked inside


async def test_tunnel_without_model_fails_early(open_rig: OpenRig) -> None:
    async with open_rig() as rig, dialled(rig, "/v1/realtime?model=emm") as client:
        answer = await client.next()
        assert isinstance(answer, ws.RejectConnection)
        body = await client.next()
        record = await rig.record()
        assert rig.count(Want) == 0
        async with dialled(rig, "/v1/realtime?model=emm", (b"Accept", b"text/plain")) as other:
            await other.next()
            assert bytes((await other.next()).data).startswith(b"arriero: cannot find a model")
    assert answer.status_code == 404
    assert json.loads(bytes(body.data))["error"]["code"] == "model_not_found"
    assert (record.outcome, record.status) == ("rejected", 404)


@pytest.mark.parametrize(("transient", "status"), [(False, 500), (True, 503)])
async def test_tunnel_after_failed_load_fails(
    open_rig: OpenRig, transient: bool, status: int
) -> None:
    async with open_rig() as rig:
        rig.grants = False
        async with dialled(rig, REALTIME) as client:
            want = await rig.heard(Want)
            error = ErrorInfo(code="x", message="no room", transient=transient)
            rig.refuse(want, error)
            answer = await client.next()
            record = await rig.record()
    assert isinstance(answer, ws.RejectConnection)
    assert answer.status_code == status
    assert record.status == status


@pytest.mark.parametrize(
    "framing",
    [b"Content-Length: 2\r\n\r\nno", b"Transfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"],
)
async def test_refused_tunnel_is_answered(open_rig: OpenRig, framing: bytes) -> None:
    raw = b"HTTP/1.1 426 Upgrade Required\r\nX-Why: no\r\n" + framing
    async with open_rig() as rig, serve_raw(rig, raw), dialled(rig, REALTIME, ID) as client:
        answer = await read_to_end(client.stream)
        record = await rig.record()
    assert answer.startswith(b"HTTP/1.1 426 Upgrade Required\r\n")
    assert b"X-Why: no\r\n" in answer
    assert b"X-Request-Id: chosen\r\n" in answer
    assert b"Connection: close\r\n" in answer
    assert answer.endswith(framing.partition(b"\r\n\r\n")[2])
    assert (record.status, record.outcome) == (426, "upstream_error")


async def test_upstream_stopping_midway_cuts_the_response(open_rig: OpenRig) -> None:
    async def begin(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nhalf")
        await trio.sleep_forever()

    async with open_rig(upstream_idle_s=0.3) as rig:
        rig.upstream.port = await listen(rig.nursery, begin)
        async with dialled(rig, REALTIME) as client:
            with trio.fail_after(20):
                assert (await read_to_end(client.stream)).endswith(b"half<reset>")
        assert (await rig.record()).outcome == "upstream_error"


async def test_loading_socket_waits_like_streams(open_rig: OpenRig) -> None:
    async with open_rig(nonstream_hold_s=0.2) as rig, serve_model(rig, answer_turns):
        rig.grants = False
        async with dialled(rig, REALTIME) as client:
            answer = await client.next()
            assert isinstance(answer, ws.RejectConnection)  # one that is no socket yet is not
            assert answer.status_code == 503
        async with opened(rig) as client:
            await client.text(create())
            want = await rig.heard(Want, 2)
            await trio.sleep(0.5)
            rig.grant(want)
            assert (await client.json())["type"] == "heard"


async def open_raw_tunnel(rig: Rig) -> trio.SocketStream:
    stream = await rig.connect()
    client = WSConnection(ConnectionType.CLIENT)
    await stream.send_all(client.send(ws.Request(host="here", target=REALTIME)))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await stream.receive_some(1)
    assert head.startswith(b"HTTP/1.1 101 "), head
    return stream


@pytest.mark.parametrize("first", ["client", "upstream"])
async def test_half_closed_tunnel_still_receives(
    own_time: MockClock, open_rig: OpenRig, first: str
) -> None:
    heard: list[bytes] = []
    told = trio.Event()

    async def talk(talker: Talker) -> None:
        stream = talker.stream
        if first == "upstream":
            await stream.send_all(b"question")
            await stream.send_eof()
        heard.append(await read_to_end(stream))
        told.set()
        if first == "client":
            await trio.sleep(1)  # longer than clients that have gone are overlooked
            await stream.send_all(b"answer")

    async with open_rig() as rig, serve_model(rig, talk):
        async with await open_raw_tunnel(rig) as client:
            if first == "client":
                await client.send_all(b"question")
                await client.send_eof()
                assert await read_to_end(client) == b"answer"
            else:
                assert await read_to_end(client) == b"question"
                await client.send_all(b"answer")
                await client.send_eof()
            await told.wait()
        record = await rig.record()

    assert heard == [b"question" if first == "client" else b"answer"]
    assert record.outcome == "ok"


async def test_slow_client_slows_the_upstream(open_rig: OpenRig) -> None:
    piece = b"x" * 1_000_000
    sent = 0

    async def flood(talker: Talker) -> None:
        nonlocal sent
        with suppress(trio.BrokenResourceError):
            while True:
                await talker.stream.send_all(piece)
                sent += len(piece)

    async with open_rig() as rig, serve_model(rig, flood) as model:
        async with await open_raw_tunnel(rig):
            before = -1
            while before < sent:
                before = sent
                await trio.sleep(0.3)
        await model.over.wait()
        record = await rig.record()
    # what the kernel holds for two connections, and nothing of ours
    assert sent < 40_000_000
    assert record.bytes_out <= sent + len(piece)
    assert record.outcome == "client_gone"


async def test_silent_tunnel_ends(open_rig: OpenRig) -> None:
    async def hear(talker: Talker) -> None:
        await read_to_end(talker.stream)

    async with open_rig(upstream_idle_s=0.3) as rig, serve_model(rig, hear) as model:
        async with await open_raw_tunnel(rig) as client:
            assert await read_to_end(client) == b""
        await model.over.wait()
        record = await rig.record()
    assert record.outcome == "timeout"


@pytest.mark.parametrize("who", ["client", "upstream"])
async def test_one_sided_tunnel_goes_on(own_time: MockClock, open_rig: OpenRig, who: str) -> None:
    heard: list[bytes] = []

    async def speak(stream: trio.SocketStream) -> None:
        for _ in range(6):
            await trio.sleep(0.4)
            await stream.send_all(b"x")

    async def talk(talker: Talker) -> None:
        if who == "upstream":
            await speak(talker.stream)
        else:
            heard.append(await read_to_end(talker.stream))

    async with open_rig(upstream_idle_s=2.0) as rig, serve_model(rig, talk) as model:
        async with await open_raw_tunnel(rig) as client:
            if who == "client":
                await speak(client)
            else:
                heard.append(await read_to_end(client))
        await model.over.wait()
    assert heard == [b"x" * 6]


async def test_half_closed_silent_tunnel_ends(open_rig: OpenRig) -> None:
    async def hear(talker: Talker) -> None:
        await read_to_end(talker.stream)
        await trio.sleep_forever()

    limits = replace(QUICK, half_closed_s=0.2)
    async with (
        open_rig(limits=limits) as rig,
        serve_model(rig, hear),
        await open_raw_tunnel(rig) as client,
    ):
        await client.send_eof()
        assert await read_to_end(client) == b""
        assert (await rig.record()).outcome == "timeout"


async def test_a_tunnel_can_be_cancelled(open_rig: OpenRig) -> None:
    async def hear(talker: Talker) -> None:
        await read_to_end(talker.stream)

    async with open_rig() as rig, serve_model(rig, hear) as model:
        async with opened(rig, REALTIME, ID) as client:
            rig.say(CancelOrder(ask=1, request_id="chosen", caller="", peer=HERE))
            assert (await client.closed())[0] == 1006
        await model.over.wait()
        record = await rig.record()
    assert (record.status, record.outcome) == (101, "cancelled")


async def test_socket_without_model_is_told_how(open_rig: OpenRig) -> None:
    async with open_rig() as rig, dialled(rig, "/v1/realtime") as client:
        answer = await client.next()
        body = await client.next()
    assert isinstance(answer, ws.RejectConnection)
    assert answer.status_code == 404
    assert "?model=" in json.loads(bytes(body.data))["error"]["message"]
