"""`timeouts` of a model, with servers that answer late, or say first whether they want a form."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
import trio

from arriero.protocol.lease import Want
from arriero.protocol.worker_config import ModelRoute, Timeouts
from tests.worker.rig import OpenRig, Rig, UpstreamExchange, post, read_to_end

FORM = (
    b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n'
    b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nsound\r\n--B--\r\n'
)
HEAD = (
    b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    b"Content-Type: multipart/form-data; boundary=B\r\nContent-Length: %d\r\n%b\r\n"
)
EXPECTS = b"Expect: 100-continue\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

Server = Callable[[trio.SocketStream], Awaitable[None]]


def model(**timeouts: float) -> tuple[ModelRoute, ...]:
    return (ModelRoute(model="m", timeouts=Timeouts(**timeouts)),)


async def read_head(stream: trio.SocketStream) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive_some(1)
    return data


@asynccontextmanager
async def at_server(rig: Rig, serve: Server) -> AsyncGenerator[trio.SocketStream, None]:
    """Let the model be `serve`; gives the connection of a client that sends the form."""
    rig.grants = False
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        async with await rig.connect() as client:
            await client.send_all(HEAD % (len(FORM), EXPECTS))
            assert (await client.receive_some()).startswith(b"HTTP/1.1 100 Continue\r\n")
            await client.send_all(FORM)
            rig.grant(await rig.heard(Want), url)
            yield client
        nursery.cancel_scope.cancel()


async def test_a_model_has_so_long_for_the_head_of_its_answer(open_rig: OpenRig) -> None:
    async def silent(exchange: UpstreamExchange) -> None:
        await trio.sleep_forever()

    async with open_rig(silent, models=model(response_header_s=0.3)) as rig:
        assert (await rig.ask(post())).startswith(b"HTTP/1.1 504 ")


async def test_a_form_is_sent_when_its_server_says_so(open_rig: OpenRig) -> None:
    heads: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        heads.append(await read_head(stream))
        with trio.move_on_after(0.2) as waiting:
            await stream.receive_some()
        assert waiting.cancelled_caught, "it did not wait"
        await stream.send_all(b"HTTP/1.1 100 Con")
        await stream.send_all(b"tinue\r\n\r\n")
        body = b""
        while len(body) < len(FORM):
            body += await stream.receive_some()
        assert body == FORM
        await stream.send_all(OK)

    async with open_rig(models=model(expect_continue_s=60)) as rig, at_server(rig, serve) as client:
        assert (await read_to_end(client)).startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nExpect: 100-continue\r\n" in heads[0]


async def test_a_form_that_is_refused_is_not_sent(open_rig: OpenRig) -> None:
    got: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        await read_head(stream)
        await stream.send_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        got.append(await stream.receive_some())

    async with open_rig(models=model(expect_continue_s=60)) as rig, at_server(rig, serve) as client:
        assert (await read_to_end(client)).startswith(b"HTTP/1.1 413 ")
    assert got == [b""]


@pytest.mark.parametrize("piece", [b"x" * 60_000, b"\r\n\r\nHTTP/1.1 100 Continue" * 3000])
async def test_who_never_comes_to_its_answer_is_given_up(open_rig: OpenRig, piece: bytes) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await read_head(stream)
        with suppress(trio.BrokenResourceError):
            await stream.send_all(b"HTTP/1.1 100 ")
            for _ in range(100):
                await stream.send_all(piece)
            await trio.sleep_forever()

    async with open_rig(models=model(expect_continue_s=60)) as rig, at_server(rig, serve) as client:
        assert (await read_to_end(client)).startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize(("expect_s", "asks"), [(0.2, True), (0, False)])
async def test_a_server_that_says_nothing_gets_the_form(
    open_rig: OpenRig, expect_s: float, asks: bool
) -> None:
    heads: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        heads.append(await read_head(stream))
        body = b""
        while len(body) < len(FORM):
            body += await stream.receive_some()
        await stream.send_all(OK)

    models = model(expect_continue_s=expect_s)
    async with open_rig(models=models) as rig, at_server(rig, serve) as client:
        assert (await read_to_end(client)).startswith(b"HTTP/1.1 200 OK\r\n")
    assert (b"Expect:" in heads[0]) is asks
