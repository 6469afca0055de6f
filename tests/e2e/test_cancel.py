"""Requests that are ended, or not asked twice, whichever of two workers has them."""

import http.client
import itertools
import json
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from trains import PATIENCE_S, Train, eventually

pytestmark = pytest.mark.e2e

DONE = "data: [DONE]"


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file: `slow` loads until it is there."""
    return tmp_path_factory.mktemp("gate") / "open"


@pytest.fixture(scope="module")
def train(
    start_shared_train: Callable[..., Train], scripted: Callable[..., str], gate: Path
) -> Train:
    return start_shared_train(
        {
            "workers": 2,
            "progress": "reasoning",
            "progressDelay": "0s",
            "apiKeys": ["one", "two"],
            "models": {
                "a": {"cmd": scripted("--name", "a")},
                "slow": {"cmd": scripted("--name", "slow", "--load-gate", str(gate))},
            },
        }
    )


@pytest.fixture
def ids() -> Iterator[str]:
    """Names of requests, each once."""
    return map("req-{}".format, _NUMBERS)


_NUMBERS = itertools.count(1)


def owner_of(train: Train, sock: socket.socket) -> int:
    """The number of the worker that has accepted a connection; 0 for none yet."""
    port = sock.getsockname()[1]
    for number, pid in train.workers().items():
        for found in psutil.Process(pid).net_connections("tcp4"):
            if getattr(found.raddr, "port", 0) == port:
                return number
    return 0


def connect(train: Train, worker: int) -> http.client.HTTPConnection:
    """A connection to that one of the workers, all of which listen on one port."""
    others = []
    try:
        while True:
            conn = http.client.HTTPConnection(train.url.removeprefix("http://"), timeout=PATIENCE_S)
            conn.connect()
            if eventually(partial(owner_of, train, conn.sock)) == worker:
                return conn
            others.append(conn)  # while it is open, the next one goes elsewhere sooner
            assert len(others) < 100, f"nothing reaches worker {worker}"
    finally:
        for conn in others:
            conn.close()


class Request:
    """A request at a worker of choice, whose answer is read line by line in a thread."""

    def __init__(
        self, train: Train, worker: int, request_id: str, model: str, script: str, **fields: str
    ) -> None:
        self.id = request_id
        self.lines: list[str] = []
        self.status = 0
        self._conn = connect(train, worker)
        body = {"model": model, "stream": True, "messages": [], "script": script}
        headers = {"X-Request-Id": request_id, "Authorization": "Bearer one"} | fields
        self._conn.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        response = self._conn.getresponse()
        self.status = response.status
        for line in response:
            self.lines.append(line.decode().strip())
        self._conn.close()

    def has(self, text: str) -> bool:
        return any(text in line for line in self.lines)

    def finish(self) -> list[dict[str, Any]]:
        """Wait for the end, and return what the frames hold."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        data = [line.removeprefix("data: ") for line in self.lines if line.startswith("data: {")]
        return [json.loads(found) for found in data]


def ask(
    train: Train, worker: int, method: str, path: str, key: str = "one"
) -> tuple[int, dict[str, Any]]:
    """One question to a page of that worker."""
    conn = connect(train, worker)
    conn.request(method, path, headers={"Authorization": f"Bearer {key}"})
    response = conn.getresponse()
    found = response.status, json.loads(response.read())
    conn.close()
    return found


def cancel(train: Train, worker: int, request_id: str, key: str = "one") -> tuple[int, Any]:
    status, told = ask(train, worker, "POST", f"/api/requests/{request_id}/cancel", key)
    return status, told.get("interrupted", told)


def record_of(train: Train, request_id: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        status, record = ask(train, 1, "GET", f"/api/activity/{request_id}")
        return record if status == 200 else None

    return eventually(found, what="a record")  # type: ignore[no-any-return]


def connections_of(train: Train, model: str) -> int:
    """Clients of a model's server; none while it does not run."""
    pid = train.model(model)["pid"]
    if pid is None:
        return 0
    found = psutil.Process(pid).net_connections("tcp4")
    return sum(one.status == psutil.CONN_ESTABLISHED for one in found)


@pytest.mark.parametrize("holder", [1, 2])
@pytest.mark.parametrize("asker", [1, 2])
def test_a_stream_is_ended_from_each_worker_and_leaves_its_model_at_once(
    train: Train, ids: Iterator[str], holder: int, asker: int
) -> None:
    stream = Request(train, holder, next(ids), "a", "chunks=1200,delay=0.05")
    eventually(lambda: stream.has("w2 "), what="tokens")

    assert cancel(train, asker, stream.id) == (200, True)

    # whose answer would take a minute
    eventually(lambda: not connections_of(train, "a"), what="a model that nobody asks")
    *_, last = stream.finish()
    assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    assert stream.lines[-2:] == [DONE, ""]
    record = record_of(train, stream.id)
    assert (record["outcome"], record["status"]) == ("cancelled", 200)
    assert record["output_tokens"] >= 2
    assert cancel(train, asker, stream.id) == (200, False)


@pytest.mark.parametrize(
    ("phase", "model", "script"),
    [
        ("queue", "slow", "chunks=1"),
        ("load", "slow", "chunks=1"),
        ("prefill", "a", "sleep=60"),
    ],
)
def test_a_request_is_ended_before_its_answer_has_begun(
    train: Train, ids: Iterator[str], phase: str, model: str, script: str
) -> None:
    before = None
    if phase == "queue":
        before = Request(train, 1, next(ids), "a", "chunks=1000,delay=0.05")
        eventually(lambda: before.has("w1 "))
    if phase == "load":
        train.ask("unload", model="slow")
        eventually(lambda: train.model("slow")["state"] == "stopped")
    request = Request(train, 1, next(ids), model, script)
    if phase == "prefill":
        eventually(lambda: train.model("a")["in_flight"] and connections_of(train, "a"))
    else:
        eventually(lambda: request.has("waiting for a" if phase == "queue" else "loading"))

    assert cancel(train, 2, request.id) == (200, True)
    frames = request.finish()

    if request.status == 200:
        assert frames[-1]["error"]["code"] == "cancelled"
        assert request.lines[-2:] == [DONE, ""]
    else:
        assert request.status == 499
    record = record_of(train, request.id)
    assert (record["outcome"], record["output_tokens"]) == ("cancelled", 0)
    if before is not None:
        assert cancel(train, 2, before.id) == (200, True)
        before.finish()
    if phase == "prefill":
        eventually(lambda: not connections_of(train, "a"), what="a model that nobody asks")


def test_a_load_goes_on_for_those_who_wait_still(
    train: Train, ids: Iterator[str], gate: Path
) -> None:
    train.ask("unload", model="slow")
    eventually(lambda: train.model("slow")["state"] == "stopped")
    leaves, stays = (Request(train, worker, next(ids), "slow", "chunks=2") for worker in (1, 2))
    eventually(lambda: leaves.has("loading") and stays.has("loading"))
    process = train.model("slow")["pid"]

    assert cancel(train, 2, leaves.id) == (200, True)

    assert leaves.finish()[-1]["error"]["code"] == "cancelled"
    gate.touch()
    stays.finish()
    assert stays.has("w2 ")
    assert stays.lines[-2:] == [DONE, ""]
    assert train.model("slow")["pid"] == process


def test_only_its_owner_and_the_owner_of_the_machine_may_end_a_request(
    train: Train, ids: Iterator[str]
) -> None:
    mine, other = (Request(train, 1, next(ids), "a", "chunks=1000,delay=0.05") for _ in range(2))
    eventually(lambda: mine.has("w1 ") and other.has("w1 "))
    for asker in (1, 2):
        status, told = cancel(train, asker, mine.id, "two")
        assert (status, told["error"]["code"]) == (403, "forbidden")
        assert cancel(train, asker, "nobody's")[0] == 404
    assert not mine.has(DONE)

    assert train.ask("cancel", request_id=mine.id)["result"] == "cancelled"
    assert train.ask("cancel", request_id=mine.id)["result"] == "finished"
    assert cancel(train, 2, other.id) == (200, True)

    for request in (mine, other):
        request.finish()
        assert request.lines[-2:] == [DONE, ""]
        for asker in (1, 2):
            assert cancel(train, asker, request.id) == (200, False)


def test_a_request_is_not_asked_twice_at_a_time_whichever_worker_is_asked(
    train: Train, ids: Iterator[str]
) -> None:
    key = {"Idempotency-Key": "the-same"}
    first = Request(train, 1, next(ids), "a", "chunks=1000,delay=0.05", **key)
    eventually(lambda: first.has("w1 "))
    for worker in (1, 2):
        second = Request(train, worker, next(ids), "a", "chunks=1", **key)
        second.finish()
        assert second.status == 409
        assert second.has(f"'{first.id}' runs already with the same Idempotency-Key")
    foreign = Request(train, 2, next(ids), "a", "chunks=1", **key, Authorization="Bearer two")
    foreign.finish()
    assert foreign.status == 200  # another caller's key is another key

    assert cancel(train, 2, first.id) == (200, True)
    first.finish()

    again = Request(train, 2, next(ids), "a", "chunks=1", **key)
    again.finish()
    assert (again.status, again.lines[-2:]) == (200, [DONE, ""])
