"""Many streams that wait for long: cheap, and in time."""

import itertools
import os
import socket
import time
from collections.abc import Callable
from typing import Any

import httpx
import psutil
import pytest
import trio
from trains import PATIENCE_S, Train, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

STREAMS = 50

# Seconds of heartbeats, a second apart. A minute over night: drift needs time.
SOAK_S = 60 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 5

# Seconds that a busy machine may let a worker, or its clients, stand still.
LATE_S = 3.0


@pytest.fixture(scope="module")
def shared(start_shared_train: Callable[..., Train], scripted: Callable[..., str]) -> Train:
    """A train with one worker, whose waiting streams have a heartbeat every second."""
    return start_shared_train(
        {
            "progress": "heartbeat",
            "progressDelay": "0s",
            "heartbeatInterval": "1s",
            "models": {
                "slow": {"cmd": scripted("--name", "slow", "--never-ready")},
                "a": {"cmd": scripted("--name", "a")},
            },
        }
    )


@pytest.fixture
def train(shared: Train) -> Train:
    """This one, of which no model runs."""
    return shared.emptied()


# How often the loop of a worker wakes for each thing that it sends, and in a second without: what
# costs is to wake.
WAKES_FOR_EACH = 2
WAKES_ANYWAY = 40


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def wakes(process: psutil.Process) -> int:
    """Return how often its first thread has waited for something so far."""
    return int(process.num_ctx_switches().voluntary)


def sockets(process: psutil.Process) -> int:
    """Connections whose other end is there still."""
    found = process.net_connections("tcp")
    return sum(one.status == psutil.CONN_ESTABLISHED for one in found)


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
    train: Train, capsys: Any
) -> None:
    worker = train.worker()
    found: list[list[float]] = [[] for _ in range(STREAMS)]
    async with trio.open_nursery() as nursery:
        begun = [trio.Event() for _ in found]
        for came, event in zip(found, begun, strict=True):
            nursery.start_soon(heartbeats, train, came, event)
        with trio.fail_after(PATIENCE_S):
            for event in begun:
                await event.wait()
        sent = sum(map(len, found))
        before, woken, began = cpu_s(worker), wakes(worker), time.monotonic()
        await trio.sleep(SOAK_S)
        took = time.monotonic() - began
        woken, share = wakes(worker) - woken, (cpu_s(worker) - before) / took
        sent = sum(map(len, found)) - sent
        nursery.cancel_scope.cancel()

    with capsys.disabled():
        print(
            f" {share:.1%} of one core for {STREAMS} streams over {took:.0f} s, "
            f"awake {woken} times for {sent} heartbeats ",
            end="",
        )
    assert woken < WAKES_FOR_EACH * sent + WAKES_ANYWAY * took
    for came in found:
        beats = [at - came[0] for at in came if at <= began + took]
        # as many as there were seconds, and the last one where it has to be; none is made up for
        assert beats[-1] - LATE_S <= len(beats) - 1 <= beats[-1] + 1.0
        gaps = [later - earlier for earlier, later in itertools.pairwise(beats)]
        assert max(gaps) < 1.0 + LATE_S


@pytest.mark.nightly
def test_two_hundred_idle_streams_cost_next_to_nothing_and_leave_nothing(
    train: Train,
) -> None:
    streams, seconds = 200, 3.0
    assert train.chat("a").status_code == 200
    worker, model = train.worker(), psutil.Process(train.model("a")["pid"])
    host, port = train.url.removeprefix("http://").split(":")
    body = b'{"model":"a","stream":true,"messages":[],"script":"chunks=1,delay=60"}'
    first = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
    request = first + b"Content-Length: %d\r\n\r\n%b"
    clients = [socket.create_connection((host, int(port)), 30) for _ in range(streams)]
    for client in clients:
        client.sendall(request % (len(body), body))
    got = [client.recv(65536) for client in clients]
    assert all(head.startswith(b"HTTP/1.1 200") for head in got)
    time.sleep(1.5)  # each of them has begun to beat

    used, woken, began = cpu_s(worker), wakes(worker), time.monotonic()
    time.sleep(seconds)
    used, took = cpu_s(worker) - used, time.monotonic() - began
    woken = wakes(worker) - woken
    got = [client.recv(65536) for client in clients]
    print(f"{streams} idle streams: {100 * used / took:.1f} % of one core, awake {woken} times")

    assert woken < WAKES_FOR_EACH * streams * (took + 1) + WAKES_ANYWAY * took
    beats = [data.count(b": hb\n\n") for data in got]
    assert min(beats) >= seconds
    assert max(beats) <= seconds + 4
    assert sockets(worker) >= 2 * streams
    for client in clients:
        client.close()
    eventually(lambda: sockets(worker) <= 2, within_s=5, what="connections that are gone")
    eventually(lambda: sockets(model) <= 2, within_s=5, what="an upstream that is left alone")
    eventually(lambda: not train.model("a")["in_flight"], within_s=5)
