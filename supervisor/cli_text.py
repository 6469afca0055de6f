"""What the command line shows, as text: events to lines, answers to tables. No I/O."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from arriero.protocol.control import (
    ExplainReply,
    LogsLine,
    Pong,
    StatusReply,
    SwapReply,
    UnloadReply,
)
from arriero.protocol.events import (
    AnyEvent,
    ConfigChanged,
    Heartbeat,
    LogLine,
    ProgressMade,
    QueueChanged,
    StateChanged,
    WorkerChanged,
)
from arriero.protocol.values import ErrorInfo, ModelStatus, Progress, QueueEntry, WorkerStatus

# ECMA-48 control sequences: colours and cursor movements, as programs write them into logs.
_CONTROL_SEQUENCE: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

NOTHING: Final = "-"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under a head; `right` names the columns whose cells are numbers."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[str] = frozenset()


def clean(text: str) -> str:
    """Return `text` on one line and harmless to a terminal.

    What a model's process writes, and what a configuration calls a model, is not ours: it could
    move the cursor, or turn the direction of writing.
    """
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", _CONTROL_SEQUENCE.sub("", text))


def duration(seconds: float) -> str:
    """Return a duration in at most two units, short enough for a column."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{int(seconds)} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def percent(fraction: float) -> str:
    """Return a share as whole percent, never 100: what is complete says `ready`."""
    return f"{min(99, int(fraction * 100 + 1e-9))} %"


def phase(progress: Progress) -> str:
    """Return what is going on, in a word or two."""
    if progress.other and progress.phase in {"draining", "stopping"}:
        return f"{progress.phase} {clean(progress.other)}"
    return progress.phase


def describe(progress: Progress) -> str:
    """Return all that is known of the way to ready, on one line."""
    parts = [phase(progress)]
    if progress.fraction is not None:
        parts[0] += f" {percent(progress.fraction)}"
    if progress.eta_s is not None:
        parts.append(f"{duration(progress.eta_s)} left")
    if progress.bytes_done is not None and progress.bytes_total:
        parts.append(f"{_size(progress.bytes_done)} of {_size(progress.bytes_total)}")
    parts.append(f"{duration(progress.elapsed_s)} so far")
    if progress.detail:
        parts.append(clean(progress.detail))
    return ", ".join(parts)


def _size(size_bytes: int) -> str:
    if size_bytes < 10**9:
        return f"{size_bytes / 10**6:.1f} MB"
    return f"{size_bytes / 10**9:.2f} GB"


def event_line(event: AnyEvent, when: str) -> str:
    """Return `event` as one line; the first three columns are time, type and model."""
    kind = event.__struct_config__.tag
    model = clean(getattr(event, "model", "")) or NOTHING
    return f"{when}  {kind:<9}  {model:<16}  {_event_text(event)}"


def _event_text(event: AnyEvent) -> str:
    match event:
        case StateChanged(state=state, endpoint=endpoint, pid=pid, error=error):
            at = f" at {clean(endpoint)}" if endpoint else ""
            process = f" (pid {pid})" if pid else ""
            why = f": {clean(error.message)}" if error else ""
            return f"{state}{at}{process}{why}"
        case ProgressMade(progress=progress):
            return describe(progress)
        case QueueChanged(queue=queue):
            return queue_line(queue)
        case LogLine(line=line, stream=stream):
            return f"{stream}  {clean(line)}"
        case WorkerChanged(worker=worker, pid=pid, state=state, reason=reason):
            why = f": {clean(reason)}" if reason else ""
            return f"worker {worker} (pid {pid}) {state}{why}"
        case ConfigChanged(generation=generation):
            return f"generation {generation} is in force"
        case Heartbeat(seq=seq):
            return f"nothing new since {seq}"
        case _:
            assert_never(event)


def queue_line(queue: Sequence[QueueEntry]) -> str:
    """Return who waits for what, in the order of turns."""
    turns = (f"{clean(entry.model)} ({entry.waiting} waiting)" for entry in queue)
    return ", then ".join(turns) or "nobody waits"


def log_line(line: LogsLine, when: str) -> str:
    """Return one line of a model's log; the first two columns are time and model."""
    return f"{when}  {clean(line.model):<16}  {clean(line.line)}"


def log_event_line(event: LogLine) -> LogsLine:
    """Return a log line that was published in the shape of one that was asked for."""
    return LogsLine(t=event.t, model=event.model, stream=event.stream, line=event.line)


def headline(status: StatusReply) -> str:
    """Return what is true of the whole supervisor."""
    return (
        f"arriero {clean(status.version)} listens on {clean(status.listen)}, "
        f"up {duration(status.uptime_s)}; queue: {queue_line(status.queue)}"
    )


def models_table(models: Sequence[ModelStatus], now: float) -> Table:
    """Return the state of each model, in the order of the configuration.

    Args:
        models: From a snapshot.
        now: Unix time of the snapshot.
    """
    return Table(
        ("model", "state", "for", "in flight", "endpoint", "remarks"),
        tuple(
            (
                clean(model.model),
                model.state,
                duration(max(0.0, now - model.since)),
                str(model.in_flight),
                clean(model.endpoint or NOTHING),
                remarks(model) or NOTHING,
            )
            for model in models
        ),
        frozenset({"in flight"}),
    )


def remarks(model: ModelStatus) -> str:
    """Return what somebody who looks at `model` would ask next; may be empty."""
    parts = []
    if model.progress is not None:
        parts.append(describe(model.progress))
    if model.error is not None:
        parts.append(clean(model.error.message))
    if model.retry_in_s > 0:
        parts.append(f"may be started again in {duration(model.retry_in_s)}")
    return "; ".join(parts)


def workers_table(workers: Sequence[WorkerStatus]) -> Table:
    """Return the worker processes, by number."""
    return Table(
        ("worker", "pid", "state", "in flight", "leases"),
        tuple(
            (
                str(worker.worker),
                str(worker.pid),
                worker.state,
                str(worker.in_flight),
                ", ".join(map(clean, worker.leases)) or NOTHING,
            )
            for worker in workers
        ),
        frozenset({"worker", "pid", "in flight"}),
    )


def aligned(table: Table) -> list[str]:
    """Return `table` as lines of plain text."""
    rows = [tuple(name.upper() for name in table.head), *table.rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(_padded(row, widths, table)).rstrip() for row in rows]


def _padded(row: Sequence[str], widths: Sequence[int], table: Table) -> list[str]:
    return [
        cell.rjust(width) if name in table.right else cell.ljust(width)
        for name, cell, width in zip(table.head, row, widths, strict=True)
    ]


def explanation(reply: ExplainReply) -> list[str]:
    """Return what a request for the model would meet."""
    return [
        f"{clean(reply.model)} is {reply.state}; a request would {_ACTIONS[reply.action]}",
        f"stops:  {', '.join(map(clean, reply.stops)) or 'nothing'}",
        f"ahead:  {', '.join(map(clean, reply.ahead)) or 'nobody'}",
        f"why:    {clean(reply.why)}",
    ]


_ACTIONS: Final = {
    "serve": "be served at once",
    "join": "wait for the start that is under way",
    "start": "start it",
    "swap": "start it after others have made room",
    "wait": "wait for its turn",
}


def pong_line(pong: Pong) -> str:
    """Return that the supervisor is there."""
    return f"arriero {clean(pong.version)}, pid {pong.pid}, up {duration(pong.uptime_s)}"


def unloaded_line(reply: UnloadReply) -> str:
    """Return which models were stopped."""
    if not reply.unloaded:
        return "nothing was running"
    return f"unloaded {', '.join(map(clean, reply.unloaded))} in {duration(reply.took_s)}"


def refusal_line(error: ErrorInfo) -> str:
    """Return why something was refused, with the names that were perhaps meant."""
    text = clean(error.message)
    if error.did_you_mean and "did you mean" not in text:
        text += f"; did you mean {', '.join(map(clean, error.did_you_mean))}?"
    if error.transient:
        text += " (it may work a little later)"
    return text


def swapped_line(reply: SwapReply) -> str:
    """Return how a model stands after it was asked for."""
    at = f" at {clean(reply.endpoint)}" if reply.endpoint else ""
    took = f", after {duration(reply.took_s)}" if reply.took_s else ""
    return f"{clean(reply.model)} is {reply.state}{at}{took}"
