"""How all models stand, as far as this worker has heard.

A snapshot gives the start, events the rest. Whoever waits for a model is woken when what may be
said about it changes.
"""

from collections.abc import Callable
from typing import Literal, TypeAlias

import msgspec

from arriero.protocol.events import (
    AnyEvent,
    ConfigChanged,
    ProgressMade,
    QueueChanged,
    StateChanged,
)
from arriero.protocol.sequence import Sequence, Verdict
from arriero.protocol.values import Phase, Progress, QueueEntry, Snapshot, State

Stage: TypeAlias = Literal[
    "queued",
    "draining",
    "stopping",
    "placing",
    "waking",
    "machine",
    "loading",
    "warming",
    "restoring",
    "ready",
    "restarting",
]

# `waiting` is the pause before a crashed model is started again; `starting` has no numbers yet.
# Both are said with the words that clients know.
_STAGES: dict[Phase, Stage] = {
    "waiting": "queued",
    "draining": "draining",
    "stopping": "stopping",
    "placing": "placing",
    "starting": "loading",
    "loading": "loading",
    "warming": "warming",
    "restoring": "restoring",
    "waking": "waking",
}


class ModelView(msgspec.Struct, frozen=True):
    """What may be said about a model that is waited for.

    Attributes:
        stage: What goes on; `ready` when the model serves and the grant is on its way,
            `restarting` while there is nobody who could start it, for a moment, `machine` while
            its machine wakes up.
        ahead: Models that get their turn earlier, in `queued`.
        other: The model that makes room, in `draining` and `stopping`.
        requests: Requests that run on `other`, in `draining`; 0 if that is not known.
        fraction: Share of the whole start that is done, or None.
        eta_s: Seconds until it is ready, in `loading`, if earlier loads tell.
        has_reason: In `queued` with nobody ahead, there is something to wait for: a place on a
            model that is full, or the end of the pause after a failure.
        host: Another machine, where all that is; empty for this one.
        why: In `placing`: why there is no machine, if that is known.
    """

    stage: Stage
    ahead: int = 0
    other: str = ""
    requests: int = 0
    fraction: float | None = None
    eta_s: float | None = None
    has_reason: bool = False
    host: str = ""
    why: str = ""


class ModelStanding(msgspec.Struct):
    """What is known of one model."""

    state: State = "stopped"
    endpoint: str | None = None
    progress: Progress | None = None
    memory: dict[str, int] | None = None


class ProgressView(msgspec.Struct):
    """The latest of everything.

    Attributes:
        config_generation: Of the configuration that is in force; 0 as long as no event said so.
        changes: Rises whenever a model has another state.
        on_change: Called then.
    """

    config_generation: int = 0
    changes: int = 0
    on_change: Callable[[], None] = lambda: None
    _is_left: bool = False
    _sequence: Sequence = msgspec.field(default_factory=Sequence)
    _models: dict[str, ModelStanding] = msgspec.field(default_factory=dict)
    _queue: tuple[QueueEntry, ...] = ()
    _watchers: dict[str, set[Callable[[], None]]] = msgspec.field(default_factory=dict)

    def restart(self, snapshot: Snapshot) -> None:
        """Take over a snapshot; events that it contains are ignored from then on.

        One that was overtaken by later events on the other socket has nothing new.
        """
        if self._sequence.is_ahead_of(snapshot):
            return
        self._is_left = False
        self._sequence.restart(snapshot)
        self._models = {
            status.model: ModelStanding(
                status.state, status.endpoint, status.progress, status.memory
            )
            for status in snapshot.models
        }
        self._queue = snapshot.queue
        self._changed()
        self._wake_all()

    def leave(self) -> None:
        """There is no supervisor: nothing goes on until the snapshot of the next one."""
        self._is_left = True
        self._wake_all()

    def take(self, event: AnyEvent) -> bool:
        """Take over an event; False when something before it was missed: ask for a snapshot."""
        match self._sequence.judge(event):
            case Verdict.GAP:
                return False
            case Verdict.OLD:
                return True
            case Verdict.FOLLOWS:
                self._apply(event)
                return True

    def look(self, model: str) -> ModelView:
        """Return what may be said about `model` to those who wait for it."""
        if self._is_left:
            return ModelView("restarting")
        standing = self._models.get(model)
        progress = standing.progress if standing is not None else None
        if progress is None or progress.phase == "waiting":
            ahead, is_full = self._place_of(model)
            is_ready = standing is not None and standing.state == "ready"
            if is_ready and ahead == 0 and not is_full:
                return ModelView("ready")
            return ModelView("queued", ahead=ahead, has_reason=is_full or progress is not None)
        return ModelView(
            _STAGES[progress.phase],
            other=progress.other or "",
            requests=progress.requests or 0,
            fraction=progress.fraction,
            eta_s=progress.eta_s,
            why=progress.detail if progress.phase == "placing" else "",
        )

    def standing(self, model: str) -> ModelStanding:
        """Return what is known of `model`."""
        return self._models.get(model) or ModelStanding()

    def watch(self, model: str, wake: Callable[[], None]) -> None:
        """Call `wake` whenever `look` may have something new."""
        self._watchers.setdefault(model, set()).add(wake)

    def unwatch(self, model: str, wake: Callable[[], None]) -> None:
        """Stop doing so."""
        watchers = self._watchers.get(model)
        if watchers is not None:
            watchers.discard(wake)
            if not watchers:
                del self._watchers[model]

    def _apply(self, event: AnyEvent) -> None:
        match event:
            case StateChanged():
                standing = self._models.setdefault(event.model, ModelStanding())
                standing.state = event.state
                standing.endpoint = event.endpoint
                standing.memory = event.memory
                if event.state in {"ready", "stopped", "asleep"}:
                    standing.progress = None
                self._changed()
                self._wake(event.model)
            case ProgressMade():
                self._models.setdefault(event.model, ModelStanding()).progress = event.progress
                self._wake(event.model)
            case QueueChanged():
                self._queue = event.queue
                self._wake_all()
            case ConfigChanged():
                self.config_generation = event.generation
            case _:
                pass

    def _changed(self) -> None:
        self.changes += 1
        self.on_change()

    def _place_of(self, model: str) -> tuple[int, bool]:
        """Return how many models are ahead of `model`, and whether it is full."""
        for index, entry in enumerate(self._queue):
            if entry.model == model:
                return index, entry.is_full
        return 0, False

    def _wake(self, model: str) -> None:
        for wake in tuple(self._watchers.get(model, ())):
            wake()

    def _wake_all(self) -> None:
        for model in tuple(self._watchers):
            self._wake(model)
