"""Two models, one machine: who is started, who makes room, and what it costs."""

import hashlib
import json
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from gates import queued
from trains import PATIENCE_S, Train, eventually

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def stamps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which some models have a file of what happened to them, with their name."""
    return tmp_path_factory.mktemp("stamps")


@pytest.fixture(scope="module")
def shared(
    start_shared_train: Callable[..., Train], scripted: Callable[..., str], stamps: Path
) -> Train:
    """A train with two workers. Only `a` and `b` are in the list of models."""
    models: dict[str, dict[str, object]] = {
        "shared": {"cmd": scripted("--load-s", "0.5", "--stamp", str(stamps / "shared"))},
        "slow": {"cmd": scripted("--load-gate", str(stamps / "gate"))},
        "unwanted": {"cmd": scripted("--stamp", str(stamps / "unwanted"))},
        "idle": {"cmd": scripted(), "ttl": 1},
        "renamed": {"cmd": scripted(), "useModelName": "org/Real-Name"},
    }
    listed = {
        "a": {
            "cmd": scripted("--name", "a", "--load-s", "0.3"),
            "aliases": ["first"],
            "name": "A",
            "description": "x",
        },
        "b": {"cmd": scripted("--name", "b", "--load-s", "0.3")},
    }
    hidden = {name: model | {"unlisted": True} for name, model in models.items()}
    return start_shared_train({"workers": 2, "models": listed | hidden})


@pytest.fixture
def train(shared: Train) -> Train:
    """This one, of which two workers and no model run."""
    shared.ask("scale", workers=2)
    eventually(lambda: len(shared.workers()) == 2, what="both workers")
    return shared.emptied()


def test_a_request_starts_its_model_and_the_next_one_takes_its_place(train: Train) -> None:
    assert train.model("a")["state"] == "stopped"

    first = train.chat("a")
    assert first.status_code == 200
    assert (train.model("a")["state"], train.model("b")["state"]) == ("ready", "stopped")

    second = train.chat("b")
    assert second.status_code == 200
    assert (train.model("a")["state"], train.model("b")["state"]) == ("stopped", "ready")
    assert first.json()["model"] == "a"
    assert second.json()["model"] == "b"


def test_an_alias_is_as_good_as_the_name(train: Train) -> None:
    assert train.chat("first").status_code == 200
    assert train.model("a")["state"] == "ready"


def test_warm_requests_send_no_control_message(train: Train) -> None:
    for _ in range(8):  # until each worker holds its lease
        train.chat("a")
    eventually(
        lambda: (
            all(w["leases"] == ["a"] for w in train.ask("workers")["workers"])
            or train.chat("a") is None
        )
    )
    before = train.ask("status")

    for _ in range(40):
        assert train.chat("a").status_code == 200

    after = train.ask("status")
    assert after["lease_requests"] == before["lease_requests"]
    assert after["control_requests"] == before["control_requests"] + 1  # this very question


def test_requests_for_a_starting_model_share_one_start(train: Train, stamps: Path) -> None:
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: train.chat("shared"), range(12)))

    assert [answer.status_code for answer in answers] == [200] * 12
    assert (stamps / "shared").read_text().count("spawn") == 1


def test_a_request_whose_client_left_is_not_waited_for(train: Train, stamps: Path) -> None:
    waiting = threading.Thread(target=train.chat, args=("slow",))
    waiting.start()
    queued(train, slow=1)
    host, _, port = train.url.removeprefix("http://").partition(":")
    body = b'{"model":"unwanted","messages":[]}'
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as leaves:
        leaves.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        queued(train, slow=1, unwanted=1)
    queued(train, slow=1)
    (stamps / "gate").touch()
    waiting.join()

    assert train.chat("slow").status_code == 200
    assert not (stamps / "unwanted").exists()  # it was never started


def test_two_clients_that_want_different_models_are_both_served(train: Train) -> None:
    wanted = ["a", "b"] * 6
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(train.chat, wanted))

    assert [answer.json()["model"] for answer in answers] == wanted


def test_asking_for_lists_starts_nothing(train: Train) -> None:
    def running() -> list[tuple[str, str]]:
        """As a worker knows it, which hears of changes a moment later."""
        found = httpx.get(f"{train.url}/running").json()["running"]
        assert all(f"--name {one['model']}" in one["cmd"] for one in found)
        return [(one["model"], one["state"]) for one in found]

    listed = httpx.get(f"{train.url}/v1/models").json()
    assert [model["id"] for model in listed["data"]] == ["a", "b"]
    assert httpx.get(f"{train.url}/health").text == "OK"
    eventually(lambda: running() == [], what="workers that know of no model")
    assert httpx.get(f"{train.url}/v1/chat/completions?model=a").status_code == 405
    assert {train.model("a")["state"], train.model("b")["state"]} == {"stopped"}

    train.chat("b")
    eventually(lambda: running() == [("b", "ready")], what="workers that know of b")


@pytest.mark.parametrize(
    ("body", "status", "hint"),
    [
        (b'{"model":', 400, "JSON"),
        (b"[]", 400, ""),
        (b'{"messages":[]}', 400, "model"),
        (b'{"model":7}', 400, "model"),
        (b'{"model":"aa"}', 404, "did you mean"),
        (b'{"model":"nothing-like-it"}', 404, "nothing-like-it"),
    ],
)
def test_a_bad_request_is_refused_in_the_shape_of_the_api(
    train: Train, body: bytes, status: int, hint: str
) -> None:
    answer = httpx.post(
        f"{train.url}/v1/chat/completions",
        content=body,
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == status
    error = answer.json()["error"]
    assert {"message", "type", "param", "code"} <= set(error)
    assert hint.lower() in error["message"].lower()


def test_a_body_over_the_limit_is_refused_before_it_is_read(train: Train) -> None:
    host, _, port = train.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as client:
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
            b"content-type: application/json\r\ncontent-length: 1000000000000\r\n\r\n{"
        )
        answer = b"".join(iter(lambda: client.recv(65536), b""))

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


def test_an_idle_model_is_unloaded_after_its_ttl(train: Train) -> None:
    train.chat("idle")
    eventually(lambda: train.model("idle")["state"] == "stopped")
    assert train.chat("idle").status_code == 200  # and it comes back


def test_a_list_has_what_it_may_have_in_the_words_of_the_configuration(train: Train) -> None:
    listed, other = httpx.get(f"{train.url}/v1/models").json()["data"]
    assert (listed["id"], listed["name"], listed["description"]) == ("a", "A", "x")
    assert other["id"] == "b"


def test_the_name_that_the_upstream_knows_is_put_into_the_request(train: Train) -> None:
    sent = b'{ "script": "echo",  "model" : "renamed", "x": "\xc3\xa9" }'
    arrived = httpx.post(f"{train.url}/v1/chat/completions", content=sent).json()
    expected = sent.replace(b'"renamed"', b'"org/Real-Name"')
    assert arrived["sha256"] == hashlib.sha256(expected).hexdigest()


def test_scripts_can_swap_explain_and_unload(train: Train) -> None:
    swapped = train.ask("swap", model="a")
    assert (swapped["ok"], swapped["state"]) == (True, "ready")
    assert train.ask("explain", model="b")["stops"] == ["a"]
    assert train.ask("swap", model="nope")["error"]["code"] == "unknown_model"
    assert train.ask("unload")["unloaded"] == ["a"]
    assert train.ask("frobnicate")["error"]["code"] == "bad_request"
    assert train.ask("scale", workers=99)["error"]["code"] == "bad_request"


def test_workers_can_be_scaled_while_requests_run(train: Train) -> None:
    train.chat("a")
    assert train.ask("scale", workers=3)["ok"]
    eventually(lambda: len(train.workers()) == 3)
    assert train.ask("scale", workers=1)["ok"]
    eventually(lambda: set(train.workers()) == {1} and len(train.ask("workers")["workers"]) == 1)
    assert train.chat("a").status_code == 200
