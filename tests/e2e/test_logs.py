"""The log: no test of this folder passes with an error in it (see `start_train`); its forms."""

import json
from collections.abc import Callable

import httpx
import pytest
from trains import Train, eventually, unexpected_errors

TIME = "2026-01-02 03:04:05,678"


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        (f"{TIME} ERROR arriero.worker.server.management_api page.failed error=RuntimeError", True),
        (f"{TIME} ERROR arriero.supervisor.workers.pool worker.hung worker=1 silent_s=2", False),
        (f"{TIME} CRITICAL x y", True),
        ("<3>arriero.worker page.failed", True),
        ("<4>arriero.worker answer.cut", False),
        (f"{TIME} INFO arriero.worker said ERROR", False),
        (f"{TIME} WARNING arriero.worker answer.cut peer=x", False),
        ("Traceback (most recent call last):", True),
        ("  + Exception Group Traceback (most recent call last):", True),
        ("    | Traceback (most recent call last):", True),
        ("", False),
    ],
)
def test_a_line_of_an_error_is_found(line: str, counts: bool) -> None:
    found = unexpected_errors(f"{TIME} INFO a b\n{line}\nc", ("worker.hung",))
    assert found == ([line] if counts else [])


def test_what_browsers_ask_first_is_no_error(
    ride: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    origin = "http://pages.example"
    train = ride({"cors": [origin], "models": {"a": {"cmd": scripted()}}})
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    for path in ("/v1/chat/completions", "/v1/models", "/", "/nothing"):
        answer = httpx.options(f"{train.url}{path}", headers=asked)
        assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.expects_errors("config.refused", "config.problem")
def test_an_error_that_is_expected_is_one(
    ride: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    train = ride({"models": {"a": {"cmd": scripted()}}})
    train.write_config({"nonsense": 1})
    train.ask("reload")

    errors = eventually(lambda: unexpected_errors(train.log_text()))
    assert all(" config." in line for line in errors)


def test_every_line_is_json(
    start_train: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    models = {"org/a": {"cmd": scripted("--api-key", "s3cret-key"), "apiKey": "s3cret-key"}}
    config = {"models": models, "logToStdout": "both", "apiKeys": ["client-key-1"]}
    train = start_train(config, "--log-format", "json")
    headers = {"Authorization": "Bearer client-key-1"}
    assert train.chat("org/a", headers=headers).status_code == 200
    train.worker().kill()
    eventually(lambda: "worker.died" in train.log_text())
    assert train.stop() == 0

    lines = [json.loads(line) for line in train.log_text().splitlines()]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    loggers = {line["logger"] for line in lines}
    assert {"worker-1", "upstream", "arriero.supervisor.app"} <= loggers
    assert {line["model"] for line in lines if line["logger"] == "upstream"} == {"org/a"}
    assert "s3cret" not in train.log_text()
    assert "client-key" not in train.log_text()
