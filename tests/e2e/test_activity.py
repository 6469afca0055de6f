"""What became of requests, and how one is ended, as the owner of the machine sees it."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import psutil
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from trains import PATIENCE_S, Train, eventually

from tests.collector import CollectorServer, attributes, open_collector

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


TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_spans_of_requests_reach_a_collector(
    ride: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    config = {"workers": 2, "models": {"a": {"cmd": scripted("--load-s", "0.2", "--report")}}}
    with open_collector() as there:
        train = ride(config | {"telemetry": {"traces": True, "endpoint": there.url}})
        eventually(lambda: "telemetry.exporting" in train.log_text())

        def chat(flags: str, **more: str) -> httpx.Response:
            parent = f"00-{TRACE}-{PARENT}-{flags}"
            return train.chat("a", headers={"traceparent": parent, "X-Request-Id": "me"}, **more)

        first = chat("01")
        chat("00")  # nobody wants to know of that
        second = chat("01", script="echo")
        eventually(lambda: sum(span.name == "chat a" for span in there.spans) == 2)

    assert {span.trace_id.hex() for span in there.spans} == {TRACE}
    wholes = [span for span in there.spans if span.parent_span_id.hex() == PARENT]
    warm, cold = (parts(there, whole) for whole in sorted(wholes, key=duration_s))
    # its upstream was told the id of what it does
    assert f"00-{TRACE}-{warm['chat a'].span_id.hex()}-01" in second.text
    assert {"load", "chat a"} <= set(cold) <= {"queue", "load", "chat a"}
    assert duration_s(cold["load"]) > 0.2
    assert "loading" in parts(there, cold["load"])
    written = first.json()["usage"]["completion_tokens"]
    assert attributes(cold["chat a"])["gen_ai.usage.output_tokens"] == written
    assert {attributes(whole)["arriero.request_id"] for whole in wholes} == {
        answer.headers["x-request-id"] for answer in (first, second)
    }

    train.reload(config)  # and no more, once that is not wanted any longer
    eventually(lambda: not has_exporter(train))


def parts(there: CollectorServer, whole: Span) -> dict[str, Span]:
    return {span.name: span for span in there.spans if span.parent_span_id == whole.span_id}


def duration_s(span: Span) -> float:
    return (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9


def has_exporter(train: Train) -> bool:
    for child in psutil.Process(train.process.pid).children():
        with suppress(psutil.Error):
            if "arriero.supervisor.telemetry.exporter_child" in child.cmdline():
                return True
    return False


def test_a_request_that_nobody_knows_is_refused(train: Train) -> None:
    answer = train.ask("cancel", request_id="never-was")

    assert (answer["ok"], answer["error"]["code"]) == (False, "unknown_request")
    assert train.ask("activity", request_id="never-was")["records"] == []
    assert train.ask("activity", limit=0)["error"]["code"] == "bad_request"
