"""What became of requests, how one is ended, and where records are kept."""

import base64
import resource
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

import httpx
import psutil
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from trains import PATIENCE_S, Train, eventually

from tests.collector import CollectorServer, attributes, open_collector
from tests.described import is_as_described

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
    eventually(lambda: train.log_text().count(" request.ended request_id=") == 3)


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
    wholes.sort(key=lambda span: span.start_time_unix_nano)
    cold, warm = (parts(there, whole) for whole in wholes)
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


# --- the store ------------------------------------------------------------------------------------


@pytest.fixture
def configured(
    ride: Callable[..., Train], scripted: Callable[..., str]
) -> Callable[..., tuple[Train, httpx.Client]]:
    """A function that gives the train of this file some more keys, and a client."""

    def start(**keys: Any) -> tuple[Train, httpx.Client]:
        train = ride(
            {"workers": 2, "models": {"a": {"cmd": scripted(), "aliases": ["first"]}}, **keys}
        )
        client = httpx.Client(
            base_url=train.url,
            timeout=PATIENCE_S,
            # each question on a connection of its own: any worker may get it
            headers={"Connection": "close"},
            event_hooks={"response": [is_as_described]},
        )
        return train, client

    return start


def test_what_has_run_is_told_alike_by_all_workers(
    configured: Callable[..., tuple[Train, httpx.Client]],
) -> None:
    train, client = configured()
    names = [train.chat("a").headers["x-request-id"] for _ in range(3)]
    found: list[dict[str, Any]] = []
    eventually(
        lambda: all(client.get(f"/api/activity/{name}").status_code == 200 for name in names)
    )
    orders = set()
    for _ in range(4):
        found = client.get("/api/activity?limit=3&model=a").json()["requests"]
        orders.add(tuple(one["request_id"] for one in found))
    (order,) = orders
    assert sorted(order) == sorted(names)  # each worker tells its own when it can
    assert client.get(f"/api/activity/{names[0]}").json()["content_type"] == "application/json"
    assert client.get("/api/metrics/activity").json()["data"][0]["metadata"]["outcome"] == "ok"
    assert client.get("/api/metrics/stats").json()["total_requests"] >= 3
    (row,) = client.get("/api/usage?by=model&model=first").json()["rows"]
    assert row["model"] == "a"
    assert row["requests"] >= 3
    lines = client.get("/api/activity.csv").text.splitlines()
    assert lines[1].startswith(order[0])
    assert client.get("/api/captures").json() == {"data": []}
    eventually(lambda: train.ask("status")["store"]["waiting"] == 0, what="all on the disk")
    store = train.ask("status")["store"]
    assert (store["waiting"], store["lost"], store["problem"]) == (0, 0, "")
    with closing(sqlite3.connect(store["path"])) as database:
        assert database.execute("SELECT COUNT(*) FROM requests").fetchone() == (store["rows"],)


def test_requests_are_kept_whole_without_keys(
    configured: Callable[..., tuple[Train, httpx.Client]],
) -> None:
    train, client = configured(captureBuffer=1, store={"captureBody": "1KiB"})
    body = {"model": "a", "stream": True, "messages": [{"role": "user", "content": "x" * 2000}]}
    answer = httpx.post(
        f"{train.url}/v1/chat/completions",
        json=body,
        headers={"Authorization": "Bearer s3cret", "X-Api-Key": "s3cret", "Cookie": "s3cret"},
        timeout=PATIENCE_S,
    )
    httpx.post(f"{train.url}/v1/chat/completions", json={"model": "none"}, timeout=PATIENCE_S)

    entries = eventually(
        lambda: found if len(found := client.get("/api/captures").json()["data"]) > 1 else None
    )
    asked = answer.headers["x-request-id"]  # two workers tell of them, in any order
    (entry, unknown) = sorted(entries, key=lambda one: one["request_id"] != asked)
    kept = client.get(f"/api/captures/{entry['id']}").json()
    refused = client.get(f"/api/captures/{unknown['id']}").json()

    assert (entry["request_id"], len(entries)) == (asked, 2)
    assert "s3cret" not in str(kept)
    assert kept["req_headers"]["authorization"] == "[REDACTED]"
    assert kept["resp_headers"]["content-type"].startswith("text/event-stream")
    request, response = (base64.b64decode(kept[name]) for name in ("req_body", "resp_body"))
    assert request.startswith(b'{"model":"a"')
    assert len(request) == 1024
    assert answer.content.startswith(response)
    assert len(response) > 100
    assert kept["is_cut"]
    assert b"none" in base64.b64decode(refused["resp_body"])
    assert client.get("/api/captures/999999").status_code == 404
    assert client.get("/api/metrics/activity").json()["data"][0]["has_capture"]


def test_full_disk_loses_no_request(
    configured: Callable[..., tuple[Train, httpx.Client]],
) -> None:
    train, client = configured()
    name = train.chat("a").headers["x-request-id"]
    eventually(lambda: client.get(f"/api/activity/{name}").status_code == 200)
    before = client.get("/api/metrics/stats").json()["total_requests"]
    # Nothing may be written to files any more: what a full disk says as well.
    pid = train.ask("status")["store"]["pid"]
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        for _ in range(5):
            assert train.chat("a").status_code == 200
            assert client.get("/api/activity").status_code == 200
        problem = eventually(lambda: train.ask("status")["store"]["problem"])
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)

    assert "nothing can be written" in problem
    eventually(lambda: train.ask("status")["store"]["problem"] == "", what="a store that works")
    told = "/api/metrics/stats"
    eventually(lambda: client.get(told).json()["total_requests"] == before + 5)
    assert train.ask("status")["store"]["lost"] == 0
