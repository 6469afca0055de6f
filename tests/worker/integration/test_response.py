"""The relay door with real sockets: a warm model, and upstreams that break in one way each."""

import os
import re
import socket

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from arriero.protocol.lease import Broken, Release, Report, Revoke, Void, Want
from arriero.protocol.worker_config import ModelRoute
from tests.worker.rig import (
    QUICK,
    Handler,
    OpenRig,
    Rig,
    UpstreamExchange,
    answer_json,
    post,
    read_response,
    read_to_end,
    rig_options,
    unchunk,
)
from tests.worker.sse import CHUNKED_HEAD, DONE, STREAM, in_chunk

TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'


def in_pieces(*pieces: bytes, close: bool = False) -> Handler:
    """Make an upstream that sends these pieces, each after the one before has been read."""

    async def handler(exchange: UpstreamExchange) -> None:
        for piece in pieces:
            await exchange.stream.send_all(piece)
            await trio.testing.wait_all_tasks_blocked(0.002)
        if close:
            await exchange.stream.aclose()

    return handler


async def test_an_answer_passes_as_it_came(rig: Rig) -> None:
    answer = await rig.ask(post())

    assert answer == (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n"
        b'Connection: close\r\n\r\n{"hello":"x"}'
    )


async def test_keys_stay_here(open_rig: OpenRig) -> None:
    async with open_rig(answer_json, api_keys=("s3cret",)) as rig:
        await rig.ask(
            post(b'{"model":"m"}', b"Authorization: Bearer s3cret", b"X-Swap-Progress: on")
        )

    (exchange,) = rig.upstream.exchanges
    own = re.compile(rb"(?m)^(traceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-01|X-Request-Id: .*)\r\n")
    assert own.sub(b"", exchange.head) == (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAccept-Encoding: identity\r\n"
        b"X-Forwarded-For: 127.0.0.1\r\nContent-Length: 13"
    )
    assert exchange.body == b'{"model":"m"}'


async def test_warm_requests_ask_no_supervisor(rig: Rig) -> None:
    async with await rig.connect() as stream:
        for _ in range(20):
            await stream.send_all(post(close=False))
            assert (await read_response(stream)).endswith(b'{"hello":"x"}')

    assert rig.count(Want) == 1
    assert rig.upstream.connections == 1


async def test_pipelined_requests_are_answered_in_order(rig: Rig) -> None:
    bad = post(b'{"model":"nobody"}', close=False)

    answer = await rig.ask(post(close=False) + bad + post())

    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"200", b"404", b"200"]


async def test_http_1_0_gets_no_chunks(open_rig: OpenRig) -> None:
    async with open_rig(
        in_pieces(CHUNKED_HEAD + in_chunk(TOKEN), in_chunk(STOP + DONE) + b"0\r\n\r\n")
    ) as rig:
        answer = await rig.ask(
            b"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: 27\r\n\r\n" + STREAM
        )

    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert b"Connection: close" in head
    assert body == TOKEN + STOP + DONE


async def test_chunked_request_gets_a_length(rig: Rig) -> None:
    await rig.ask(
        b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        b'Connection: close\r\n\r\n5\r\n{"mod\r\n8\r\nel":"m"}\r\n0\r\n\r\n'
    )

    (exchange,) = rig.upstream.exchanges
    assert exchange.body == b'{"model":"m"}'
    assert b"Content-Length: 13" in exchange.head


async def test_expecting_client_is_told_to_continue(rig: Rig) -> None:
    head, _, body = post(b'{"model":"m"}', b"Expect: 100-continue").partition(b"\r\n\r\n")
    async with await rig.connect() as stream:
        await stream.send_all(head + b"\r\n\r\n")
        assert await stream.receive_some() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await stream.send_all(body)

        assert (await read_to_end(stream)).startswith(b"HTTP/1.1 200 OK")


async def test_model_is_renamed_for_upstream(open_rig: OpenRig) -> None:
    models = (ModelRoute(model="m", aliases=("em",), send_as="real"),)
    async with open_rig(models=models) as rig:
        await rig.ask(post(b'{"x": 1,  "model":"em"}'))

    assert rig.upstream.exchanges[0].body == b'{"x": 1,  "model":"real"}'


@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
async def test_stream_passes_however_it_is_cut(open_rig: OpenRig, ends: bytes) -> None:
    frames = (b": hi\n\n" + TOKEN * 3 + b"event: x\ndata: 1\ndata: 2\n\n" + STOP + DONE).replace(
        b"\n", ends
    )
    pieces = [in_chunk(frames[n : n + 7]) for n in range(0, len(frames), 7)]
    async with open_rig(in_pieces(CHUNKED_HEAD, *pieces, b"0\r\n\r\n")) as rig:
        answer = await rig.ask(post(STREAM))

    assert unchunk(answer) == frames
    assert b"X-Accel-Buffering: no\r\n" in answer
    assert b"X-Swap-Progress: heartbeat\r\n" in answer  # the first request has to ask


async def test_frame_is_never_cut(open_rig: OpenRig) -> None:
    half = len(TOKEN) // 2
    async with (
        open_rig(in_pieces(CHUNKED_HEAD + in_chunk(TOKEN + TOKEN[:half]))) as rig,
        await rig.connect() as stream,
    ):
        await stream.send_all(post(STREAM))
        seen = b""
        while TOKEN not in seen:
            seen += await stream.receive_some()

    assert seen.endswith(in_chunk(TOKEN))


@pytest.mark.parametrize(
    ("pieces", "code"),
    [
        ((CHUNKED_HEAD, in_chunk(TOKEN)), b"upstream_disconnected"),
        ((CHUNKED_HEAD, in_chunk(TOKEN + TOKEN[:9])), b"upstream_disconnected"),
        ((CHUNKED_HEAD, in_chunk(TOKEN)[:20]), b"upstream_disconnected"),
        ((CHUNKED_HEAD,), b"upstream_disconnected"),
        ((CHUNKED_HEAD, in_chunk(TOKEN), b"0\r\n\r\n"), b"upstream_truncated"),
        ((CHUNKED_HEAD, b"0\r\n\r\n"), b"upstream_truncated"),
        ((CHUNKED_HEAD, in_chunk(TOKEN), b"nonsense\r\n"), b"upstream_disconnected"),
    ],
)
async def test_incomplete_stream_ends_with_error_frame(
    open_rig: OpenRig, pieces: tuple[bytes, ...], code: bytes
) -> None:
    async with open_rig(in_pieces(*pieces, close=True)) as rig:
        body = unchunk(await rig.ask(post(STREAM)))

    assert body.removeprefix(TOKEN).startswith(b'data: {"error":{"message":"the model\'s server')
    assert b'"type":"upstream_error","param":null,"code":"%b"' % code in body
    assert body.endswith(b"\n\n" + DONE)


@pytest.mark.parametrize("end", [STOP, DONE, STOP + DONE, STOP + DONE + b"data: half"])
async def test_ended_stream_survives_the_upstream(open_rig: OpenRig, end: bytes) -> None:
    async with open_rig(in_pieces(CHUNKED_HEAD, in_chunk(TOKEN + end), close=True)) as rig:
        body = unchunk(await rig.ask(post(STREAM)))

    assert body == TOKEN + end.removesuffix(b"data: half").removesuffix(DONE) + DONE


async def test_stream_without_marker_is_left_alone(
    open_rig: OpenRig,
) -> None:
    async with open_rig(in_pieces(CHUNKED_HEAD, in_chunk(TOKEN + STOP), b"0\r\n\r\n")) as rig:
        body = unchunk(await rig.ask(post(STREAM)))

    assert body == TOKEN + STOP


@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"1234"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"4\r\n1234\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"4\r\n1234\r\nzz"),
    ],
)
async def test_cut_plain_response_ends_uncleanly(
    open_rig: OpenRig, pieces: tuple[bytes, ...]
) -> None:
    async with open_rig(in_pieces(*pieces, close=True)) as rig:
        answer = await rig.ask(post())

    assert b"0\r\n\r\n" not in answer
    assert b"12345" not in answer
    assert answer.endswith((b"<reset>", b"1234\r\n"))


async def test_response_until_close_is_framed(open_rig: OpenRig) -> None:
    async with open_rig(in_pieces(b"HTTP/1.0 200 OK\r\nX: y\r\n\r\n12", b"34", close=True)) as rig:
        assert unchunk(await rig.ask(post())) == b"1234"


@pytest.mark.parametrize(
    ("answer", "passed"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", b"204 No Content"),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b"304 Not Modified"),
        (b"HTTP/1.1 429 Slow Down\r\nContent-Length: 0\r\n\r\n", b"429 Slow Down"),
    ],
)
async def test_answers_without_a_body_pass(open_rig: OpenRig, answer: bytes, passed: bytes) -> None:
    async with open_rig(in_pieces(answer)) as rig:
        got = await rig.ask(post())

    assert got.startswith(b"HTTP/1.1 " + passed + b"\r\n")
    assert got.endswith(b"\r\n\r\n")


async def test_large_bodies_pass_both_ways(open_rig: OpenRig) -> None:
    blob = os.urandom(3_000_000).hex().encode()

    async def handler(exchange: UpstreamExchange) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(exchange.body)
        await exchange.stream.send_all(head + exchange.body)

    async with open_rig(handler) as rig:
        body = b'{"x":"%b","model":"m"}' % blob
        answer = await rig.ask(post(body))

    assert answer.partition(b"\r\n\r\n")[2] == body


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200", b"SSH-2.0\r\n\r\n", b"HTTP/1.1 200 OK\r\n"]
)
async def test_death_before_head_is_502(open_rig: OpenRig, answer: bytes) -> None:
    async with open_rig(in_pieces(answer, close=True)) as rig:
        got = await rig.ask(post())

    assert got.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert b'"type":"upstream_error","param":null,"code":"upstream_disconnected"' in got


async def test_closed_idle_connection_costs_nothing(open_rig: OpenRig) -> None:
    async def handler(exchange: UpstreamExchange) -> None:
        if exchange.number == 1:
            await exchange.stream.aclose()  # read, and closed without a word
        else:
            await answer_json(exchange)

    async with open_rig(handler) as rig:
        first, second = [await rig.ask(post()) for _ in range(2)]

    assert first == second
    assert rig.upstream.connections == 2
    assert len(rig.upstream.exchanges) == 3


async def test_refusing_endpoint_is_asked_again(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as dead:
        url = f"http://127.0.0.1:{dead.getsockname()[1]}"
    rig.grants = False
    rig.nursery.start_soon(_grant_in_turn, rig, [url, rig.upstream.url])

    answer = await rig.ask(post())

    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert (await rig.heard(Broken)).model == "m"
    assert rig.count(Want) == 2


@rig_options(limits=replace(QUICK, refusing_s=0.05))
async def test_refusing_for_long_is_502(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as dead:
        url = f"http://127.0.0.1:{dead.getsockname()[1]}"
    rig.grants = False
    rig.nursery.start_soon(_grant_in_turn, rig, [url, url])

    assert (await rig.ask(post())).startswith(b"HTTP/1.1 502 Bad Gateway")


async def _grant_in_turn(rig: Rig, urls: list[str]) -> None:
    for number, url in enumerate(urls, 1):
        rig.grant(await rig.heard(Want, number), url)


async def test_client_gone_cuts_the_upstream(open_rig: OpenRig) -> None:
    async with open_rig(in_pieces()) as rig:  # never answers
        stream = await rig.connect()
        await stream.send_all(post() + b"pipelined bytes that nobody reads")
        await rig.upstream.asked.wait()
        await stream.aclose()

        with trio.fail_after(20):
            await rig.upstream.closed.wait()


async def test_client_gone_midstream_cuts_the_upstream(
    open_rig: OpenRig,
) -> None:
    async with open_rig(in_pieces(CHUNKED_HEAD + in_chunk(TOKEN))) as rig:
        stream = await rig.connect()
        await stream.send_all(post(STREAM))
        await stream.receive_some()
        await stream.aclose()

        with trio.fail_after(20):
            await rig.upstream.closed.wait()
        while (report := await rig.heard(Report, rig.count(Report) + 1)).in_flight:
            pass
    assert report.in_flight == {}


async def test_client_that_never_reads_is_cut(open_rig: OpenRig) -> None:
    async def handler(exchange: UpstreamExchange) -> None:
        await exchange.stream.send_all(CHUNKED_HEAD)
        while True:
            await exchange.stream.send_all(in_chunk(TOKEN * 1000))

    async with open_rig(handler, limits=replace(QUICK, write_s=0.5)) as rig:
        stream = await rig.connect()
        await stream.send_all(post(STREAM))

        with trio.fail_after(20):
            await rig.upstream.closed.wait()
        await stream.aclose()


async def test_revoked_lease_is_released_when_idle(open_rig: OpenRig) -> None:
    go_on = trio.Event()

    async def handler(exchange: UpstreamExchange) -> None:
        await go_on.wait()
        await answer_json(exchange)

    async with open_rig(handler) as rig, await rig.connect() as stream:
        await stream.send_all(post(close=False))
        await rig.heard(Want)
        rig.say(Revoke(model="m", lease=1, when_idle=False))
        await rig.heard(Report, 3)
        assert rig.count(Release) == 0

        go_on.set()
        assert await rig.heard(Release) == Release(model="m", lease=1)
        await read_response(stream)
        await stream.send_all(post(close=False))
        assert rig.received.index(await rig.heard(Want, 2)) > rig.received.index(
            await rig.heard(Release)
        )


async def test_void_lease_is_asked_for_again(rig: Rig) -> None:
    await rig.ask(post())
    rig.say(Void(model="m", lease=1))
    await rig.heard(Report, rig.count(Report) + 2)

    await rig.ask(post())

    assert rig.count(Want) == 2
    assert rig.count(Release) == 0
