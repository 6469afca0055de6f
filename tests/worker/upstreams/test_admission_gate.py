"""Requests wait for room at an upstream in this worker, in order."""

import os
import socket
from pathlib import Path
from typing import Any

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from arriero.worker.limits import Limits
from arriero.worker.upstreams.admission_gate import AdmissionGate
from arriero.worker.upstreams.pool import Endpoint
from tests.worker.rig import OpenRig, UpstreamExchange, answer_json, post


def test_limited_number_enters_in_order() -> None:
    gate = AdmissionGate(2)
    assert [gate.enter_now() for _ in range(3)] == [True, True, False]
    first, second, third = (gate.line_up() for _ in range(3))

    gate.leave()
    assert [place.is_set() for place in (first, second, third)] == [True, False, False]
    gate.give_up(second)
    gate.leave()
    assert third.is_set()


def test_given_up_place_goes_to_next() -> None:
    gate = AdmissionGate(1)
    gate.enter_now()
    got, after = gate.line_up(), gate.line_up()
    gate.leave()

    gate.give_up(got)

    assert after.is_set()
    gate.leave()
    assert gate.enter_now()


async def test_upstream_gets_limited_requests_at_once(open_rig: OpenRig) -> None:
    """Forty ask at once; the upstream never has more than three of them, and answers all."""
    now = most = 0

    async def handler(exchange: UpstreamExchange) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await wait_all_tasks_blocked(0.001)
        now -= 1
        await answer_json(exchange)

    async with open_rig(handler, limits=Limits(unanswered=3)) as rig:
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                assert (await rig.ask(post())).startswith(b"HTTP/1.1 200")

            for _ in range(40):
                nursery.start_soon(ask)
        assert most == 3
        assert len(rig.upstream.exchanges) == 40
        assert rig.upstream.connections <= 40


async def test_leaver_lets_the_next_one_in(open_rig: OpenRig) -> None:
    go = trio.Event()

    async def handler(exchange: UpstreamExchange) -> None:
        await go.wait()
        await answer_json(exchange)

    async with open_rig(handler, limits=Limits(unanswered=1)) as rig:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.ask, post())
            await rig.upstream.asked.wait()
            async with await rig.connect() as leaver:
                await leaver.send_all(post())
                await wait_all_tasks_blocked(0.05)
            go.set()
        assert (await rig.ask(post())).startswith(b"HTTP/1.1 200")


async def test_full_unix_backlog_is_tried_again(tmp_path: Path, autojump_clock: MockClock) -> None:
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen(0)
        endpoint = Endpoint(os.fspath(path), None)
        first = await endpoint.open()  # the only place
        second: list[Any] = []

        async def open_second() -> None:
            second.append(await endpoint.open())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_second)
            await trio.sleep(1)
            assert second == []
            listener.accept()[0].close()
        for link in (first, *second):
            link.transport.close()
