"""No bytes of a client keep the loop for long: seconds of CPU of the longest step of any task.

What `tests.bench.stalls` measures from outside, at sizes that are small enough for each day, and
in time that does not depend on what else the machine does.
"""

import pytest
import trio

from arriero.protocol.worker_config import ModelRoute
from tests.bench.stalls import SHAPES, Shape
from tests.worker.growth import assert_short_steps
from tests.worker.rig import OpenRig, Rig, UpstreamExchange, post

# The promise is 50 ms; a busy machine, whose caches others use, takes twice as long for the same.
LIMIT_S = 0.1
SIZE = 3 * 1024**2


async def send(rig: Rig, request: bytes) -> None:
    """Send a request and read its answer, whatever that is."""
    async with await rig.connect() as stream:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.send_all, request)
                async for _ in stream:
                    pass
                nursery.cancel_scope.cancel()
        except* trio.BrokenResourceError:
            pass


async def forget(exchange: UpstreamExchange) -> None:
    """Answer like a model's server."""
    exchange.body = b""
    await exchange.stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


@pytest.mark.parametrize("shape", SHAPES, ids=[shape.name for shape in SHAPES])
async def test_the_loop_is_never_kept(open_rig: OpenRig, shape: Shape) -> None:
    request = shape.build(SIZE if shape.connections == 1 else SIZE // 64)
    models = (ModelRoute(model="small"),)
    async with open_rig(forget, models=models) as rig:
        await rig.ask(post(b'{"model":"small"}'))

        async def send_all() -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(shape.connections):
                    nursery.start_soon(send, rig, request)

        await assert_short_steps(send_all, LIMIT_S)
