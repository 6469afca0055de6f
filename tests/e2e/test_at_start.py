"""What a configuration says about the start: models, ports, and what is written."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from trains import DEFAULTS, Train, eventually

from arriero.protocol.remote.curve import new_keys, to_hex
from arriero.supervisor.host.curve_key_file import read_keys, write_keys
from tests.start_port import free_ports

pytestmark = pytest.mark.e2e


def port_of(train: Train, model: str) -> int:
    return int(train.model(model)["endpoint"].rpartition(":")[2])


@dataclass
class Started:
    """A train as it was when all models that it loads by itself were loaded, and after that."""

    train: Train
    config: dict[str, Any]
    first_port: int
    status: dict[str, Any]
    log: str

    def again(self) -> Train:
        """The train with this configuration again, and no model."""
        write(self.train, self.config)
        assert self.train.ask("reload")["ok"]
        return self.train.emptied()


def write(train: Train, text: dict[str, object]) -> None:
    said = DEFAULTS | text
    (train.log.parent / "config.yaml").write_text(yaml.safe_dump(said))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the key of the supervisor, and that of somebody who may command it."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("own", "friend"):
        write_keys(folder / name, new_keys())
    return folder


@pytest.fixture(scope="module")
def started(
    start_shared_train: Callable[..., Train], scripted: Callable[..., str], keys: Path
) -> Iterator[Started]:
    """One start, of which each test looks at something else. Somebody sits on the port of `b`."""
    first = free_ports(16)
    friend = to_hex(read_keys(keys / "friend").public)
    config = {
        "control": {
            "listen": "tcp://127.0.0.1:0",
            "key": str(keys / "own"),
            "clients": [friend],
        },
        "startPort": first,
        "captureBuffer": 7,
        "hooks": {"on_startup": {"preload": ["refuses", "c", "b", "first", "nobody"]}},
        "models": {
            "a": {"cmd": scripted(), "aliases": ["first"]},
            "b": {"cmd": scripted()},
            "c": {"cmd": scripted()},
            "d": {"cmd": scripted()},
            "refuses": {"cmd": "sh -c 'exit 3' ${PORT}"},
            "gone": {"cmd": "/nowhere/server --port ${PORT}"},
            "file": {"cmd": "/nowhere/llama-server --port ${PORT} -m /nowhere/m.gguf"},
        },
        "groups": {"all": {"swap": False, "members": ["refuses", "a", "b", "c", "d"]}},
    }
    with socket.create_server(("127.0.0.1", first + 1)):
        train = start_shared_train(config)
        eventually(lambda: train.model("a")["state"] == "ready", what="models that are loaded")
        failed = "preload.failed model=refuses reason='model refuses failed to load:"
        eventually(lambda: failed in train.log.read_text(), what="a line for the broken model")
        yield Started(train, config, first, train.ask("status"), train.log.read_text())


def test_models_are_loaded_before_anybody_asks_and_a_reload_does_not_do_it_again(
    started: Started,
) -> None:
    states = {model["model"]: model["state"] for model in started.status["models"]}
    assert {model for model, state in states.items() if state == "ready"} == {"a", "b", "c"}
    assert {state for model, state in states.items() if model not in "abc"} == {"stopped"}
    train = started.again()
    assert train.chat("b").status_code == 200
    write(train, started.config | {"hooks": {"on_startup": {"preload": ["a", "d"]}}})
    assert train.ask("reload")["changes"]["settings"] == ["hooks"]
    assert train.chat("b").status_code == 200
    assert [train.model(model)["state"] for model in "ad"] == ["stopped", "stopped"]


def test_each_model_has_a_port_of_its_own_and_another_where_somebody_sits_on_it(
    started: Started,
) -> None:
    endpoints = {model["model"]: model["endpoint"] for model in started.status["models"]}
    ports = [int(endpoints[model].rpartition(":")[2]) for model in "abc"]
    first = started.first_port
    assert (ports[0], ports[2]) == (first, first + 2)
    assert ports[1] not in {first, first + 1, first + 2}
    train = started.again()
    assert train.chat("a").status_code == 200
    assert port_of(train, "a") == first  # again


def test_how_much_is_written_follows_the_configuration(started: Started) -> None:
    warning = " config.warning "
    findings = started.status["config"]["warnings"]
    assert started.log.count(warning) == findings > 0
    assert "nobody" in started.log
    train = started.again()
    at = len(train.log.read_text())

    write(train, started.config | {"logLevel": "warn"})
    assert train.ask("reload")["ok"]
    assert train.chat("a").status_code == 200

    eventually(lambda: train.log.read_text()[at:].count(warning) == findings)
    assert "model.starting" not in train.log.read_text()[at:]
    write(train, started.config | {"logLevel": "debug", "hooks": {}})
    assert train.ask("reload")["ok"]
    train.ask("unload", model="a")
    eventually(lambda: "model.ended" in train.log.read_text()[at:])
    assert train.ask("status")["config"]["warnings"] == findings - 1


def test_another_machine_commands_it_with_a_key(started: Started, keys: Path) -> None:
    found = re.search(r"supervisor\.control_listens address=(tcp://\S+)", started.log)
    assert found is not None
    where = ["--control", found[1], "--control-key", str(keys / "friend")]
    command = [sys.executable, "-m", "arriero", "ping", "--json", *where]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout)["pid"] == started.train.process.pid


def test_what_check_warns_of_is_in_the_log_and_in_the_status(started: Started) -> None:
    found = started.status["config"]["findings"]
    assert [line.partition(": ")[2].split(":")[0] for line in found] == [
        "hooks.on_startup.preload",
        "models.file.cmd",
        "models.file.cmd",
        "models.gone.cmd",
    ]
    for line in found:
        warning = f" WARNING arriero.supervisor.host.log config.warning {line}"
        assert started.log.count(warning) == 1


def test_the_command_line_is_stronger(
    start_train: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    text: dict[str, object] = {"logLevel": "error", "models": {"a": {"cmd": scripted()}}}
    train = start_train(text, "--log-level", "info")  # or it would never be seen to be ready

    write(train, text | {"logLevel": "warn"})
    assert train.ask("reload")["applied"] is False  # nothing that acts is different
