"""Limits, selectors, profiles, filters, keep_alive and default models, on real trains."""

import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from trains import PATIENCE_S, Stream, Train, eventually
from wsproto import ConnectionType, WSConnection, events

from tests.start_port import free_ports

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def stamps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stamps")


@pytest.fixture(scope="module")
def there() -> Iterator[str]:
    """The URL of another machine, which answers all requests alike."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = b'{"model":"far","choices":[]}'
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def shared(
    start_shared_train: Callable[..., Train],
    scripted: Callable[..., str],
    stamps: Path,
    there: str,
) -> Train:
    """Two workers; `a`, `b` and `c` run together, the others by themselves."""
    models: dict[str, dict[str, Any]] = {
        name: {"cmd": scripted("--name", name, "--load-s", "0.2")} for name in "abc"
    }
    gate = str(stamps / "gate")
    models["limited"] = {"cmd": scripted("--load-gate", gate), "concurrencyLimit": 1}
    # It would be killed only after a test has failed for its sake.
    models["stubborn"] = {"cmd": scripted("--ignore-term"), "unloadTimeout": 2 * PATIENCE_S}
    models["wanted"] = {"cmd": scripted("--stamp", str(stamps / "wanted"))}
    models["filtered"] = {
        "cmd": scripted(),
        "filters": {
            "stripParams": "top_k",
            "setParams": {"chat_template_kwargs.thinking": False},
            "setParamsByID": {"filtered:high": {"effort": "high"}},
        },
    }
    models["comfy"] = {"cmd": scripted(), "compat": {"ignoreWebsockets": True}}
    return start_shared_train(
        {
            "workers": 2,
            "progress": "reasoning",
            "progressDelay": "0s",
            "models": models,
            "groups": {"together": {"members": ["a", "b", "c"], "swap": False}},
            "selectors": {
                "warm": {"strategy": "warm", "targets": ["a", "b"]},
                "spill": {"strategy": "spillover", "targets": ["a", "b"]},
                "fixed": {"strategy": "pin", "targets": ["c"]},
            },
            "peers": {
                "off": {"proxy": f"http://127.0.0.1:{free_ports(1)}", "models": ["far"]},
                "on": {"proxy": there, "models": ["far"]},
            },
            "profiles": {
                "night": {"pins": {"a": "b", "any": "warm", "c": ""}},
            },
        }
    )


@pytest.fixture
def train(shared: Train) -> Train:
    """This one, with no model and no profile."""
    shared.ask("profile", profile=None)
    return shared.emptied()


def served_by(train: Train, model: str) -> str:
    response = train.chat(model)
    assert response.status_code == 200, response.text
    return str(response.json()["model"])


@contextmanager
def busy(train: Train, model: str) -> Iterator[Stream]:
    """A stream that runs on `model` for the block."""
    stream = Stream(train, model, chunks=2, runs_on=True)
    eventually(lambda: stream.text(), what=f"a stream of {model}")
    try:
        yield stream
    finally:
        stream.finish()


# --- concurrencyLimit ----------------------------------------------------------------------------


def test_the_limit_is_one_for_all_workers(train: Train, stamps: Path) -> None:
    (stamps / "gate").touch()
    with busy(train, "limited"):
        for _ in range(6):  # of either worker
            refused = train.chat("limited")
            assert refused.status_code == 429
            assert refused.headers["retry-after"] == "1"
            assert refused.headers["x-queue-position"] == "1"
            error = refused.json()["error"]
            assert (error["type"], error["code"]) == ("rate_limit_error", "concurrency_limit")
            assert "1 request of it runs" in error["message"]
        assert train.ask("explain", model="limited")["action"] == "wait"

    eventually(lambda: train.chat("limited").status_code == 200)


def test_those_who_came_before_the_load_are_all_answered(train: Train, stamps: Path) -> None:
    (stamps / "gate").unlink(missing_ok=True)
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(train.chat, "limited") for _ in range(6)]
        eventually(lambda: [it["waiting"] for it in train.ask("status")["queue"]] == [6])
        (stamps / "gate").touch()
    assert [answer.result().status_code for answer in asked] == [200] * 6


# --- selectors -----------------------------------------------------------------------------------


def test_warm_goes_where_a_model_runs(train: Train) -> None:
    assert train.ask("swap", model="b")["ok"]
    assert {served_by(train, "warm") for _ in range(4)} == {"b"}
    assert train.model("a")["state"] == "stopped"

    train.ask("unload", model="b")
    assert served_by(train, "warm") == "a"


def test_spillover_counts_over_all_workers(train: Train) -> None:
    with busy(train, "spill") as first, busy(train, "spill") as second:
        models = [{event["model"] for event in stream.events()} for stream in (first, second)]
    # while they wait, they are told in the name that was asked for
    assert [sorted(found - {"spill"}) for found in models] in ([["a"], ["b"]], [["b"], ["a"]])
    # both run, and are idle: in turn, whichever worker asks
    assert sorted(served_by(train, "spill") for _ in range(4)) == ["a", "a", "b", "b"]


def test_a_pin_selector_takes_its_first_target(train: Train) -> None:
    assert served_by(train, "fixed") == "c"


# --- profiles ------------------------------------------------------------------------------------


def arriero(train: Train, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "arriero.supervisor", *words, "--socket-dir", str(train.socket_dir)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    return done.stdout + done.stderr


def test_a_profile_acts_in_all_workers_at_once(train: Train) -> None:
    assert served_by(train, "a") == "a"
    assert train.chat("any").status_code == 404

    chosen = train.ask("profile", profile="night")
    assert (chosen["ok"], chosen["active"]) == (True, "night")
    assert {served_by(train, "a") for _ in range(4)} == {"b"}
    assert served_by(train, "any") == "a"  # a selector; it runs still
    assert train.chat("c").status_code == 404
    assert train.ask("status")["config"]["profile"] == "night"
    assert train.ask("unload", model="a")["unloaded"] == ["a"]  # no pin there

    put = httpx.put(f"{train.url}/api/profiles/active", json={"name": None}, timeout=PATIENCE_S)
    assert (put.status_code, put.json()) == (200, {"active": None})
    assert {served_by(train, "a") for _ in range(4)} == {"a"}


def test_a_profile_is_chosen_at_the_command_line(train: Train) -> None:
    assert arriero(train, "profile", "night") == "profile: night\n"
    assert "night    yes     a -> b, any -> warm, c -> off" in arriero(train, "profile")
    assert "there is no profile 'nigth'; did you mean 'night'?" in arriero(
        train, "profile", "nigth"
    )
    assert arriero(train, "profile", "--none") == "profile: none\n"


# --- filters, web sockets ------------------------------------------------------------------------


def test_filters_change_the_body_and_nothing_else(train: Train) -> None:
    def arrived(model: str) -> str:
        body = f'{{"model": "{model}", "top_k": 1, "n": 1.0, "script": "echo"}}'
        url = f"{train.url}/v1/chat/completions"
        return str(httpx.post(url, content=body, timeout=PATIENCE_S).json()["sha256"])

    rest = '"n": 1.0, "script": "echo","chat_template_kwargs":{"thinking":false}'
    for model, more in (("filtered", ""), ("filtered:high", ',"effort":"high"')):
        sent = f'{{"model": "{model}", {rest}{more}}}'
        assert arrived(model) == sha256(sent.encode()).hexdigest()


def says_hello(train: Train, sock: socket.socket, path: str) -> events.Event:
    """Open a WebSocket on `sock` and say hello; return what is answered."""
    ws = WSConnection(ConnectionType.CLIENT)
    sock.sendall(ws.send(events.Request(host="127.0.0.1", target=path)))
    while True:
        ws.receive_data(sock.recv(65536))
        for event in ws.events():
            if not isinstance(event, events.AcceptConnection):
                return event
            sock.sendall(ws.send(events.TextMessage("hello")))


def test_ignored_websockets_neither_start_nor_keep_a_model(train: Train) -> None:
    host, _, port = train.url.removeprefix("http://").partition(":")
    path = "/v1/realtime?model=comfy"

    with socket.create_connection((host, int(port)), PATIENCE_S) as sock:
        refused = says_hello(train, sock, path)
    assert isinstance(refused, events.RejectConnection)
    assert (refused.status_code, train.model("comfy")["state"]) == (409, "stopped")

    assert train.chat("comfy").status_code == 200
    with socket.create_connection((host, int(port)), PATIENCE_S) as sock:
        heard = says_hello(train, sock, path)
        assert isinstance(heard, events.TextMessage)
        assert train.chat("a").status_code == 200  # a swap goes on under it
        assert train.model("comfy")["state"] == "stopped"


# --- keep_alive ----------------------------------------------------------------------------------


def test_a_model_is_kept_as_long_as_the_last_request_wants(train: Train) -> None:
    assert train.chat("a", keep_alive=60).status_code == 200
    assert train.chat("b").status_code == 200
    assert train.chat("a", keep_alive="0s").status_code == 200
    eventually(lambda: train.model("a")["state"] == "stopped")
    assert train.model("b")["state"] == "ready"


# --- progress ------------------------------------------------------------------------------------


def test_a_waiting_client_hears_for_how_many_requests(train: Train) -> None:
    with busy(train, "a"):
        waiting = Stream(train, "comfy")
        told = r"waiting for a to finish \(1 request, \d+ s\)\n"
        eventually(lambda: re.search(told, waiting.lines()), what="a line with the count")
    lines = waiting.finish().lines()
    assert "(0 ahead)" not in lines
    assert waiting.text()


# --- unloading -----------------------------------------------------------------------------------


def test_what_is_unloaded_while_others_make_room_does_not_start(train: Train, stamps: Path) -> None:
    assert train.chat("stubborn").status_code == 200
    stubborn = psutil.Process(train.model("stubborn")["pid"])
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(train.chat, "wanted")
        eventually(lambda: train.model("stubborn")["state"] == "stopping")

        train.ask("unload", model="wanted")

        refused = asked.result()
        stubborn.kill()
        assert refused.status_code == 503
        assert "model wanted is not available: it was unloaded" in refused.text
    eventually(lambda: train.model("stubborn")["state"] == "stopped")
    assert train.model("wanted")["state"] == "stopped"
    assert not (stamps / "wanted").exists()


# --- default -------------------------------------------------------------------------------------


def test_a_default_model_comes_back_when_it_is_quiet(
    start_train: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    models = {name: {"cmd": scripted("--name", name)} for name in "ab"}
    train = start_train({"models": models, "default": {"models": ["a"], "idleFor": "1s"}})
    with busy(train, "b"):
        assert train.model("a")["state"] == "stopped"
    eventually(lambda: train.model("a")["state"] == "ready", what="the default model")
    assert train.model("b")["state"] == "stopped"
    assert "default.comes_back model=a stops=b" in train.log_text()


# --- machines -----------------------------------------------------------------------------------


def test_a_name_of_two_machines_goes_to_the_one_that_answers(train: Train) -> None:
    for _ in range(4):
        assert served_by(train, "far") == "far"
    (one,) = {record["model"] for record in eventually(lambda: records_of(train, "far"))}
    assert one == "on/far"
    told = train.ask("explain", model="far")
    assert told["action"] == "pass"
    assert {place["target"] for place in told["places"]} == {"off/far", "on/far"}
    assert train.chat("off/far").status_code == 502


def records_of(train: Train, asked: str) -> list[dict[str, Any]]:
    """The records of the last four requests for that name, once they are there."""
    found = [one for one in train.ask("activity")["records"] if one["asked"] == asked]
    return found if len(found) == 4 else []
