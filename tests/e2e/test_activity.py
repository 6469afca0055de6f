"""What became of requests, and how one is ended, as the owner of the machine sees it."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from trains import PATIENCE_S, Train

pytestmark = pytest.mark.e2e


@pytest.fixture
def train(ride: Callable[..., Train], scripted: Callable[..., str]) -> Train:
    """A train with two workers and the model `a`, also called `first`."""
    return ride({"workers": 2, "models": {"a": {"cmd": scripted(), "aliases": ["first"]}}})


def next_record(next_event: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Wait for the end of a request; heartbeats come in between."""
    while (event := next_event())["type"] != "usage":
        pass
    return event["record"]  # type: ignore[no-any-return]


def test_each_request_is_remembered_and_told_to_whoever_listens(train: Train) -> None:
    with train.events("usage/") as next_event:
        answers, told = [], []
        for name in ("a", "first", "a"):  # two workers: what is sent together comes in any order
            answers.append(train.chat(name))
            told.append(next_record(next_event)["request_id"])

    records = train.ask("activity", limit=2)["records"]
    assert told == [answer.headers["x-request-id"] for answer in answers]
    assert [found["request_id"] for found in records] == told[1:]
    assert [found["asked"] for found in records] == ["first", "a"]
    assert {(found["model"], found["upstream_kind"]) for found in records} == {
        ("a", "llama-server")
    }
    assert train.log_text().count(" request.ended request_id=") == 3


def test_a_running_request_ends_when_the_owner_of_the_machine_says_so(train: Train) -> None:
    train.chat("a")
    body = {"model": "a", "stream": True, "messages": [], "script": "chunks=400,delay=0.05"}
    with (
        train.events("usage/") as next_event,
        httpx.stream(
            "POST", f"{train.url}/v1/chat/completions", json=body, timeout=PATIENCE_S
        ) as response,
    ):
        lines = response.iter_lines()
        assert next(lines).startswith("data: ")
        request_id = response.headers["x-request-id"]

        first = train.ask("cancel", request_id=request_id)
        assert list(filter(None, lines))[-1] == "data: [DONE]"
        while (record := next_record(next_event))["request_id"] != request_id:
            pass  # the request before it may be told as late

    assert (first["ok"], first["result"]) == (True, "cancelled")
    assert record["outcome"] == "cancelled"
    assert train.ask("cancel", request_id=request_id)["result"] == "finished"


def test_a_request_that_nobody_knows_is_refused(train: Train) -> None:
    answer = train.ask("cancel", request_id="never-was")

    assert (answer["ok"], answer["error"]["code"]) == (False, "unknown_request")
    assert train.ask("activity", request_id="never-was")["records"] == []
    assert train.ask("activity", limit=0)["error"]["code"] == "bad_request"
