"""What a configuration says about the start: models, ports, and what is written."""

import socket
from collections.abc import Callable

import pytest
import yaml
from trains import DEFAULTS, Train, eventually

pytestmark = pytest.mark.e2e


def port_of(train: Train, model: str) -> int:
    return int(train.model(model)["endpoint"].rpartition(":")[2])


def free_ports(count: int) -> int:
    """The first of `count` ports in a row that are free at this moment."""
    for first in range(21_000, 32_000, count):
        taken = []
        try:
            taken = [socket.create_server(("127.0.0.1", first + n)) for n in range(count)]
        except OSError:
            continue
        finally:
            for one in taken:
                one.close()
        return first
    raise AssertionError("no free ports")


def write(train: Train, text: dict[str, object]) -> None:
    said = DEFAULTS | text
    (train.log.parent / "config.yaml").write_text(yaml.safe_dump(said))


def test_models_are_loaded_before_anybody_asks_and_a_reload_does_not_do_it_again(
    start_train: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    text = {
        "hooks": {"on_startup": {"preload": ["broken", "first", "b"]}},
        "models": {
            "broken": {"cmd": "sh -c 'exit 3' ${PORT}"},
            "a": {"cmd": scripted(), "aliases": ["first"]},
            "b": {"cmd": scripted()},
            "c": {"cmd": scripted()},
        },
        "groups": {"all": {"swap": False, "members": ["broken", "a", "b", "c"]}},
    }
    train = start_train(text)

    eventually(lambda: train.model("b")["state"] == "ready", what="models that are loaded")
    failed = "preload.failed model=broken reason='model broken failed to load:"
    eventually(lambda: failed in train.log.read_text(), what="a line for the broken model")

    states = {model["model"]: model["state"] for model in train.ask("status")["models"]}
    assert states == {"broken": "stopped", "a": "ready", "b": "ready", "c": "stopped"}
    train.ask("unload", model="a")
    write(train, text | {"hooks": {"on_startup": {"preload": ["a", "c"]}}})
    assert train.ask("reload")["changes"]["settings"] == ["hooks"]
    assert train.chat("b").status_code == 200
    assert [train.model(model)["state"] for model in "ac"] == ["stopped", "stopped"]


def test_each_model_has_a_port_of_its_own_and_another_where_somebody_sits_on_it(
    start_train: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    first = free_ports(8)
    with socket.create_server(("127.0.0.1", first + 1)):  # that of b
        train = start_train(
            {
                "startPort": first,
                "hooks": {"on_startup": {"preload": ["c", "b", "a"]}},
                "models": {model: {"cmd": scripted()} for model in "abc"},
                "groups": {"all": {"swap": False, "members": ["a", "b", "c"]}},
            }
        )
        eventually(lambda: train.model("a")["state"] == "ready", what="models that are loaded")

        ports = [port_of(train, model) for model in "abc"]
        assert (ports[0], ports[2]) == (first, first + 2)
        assert ports[1] not in {first, first + 1, first + 2}
        train.ask("unload", model="a")
        assert train.chat("a").status_code == 200
        assert port_of(train, "a") == first  # again


def test_how_much_is_written_follows_the_configuration(
    start_train: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    text: dict[str, object] = {
        "hooks": {"on_startup": {"preload": ["nobody"]}},
        "models": {"a": {"cmd": scripted()}},
    }
    train = start_train(text)
    warning = "config.warning"
    eventually(lambda: train.log.read_text().count(warning) == 1)
    assert "nobody" in train.log.read_text()
    assert train.ask("status")["config"]["warnings"] == 1

    write(train, text | {"logLevel": "warn"})
    assert train.ask("reload")["ok"]
    assert train.chat("a").status_code == 200

    eventually(lambda: train.log.read_text().count(warning) == 2)
    assert "model.starting" not in train.log.read_text()
    write(train, text | {"logLevel": "debug", "hooks": {}})
    assert train.ask("reload")["ok"]
    train.ask("unload", model="a")
    eventually(lambda: "model.ended" in train.log.read_text())
    assert train.ask("status")["config"]["warnings"] == 0


def test_the_command_line_is_stronger(
    start_train: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    text: dict[str, object] = {"logLevel": "error", "models": {"a": {"cmd": scripted()}}}
    train = start_train(text, "--log-level", "info")  # or it would never be seen to be ready

    write(train, text | {"logLevel": "warn"})
    assert train.ask("reload")["applied"] is False  # nothing that acts is different


def test_what_check_warns_of_is_in_the_log_and_in_the_status(
    start_train: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    train = start_train(
        {
            "captureBuffer": 7,
            "models": {
                "a": {"cmd": scripted()},
                "gone": {"cmd": "/nowhere/server --port ${PORT}"},
                "file": {"cmd": "/nowhere/llama-server --port ${PORT} -m /nowhere/m.gguf"},
            },
        }
    )

    found = train.ask("status")["config"]["findings"]
    log = train.log.read_text()
    assert [line.partition(": ")[2].split(":")[0] for line in found] == [
        "captureBuffer", "models.file.cmd", "models.file.cmd", "models.gone.cmd",
    ]  # fmt: skip
    for line in found:
        assert log.count(f" WARNING arriero.supervisor.own_log config.warning {line}") == 1
