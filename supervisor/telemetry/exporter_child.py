"""Companion process of a supervisor: makes spans of published records, and sends them by OTLP.

Started as ``python -m arriero.supervisor.telemetry.exporter_child FOLDER SEQ [URL]``: the folder
of the supervisor's sockets, the number of the last record that is none of its business, and where
the collector is, unless the environment says it. Reports (`ExportReport`) go to standard output,
a line each.

OpenTelemetry's own library encodes and sends, and reads its variables from the environment. It is
given a thread and a limit: a collector that is silent, endless or worse makes this process end at
the worst, and another one is started. What cannot be sent is counted and forgotten; what waits to
be sent has a bound here, and one in zmq's queues.

Source: OpenTelemetry Specification, "OTLP Exporter"; "Trace SDK", batching.
"""

import logging
import os
import resource
import secrets
import signal
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import trio
import zmq
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import (
    OTEL_EXPORTER_OTLP_TIMEOUT,
    OTEL_EXPORTER_OTLP_TRACES_TIMEOUT,
)
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

import arriero
from arriero.protocol.codec import decode_event
from arriero.protocol.errors import RemoteProtocolError
from arriero.protocol.events import AnyEvent, RequestEnded
from arriero.protocol.records import RequestRecord
from arriero.protocol.transport import FrameSocket, connected, open_context

from .report import ExportReport
from .spans import PlannedSpan, spans_of

# What is subscribed to. Heartbeats show that the subscription holds.
_TOPICS: Final = (b"usage/", b"heartbeat/")

# Requests that wait to be sent, and that are sent at a time; seconds between two times.
MAX_WAITING: Final = 4096
BATCH: Final = 256
PAUSE_S: Final = 1.0

# Seconds between two looks at what has come, and events of one look.
LOOK_S: Final = 0.05
_AT_ONCE: Final = 1000

# It is in nobody's way where processors are few.
_NICE: Final = 10

# Seconds for the last batch, when this process is asked to end.
LAST_WORD_S: Final = 1.0

# Seconds that the library may take beyond the limit that it was given.
_MERCY_S: Final = 2.0

# Bytes of memory: the library reads all of an answer, whatever its length. It needs 30 MB.
_MAX_MEMORY: Final = 384 * 1024**2

_MAX_REASON: Final = 200

_KINDS: Final = {
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "internal": SpanKind.INTERNAL,
}

_SCOPE: Final = InstrumentationScope("arriero", arriero.__version__)


class _Reasons(logging.Handler):
    """Keeps the last thing that the library has to say."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()[:_MAX_REASON]


class Outbox:
    """What waits to be sent, and what has become of the rest.

    Args:
        seq: Number of the last record that is none of its business.
    """

    def __init__(self, seq: int) -> None:
        self.waiting: deque[RequestRecord] = deque()
        self._numbers: deque[int] = deque()  # of those that wait
        self._report = ExportReport()
        self._seq = seq

    @property
    def report(self) -> ExportReport:
        """What became of all so far."""
        known = self._numbers[0] - 1 if self._numbers else self._seq
        return msgspec.structs.replace(self._report, seq=known)

    def take(self, event: AnyEvent) -> None:
        """Note an event."""
        if not isinstance(event, RequestEnded):
            return
        missed = max(0, event.seq - self._seq - 1)
        self._seq = event.seq
        if missed:
            self._lose(missed, "records came faster than they are sent")
        record = event.record
        if not record.trace:
            return
        if len(self.waiting) >= MAX_WAITING:
            self._lose(1, self._report.why or "the collector is too slow")
            return
        self.waiting.append(record)
        self._numbers.append(event.seq)

    def batch(self) -> list[RequestRecord]:
        """Return what is to be sent next, the oldest first; `sent` has to follow."""
        return [self.waiting.popleft() for _ in range(min(BATCH, len(self.waiting)))]

    def sent(self, count: int, reason: str | None) -> None:
        """Note what became of a batch; None: it has arrived."""
        for _ in range(count):
            self._numbers.popleft()
        if not count:
            return
        if reason is None:
            exported = self._report.exported + count
            self._report = msgspec.structs.replace(self._report, exported=exported)
        else:
            self._lose(count, reason)

    def _lose(self, count: int, reason: str) -> None:
        lost = self._report.lost + count
        self._report = msgspec.structs.replace(self._report, lost=lost, why=reason)


class Collector:
    """The other end: sends batches, by OpenTelemetry's library.

    Args:
        url: Where it is; None: as the environment says.
    """

    def __init__(self, url: str | None) -> None:
        self._reasons = _Reasons()
        library = logging.getLogger("opentelemetry")
        library.addHandler(self._reasons)
        library.propagate = False
        self._exporter = OTLPSpanExporter(endpoint=url and f"{url}/v1/traces")
        found = Resource.create()
        if str(found.attributes[SERVICE_NAME]).startswith("unknown_service"):
            found = found.merge(Resource({SERVICE_NAME: "arriero"}))
        self._resource = found.merge(Resource({SERVICE_VERSION: arriero.__version__}))

    def send(self, batch: Sequence[RequestRecord]) -> str | None:
        """Send the spans of some requests; return why that failed, None if it has not.

        Waits; for a thread.
        """
        self._reasons.last = ""
        spans = [self._span(planned) for record in batch for planned in spans_of(record, _new_id)]
        try:
            result = self._exporter.export(spans)
        except MemoryError:
            return "there is no memory to send them, or for the answer"
        if result is SpanExportResult.SUCCESS:
            return None
        return self._reasons.last or "the collector has not taken them"

    def _span(self, planned: PlannedSpan) -> ReadableSpan:
        flags = TraceFlags(TraceFlags.SAMPLED)
        parent = None
        if planned.parent_id:
            parent = SpanContext(planned.trace_id, planned.parent_id, True, flags)
        status = Status() if planned.error is None else Status(StatusCode.ERROR, planned.error)
        return ReadableSpan(
            planned.name,
            SpanContext(planned.trace_id, planned.span_id, False, flags),
            parent,
            self._resource,
            planned.attributes,
            kind=_KINDS[planned.kind],
            status=status,
            start_time=planned.start_ns,
            end_time=planned.end_ns,
            instrumentation_scope=_SCOPE,
        )


def _new_id() -> int:
    return secrets.randbits(64) or 1


def limit_s() -> float:
    """Return the seconds after which the library gives a batch up, as the environment has it."""
    for name in (OTEL_EXPORTER_OTLP_TRACES_TIMEOUT, OTEL_EXPORTER_OTLP_TIMEOUT):
        with suppress(KeyError, ValueError):
            return float(os.environ[name])
    return 10.0


async def export_events(socket: FrameSocket, outbox: Outbox, collector: Collector) -> None:
    """Send what is published; after SIGTERM what has come by then, if there is time.

    Ends the process if the library does not come back.
    """
    ending = trio.Event()
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_receive, socket, outbox)
            nursery.start_soon(_send_regularly, outbox, collector, ending, nursery.cancel_scope)
            await signals.__anext__()
            nursery.cancel_scope.deadline = trio.current_time() + LAST_WORD_S
            ending.set()
    outbox.sent(len(outbox.waiting), "there was no time left")
    _tell(outbox.report)


async def _receive(socket: FrameSocket, outbox: Outbox) -> None:
    """Take what has come, now and then: to be woken for each event would cost as much as it."""
    _take(await socket.receive(), outbox)
    _tell(outbox.report)  # which says that the subscription holds
    while True:
        for _ in range(_AT_ONCE):
            if (frames := socket.receive_now()) is None:
                break
            _take(frames, outbox)
        await trio.sleep(LOOK_S)


def _take(frames: list[bytes], outbox: Outbox) -> None:
    with suppress(RemoteProtocolError):
        outbox.take(decode_event(frames))


async def _send_regularly(
    outbox: Outbox, collector: Collector, ending: trio.Event, over: trio.CancelScope
) -> None:
    told = ExportReport()
    while not ending.is_set():
        if len(outbox.waiting) < BATCH:
            with trio.move_on_after(PAUSE_S):
                await ending.wait()
        if outbox.waiting:
            await _send(outbox, collector)
        if outbox.report != told:
            told = outbox.report
            _tell(told)
    await trio.sleep(2 * LOOK_S)  # for what has come by now
    while outbox.waiting:
        await _send(outbox, collector)
    over.cancel()


async def _send(outbox: Outbox, collector: Collector) -> None:
    batch = outbox.batch()
    reason: str | None = "the collector neither answered nor refused in time"
    try:
        with trio.move_on_after(limit_s() + _MERCY_S) as scope:
            reason = await trio.to_thread.run_sync(collector.send, batch, abandon_on_cancel=True)
    finally:
        outbox.sent(len(batch), reason)
    if scope.cancelled_caught:  # a thread cannot be ended, a process can
        _tell(outbox.report)
        os._exit(1)


def _tell(report: ExportReport) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    sys.stdout.buffer.flush()


def main(folder: str, seq: str, url: str | None = None) -> None:
    """Run the process."""
    collector = Collector(url)
    os.nice(_NICE)
    resource.setrlimit(resource.RLIMIT_DATA, (_MAX_MEMORY, _MAX_MEMORY))
    outbox = Outbox(int(seq))
    with (
        open_context() as context,
        connected(context, zmq.SUB, Path(folder) / "events.sock", topics=_TOPICS) as socket,
    ):
        trio.run(export_events, socket, outbox, collector)
    os._exit(0)  # a thread may still wait for the collector


if __name__ == "__main__":
    main(*sys.argv[1:])
