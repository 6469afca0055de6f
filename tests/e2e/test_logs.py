"""The log: no test of this folder passes with an error in it (see `start_train`); its forms."""

import json
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from trains import PATIENCE_S, Stream, Train, eventually, unexpected_errors

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


class Tail:
    """What a route tells that goes on, read in a thread."""

    def __init__(self, train: Train, path: str, **headers: str) -> None:
        self.text = ""
        self.status = 0
        self._response: httpx.Response | None = None
        self._url = f"{train.url}{path}"
        self._headers = headers
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        with httpx.stream("GET", self._url, timeout=PATIENCE_S, headers=self._headers) as response:
            self.status = response.status_code
            for piece in response.iter_text():
                self.text += piece

    def told(self, kind: str) -> list[Any]:
        """What the events of a kind have told so far."""
        found = [json.loads(line[5:]) for line in self.text.split("\n") if line[-1:] == "}"]
        return [json.loads(one["data"]) for one in found if one["type"] == kind]

    def has_told(self, kind: str, what: object) -> bool:
        return what in self.told(kind)

    def answered(self) -> list[Any]:
        """The requests that run and whose answer has begun, as they were told."""
        told = [one.get("request", {}) for one in self.told("inflight")]
        return [one for one in told if one.get("resp_headers")]

    def has_been(self, state: str) -> bool:
        """Whether the model was told to be in that state."""
        return state in self.states()

    def states(self) -> list[str]:
        return [model["state"] for told in self.told("modelStatus") for model in told]

    def ended(self) -> str:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return self.text


def test_logs_and_events_are_followed_in_every_worker(
    start_train: Callable[..., Train], scripted: Callable[..., str], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    command = scripted("--api-key", "s3cret-key", "--load-gate", str(gate))
    models = {"org/a": {"cmd": command, "apiKey": "s3cret-key"}}
    config = {"workers": 2, "models": models, "logToStdout": "both", "apiKeys": ["client-key-1"]}
    train = start_train(config, "--log-format", "json")
    key = {"Authorization": "Bearer client-key-1"}
    events = [Tail(train, "/api/events", **key) for _ in range(4)]  # some in each worker
    eventually(lambda: all(one.told("inflight") for one in events))
    fields = {"X-Request-Id": "mine", "Cookie": "s3cret", **key}
    stream = Stream(train, "org/a", runs_on=True, headers=fields)
    for one in events:  # what lasts a moment only is not told
        eventually(partial(one.has_been, "starting"))
    gate.touch()
    past = Tail(train, "/logs/stream/org/a", **key)
    late = Tail(train, "/logs/stream/org/a?no-history", **key)
    for one in events:
        shown = eventually(one.answered)[0]
        assert (shown["id"], shown["model"], shown["method"]) == ("mine", "org/a", "POST")
        assert shown["req_headers"]["cookie"] == "[REDACTED]"
        assert shown["resp_headers"]["content-type"].startswith("text/event-stream")
    stream.finish()
    gone = {"operation": "remove", "id": "mine"}
    for one in events:
        eventually(partial(one.has_told, "inflight", gone))
        eventually(partial(one.told, "activity"))
        eventually(partial(one.has_been, "ready"))

    def shown_to_all(line: str) -> bool:
        return line in httpx.get(f"{train.url}/logs", headers=key).text

    eventually(lambda: shown_to_all("supervisor.ready") and shown_to_all("listening on http"))
    assert train.stop() == 0  # streams that go on do not hold it up

    listening = "listening on http"
    assert past.ended().count(listening) == 1
    assert late.ended().count(listening) <= 1  # it may have come before the line
    for one in events:
        sources = [it["source"] for it in one.told("logData")]
        assert sources[:2] == ["proxy", "upstream"]
        told = "".join(it["data"] for it in one.told("logData") if it["source"] == "upstream")
        assert told.count(listening) == 1
        assert "s3cret" not in one.ended()

    lines = [json.loads(line) for line in train.log_text().splitlines()]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    loggers = {line["logger"] for line in lines}
    assert {"worker-1", "upstream", "arriero.supervisor.app"} <= loggers
    assert {line["model"] for line in lines if line["logger"] == "upstream"} == {"org/a"}
    assert "s3cret" not in train.log_text()
    assert "client-key" not in train.log_text()
