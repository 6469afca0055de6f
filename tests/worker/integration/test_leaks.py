"""Whatever becomes of requests, nothing of them stays: no task, no connection, no lease in use."""

import gc
import random
from typing import Any

import pytest
import trio
import trio.testing

from arriero.protocol.lease import CancelOrder, Report, Want
from arriero.protocol.worker_config import ModelRoute
from arriero.worker import app
from arriero.worker.limits import Limits
from arriero.worker.relay.context import RelayContext
from tests.worker.growth import tasks
from tests.worker.rig import (
    QUICK,
    OpenRig,
    Rig,
    UpstreamExchange,
    post,
    read_response,
    read_to_end,
    rig_options,
)
from tests.worker.sse import SSE_HEAD, STREAM

PREFILL = b"X-Prefill-Progress: comment"

pytestmark = rig_options(
    models=(ModelRoute(model="m"),), progress_delay_s=0.0, limits=Limits(report_s=0.05)
)


async def tasks_are(expected: int) -> bool:
    """Say whether so many tasks live, once those that are about to end have ended."""
    with trio.move_on_after(20):
        while tasks() != expected:
            await trio.testing.wait_all_tasks_blocked(0.01)
    return tasks() == expected


async def settled(rig: Rig) -> None:
    """Return when a report that is made from now on says that nothing runs."""
    with trio.fail_after(20):
        while (await rig.heard(Report, rig.count(Report) + 2)).in_flight:
            pass


async def hang(exchange: UpstreamExchange) -> None:
    """Read a prompt for ever."""
    await exchange.stream.receive_some()
    await exchange.stream.aclose()


@pytest.mark.parametrize(
    ("head", "told"),
    [(b"", ()), (b"", (PREFILL,)), (SSE_HEAD, ()), (SSE_HEAD + b": up\n\n", (PREFILL,))],
)
async def test_client_gone_during_prompt_leaves_nothing(
    open_rig: OpenRig, head: bytes, told: tuple[bytes, ...]
) -> None:
    async def handler(exchange: UpstreamExchange) -> None:
        if head:
            await exchange.stream.send_all(head)
        await hang(exchange)

    async with open_rig(handler, heartbeat_s=0.5) as rig:
        await rig.ask(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")  # it serves
        await settled(rig)
        before = tasks()
        stream = await rig.connect()
        await stream.send_all(post(STREAM, *told))
        await rig.upstream.asked.wait()
        assert (await rig.heard(Report, rig.count(Report) + 2)).in_flight == {"m": 1}

        await stream.aclose()
        with trio.fail_after(20):
            await rig.upstream.closed.wait()
        record = await rig.record()
        await settled(rig)

        assert record.outcome == "client_gone"
        assert await tasks_are(before)
        assert rig.count(Want) == 1
        async with await rig.connect() as stream:  # on the lease that is still held
            await stream.send_all(post(STREAM))
            await rig.heard(Report, rig.count(Report) + 2)
        assert rig.count(Want) == 1


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("begun", "body", "attempts", "rounds"),
    [(b"H", STREAM, 1, 1000), (b"", b'{"model":"m"}', 2, 200)],  # no answer at all: once more
)
async def test_failing_upstreams_leave_nothing(
    open_rig: OpenRig, begun: bytes, body: bytes, attempts: int, rounds: int
) -> None:
    beside = 10

    async def fail(exchange: UpstreamExchange) -> None:
        await exchange.stream.send_all(begun)
        await exchange.stream.aclose()

    async with open_rig(fail) as rig:
        await rig.ask(post(body))
        await settled(rig)
        before = tasks()

        async def ask() -> None:
            async with await rig.connect() as stream:
                for _ in range(rounds // beside):
                    await stream.send_all(post(body, close=False))
                    answer = await read_response(stream)
                    assert answer.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")

        async with trio.open_nursery() as nursery:
            for _ in range(beside):
                nursery.start_soon(ask)
        await rig.record(rounds + 1)
        await settled(rig)

        assert rig.count(Want) == 1 + (attempts - 1) * (rounds + 1)
        assert rig.upstream.open_connections == 0
        assert rig.upstream.connections == attempts * (rounds + 1)
        assert await tasks_are(before)


async def test_all_kinds_of_ends_leave_nothing(
    open_rig: OpenRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(11)
    found: list[RelayContext] = []

    def make(**more: Any) -> RelayContext:
        found.append(RelayContext(**more))
        return found[-1]

    monkeypatch.setattr(app, "RelayContext", make)

    async def handler(exchange: UpstreamExchange) -> None:
        fate = chance.randrange(4) if exchange.number > 1 else 0
        if fate:
            await exchange.stream.send_all(SSE_HEAD + b'data: {"x":1}\n\n')
        if fate > 1:
            await trio.sleep(0.3)
        if fate > 2:
            await hang(exchange)
        await exchange.stream.aclose()

    async with open_rig(handler, heartbeat_s=0.1) as rig:
        await rig.ask(post(STREAM))
        await settled(rig)
        before = tasks()

        async def ask(number: int) -> None:
            request = post(STREAM, b"X-Request-Id: r%d" % number, *[PREFILL] * (number % 2))
            async with await rig.connect() as stream:
                await stream.send_all(request)
                if number % 3:
                    with trio.move_on_after(0.2 * chance.randrange(4)):
                        await read_to_end(stream)
                else:
                    await stream.receive_some()
                    rig.say(CancelOrder(ask=number, request_id=f"r{number}", caller=None))
                    await read_to_end(stream)

        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(ask, number)
        await rig.record(201)
        await settled(rig)
        await trio.sleep(QUICK.tick_s)  # beats of streams that have ended are dropped when due
        gc.collect()

        (service,) = found
        assert service.monitor.connections == set()
        assert service.monitor._beats == []
        assert service.running._running == {}
        assert service.running._cancelled == set()
        assert rig.upstream.open_connections == 0
        assert await tasks_are(before)
        outcomes = {record.outcome for record in rig.records}
        assert outcomes == {"client_gone", "cancelled", "upstream_error"}
