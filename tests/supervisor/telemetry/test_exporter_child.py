"""What the exporter's process makes of events, and of collectors that mean no good."""

import json
import logging
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
import trio
from msgspec import structs

from arriero.protocol.events import AnyEvent, Heartbeat, RequestEnded
from arriero.protocol.flood_log import FloodLog
from arriero.protocol.records import LoadStage, RequestRecord, TraceIds
from arriero.supervisor.processes.reaper import Reaper
from arriero.supervisor.telemetry import exporter_child
from arriero.supervisor.telemetry.exporter import SpanExporter
from arriero.supervisor.telemetry.exporter_child import MAX_WAITING, Collector, Outbox
from arriero.supervisor.telemetry.report import ExportReport
from tests.collector import HOSTILE, attributes, open_collector, open_hostile
from tests.records import record
from tests.supervisor.config.reading import parse

TRACED = record(t=100.0, swap=1, trace=TraceIds(trace_id="a" * 32, span_id="b" * 16))
BATCH: list[RequestRecord] = [TRACED]
LOADING = LoadStage(phase="loading", from_ms=0.0, took_ms=1000.0)


def ended(seq: int, *, is_traced: bool = True) -> AnyEvent:
    return RequestEnded(model="m", record=TRACED if is_traced else record(), seq=seq)


# --- what waits ----------------------------------------------------------------------------------


def test_missed_numbers_are_counted_as_lost() -> None:
    outbox = Outbox(seq=5)
    for event in (Heartbeat(seq=99), ended(6), ended(7), ended(10), ended(11, is_traced=False)):
        outbox.take(event)

    assert len(outbox.waiting) == 3
    assert (outbox.report.lost, outbox.report.exported) == (2, 0)
    assert "faster" in outbox.report.why
    assert outbox.report.seq == 5  # of no later one it is known what becomes of it
    outbox.sent(len(outbox.batch()), None)
    assert (outbox.report.lost, outbox.report.exported, outbox.report.seq) == (2, 3, 11)


def test_what_waits_has_a_bound() -> None:
    outbox = Outbox(seq=0)
    for number in range(1, MAX_WAITING + 11):
        outbox.take(ended(number))

    assert len(outbox.waiting) == MAX_WAITING
    assert (outbox.report.lost, outbox.report.why) == (10, "the collector is too slow")


# --- collectors ----------------------------------------------------------------------------------


def test_spans_arrive_as_protobuf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=us,authorization=Bearer%20k")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    with open_collector() as there:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", there.url)
        assert Collector(None).send([structs.replace(TRACED, load_stages=(LOADING,))]) is None

    (batch,) = there.batches
    assert (batch.fields["x-tenant"], batch.fields["authorization"]) == ("us", "Bearer k")
    assert (batch.resource["service.name"], batch.resource["deployment.environment.name"]) == (
        "arriero",
        "test",
    )
    whole, answer = batch.spans
    assert (whole.name, answer.name) == ("/v1/x", "chat m")
    assert (whole.trace_id.hex(), answer.span_id.hex()) == ("a" * 32, "b" * 16)
    assert (whole.parent_span_id, answer.parent_span_id) == (b"", whole.span_id)
    assert (whole.kind, answer.kind) == (2, 3)  # SERVER, CLIENT
    assert answer.start_time_unix_nano == 100 * 10**9
    assert attributes(answer)["gen_ai.operation.name"] == "chat"


def test_whatever_a_request_says_arrives_as_text() -> None:
    """Names of models, paths and codes are a stranger's; one of them must not cost the others."""
    odd = "\0\x1b[31m\n", "\ud7ff\ue000\U0010ffff", "%ff%fe%00", "a" * 400, "{model}", "%", ""
    hostile = [
        structs.replace(
            TRACED,
            path=f"/v1/{text}"[:400],
            asked=text,
            model=text,
            served_as=text,
            error_code=text[:100],
            outcome="upstream_error",
            request_id=text,
            input_tokens=2**53,
            cost_usd=Decimal("1e40"),
            t=t,
            duration_ms=1e300,
            load_ms=1000.0,
            load_stages=(structs.replace(LOADING, phase="x" * 500),),
        )
        for text in odd
        for t in (0.0, 1e10, -5.0)
    ]
    with open_collector() as there:
        collector = Collector(there.url)
        for one in hostile:
            assert collector.send([one, *BATCH]) is None
    assert len(there.batches) == len(hostile)
    assert all(len(batch.spans) >= 3 for batch in there.batches)
    texts = [it for span in there.spans for it in (span.name, *attributes(span).values())]
    assert max(len(it) for it in texts if isinstance(it, str)) < 2000


async def test_an_hour_without_a_collector_is_few_lines(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    """Each second a report of losses, of an ever longer reason; now and then a line of nonsense."""
    exporter = SpanExporter(lambda: parse("models: {}"), Reaper(), Path("/"), lambda: 0)
    async with trio.open_nursery() as nursery:
        exporter._flood = FloodLog(logging.getLogger("x"), clock=trio.current_time)
        nursery.start_soon(exporter._flood.flush_regularly)
        for second in range(3600):
            report = ExportReport(lost=300 * second, why="x" * second, seq=second)
            exporter._take("stdout", msgspec.json.encode(report))
            exporter._take("stderr", b"Traceback " * 1000)
            await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert exporter.lost == 300 * 3599
    assert len(caplog.records) <= 2 * 2 * 61
    assert max(len(it.getMessage()) for it in caplog.records) < 600


@pytest.mark.parametrize(("status", "reason"), [(401, "401"), (500, "500")])
def test_a_refusal_is_told(status: int, reason: str) -> None:
    with open_collector() as there:
        there.status = status
        told = Collector(there.url).send(BATCH)

    assert told is not None
    assert reason in told


@pytest.mark.parametrize("kind", HOSTILE)
async def test_a_hostile_collector_costs_a_counted_loss(
    kind: str, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Whoever does not let go makes the process end; who lies has got what it wanted."""
    ends: list[int] = []

    def end(code: int) -> None:
        ends.append(code)
        raise SystemExit(code)

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.1")
    monkeypatch.setattr(exporter_child, "_MERCY_S", 0.2)
    monkeypatch.setattr("os._exit", end)
    outbox = Outbox(seq=0)
    outbox.take(ended(1))
    with open_hostile(HOSTILE[kind]) as url, trio.fail_after(20):
        try:
            await exporter_child._send(outbox, Collector(url))
        except SystemExit:
            told = json.loads(capfdbinary.readouterr().out.splitlines()[-1])
            assert (told["lost"], told["why"] != "") == (1, True)

    is_taken = outbox.report.exported == 1
    assert (outbox.report.lost, outbox.waiting) == (0 if is_taken else 1, type(outbox.waiting)())
    assert is_taken == (kind == "redirecting")  # 307 is good enough for the library
    assert ends == ([1] if kind == "dripping" else [])
