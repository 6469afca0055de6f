"""A supervisor that is stopped in its tracks takes nobody along but those who wait for it."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from trains import Stream, Train, eventually

pytestmark = pytest.mark.e2e


def test_who_waits_is_told_that_it_is_lost_and_streams_go_on(
    start_train: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    train = start_train(
        {
            "workers": 1,
            "progress": "heartbeat",
            "progressDelay": "0s",
            "heartbeatInterval": "1s",
            "models": {
                "runs": {"cmd": scripted("--name", "runs")},
                "loads": {"cmd": scripted("--name", "loads", "--load-s", "60")},
                "later": {"cmd": scripted("--name", "later")},
            },
            "groups": {"all": {"members": ["runs", "loads", "later"], "swap": False}},
        }
    )
    runs = Stream(train, "runs", chunks=90, delay_s=0.1)
    eventually(lambda: len(runs.frames) > 3, what="a stream that runs")
    waits = Stream(train, "loads")
    eventually(lambda: len(waits.frames) > 1, what="a stream that waits")
    heard = len(waits.frames)

    try:
        os.kill(train.process.pid, signal.SIGSTOP)
        frozen_at = time.monotonic()
        waits.finish()
        took = time.monotonic() - frozen_at
        at = len(runs.frames)
        eventually(lambda: len(runs.frames) > at + 5, what="a stream that still runs")
        # a model that is there is used as before; what has to be asked for is not waited for long
        assert train.chat("runs").status_code == 200
        assert train.chat("loads").json()["error"]["code"] == "supervisor_lost"
        runs.finish()
    finally:
        os.kill(train.process.pid, signal.SIGCONT)

    assert 4 <= took <= 12
    assert len(waits.frames) - heard >= 4  # heartbeats until then, and the end
    (error,) = waits.errors()
    assert error["code"] == "supervisor_lost"
    assert waits.frames[-1] == "data: [DONE]"
    assert (runs.error, runs.errors()) == (None, [])
    assert runs.text() == "".join(f"w{number} " for number in range(1, 91))
    (pid,) = train.workers().values()
    assert train.chat("later").status_code == 200  # they speak with each other again
    assert train.workers() == {1: pid}


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def sockets(process: psutil.Process) -> int:
    """Connections whose other end is there still."""
    found = process.net_connections("tcp")
    return sum(one.status == psutil.CONN_ESTABLISHED for one in found)


def test_two_hundred_idle_streams_cost_next_to_nothing_and_leave_nothing(
    start_train: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    streams, seconds = 200, 3.0
    train = start_train(
        {
            "workers": 1,
            "progress": "heartbeat",
            "heartbeatInterval": "1s",
            "models": {"a": {"cmd": scripted("--name", "a")}},
        }
    )
    assert train.chat("a").status_code == 200
    (pid,) = train.workers().values()
    worker, model = psutil.Process(pid), psutil.Process(train.model("a")["pid"])
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

    used, began = cpu_s(worker), time.monotonic()
    time.sleep(seconds)
    used, took = cpu_s(worker) - used, time.monotonic() - began
    got = [client.recv(65536) for client in clients]
    print(f"{streams} idle streams: {100 * used / took:.1f} % of one core")

    assert used / took < 0.15
    beats = [data.count(b": hb\n\n") for data in got]
    assert min(beats) >= seconds
    assert max(beats) <= seconds + 4
    assert sockets(worker) >= 2 * streams
    for client in clients:
        client.close()
    eventually(lambda: sockets(worker) <= 2, within_s=5, what="connections that are gone")
    eventually(lambda: sockets(model) <= 2, within_s=5, what="an upstream that is left alone")
    eventually(lambda: not train.ask("status")["models"][0].get("in_flight"), within_s=5)


# Longer than a worker may be silent, and than anybody waits for a supervisor. For other lengths:
# FROZEN_S=120 pytest -k stood_still
FROZEN_S = float(os.environ.get("FROZEN_S", "12"))


@pytest.mark.timeout(150 + 3 * FROZEN_S)
@pytest.mark.parametrize("who", ["the supervisor", "everybody"])
def test_nothing_is_lost_because_who_judges_stood_still(
    start_train: Callable[..., Train], scripted: Callable[..., str], who: str
) -> None:
    train = start_train(
        {
            "workers": 2,
            "progress": "heartbeat",
            "models": {
                "runs": {"cmd": scripted("--name", "runs"), "ttl": 5},
                # it is ready, and its time is up, while nobody looks
                "loads": {
                    "cmd": scripted("--name", "loads", "--load-s", "7"),
                    "healthCheckTimeout": 8,
                },
            },
            "groups": {"all": {"members": ["runs", "loads"], "swap": False}},
        }
    )
    assert train.chat("runs").status_code == 200
    pids = train.workers()
    seconds = FROZEN_S + 8
    streams = [
        Stream(train, "runs", chunks=int(10 * seconds), delay_s=0.1, within_s=seconds + 60)
        for _ in range(8)
    ]
    eventually(lambda: all(stream.frames for stream in streams), what="streams that run")
    answers: list[dict[str, Any]] = []

    def swap() -> None:
        answers.append(train.ask("swap", within_s=seconds + 60, model="loads"))

    loads = threading.Thread(target=swap)
    waits = [Stream(train, "loads", within_s=seconds + 60)] if who == "everybody" else []
    loads.start()
    model = eventually(lambda: train.model("loads")["pid"], what="a model that loads")
    frozen = [train.process.pid]
    if who == "everybody":  # as when the machine is paused
        frozen += [process.pid for process in train.children()]

    try:
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(FROZEN_S)
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)

    for stream in streams + waits:
        stream.finish()
        assert (stream.error, stream.errors()) == (None, [])
        assert stream.frames[-1] == "data: [DONE]"
    loads.join(30)
    assert [answer["ok"] for answer in answers] == [True]
    assert train.model("loads")["pid"] == model
    assert train.workers() == pids
