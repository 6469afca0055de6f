"""Servers of models that want to be shown a key; arriero's own keys, which none of them gets."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from trains import PATIENCE_S, Train, eventually
from wsproto import ConnectionType, WSConnection, events

pytestmark = pytest.mark.e2e

OWN = "sk-own-key-of-arriero"


@pytest.fixture(scope="module")
def environ_of_ride() -> dict[str, str]:
    """Variables of which two hold our own key."""
    return {"MINE": OWN, "LIST": f"x,{OWN}", "OTHER": "sk-other-key"}


def ask(train: Train, model: str, **headers: str) -> httpx.Response:
    """One chat, answered with what has arrived at the model."""
    return httpx.post(
        f"{train.url}/v1/chat/completions",
        json={"model": model, "messages": [], "script": "echo"},
        headers=headers,
        timeout=PATIENCE_S,
    )


def shown(answer: httpx.Response) -> dict[str, str]:
    """The fields of a request that say who asks, as they have arrived at a model."""
    assert answer.status_code == 200, answer.text
    return {
        name.lower(): value
        for name, value in answer.json()["headers"]
        if name.lower() in {"authorization", "x-api-key", "api-key"}
    }


def guarded(command: str, **more: Any) -> dict[str, Any]:
    """A model that is ready when a path answers for which a key is needed."""
    return {"cmd": command, "checkEndpoint": "/v1/models", **more}


def models(scripted: Callable[..., str], folder: Path) -> dict[str, dict[str, Any]]:
    """Models whose servers are told ``s3cret-<name>``, each in another way."""
    (folder / "keys").write_text("s3cret-file\nanother\n")
    (folder / "wrapper").write_text(
        f"exec {scripted('--api-key s3cret-own')}".replace("${PORT}", "$1")
    )
    return {
        "option": guarded(scripted("--api-key", "s3cret-option,another")),
        "equals": guarded(scripted("--api-key=s3cret-equals")),
        "file": guarded(scripted("--api-key-file", str(folder / "keys"))),
        "env": guarded(scripted(), env=["LLAMA_API_KEY=s3cret-env"]),
        "vllm": guarded(scripted(), env=["VLLM_API_KEY=s3cret-vllm"], kind="vllm"),
        "program": guarded(f"env LLAMA_API_KEY=s3cret-program {scripted()}"),
        "shell": guarded(
            f'sh -c "exec {scripted("--api-key", chr(39) + "s3cret-shell" + chr(39))}"'
        ),
        "own": guarded(f"sh {folder / 'wrapper'} ${{PORT}}", apiKey="s3cret-own"),
    }


def test_a_model_is_shown_its_own_key_and_nobody_else_sees_it(
    ride: Callable[..., Train], scripted: Callable[..., str], tmp_path: Path
) -> None:
    """Whether we want to be shown a key ourselves, or not."""
    said = models(scripted, tmp_path)
    config = {"models": said, "groups": {"all": {"members": [*said], "swap": False}}}
    train = ride(config)
    told: list[Any] = []

    with train.events("") as next_event:
        for keys in ([], [OWN]):
            assert train.reload(config | {"apiKeys": keys})["relaunch"] == []
            for model in said:
                answer = ask(train, model, Authorization=f"Bearer {OWN}", **{"x-api-key": OWN})
                assert shown(answer) == {"authorization": f"Bearer s3cret-{model}"}
            told += [train.ask("status"), train.ask("explain", model="env"), train.ask("workers")]
            told += [httpx.get(f"{train.url}/running", headers={"x-api-key": OWN}).json()]
        assert ask(train, "env").status_code == 401
        told += [train.ask("swap", model="shell", wait=True)]
        told += [train.ask("logs", model=model) for model in said]
        train.ask("unload")
        last = train.ask("status")["seq"]
        while (event := next_event())["seq"] < last:
            told.append(event)
    config_file = train.log.parent / "config.yaml"
    assert OWN in config_file.read_text()
    checked = subprocess.run(
        [sys.executable, "-m", "arriero.supervisor", "check", str(config_file)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert "env" in checked.stdout
    everything = json.dumps(told) + checked.stdout + checked.stderr + train.log_text()
    assert "s3cret" not in everything
    assert OWN not in everything


def test_without_any_key_the_client_s_own_goes_on_as_it_came(
    ride: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    said = {"models": {"a": {"cmd": scripted()}, "k": {"cmd": scripted("--api-key", "s3cret-k")}}}
    train = ride(said)
    client = {"Authorization": "Bearer of-the-client", "x-api-key": "theirs", "api-key": "azure's"}

    assert shown(ask(train, "a", **client)) == {
        "authorization": "Bearer of-the-client",
        "x-api-key": "theirs",
    }
    assert shown(ask(train, "a", Authorization="Basic b2g6aA==")) == {
        "authorization": "Basic b2g6aA=="
    }
    named = {"Connection": "x-api-key", "x-api-key": "for this hop only"}
    assert shown(ask(train, "a", **named)) == {}
    assert shown(ask(train, "k", **client)) == {"authorization": "Bearer s3cret-k"}

    train.reload(said | {"apiKeys": [OWN]})
    assert ask(train, "a", **client).status_code == 401
    assert shown(ask(train, "a", **client | {"Authorization": f"Bearer {OWN}"})) == {}
    assert shown(ask(train, "a", **{"x-api-key": OWN})) == {}


def test_a_made_key_is_another_one_at_each_start_and_closes_the_port(
    ride: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    env = ["LLAMA_API_KEY=${API_KEY}"]
    train = ride({"models": {"a": guarded(scripted(), env=env)}})

    seen = []
    for _ in range(2):
        seen.append(shown(ask(train, "a"))["authorization"])
        endpoint = train.model("a")["endpoint"]
        assert httpx.get(f"{endpoint}/v1/models").status_code == 401
        assert train.ask("unload")["ok"]
    assert len({*seen}) == 2
    assert all(len(key) == len("Bearer ") + 64 for key in seen)
    assert not any(key.removeprefix("Bearer ") in train.log_text() for key in seen)


def test_the_variables_that_hold_our_own_keys_are_not_inherited(
    ride: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    train = ride({"models": {"a": {"cmd": scripted()}}, "apiKeys": ["${env.MINE}"]})

    assert ask(train, "a", Authorization=f"Bearer {OWN}").status_code == 200
    pid = train.model("a")["pid"]
    environ = psutil.Process(pid).environ()
    assert OWN not in json.dumps(environ)
    assert environ["OTHER"] == "sk-other-key"


def test_another_key_in_the_configuration_is_for_the_next_start(
    ride: Callable[..., Train], scripted: Callable[..., str], tmp_path: Path
) -> None:
    """Servers read their keys when they start: one that runs still wants the old one."""
    keys = tmp_path / "secret"
    wrapper = tmp_path / "wrapper"
    command = scripted("--api-key", f'"$(cat {keys})"').replace("${PORT}", "$1")
    wrapper.write_text(f"exec {command}")
    said = {"cmd": f"sh {wrapper} ${{PORT}}"}
    keys.write_text("the-old-key")
    train = ride({"models": {"a": said | {"apiKey": "the-old-key"}}})
    assert ask(train, "a").status_code == 200

    keys.write_text("the-new-key")
    changes = train.reload({"models": {"a": said | {"apiKey": "the-new-key"}}})
    assert changes["relaunch"] == [{"model": "a", "keys": ["apiKey"]}]
    assert shown(ask(train, "a")) == {"authorization": "Bearer the-old-key"}
    assert train.model("a")["stale"]
    assert train.ask("unload")["ok"]
    assert shown(ask(train, "a")) == {"authorization": "Bearer the-new-key"}


# --- unix sockets --------------------------------------------------------------------------------


def test_a_server_on_a_unix_socket_is_started_asked_and_stopped(
    ride: Callable[..., Train], scripted: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / "a.sock"
    command = scripted("--host", str(path)).replace("--port ${PORT}", "")
    train = ride({"models": {"a": guarded(command, proxy=f"unix:{path}")}})

    for _ in range(2):  # the second one finds what the first one has left
        assert ask(train, "a").status_code == 200
        assert train.model("a")["endpoint"] == f"unix:{path}"
        assert train.ask("unload")["ok"]
        assert train.model("a")["state"] == "stopped"
        assert path.is_socket()
    assert ask(train, "a").status_code == 200
    pid = train.model("a")["pid"]
    psutil.Process(pid).kill()
    eventually(lambda: ask(train, "a").status_code == 200, what="another one")
    assert train.model("a")["pid"] != pid


def test_a_web_socket_goes_to_a_unix_socket_and_shows_the_key(
    ride: Callable[..., Train], scripted: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / "a.sock"
    command = scripted("--host", str(path)).replace("--port ${PORT}", "")
    env = ["LLAMA_API_KEY=${API_KEY}"]
    train = ride({"models": {"a": guarded(command, proxy=f"unix:{path}", env=env)}})
    host, _, port = train.url.removeprefix("http://").partition(":")

    ws = WSConnection(ConnectionType.CLIENT)
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as sock:
        sock.sendall(ws.send(events.Request(host=host, target="/v1/realtime?model=a")))
        heard: list[events.Event] = []
        while len(heard) < 2:
            ws.receive_data(sock.recv(65536))
            for event in ws.events():
                heard.append(event)
                if isinstance(event, events.AcceptConnection):
                    sock.sendall(ws.send(events.TextMessage("hola")))
    assert isinstance(heard[0], events.AcceptConnection)
    assert isinstance(heard[1], events.TextMessage)
    assert heard[1].data == "hola"


def test_a_socket_of_somebody_else_is_left_alone(
    ride: Callable[..., Train], scripted: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / "a.sock"
    command = scripted("--host", str(path)).replace("--port ${PORT}", "")
    with subprocess.Popen(command.split(), stderr=subprocess.DEVNULL) as other:
        eventually(path.exists)
        train = ride({"models": {"a": guarded(command, proxy=f"unix:{path}")}})
        refused = ask(train, "a")
        other.kill()
    assert refused.status_code == 500
    assert "cannot use the socket 'a.sock': another program listens there" in refused.text
    assert str(tmp_path) not in refused.text
    assert ask(train, "a").status_code == 200
