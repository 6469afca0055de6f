"""Events for a follower: the present first, then what follows, nothing twice.

A subscriber gets only what is published after it came. So it subscribes,
then asks for `status`, shows that as events, and leaves out what `status` contained already.
"""

from collections.abc import Collection, Iterable
from enum import Enum, auto
from typing import Final

import msgspec

from arriero.protocol.control.running import StatusReply
from arriero.protocol.events import (
    AnyEvent,
    Heartbeat,
    LogLine,
    OwnLine,
    ProgressMade,
    QueueChanged,
    RequestEnded,
    StateChanged,
    WorkerChanged,
)
from arriero.protocol.sequence import Sequence, Verdict
from arriero.protocol.values import Snapshot

# In the order in which `--help` names them.
TYPES: Final = (
    "state", "progress", "queue", "evicted", "worker", "config", "usage", "log", "own", "inflight",
    "heartbeat",
)  # fmt: skip

# Types of events that concern one model each.
_OF_A_MODEL: Final = frozenset({"state", "progress", "evicted", "usage", "log"})

# Shown unless others are asked for: log lines and ends of requests would drown the rest,
# heartbeats carry nothing.
DEFAULT_TYPES: Final = ("state", "progress", "queue", "evicted", "worker", "config")


class Next(Enum):
    """Treatment of an event."""

    SHOW = auto()
    SKIP = auto()
    RESTART = auto()  # some were missed: ask for `status` and begin again


class Feed:
    """Chooses what is shown. Begin with `present`, then give each event to `judge`.

    Args:
        types: Types of events that are wanted.
        model: Only events of this model; None for all.
    """

    def __init__(self, types: Collection[str], model: str | None = None) -> None:
        self._types = frozenset(types)
        if model is not None:
            self._types &= _OF_A_MODEL
        self._model = model
        self._sequence = Sequence()
        self._seq = 0
        self._shown: dict[str, int] = {}

    def topics(self) -> list[bytes]:
        """Return the topics to subscribe to.

        Heartbeats come along: they show that the supervisor is another one than before.
        """
        wanted = self._types | {"heartbeat"}
        of_model = f"{self._model}\n" if self._model is not None else ""
        return [
            f"{kind}/{of_model if kind in _OF_A_MODEL else ''}".encode()
            for kind in TYPES
            if kind in wanted
        ]

    @property
    def shows_nothing(self) -> bool:
        """True when none of the types concerns a single model."""
        return not self._types

    def present(self, status: StatusReply) -> list[AnyEvent]:
        """Begin (again) at `status`, and return it as events to show."""
        snapshot = Snapshot(
            epoch=status.epoch,
            seq=status.seq,
            t=status.t,
            models=status.models,
            queue=status.queue,
        )
        if status.epoch != self._sequence.epoch:
            self._shown.clear()
        self._sequence.restart(snapshot)
        self._seq = status.seq
        return [event for event in as_events(status) if self._wanted(event)]

    def shown(self, numbered_as: str, seq: int) -> None:
        """Skip events up to `seq`, which were shown in another way."""
        self._shown[numbered_as] = seq

    def judge(self, event: AnyEvent) -> Next:
        """Return the treatment of `event`."""
        if event.epoch != self._sequence.epoch:
            return Next.RESTART
        if event.seq <= self._shown.get(event.numbered_as, -1):
            return Next.SKIP
        if self._hears_all(event):
            match self._sequence.judge(event):
                case Verdict.GAP:
                    return Next.RESTART
                case Verdict.OLD if not isinstance(event, Heartbeat):
                    return Next.SKIP
                case _:
                    pass
        elif event.numbered_as == "events" and event.seq <= self._seq:
            return Next.SKIP
        return Next.SHOW if self._wanted(event) else Next.SKIP

    def _hears_all(self, event: AnyEvent) -> bool:
        """Return whether a gap before `event` means a loss: only unfiltered."""
        if self._model is not None:
            return False
        if isinstance(event, LogLine | OwnLine | RequestEnded):
            return True
        return self._types.issuperset(DEFAULT_TYPES)

    def _wanted(self, event: AnyEvent) -> bool:
        of_model = self._model is None or getattr(event, "model", None) == self._model
        return of_model and event.__struct_config__.tag in self._types


def as_events(status: StatusReply) -> Iterable[AnyEvent]:
    """Return the present as the events that led to it.

    All have its `seq`.
    """
    for event in _of_status(status):
        yield msgspec.structs.replace(event, epoch=status.epoch, seq=status.seq)


def _of_status(status: StatusReply) -> Iterable[AnyEvent]:
    for model in status.models:
        yield StateChanged(
            t=model.since,
            model=model.model,
            state=model.state,
            swap=model.swap,
            pid=model.pid,
            endpoint=model.endpoint,
            error=model.error,
        )
        if model.progress is not None:
            yield ProgressMade(t=status.t, model=model.model, progress=model.progress)
    yield QueueChanged(t=status.t, queue=status.queue)
    for worker in status.workers:
        yield WorkerChanged(t=status.t, worker=worker.worker, pid=worker.pid, state=worker.state)
