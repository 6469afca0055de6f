"""A model is stopped by a command of its own, such as `docker stop`."""

from collections.abc import Callable
from pathlib import Path

import pytest
from trains import Train, eventually

pytestmark = pytest.mark.e2e


def lines(train: Train, model: str) -> list[str]:
    return [line["line"] for line in train.ask("logs", model=model, lines=1000)["lines"]]


def test_what_a_reload_says_stops_a_model_that_runs_and_one_that_fails_is_no_obstacle(
    ride: Callable[..., Train], scripted: Callable[..., str], tmp_path: Path
) -> None:
    model = {"cmd": scripted(), "cmdStop": "sh -c 'echo old; kill ${PID}'"}
    train = ride({"models": {"a": model}})
    assert train.chat("a").status_code == 200
    changed = model | {"cmdStop": "/nowhere/docker stop --key sk-secret a"}
    changes = train.reload({"models": {"a": changed}})
    assert changes["adjusted"] == [{"model": "a", "keys": ["cmdStop"]}]

    answer = train.ask("unload", model="a")

    assert answer["took_s"] < 9  # SIGTERM did it: SIGKILL comes after ten
    assert "old" not in lines(train, "a")
    log = train.log_text()
    assert "process.stop_command_failed" in log
    assert "cannot start 'docker': the program was not found" in log
    assert "sk-secret" not in log


def test_a_model_that_is_started_otherwise_now_is_stopped_as_it_was_started(
    ride: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    """The new command may name a container that does not run yet."""

    def model(name: str) -> dict[str, str]:
        stop = f"sh -c 'echo stop {name}; kill ${{PID}}'"
        return {"cmd": scripted("--name", name), "cmdStop": stop}

    train = ride({"models": {"a": model("old")}})
    assert train.chat("a").status_code == 200
    train.write_config({"models": {"a": model("new")}})

    assert train.ask("reload", drain=True)["draining"] == ["a"]

    eventually(lambda: train.model("a")["state"] == "stopped", what="a model that is drained")
    assert [line for line in lines(train, "a") if line.startswith("stop ")] == ["stop old"]


def test_it_ends_a_model_for_a_swap_and_for_the_end_of_arriero(
    ride: Callable[..., Train], scripted: Callable[..., str], tmp_path: Path
) -> None:
    stamps = tmp_path / "stamps"
    says = "echo stop $NAME ${PID} at ${PORT} | tee -a $STAMPS; kill -KILL ${PID}"
    train = ride(
        {
            "models": {
                "a": {
                    "cmd": scripted("--stamp", str(stamps)),
                    "cmdStop": f"sh -c '{says}'",
                    "env": ["NAME=alpha", f"STAMPS={stamps}"],
                },
                "b": {"cmd": scripted()},
            }
        }
    )
    assert train.chat("a").status_code == 200
    status = train.model("a")
    said = f"stop alpha {status['pid']} at {status['endpoint'].rpartition(':')[2]}"

    assert train.chat("b").status_code == 200

    assert said in lines(train, "a")
    assert train.chat("a").status_code == 200
    train.ask("unload", model="a", mode="now")
    assert stamps.read_text().count("stop alpha") == 2
    assert train.chat("a").status_code == 200
    assert train.stop() == 0
    written = stamps.read_text()
    assert written.count("stop alpha") == 3
    assert " term " not in written.replace("\n", " ")  # SIGTERM never came
