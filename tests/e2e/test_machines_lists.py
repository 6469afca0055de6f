"""An arriero that watches others, on addresses of this machine: lists, and how models stand.

By day test_machines.py has a part of it.
"""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from trains import Train, eventually

from tests.real.parts import ensure_llama_server, ensure_models

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

KEY = "made-on-box2"


def with_keys(*scopes: str) -> dict[str, Any]:
    digest = sha256(KEY.encode()).hexdigest()
    return {"clientKeys": {"box1": {"hash": f"sha256:{digest}", "scopes": list(scopes)}}}


def machine(train: Train, name: str = "box2") -> dict[str, Any]:
    """How another machine stands, as this one sees it."""
    (found,) = (it for it in train.ask("status")["peers"] if it["peer"] == name)
    return found  # type: ignore[no-any-return]


def names(train: Train) -> set[str]:
    """What clients are listed."""
    return {it["id"] for it in httpx.get(f"{train.url}/v1/models").json()["data"]}


def ask_all(train: Train, path: str) -> str:
    return httpx.get(f"{train.url}{path}").text


@pytest.fixture(scope="module")
def models_of_box2(scripted: Callable[..., str]) -> dict[str, Any]:
    return {
        "m": {"cmd": scripted("--name", "m"), "aliases": ["also-m"]},
        "org/n": {"cmd": scripted("--name", "n")},
    }


@pytest.fixture(scope="module")
def box2(start_shared_train: Callable[..., Train], models_of_box2: dict[str, Any]) -> Train:
    """A machine that wants a key."""
    return start_shared_train(
        {
            "listen": "127.0.0.2:0",
            "models": models_of_box2,
            "peers": {"box9": {"proxy": "http://127.0.0.1:9", "models": ["elsewhere"]}},
            "selectors": {"any": {"strategy": "warm", "targets": ["m", "org/n"]}},
        }
        | with_keys("infer", "read")
    )


@pytest.fixture(scope="module")
def gateway(
    start_shared_train: Callable[..., Train], box2: Train, scripted: Callable[..., str]
) -> Train:
    """The machine that clients ask; it knows itself, too, by mistake."""
    peer = {"proxy": f"{box2.url}/v1", "models": "auto", "apiKey": KEY}
    train = start_shared_train({"models": {}, "peers": {"box2": peer}})
    own = {"proxy": train.url, "models": "auto"}
    here = {"here": {"cmd": scripted()}}
    train.reload({"models": here, "peers": {"box2": peer, "me": own}})
    return train


def test_a_list_is_theirs_and_is_followed(
    gateway: Train, box2: Train, models_of_box2: dict[str, Any], scripted: Callable[..., str]
) -> None:
    wanted = {"here", "box2/m", "box2/org/n"}
    eventually(lambda: names(gateway) == wanted, what="its own models, and no other names")
    assert gateway.chat("m").json()["model"] == "m"
    assert gateway.chat("box2/org/n").json()["model"] == "n"
    eventually(lambda: machine(gateway)["followed"])
    eventually(lambda: [(it["model"], it["state"]) for it in machine(gateway)["running"]]
               == [("org/n", "ready")])  # fmt: skip
    there = machine(gateway)
    assert (there["kind"], there["link"], there["circuit"]) == ("arriero", "up", "closed")
    eventually(lambda: machine(gateway, "me")["why"].startswith("this is this arriero itself"))
    box2.reload(
        {
            "listen": box2.url.removeprefix("http://"),
            "models": models_of_box2 | {"new": {"cmd": scripted()}},
        }
        | with_keys("infer", "read")
    )
    eventually(lambda: "box2/new" in names(gateway), what="a model that has come")
    assert {"here", "box2/m", "box2/org/n", "box2/new"} == names(gateway)
    told = ask_all(gateway, "/metrics")
    assert 'arriero_peer_up{peer="box2"} 1' in told
    assert 'arriero_peer_models{peer="box2"} 3' in told
    command = [sys.executable, "-m", "arriero.supervisor", "status", "--socket-dir"]
    status = subprocess.check_output([*command, str(gateway.socket_dir)], text=True)
    assert "box2     up     closed" in status


def test_a_machine_that_is_away_has_its_list_and_comes_back(
    gateway: Train, box2: Train, start_train: Callable[..., Train], models_of_box2: dict[str, Any]
) -> None:
    eventually(lambda: machine(gateway)["link"] == "up")
    before = names(gateway)
    listen = box2.url.removeprefix("http://")
    assert box2.stop() == 0
    eventually(lambda: machine(gateway)["link"] == "away")
    assert names(gateway) == before
    assert gateway.chat("box2/m").status_code == 502
    there = machine(gateway)
    assert there["circuit"] != "closed"
    assert there["running"] == []
    # another process of the same machine knows what was listed last
    state = {"XDG_STATE_HOME": str(gateway.log.parent)}
    gateway.stop()
    again = start_train(
        {
            "models": {},
            "peers": {"box2": {"proxy": f"{box2.url}/v1", "models": "auto", "apiKey": KEY}},
        },
        environ=state,
    )
    assert {"box2/m", "box2/org/n"} <= names(again)
    assert machine(again)["listed_at"] is not None
    start_train({"listen": listen, "models": models_of_box2} | with_keys("infer", "read"))
    eventually(lambda: machine(again)["link"] == "up")
    eventually(lambda: machine(again)["circuit"] == "closed")
    assert again.chat("m").json()["model"] == "m"


@contextmanager
def llama_server(*options: str) -> Iterator[str]:
    """Run the real one on a port of its own; give its URL."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    command = [str(ensure_llama_server()), "--host", "127.0.0.1", "--port", str(port), *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}"

            def is_up() -> bool:
                with suppress(httpx.HTTPError):
                    return httpx.get(f"{url}/health").is_success
                return False

            eventually(is_up, within_s=120, what="llama-server")
            yield url
        finally:
            process.terminate()


def test_llama_servers_tell_their_models(start_train: Callable[..., Train], tmp_path: Path) -> None:
    models = ensure_models()
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    for file in models.values():
        (shelf / file.name).symlink_to(file)
    small = ["-c", "512", "-ngl", "0", "--no-warmup"]
    one = models["smollm2-135m"]
    with (
        llama_server("-m", str(one), "--alias", "smol", *small) as single,
        llama_server("--models-dir", str(shelf), "--models-max", "1", *small) as router,
    ):
        train = start_train(
            {
                "models": {},
                "peers": {
                    "single": {"proxy": single, "models": "auto"},
                    "router": {"proxy": f"{router}/v1", "models": "auto", "kind": "llama-server"},
                },
            }
        )
        of_router = {f"router/{file.stem}" for file in models.values()}
        eventually(lambda: names(train) >= of_router | {"single/smol"})
        assert [it["model"] for it in machine(train, "single")["running"]] == ["smol"]
        assert machine(train, "router")["running"] == []
        assert train.chat("smol").status_code == 200
        first = min(of_router)
        assert train.chat(first).status_code == 200
        eventually(
            lambda: (
                [it["model"] for it in machine(train, "router")["running"]]
                == [first.removeprefix("router/")]
            ),
            what="the router's list says which model it has loaded",
        )
