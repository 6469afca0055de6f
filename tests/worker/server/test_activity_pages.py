"""Pages about requests that have ended, over real connections, on a real store."""

import base64
import csv
import hashlib
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import closing
from decimal import Decimal
from typing import TypeVar

import msgspec
import pytest
import trio

from arriero.protocol.codec import AnyReply
from arriero.protocol.control.base import ControlReply, ControlRequest, Refusal
from arriero.protocol.control.requests import (
    ActivityRequest,
    CaptureRequest,
    CapturesRequest,
    HistoryRequest,
    RowsRequest,
    SpeedsRequest,
    UsageRequest,
)
from arriero.protocol.records import CSV_HEAD, RawCapture, RequestRecord
from arriero.protocol.worker_config import ClientKey, ModelRoute, Scope, WorkerConfig
from arriero.supervisor.store import answers
from arriero.supervisor.store.database import ActivityDatabase
from arriero.supervisor.store.open_file import open_in_memory
from arriero.worker.control_socket import refused
from tests.records import record
from tests.worker.server.test_management_api import ALICE, Ask, Worker, known, pages

T = TypeVar("T", bound=ControlReply)

NOW = 1_795_910_400.5  # 2026-11-29T00:00:00.5Z


AROUND_NOW = f"since={NOW - 600}&until={NOW + 600}"


class Supervisor:
    """Answers from a store, as a supervisor does."""

    def __init__(self, store: ActivityDatabase) -> None:
        self.store = store
        self.asked: list[ControlRequest] = []

    async def ask(self, request: ControlRequest, kind: type[T], *, within_s: float) -> T:
        assert within_s < 60
        await trio.lowlevel.checkpoint()
        self.asked.append(request)
        reply = self._answer(msgspec.json.decode(msgspec.json.encode(request), type=type(request)))
        if isinstance(reply, Refusal):
            raise refused(reply.error)
        assert isinstance(reply, kind)
        return reply

    def _answer(self, request: ControlRequest) -> AnyReply:
        database = self.store.connection
        match request:
            case ActivityRequest():
                return answers.activity(database, request, 0)
            case RowsRequest():
                return answers.rows(database, request)
            case SpeedsRequest():
                return answers.speeds(database, request)
            case HistoryRequest():
                return answers.history(database, request)
            case UsageRequest():
                return answers.usage(database, request)
            case CapturesRequest():
                return answers.captures(database, request)
            case CaptureRequest():
                return answers.capture(database, request)
            case _:
                raise NotImplementedError


@pytest.fixture
def store() -> Iterator[ActivityDatabase]:
    with closing(open_in_memory()) as connection:
        yield ActivityDatabase(connection, None)


def worker_of(store: ActivityDatabase, *, api_keys: tuple[str, ...] = ()) -> Worker:
    there = known(api_keys=api_keys)
    there.service.ask = Supervisor(store).ask
    return there


@pytest.fixture
async def ask(store: ActivityDatabase) -> AsyncGenerator[Ask]:
    store.write(
        [
            record(
                f"r{n}",
                t=NOW + n,
                model="m" if n % 2 else "other",
                key="k",
                outcome="ok" if n else "timeout",
                status=200 if n else 504,
                error_code=None if n else "queue_timeout",
                usage_source="final",
                input_tokens=10,
                output_tokens=n,
                prompt_per_s=float(n + 1),
                cost_usd=Decimal("0.25"),
                content_type="application/json",
            )
            for n in range(6)
        ]
    )
    async with pages(worker_of(store)) as found:
        yield found


def listed(said: dict[str, object]) -> list[str]:
    requests = said["requests"]
    assert isinstance(requests, list)
    return [one["request_id"] for one in requests]


async def test_the_list_is_filtered_and_paged(ask: Ask) -> None:
    first = (await ask("GET", "/api/activity?limit=2&model=m")).said
    rest = (await ask("GET", f"/api/activity?limit=2&model=m&before={first['next']}")).said

    assert (listed(first), listed(rest)) == (["r5", "r3"], ["r1"])
    assert "next" not in rest
    assert listed((await ask("GET", "/api/activity?outcome=timeout&status=5xx")).said) == ["r0"]
    assert listed((await ask("GET", f"/api/activity?since={NOW + 4}&key=k")).said) == ["r5", "r4"]
    assert (await ask("GET", "/api/activity?status=ok")).status == 400
    assert listed((await ask("GET", "/api/activity?id=3")).said) == ["r3"]
    assert listed((await ask("GET", "/api/activity?id=%25")).said) == []


async def test_totals_are_told_over_time(ask: Ask) -> None:
    said = (await ask("GET", f"/api/history?{AROUND_NOW}&step=2&model=m")).said
    default = (await ask("GET", f"/api/history?{AROUND_NOW}")).said
    endless = (await ask("GET", f"/api/history?since=0&until={NOW + 50}&step=1")).said
    reversed_ = (await ask("GET", "/api/history?since=9&until=1")).said

    spans = said["spans"]
    assert isinstance(spans, list)
    assert [(one["t"] - NOW, one["requests"], one["output_tokens"]) for one in spans] == [
        (-0.5, 1, 1),
        (1.5, 1, 3),
        (3.5, 1, 5),
    ]
    assert [(one["failed"], one["cost_usd"]) for one in spans] == [(0, "0.25")] * 3
    assert default["step_s"] == 25
    assert endless["step_s"] == -(-(NOW + 50) // 1000)  # 1,000 spans at the most
    assert isinstance(endless["spans"], list)
    assert [one["requests"] for one in endless["spans"]] == [6]
    assert (reversed_["step_s"], reversed_["spans"]) == (1, [])
    for odd in ("since=8036-10-08T11:15", "until=1001-01-01", "since=1001-01-01&until=9999-12-31"):
        assert (await ask("GET", f"/api/history?{odd}&step=1")).status == 200


async def test_usage_is_told_by_day_model_and_key(ask: Ask) -> None:
    said = (await ask("GET", "/api/usage?since=2026-11-29&by=day,model")).said

    row = {
        "day": "2026-11-29", "requests": 3, "failed": 0, "input_tokens": 30, "cached_tokens": 0,
        "reasoning_tokens": 0, "cost_usd": "0.75", "unpriced": 0,
    }  # fmt: skip
    assert said["rows"] == [
        row | {"model": "m", "output_tokens": 9},
        row | {"model": "other", "output_tokens": 6, "failed": 1},
    ]
    total = said["total"]
    assert isinstance(total, dict)
    assert (total["requests"], total["cost_usd"]) == (6, "1.5")


async def test_all_of_it_is_exported(
    ask: Ask, store: ActivityDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arriero.worker.server.activity_pages._PIECE", 4)
    store.write([record("=1+1", asked='a "quoted", name')])

    lines = await ask("GET", "/api/activity.jsonl")
    table = await ask("GET", "/api/activity.csv?model=m")
    few = await ask("GET", "/api/activity.jsonl?limit=5")
    head = await ask("HEAD", "/api/activity.csv")

    found = [msgspec.json.decode(one, type=RequestRecord) for one in unchunked(lines.body)]
    assert [one.request_id for one in found] == ["=1+1", "r5", "r4", "r3", "r2", "r1", "r0"]
    assert lines.all("content-type") == ["application/x-ndjson"]
    rows = list(csv.DictReader(line.decode() for line in unchunked(table.body)))
    assert tuple(rows[0]) == CSV_HEAD
    assert [(row["request_id"], row["cost_usd"]) for row in rows] == [
        ("'=1+1", ""),
        ("r5", "0.25"),
        ("r3", "0.25"),
        ("r1", "0.25"),
    ]
    assert rows[0]["asked"] == 'a "quoted", name'
    assert table.all("content-disposition") == ['attachment; filename="activity.csv"']
    assert len(unchunked(few.body)) == 5
    assert (head.status, head.body) == (200, b"")
    assert (await ask("GET", "/api/activity.csv?limit=0")).status == 400


def unchunked(body: bytes) -> list[bytes]:
    data, rest = b"", body
    while True:
        size, _, rest = rest.partition(b"\r\n")
        if not int(size, 16):
            return data.splitlines(keepends=False)
        data += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]


async def test_exports_are_few_at_a_time(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arriero.worker.server.activity_pages._MOST_EXPORTS", 0)
    answer = await ask("GET", "/api/activity.csv")
    assert (answer.status, answer.error["code"]) == (503, "too_many_exports")


# --- in llama-swap's words -----------------------------------------------------------------------


async def test_the_table_is_in_llama_swaps_form(ask: Ask) -> None:
    said = (await ask("GET", "/api/metrics/activity?limit=4&sort=generated&order=asc")).said

    assert {name: it for name, it in said.items() if name != "data"} == {
        "page": 1, "limit": 4, "total": 6, "total_pages": 2,
    }  # fmt: skip
    data = said["data"]
    assert isinstance(data, list)
    assert data[0] == {
        "id": 1,
        "timestamp": "2026-11-29T00:00:00Z",
        "model": "other",
        "req_path": "/v1/x",
        "resp_content_type": "application/json",
        "resp_status_code": 504,
        "tokens": {
            "cache_tokens": 0, "draft_tokens": -1, "draft_acc_tokens": -1, "input_tokens": 10,
            "output_tokens": 0, "prompt_per_second": 1.0, "tokens_per_second": -1.0,
        },
        "duration_ms": 12,
        "has_capture": False,
        "error_msg": "queue_timeout",
        "metadata": {"request_id": "r0", "outcome": "timeout", "key": "k", "asked": "m"},
    }  # fmt: skip
    assert [row["id"] for row in data] == [1, 2, 3, 4]

    async def ids(query: str) -> list[int]:
        found = (await ask("GET", f"/api/metrics/activity?{query}")).said["data"]
        assert isinstance(found, list)
        return [row["id"] for row in found]

    assert await ids("start=2026-11-29T00:00:02Z&end=2026-11-29T00:00:03Z") == [4, 3]
    assert await ids("min_id=2&max_id=5&model=m&page=2&limit=1") == [2]
    assert await ids("model=m&model=other&limit=2") == [6, 5]
    for wrong in ("limit=1000", "page=0", "sort=x", "order=up", "start=then", "min_id=x"):
        assert (await ask("GET", f"/api/metrics/activity?{wrong}")).status == 400


async def test_no_records_are_an_empty_page(store: ActivityDatabase) -> None:
    async with pages(worker_of(store)) as ask:
        said = (await ask("GET", "/api/metrics/activity")).said
        stats = (await ask("GET", "/api/metrics/stats")).said

    assert said == {"data": [], "page": 1, "limit": 25, "total": 0, "total_pages": 0}
    assert (stats["total_requests"], stats["gen_histogram"]) == (0, None)


async def test_stats_are_in_llama_swaps_form(ask: Ask) -> None:
    said = (await ask("GET", "/api/metrics/stats")).said
    none = (await ask("GET", "/api/metrics/stats?model=nobody")).said

    assert said == {
        "total_requests": 6,
        "total_input_tokens": 60,
        "total_output_tokens": 15,
        "total_cache_tokens": 0,
        "prompt_histogram": {
            "bins": [1, 1, 1, 1, 2], "min": 1.0, "max": 6.0, "binSize": 1.0,
            "p50": 3.5, "p95": 5.75, "p99": 5.95,
        },
        "gen_histogram": None,
    }  # fmt: skip
    assert (none["total_requests"], none["prompt_histogram"]) == (0, None)


def key(name: str, *scopes: Scope) -> ClientKey:
    return ClientKey(name=name, sha256=hashlib.sha256(name.encode()).hexdigest(), scopes=scopes)


async def test_records_of_other_models_are_not_told(store: ActivityDatabase) -> None:
    store.write(
        [
            record("own", t=NOW, model="other", key="bob"),
            record("shown", t=NOW, key="alice"),
            record("hidden", t=NOW, model="other", key="alice"),
        ]
    )
    there = worker_of(store)
    bob = msgspec.structs.replace(key("bob", "read"), models=("m",))
    config = WorkerConfig(generation=1, models=(ModelRoute(model="m"),), client_keys=(bob,))
    there.service.configure(config)
    async with pages(there) as ask:
        found = (await ask("GET", "/api/activity", "X-Api-Key: bob")).said
        hidden = await ask("GET", "/api/activity/hidden", "X-Api-Key: bob")
        used = (await ask("GET", "/api/usage?by=", "X-Api-Key: bob")).said["total"]
        spans = (await ask("GET", f"/api/history?{AROUND_NOW}", "X-Api-Key: bob")).said["spans"]
        table = (await ask("GET", "/api/metrics/activity", "X-Api-Key: bob")).said
        stats = (await ask("GET", "/api/metrics/stats", "X-Api-Key: bob")).said
        lines = (await ask("GET", "/api/activity.jsonl", "X-Api-Key: bob")).body

    assert listed(found) == ["shown", "own"]
    assert hidden.status == 404
    assert isinstance(used, dict)
    assert (used["requests"], table["total"], stats["total_requests"]) == (2, 2, 2)
    assert len(unchunked(lines)) == 2
    assert isinstance(spans, list)
    assert [one["requests"] for one in spans] == [2]


async def test_captures_are_shown_to_the_key_that_asked(store: ActivityDatabase) -> None:
    store.write(
        [
            record("r1", t=NOW),
            RawCapture(
                request_id="r1",
                path="/v1/x",
                caller=ALICE,
                request_fields=(("a", "b"), ("a", "c"), ("x-api-key", "[REDACTED]")),
                request_body=b'{"model":"m"}',
                response=b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhi",
                most_bytes=100,
                is_cut=False,
            ),
        ]
    )
    there = worker_of(store)
    there.service.configure(
        WorkerConfig(
            generation=1,
            models=(ModelRoute(model="m"),),
            client_keys=(key("alice", "infer"), key("bob", "infer", "read"), key("eve", "admin")),
        )
    )
    async with pages(there) as ask:
        nobody = await ask("GET", "/api/captures/1")
        admin = await ask("GET", "/api/captures/1", "X-Api-Key: eve")
        other = await ask("GET", "/api/captures/1", "X-Api-Key: bob")
        others = await ask("GET", "/api/captures", "X-Api-Key: bob")
        own = await ask("GET", "/api/captures/1", "X-Api-Key: alice")
        all_own = await ask("GET", "/api/captures?request=r1", "X-Api-Key: alice")
        none = await ask("GET", "/api/captures?request=r2", "X-Api-Key: alice")
        wrong = await ask("GET", "/api/captures/x", "X-Api-Key: alice")

    assert (nobody.status, other.status, own.status, wrong.status) == (401, 404, 200, 404)
    assert (admin.status, admin.body) == (200, own.body)
    assert others.said == none.said == {"data": []}
    assert own.said == {
        "id": 1,
        "req_path": "/v1/x",
        "req_headers": {"a": "b", "x-api-key": "[REDACTED]"},
        "req_body": base64.b64encode(b'{"model":"m"}').decode(),
        "resp_headers": {"content-type": "text/plain"},
        "resp_body": base64.b64encode(b"hi").decode(),
        "is_cut": False,
    }
    (entry,) = json.loads(all_own.body)["data"]
    assert entry.pop("size_bytes") > 50
    assert entry == {
        "id": 1, "timestamp": "2026-11-29T00:00:00Z", "request_id": "r1", "model": "m",
        "req_path": "/v1/x", "resp_status_code": 200,
    }  # fmt: skip
