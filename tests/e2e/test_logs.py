"""No test of this folder passes with an error in the log: see `start_train`."""

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
