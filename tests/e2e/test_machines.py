"""Several arrieros on addresses of this machine: one name on all of them, and what becomes of it
when one goes away."""

import signal
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from gates import Gate, tiny_server
from trains import PATIENCE_S, Stream, Train, eventually

from tests.official import openai
from tests.start_port import free_ports

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

MESSAGES: list[Any] = [{"role": "user", "content": "hi"}]


class Asking:
    """A streamed chat of the official client, in a thread of its own."""

    def __init__(self, train: Train, model: str, **more: Any) -> None:
        self.lines = ""
        self.text = ""
        self.error: Exception | None = None
        self.first_at = 0.0
        self._client = openai.OpenAI(
            base_url=f"{train.url}/v1", api_key="none", timeout=4 * PATIENCE_S, max_retries=0
        )
        self._more = more
        self._model = model
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            stream = self._client.chat.completions.create(
                model=self._model, messages=MESSAGES, stream=True, **self._more
            )
            for chunk in stream:
                for choice in chunk.choices:
                    self.lines += getattr(choice.delta, "reasoning_content", None) or ""
                    if choice.delta.content:
                        self.first_at = self.first_at or time.monotonic()
                        self.text += choice.delta.content
        except Exception as exc:  # noqa: BLE001  whatever it is, the test looks at it
            self.error = exc

    def hears(self, words: str, within_s: float = PATIENCE_S) -> None:
        eventually(
            lambda: words in self.lines or self.error,
            within_s=within_s,
            what=f"{words!r} in {self.lines!r}",
        )
        assert words in self.lines, self.error

    def finish(self) -> "Asking":
        self._thread.join(4 * PATIENCE_S)
        assert not self._thread.is_alive()
        return self


def kill(train: Train) -> None:
    """Switch a machine off: no process of it says another word."""
    processes = [psutil.Process(train.process.pid), *train.children()]
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    train.process.wait()


@contextmanager
def standing_still(train: Train) -> Generator[None]:
    """Have a machine say nothing, and refuse nothing either, while the block runs."""
    processes = [psutil.Process(train.process.pid), *train.children()]
    try:
        for process in processes:
            with suppress(psutil.NoSuchProcess):  # one that was short-lived
                process.suspend()
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def served_at(train: Train, request_id: str) -> str:
    """The model that answered a request, as its record names it."""

    def found() -> list[dict[str, Any]]:
        return train.ask("activity", request_id=request_id)["records"]  # type: ignore[no-any-return]

    (record,) = eventually(found, what=f"the record of {request_id}")
    return str(record["model"])


def places(train: Train, model: str) -> list[tuple[str, str]]:
    """Where a request may go, the first place before others, and how the model stands there."""
    told = train.ask("explain", model=model)  # an error until its list has come
    return [(one["target"], one["state"]) for one in told.get("places", ())]


def peers_of(*trains: Train, models: object = "auto") -> dict[str, Any]:
    """Configuration of other machines, which are called box2, box3, ..."""
    return {
        f"box{number}": {"proxy": train.url, "models": models}
        for number, train in enumerate(trains, 2)
    }


def of_gateway(peers: dict[str, Any]) -> dict[str, Any]:
    """Configuration of the machine that clients ask; it has no models of its own."""
    return {"progress": "reasoning", "progressDelay": "0s", "peers": peers, "models": {}}


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory) -> list[Gate]:
    return [Gate(tmp_path_factory.mktemp("gates") / name) for name in ("box2", "box3")]


@pytest.fixture(scope="module")
def boxes(
    start_shared_train: Callable[..., Train], scripted: Callable[..., str], gates: list[Gate]
) -> list[Train]:
    """Two machines with the same models: `k` loads when its gate is open."""
    return [
        start_shared_train(
            {
                "listen": f"127.0.0.{number}:0",
                "models": {
                    "m": {"cmd": scripted("--name", f"box{number}"), "concurrencyLimit": 1},
                    "k": {"cmd": gate.command(scripted("--name", f"box{number}"))},
                },
                "groups": {"both": {"members": ["m", "k"], "swap": False}},
            }
        )
        for number, gate in enumerate(gates, 2)
    ]


@pytest.fixture(scope="module")
def gateway(start_shared_train: Callable[..., Train], boxes: list[Train]) -> Train:
    """The machine that clients ask."""
    return start_shared_train(of_gateway(peers_of(*boxes)))


def test_warm_goes_first_and_spills_when_it_is_full(gateway: Train, boxes: list[Train]) -> None:
    box2, box3 = boxes
    assert box2.chat("m").status_code == 200  # how long its start takes is known from now on
    box2.ask("unload", mode="now")
    assert box3.chat("m").json()["model"] == "box3"
    eventually(
        lambda: places(gateway, "m") == [("box3/m", "ready"), ("box2/m", "stopped")],
        what="how the model stands at both",
    )
    listed = httpx.get(f"{gateway.url}/v1/models").json()["data"]
    states = {entry["id"]: entry["status"]["value"] for entry in listed}
    assert states | {"m": "loaded", "box2/m": "unloaded", "box3/m": "loaded"} == states
    assert "k" in states
    for _ in range(3):
        response = gateway.chat("m")
        assert response.json()["model"] == "box3"
        assert served_at(gateway, response.headers["x-request-id"]) == "box3/m"
    stream = Stream(gateway, "m", runs_on=True)
    eventually(lambda: stream.status)
    spilt = gateway.chat("m")
    assert spilt.json()["model"] == "box2"
    stream.finish()
    told = gateway.ask("explain", model="m")
    assert told["action"] == "pass"
    assert [one["usable"] for one in told["places"]] == [True, True]


def test_a_request_that_comes_back_is_refused(gateway: Train, boxes: list[Train]) -> None:
    (box2, box3) = boxes
    lost = {"models": ["nowhere"]}
    before = yaml.safe_load((box2.log.parent / "config.yaml").read_text())
    box2.reload(before | {"peers": {"box1": {"proxy": gateway.url} | lost}})
    there = peers_of(box2, box3) | {"far": {"proxy": box2.url} | lost}
    gateway.reload(of_gateway(there))
    response = gateway.chat("nowhere")
    assert response.status_code == 508
    error = response.json()["error"]
    assert error["code"] == "loop_detected"
    assert "sent to 'far', then to 'box1', which leads back here" in error["message"]


def test_a_machine_that_sleeps_is_woken(
    gateway: Train, start_train: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    address = f"127.0.0.4:{free_ports(1)}"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(PATIENCE_S)
        host, port = receiver.getsockname()
        wake = {"mac": "00:11:22:33:44:55", "broadcast": f"{host}:{port}", "limit": 120}
        peer = {"proxy": f"http://{address}", "models": ["w"], "wake": wake}
        gateway.reload(of_gateway({"box4": peer}))
        asking = Asking(gateway, "w")
        assert receiver.recv(2000) == b"\xff" * 6 + bytes.fromhex("001122334455") * 16
    asking.hears("w: waking box4 (")
    start_train({"listen": address, "models": {"w": {"cmd": scripted("--load-s", "1.5")}}})
    asking.hears("w: loading on box4")
    asking.finish()
    assert asking.error is None
    assert asking.text
    assert "w: ready after " in asking.lines


def test_real_servers_answer_in_all_apis_through_two_machines(
    gateway: Train, start_train: Callable[..., Train], tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    command = gate.command(tiny_server(tmp_path, "--embeddings --pooling mean"))
    box5 = start_train({"listen": "127.0.0.5:0", "models": {"tiny": {"cmd": command}}})
    gateway.reload(of_gateway({"box5": {"proxy": box5.url, "models": "auto"}}))
    eventually(lambda: places(gateway, "tiny"), what="its list")
    asking = Asking(gateway, "tiny", max_tokens=4)
    asking.hears("tiny: loading on box5")
    gate.open()
    assert asking.finish().error is None
    assert asking.text
    said: list[tuple[str, dict[str, Any]]] = [
        ("/v1/chat/completions", {"messages": MESSAGES}),
        ("/v1/completions", {"prompt": "hi"}),
        ("/v1/messages", {"messages": MESSAGES}),
        ("/v1/responses", {"input": "hi"}),
        ("/api/chat", {"messages": MESSAGES}),
    ]
    for path, body in said:
        for stream in (False, True):
            limit = {"max_output_tokens" if path == "/v1/responses" else "max_tokens": 4}
            response = httpx.post(
                gateway.url + path, json={"model": "tiny", "stream": stream} | limit | body
            )
            assert response.status_code == 200, response.text
            assert "error" not in response.text.replace('"error":null', "")
            assert served_at(gateway, response.headers["x-request-id"]) == "box5/tiny"
    embedded = httpx.post(f"{gateway.url}/v1/embeddings", json={"model": "tiny", "input": "hi"})
    assert embedded.json()["data"][0]["embedding"]
    (record, *_) = gateway.ask("activity", limit=1)["records"]
    assert record["input_tokens"] > 0
    assert {one["model"] for one in box5.ask("activity")["records"]} == {"tiny"}


def test_a_machine_that_stands_still_is_left_before_an_answer_is_due(
    gateway: Train,
    start_train: Callable[..., Train],
    scripted: Callable[..., str],
    tmp_path: Path,
) -> None:
    gates = [Gate(tmp_path / name) for name in ("box2", "box3")]
    boxes = [
        start_train(
            {"listen": f"127.0.0.{number}:0", "models": {"s": {"cmd": gate.command(scripted())}}}
        )
        for number, gate in enumerate(gates, 2)
    ]
    gateway.reload(of_gateway(peers_of(*boxes)))
    eventually(lambda: len(places(gateway, "s")) == 2, what="their lists")
    asking = Asking(gateway, "s")
    eventually(lambda: any(gate.starts for gate in gates), what="a load")
    at = 0 if gates[0].starts else 1
    name, other = ("box2", "box3") if at == 0 else ("box3", "box2")
    asking.hears(f"s: loading on {name}")
    still_since = time.monotonic()
    with standing_still(boxes[at]):
        # By the default of responseHeader it would go then in any case.
        asking.hears(f"s: loading on {other}", within_s=58.0)
        print(f"figure: it has moved {time.monotonic() - still_since:.1f} s later")
    gates[1 - at].open()
    assert asking.finish().error is None
    assert asking.text


def test_a_machine_that_goes_away_is_left_before_the_first_byte_and_told_after_it(
    gateway: Train, boxes: list[Train], gates: list[Gate]
) -> None:
    gateway.reload(of_gateway(peers_of(*boxes)))
    eventually(lambda: len(places(gateway, "k")) == 2, what="their lists")
    asking = Asking(gateway, "k")
    eventually(lambda: any(gate.starts for gate in gates), what="a load")
    at = 0 if gates[0].starts else 1
    name, other = ("box2", "box3") if at == 0 else ("box3", "box2")
    asking.hears(f"k: loading on {name}")
    killed_at = time.monotonic()
    kill(boxes[at])
    asking.hears(f"k: loading on {other}")
    gates[1 - at].open()
    asking.finish()
    assert asking.error is None
    assert asking.text
    assert "k: ready after " in asking.lines
    assert asking.first_at - killed_at < PATIENCE_S
    stream = Stream(gateway, "k", runs_on=True)
    eventually(lambda: stream.status)
    eventually(lambda: places(gateway, "k")[0][0] == f"{other}/k")
    kill(boxes[1 - at])
    stream.finish()
    (error,) = stream.errors()
    assert error["code"] == "upstream_disconnected"
    assert stream.error is None
