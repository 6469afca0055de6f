"""Many streams that wait for long: cheap, and in time."""

import itertools
import os
import time
from collections.abc import Callable
from typing import Any

import httpx
import psutil
import pytest
import trio
from trains import PATIENCE_S, Train

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

STREAMS = 50

# Seconds of heartbeats, a second apart. A minute over night: drift needs time.
SOAK_S = 60 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 5

# Part of one core that the workers may use for it. It is 1 % on a quiet machine; another one that
# is busy at the same time makes everything take longer, CPU time included.
MOST_CPU = 0.05


def worker_cpu_s(train: Train) -> float:
    times = [psutil.Process(pid).cpu_times() for pid in train.workers().values()]
    return sum(one.user + one.system for one in times)


async def heartbeats(train: Train, came: list[float], begun: trio.Event) -> None:
    """Read one stream for as long as it is not cancelled, and note when something came."""
    body = {"model": "slow", "stream": True, "messages": []}
    async with (
        httpx.AsyncClient(timeout=PATIENCE_S) as client,
        client.stream("POST", f"{train.url}/v1/chat/completions", json=body) as response,
    ):
        async for line in response.aiter_lines():
            if line:
                came.append(time.monotonic())
                begun.set()


async def test_fifty_streams_wait_together_and_each_hears_a_heartbeat_every_second(
    start_train: Callable[..., Train], scripted: Callable[..., str], capsys: Any
) -> None:
    train = await trio.to_thread.run_sync(
        start_train,
        {
            "heartbeatInterval": "1s",
            "progressDelay": "0s",
            "models": {"slow": {"cmd": scripted("--name", "slow", "--never-ready")}},
        },
    )
    found: list[list[float]] = [[] for _ in range(STREAMS)]
    async with trio.open_nursery() as nursery:
        begun = [trio.Event() for _ in found]
        for came, event in zip(found, begun, strict=True):
            nursery.start_soon(heartbeats, train, came, event)
        with trio.fail_after(PATIENCE_S):
            for event in begun:
                await event.wait()
        before, began = worker_cpu_s(train), time.monotonic()
        await trio.sleep(SOAK_S)
        took = time.monotonic() - began
        share = (worker_cpu_s(train) - before) / took
        nursery.cancel_scope.cancel()

    with capsys.disabled():
        print(f" {share:.1%} of one core for {STREAMS} streams over {took:.0f} s ", end="")
    assert share < MOST_CPU
    for came in found:
        beats = [at - came[0] for at in came if at <= began + took]
        # as many as there were seconds, and the last one where it has to be
        assert len(beats) - 1 == pytest.approx(beats[-1], abs=1.0)
        gaps = [later - earlier for earlier, later in itertools.pairwise(beats)]
        assert max(gaps) < 2.0
