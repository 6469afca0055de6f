"""A supervisor that is stopped in its tracks takes nobody along but those who wait for it."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from trains import Stream, Train, eventually

# Longer than a worker may be silent, and than anybody waits for a supervisor. For other lengths:
# FROZEN_S=120 pytest test_supervisor_frozen.py
FROZEN_S = float(os.environ.get("FROZEN_S", "12"))

PAGES = (
    ("GET", "/api/activity"),
    ("GET", "/api/usage"),
    ("GET", "/metrics"),
    ("GET", "/api/performance"),
    ("GET", "/logs"),
    ("POST", "/api/models/unload"),
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(150 + 3 * FROZEN_S)]


@pytest.fixture(scope="module")
def shared(start_shared_train: Callable[..., Train], scripted: Callable[..., str]) -> Train:
    """A train of models that run beside each other."""
    models: dict[str, dict[str, object]] = {
        "runs": {"cmd": scripted("--name", "runs"), "ttl": 5},
        # it is ready, and its time is up, while nobody looks
        "loads": {"cmd": scripted("--name", "loads", "--load-s", "5"), "healthCheckTimeout": 10},
        "never": {"cmd": scripted("--name", "never", "--never-ready")},
        "later": {"cmd": scripted("--name", "later")},
    }
    return start_shared_train(
        {
            "workers": 2,
            "progress": "heartbeat",
            "progressDelay": "0s",
            "heartbeatInterval": "1s",
            "models": models,
            "groups": {"all": {"members": list(models), "swap": False}},
        }
    )


@pytest.fixture
def train(shared: Train) -> Train:
    """This one, of which no model runs."""
    return shared.emptied()


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    """Have these processes stand still for the block, and for `FROZEN_S` at least."""
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        until = time.monotonic() + FROZEN_S
        yield
        time.sleep(max(0.0, until - time.monotonic()))
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


class Swap(threading.Thread):
    """The question of a script that has the model `loads` loaded, in a thread."""

    def __init__(self, train: Train, within_s: float) -> None:
        super().__init__()
        self.train, self.within_s = train, within_s
        self.answers: list[dict[str, Any]] = []
        self.start()

    def run(self) -> None:
        self.answers.append(self.train.ask("swap", within_s=self.within_s, model="loads"))

    def finish(self) -> dict[str, Any]:
        self.join(30)
        (answer,) = self.answers
        return answer


def loading(train: Train) -> int:
    """The process of `loads`, which has begun to load: from now on it needs no processor time."""
    pid: int = eventually(lambda: train.model("loads")["pid"], what="a model that is started")
    bound = "HTTP server bound"
    eventually(
        lambda: any(
            bound in line["line"] for line in train.ask("logs", model="loads", lines=9)["lines"]
        ),
        what="a model that loads",
    )
    return pid


def running(train: Train) -> list[Stream]:
    """Eight streams of `runs` that flow until they are told to end; all have begun."""
    within_s = 2 * FROZEN_S + 90
    streams = [Stream(train, "runs", delay_s=0.1, flows=True, within_s=within_s) for _ in range(8)]
    eventually(lambda: all(len(it.frames) > 3 for it in streams), what="streams that run")
    return streams


def is_whole(stream: Stream) -> bool:
    """Whether it had all words of its text, and nothing else."""
    words = stream.text().split()
    text = [f"w{number}" for number in range(1, len(words) + 1)]
    ended = stream.frames[-1] == "data: [DONE]"
    return (stream.error, stream.errors(), words, ended) == (None, [], text, True)


def test_who_waits_is_told_that_it_is_lost_and_all_else_goes_on(train: Train) -> None:
    assert train.chat("runs").status_code == 200
    pids = train.workers()
    streams = running(train)
    eventually(
        lambda: (
            all("runs" in worker["leases"] for worker in train.ask("workers")["workers"])
            or train.chat("runs") is None
        ),
        what="workers that both know the model",
    )
    waits = Stream(train, "never")
    eventually(lambda: len(waits.frames) > 1, what="a stream that waits")
    loads = Swap(train, FROZEN_S + 90)
    model = loading(train)
    heard = len(waits.frames)
    frozen_at = time.monotonic()

    with stopped([train.process.pid]):
        waits.finish()
        took = time.monotonic() - frozen_at
        at = len(streams[0].frames)
        eventually(lambda: len(streams[0].frames) > at + 5, what="a stream that still runs")
        # a model that is there is used as before; what has to be asked for is not waited for long
        assert train.chat("runs").status_code == 200
        assert train.chat("never").json()["error"]["code"] == "supervisor_lost"
        # nor does a page wait, which asks the supervisor what nobody else knows
        asked_at = time.monotonic()
        for method, path in PAGES:
            said = httpx.request(method, f"{train.url}{path}", timeout=30)
            assert (path, said.status_code) == (path, 503)
            assert said.json()["error"]["code"] == "supervisor_lost"
            assert int(said.headers["retry-after"]) > 0
        pages_s = time.monotonic() - asked_at

    assert took >= 4  # it was not given up at once, and yet it was before it came back
    assert pages_s < 15  # they may take that each, of a supervisor that is there
    assert len(waits.frames) - heard >= 4  # heartbeats until then, and the end
    (error,) = waits.errors()
    assert error["code"] == "supervisor_lost"
    assert waits.frames[-1] == "data: [DONE]"
    assert all(is_whole(stream.finish()) for stream in streams)
    assert loads.finish()["ok"]
    assert train.model("loads")["pid"] == model
    assert train.workers() == pids
    assert train.chat("later").status_code == 200  # they speak with each other again


@pytest.mark.nightly
def test_nothing_is_lost_because_everybody_stood_still(train: Train) -> None:
    """As when the machine is paused."""
    assert train.chat("runs").status_code == 200
    pids = train.workers()
    streams = running(train)
    loads = Swap(train, FROZEN_S + 60)
    waits = Stream(train, "loads", within_s=FROZEN_S + 60)
    model = loading(train)

    with stopped([train.process.pid, *(process.pid for process in train.children())]):
        pass

    assert all(is_whole(stream.finish()) for stream in streams)
    waits.finish()
    assert (waits.error, waits.errors()) == (None, [])
    assert waits.frames[-1] == "data: [DONE]"
    assert loads.finish()["ok"]
    assert train.model("loads")["pid"] == model
    assert train.workers() == pids


@pytest.mark.nightly
def test_nothing_is_lost_because_the_supervisor_is_busy(train: Train) -> None:
    """It has next to no time, but never stands still for long enough to notice that itself."""
    assert train.chat("runs").status_code == 200
    pids = train.workers()
    streams = running(train)

    until = time.monotonic() + FROZEN_S + 3
    while time.monotonic() < until:
        os.kill(train.process.pid, signal.SIGSTOP)
        time.sleep(1.5)
        os.kill(train.process.pid, signal.SIGCONT)
        time.sleep(0.02)

    assert all(is_whole(stream.finish()) for stream in streams)
    assert train.workers() == pids
    assert train.chat("later").status_code == 200
