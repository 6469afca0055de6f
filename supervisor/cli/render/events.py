"""Events as lines. No I/O."""

from typing import assert_never

from arriero.protocol.control.models import LogsLine
from arriero.protocol.events import (
    AnyEvent,
    ConfigChanged,
    Heartbeat,
    InflightChanged,
    LogLine,
    ModelEvicted,
    OwnLine,
    ProgressMade,
    QueueChanged,
    RequestEnded,
    StateChanged,
    WorkerChanged,
)

from ...text.printable import clean
from .requests import ended_text
from .text import NOTHING, describe, queue_line


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
            # what is true of a start that failed is old news once there is another one
            is_news = error is not None and state in {"stopping", "stopped"}
            why = f": {clean(error.message)}" if error and is_news else ""
            return f"{state}{at}{process}{why}"
        case ProgressMade(progress=progress):
            return describe(progress)
        case QueueChanged(queue=queue):
            return queue_line(queue)
        case ModelEvicted(text=text):
            return clean(text)
        case OwnLine(line=line):
            return clean(line)
        case LogLine(line=line, stream=stream):
            return f"{stream}  {clean(line)}"
        case WorkerChanged(worker=worker, pid=pid, state=state, reason=reason):
            why = f": {clean(reason)}" if reason else ""
            return f"worker {worker} (pid {pid}) {state}{why}"
        case ConfigChanged(generation=generation, problems=(first, *_)):
            return f"generation {generation} stays in force: {clean(first)}"
        case ConfigChanged(generation=generation, summary=summary):
            what = f": {clean(summary)}" if summary else ""
            return f"generation {generation} is in force{what}"
        case RequestEnded(record=record):
            return ended_text(record)
        case InflightChanged(worker=worker, requests=requests):
            return f"{worker} has {len(requests)} requests"
        case Heartbeat(seq=seq):
            return f"nothing new since {seq}"
        case _:
            assert_never(event)


def log_line(line: LogsLine, when: str) -> str:
    """Return one line of a log; of a model's, the first two columns are time and model."""
    if not line.model:  # our own, with its time
        return clean(line.line)
    return f"{when}  {clean(line.model):<16}  {clean(line.line)}"


def log_event_line(event: LogLine | OwnLine) -> LogsLine:
    """Return a published log line in the shape of a requested one."""
    if isinstance(event, OwnLine):
        return LogsLine(t=event.t, model="", stream="stderr", line=event.line)
    return LogsLine(t=event.t, model=event.model, stream=event.stream, line=event.line)
