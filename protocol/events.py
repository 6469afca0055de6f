r"""Events that the supervisor publishes to workers and other subscribers.

On the wire an event is two frames: the topic, then one JSON object. The topic is
``<type>/<model>\n`` (or ``<type>/\n`` for an event that concerns no single model), so that a
subscriber to ``progress/`` gets all progress and one to ``progress/qwen\n`` that of one model.

Lines of logs and records of requests are numbered apart from everything else: a subscriber without
them would otherwise see a gap at each of them.
"""

from typing import ClassVar, Final, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from .records import InflightRequest, RequestRecord
from .values import LOCAL, VERSION, ErrorInfo, ModelStatus, Progress, QueueEntry, State

EndReason: TypeAlias = Literal["room", "idle", "request", "hold", "config", "failure", "shutdown"]
"""Why a model is ended or put to sleep: another one needs its place, nobody uses it, it was asked
for, its device is held, the configuration has changed, it hangs or fails, all of it ends."""


class PublishedEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of all events.

    Attributes:
        v: Version of this language.
        epoch: Changes with every start of the supervisor: numbers start again.
        seq: Rises by one with every event (of log lines, and of `usage`: with each of those).
        t: Unix time at which it was published.
        host: Where it happened.
    """

    v: int = VERSION
    epoch: str = ""
    seq: int = 0
    t: float = 0.0
    host: str = LOCAL

    numbered_as: ClassVar[str] = "events"


class StateChanged(PublishedEvent, frozen=True, kw_only=True, tag="state"):
    """The process of `model` changed its state.

    `error` is the reason why it is stopped, if it failed. `memory` is what is reserved for it by
    then, where memory decides: device -> bytes. `reason` is why it goes, if it does.
    """

    model: str
    state: State
    swap: int
    pid: int | None = None
    endpoint: str | None = None
    error: ErrorInfo | None = None
    memory: dict[str, int] | None = None
    reason: EndReason | None = None


class ProgressMade(PublishedEvent, frozen=True, kw_only=True, tag="progress"):
    """A step on the way of a model to ready."""

    model: str
    progress: Progress


class QueueChanged(PublishedEvent, frozen=True, kw_only=True, tag="queue"):
    """The queue: models that are waited for, in order of turns."""

    queue: tuple[QueueEntry, ...]


class ModelEvicted(PublishedEvent, frozen=True, kw_only=True, tag="evicted"):
    """A model ends or falls asleep so that another one has memory.

    Attributes:
        model: It ends, or falls asleep.
        swap: The start that it belongs to.
        made_room_for: It is started next.
        idle_s: Seconds since it was last used.
        memory: What it has: device -> bytes.
        needed: What the other one takes: device -> bytes.
        kept: Models that could not go, and why.
        text: All of it in words.
        keeps: If it falls asleep, what it keeps: device -> bytes; empty if that is not known yet.
            None: it ends, and gives all back.
    """

    model: str
    swap: int
    made_room_for: str
    idle_s: float
    memory: dict[str, int]
    needed: dict[str, int]
    kept: dict[str, str]
    text: str
    keeps: dict[str, int] | None = None


class LogLine(PublishedEvent, frozen=True, kw_only=True, tag="log"):
    """One line that the process of `model` wrote, in its start number `swap`."""

    model: str
    swap: int = 0
    line: str
    stream: Literal["stdout", "stderr"]

    numbered_as: ClassVar[str] = "log"


class OwnLine(PublishedEvent, frozen=True, kw_only=True, tag="own"):
    """One line of the log of arriero itself, as it is for people."""

    line: str

    numbered_as: ClassVar[str] = "own"


class WorkerChanged(PublishedEvent, frozen=True, kw_only=True, tag="worker"):
    """A worker process came or went."""

    worker: int
    pid: int
    state: Literal["starting", "serving", "draining", "gone"]
    reason: str = ""


class ConfigChanged(PublishedEvent, frozen=True, kw_only=True, tag="config"):
    """A configuration came into force, or (with `problems`) was refused.

    Attributes:
        generation: Of the configuration that is in force now.
        summary: The changes, in words; empty when there are none.
        problems: Why the files cannot be used: the first of them. Nothing was changed.
    """

    generation: int
    summary: str = ""
    problems: tuple[str, ...] = ()


class RequestEnded(PublishedEvent, frozen=True, kw_only=True, tag="usage"):
    """A request has ended: its tokens, cost and outcome."""

    model: str
    record: RequestRecord

    numbered_as: ClassVar[str] = "usage"


class InflightChanged(PublishedEvent, frozen=True, kw_only=True, tag="inflight"):
    """These requests run in a worker now; only told while somebody wants to know.

    Attributes:
        worker: Its name, as the supervisor has it.
        requests: The oldest of them, if there are many.
    """

    worker: str
    requests: tuple[InflightRequest, ...]

    numbered_as: ClassVar[str] = "inflight"


class Heartbeat(PublishedEvent, frozen=True, kw_only=True, tag="heartbeat"):
    """Nothing happened since event `seq`: a lost last event is noticed."""

    numbered_as: ClassVar[str] = ""


AnyEvent: TypeAlias = (
    StateChanged
    | ProgressMade
    | QueueChanged
    | ModelEvicted
    | LogLine
    | OwnLine
    | WorkerChanged
    | ConfigChanged
    | RequestEnded
    | InflightChanged
    | Heartbeat
)


Decision: TypeAlias = ModelEvicted | StateChanged | ConfigChanged | WorkerChanged
"""What was decided or has happened, and is of interest later."""

MAX_DECISIONS: Final = 200
"""So many of them are kept."""


def decision_in(event: AnyEvent) -> Decision | None:
    """Return `event` if it is a decision: a process that only goes its way is none."""
    match event:
        case StateChanged(reason=None, error=None):
            return None
        case StateChanged() | ModelEvicted() | ConfigChanged() | WorkerChanged():
            return event
        case _:
            return None


def status_after(event: StateChanged | ProgressMade, status: ModelStatus) -> ModelStatus:
    """Return how a model stands after an event, by how it stood before.

    What an event does not tell is as before, or not known until the next status: since when nobody
    uses it, and when it is unloaded.
    """
    if isinstance(event, ProgressMade):
        return replace(status, progress=event.progress)
    is_over = event.state in {"ready", "stopped", "asleep"}
    is_in_use = event.state in {"ready", "draining"}
    return replace(
        status,
        state=event.state,
        since=event.t,
        swap=event.swap,
        pid=event.pid,
        endpoint=event.endpoint,
        error=event.error,
        memory=status.memory if event.memory is None else event.memory,
        progress=None if is_over else status.progress,
        in_flight=status.in_flight if is_in_use else 0,
        idle_since=None,
        unloads_at=None,
    )


def topic_of(event: AnyEvent) -> bytes:
    r"""Return the first frame of `event`: ``<type>/<model>\n``."""
    model = getattr(event, "model", "")
    return f"{event.__struct_config__.tag}/{model}\n".encode()
