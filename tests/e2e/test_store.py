"""Records of requests on disk, as clients and the owner of the machine find them."""

import base64
import resource
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import httpx
import pytest
from trains import PATIENCE_S, Train, eventually

from tests.described import is_as_described

pytestmark = pytest.mark.e2e


@pytest.fixture
def configured(
    ride: Callable[..., Train], scripted: Callable[..., str]
) -> Callable[..., tuple[Train, httpx.Client]]:
    """A function that gives the train of this file some more keys, and a client."""

    def start(**keys: Any) -> tuple[Train, httpx.Client]:
        train = ride({"workers": 2, "models": {"a": {"cmd": scripted()}}, **keys})
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
    eventually(lambda: client.get(f"/api/activity/{names[-1]}").status_code == 200)
    for _ in range(4):
        found = client.get("/api/activity?limit=3&model=a").json()["requests"]
        assert [one["request_id"] for one in found] == names[::-1]
    assert client.get(f"/api/activity/{names[0]}").json()["content_type"] == "application/json"
    assert client.get("/api/metrics/activity").json()["data"][0]["metadata"]["outcome"] == "ok"
    assert client.get("/api/metrics/stats").json()["total_requests"] >= 3
    (row,) = client.get("/api/usage?by=model").json()["rows"]
    assert (row["model"], row["failed"]) == ("a", 0)
    assert row["output_tokens"] == 3 * found[0]["output_tokens"]
    lines = client.get("/api/activity.csv").text.splitlines()
    assert len(lines) == 4
    assert client.get("/api/captures").json() == {"data": []}
    store = train.ask("status")["store"]
    assert (store["rows"], store["waiting"], store["lost"], store["problem"]) == (3, 0, 0, "")
    with closing(sqlite3.connect(store["path"])) as database:
        assert database.execute("SELECT COUNT(*) FROM requests").fetchone() == (3,)


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

    (unknown, entry) = eventually(
        lambda: found if len(found := client.get("/api/captures").json()["data"]) > 1 else None
    )
    kept = client.get(f"/api/captures/{entry['id']}").json()
    refused = client.get(f"/api/captures/{unknown['id']}").json()

    assert entry["request_id"] == answer.headers["x-request-id"]
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
    limits = resource.prlimit(train.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(train.process.pid, resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        for _ in range(5):
            assert train.chat("a").status_code == 200
            assert client.get("/api/activity").status_code == 200
        problem = eventually(lambda: train.ask("status")["store"]["problem"])
    finally:
        resource.prlimit(train.process.pid, resource.RLIMIT_FSIZE, limits)

    assert "nothing can be written" in problem
    eventually(lambda: train.ask("status")["store"]["problem"] == "", what="a store that works")
    told = "/api/metrics/stats"
    eventually(lambda: client.get(told).json()["total_requests"] == before + 5)
    assert train.ask("status")["store"]["lost"] == 0
