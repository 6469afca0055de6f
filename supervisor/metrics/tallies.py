"""Counts what happens: from records of requests and from events. Pure; never waits.

Bounded: models are those of the configuration, all else that becomes a label is one of few words.
What a client or a model's server chose is not among them.
"""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from copy import copy
from http import HTTPStatus
from itertools import groupby
from operator import attrgetter
from signal import Signals
from typing import Final, TypeAlias

import msgspec

from arriero.protocol.events import AnyEvent, ProgressMade, StateChanged
from arriero.protocol.records import Outcome, RequestRecord
from arriero.protocol.values import Phase, State

from . import declared

NONE: Final = ""
"""The model of requests that named none, or an unknown one."""

LoadResult: TypeAlias = str  # `ready`, `failed`, `stopped` or `woken`

_STATUSES: Final = frozenset(int(status) for status in HTTPStatus)

_model_of: Final = attrgetter("model")
_end_of: Final = attrgetter("api", "status", "outcome")

# Ways in which the requests of one model end, of which more are not told apart: APIs times usual
# statuses are some forty.
_MAX_ENDS: Final = 200
_MORE: Final = ("other", "other")

_SERVES: Final[frozenset[State]] = frozenset({"ready", "draining"})


class Histogram:
    """Counts by size.

    Attributes:
        bounds: Upper bounds of the buckets, but for the last, which has none.
        counts: Of each bucket by itself.
        sum: Of all that was counted.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def __copy__(self) -> "Histogram":
        same = Histogram.__new__(Histogram)
        same.bounds, same.counts, same.sum = self.bounds, self.counts.copy(), self.sum
        return same

    def add(self, value: float) -> None:
        """Count `value`."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add_all(self, values: list[float]) -> None:
        """Count all of `values`, of which many may be 0."""
        counts, bounds = self.counts, self.bounds
        if not any(values):
            counts[0] += len(values)
            return
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        self.sum += sum(values)


def _of(declaration: declared.MetricDeclaration) -> Callable[[], Histogram]:
    return lambda: Histogram(declaration.bounds)


class ModelTally(msgspec.Struct):
    """What was counted of one model; fields are those of `declared`.

    Attributes:
        stages: Stage of a start -> how many there were, and their seconds.
        first_tokens: Of requests that had one.
        changes: How often it has changed.
        written: Of a copy, by who shows it: its lines, as they have been written.
    """

    loads: dict[LoadResult, int] = msgspec.field(default_factory=dict)
    load: Histogram = msgspec.field(default_factory=_of(declared.MODEL_LOAD_SECONDS))
    stages: dict[Phase, tuple[int, float]] = msgspec.field(default_factory=dict)
    evictions: dict[str, int] = msgspec.field(default_factory=dict)
    exits: dict[str, int] = msgspec.field(default_factory=dict)
    ends: dict[tuple[str, str, Outcome], int] = msgspec.field(default_factory=dict)
    durations: Histogram = msgspec.field(default_factory=_of(declared.REQUEST_SECONDS))
    queued: Histogram = msgspec.field(default_factory=_of(declared.QUEUE_SECONDS))
    waited: Histogram = msgspec.field(default_factory=_of(declared.WAITED_SECONDS))
    first_tokens: Histogram = msgspec.field(default_factory=_of(declared.FIRST_TOKEN_SECONDS))
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    draft_tokens: int = 0
    draft_accepted: int = 0
    prefill_tokens: int = 0
    prefill_s: float = 0.0
    decode_tokens: int = 0
    decode_s: float = 0.0
    cost_usd: float = 0.0
    changes: int = 0
    written: tuple[str, ...] = ()

    def __copy__(self) -> "ModelTally":
        return msgspec.structs.replace(
            self,
            loads=self.loads.copy(),
            load=copy(self.load),
            stages=self.stages.copy(),
            evictions=self.evictions.copy(),
            exits=self.exits.copy(),
            ends=self.ends.copy(),
            durations=copy(self.durations),
            queued=copy(self.queued),
            waited=copy(self.waited),
            first_tokens=copy(self.first_tokens),
        )

    def add_all(self, records: list[RequestRecord]) -> None:
        """Count requests that have ended, some together: there may be thousands a second."""
        self.changes += 1
        for (api, code, outcome), count in Counter(map(_end_of, records)).items():
            end = (api, str(code) if code in _STATUSES else _class_of(code), outcome)
            if end not in self.ends and len(self.ends) >= _MAX_ENDS:
                end = (*_MORE, outcome)
            self.ends[end] = self.ends.get(end, 0) + count
        self.durations.add_all([it.duration_ms / 1000 for it in records])
        self.queued.add_all([it.queue_ms / 1000 for it in records])
        self.waited.add_all([it.load_ms / 1000 for it in records])
        self.first_tokens.add_all([it.ttft_ms / 1000 for it in records if it.ttft_ms is not None])
        for record in records:
            self.input_tokens += record.input_tokens
            self.cached_tokens += record.cached_tokens
            self.output_tokens += record.output_tokens
            self.reasoning_tokens += record.reasoning_tokens
            self.draft_tokens += record.draft_tokens
            self.draft_accepted += record.draft_accepted
            if record.prompt_ms is not None and record.prompt_ms > 0:
                self.prefill_tokens += max(0, record.input_tokens - record.cached_tokens)
                self.prefill_s += record.prompt_ms / 1000
            if record.gen_ms is not None and record.gen_ms > 0:
                self.decode_tokens += record.output_tokens
                self.decode_s += record.gen_ms / 1000
            if record.cost_usd is not None:
                self.cost_usd += float(record.cost_usd)


class _Way(msgspec.Struct):
    """A model on its way to ready.

    Attributes:
        phase: Where it is, since `since`.
        began_at: When its server was started or woken; None: it waits for others to go.
        stages: Seconds of those that are over.
    """

    phase: Phase
    since: float
    began_at: float | None = None
    wakes: bool = False
    stages: dict[Phase, float] = msgspec.field(default_factory=dict)

    def get_to(self, phase: Phase, now: float) -> None:
        if phase != self.phase:
            self.stages[self.phase] = self.stages.get(self.phase, 0.0) + now - self.since
            self.phase, self.since = phase, now


class Tallies:
    """Counts of all models.

    Args:
        known: Says whether there is a model of that name.
        clock: Gives seconds.
    """

    def __init__(
        self, known: Callable[[str], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._known = known
        self._clock = clock
        self._models: dict[str, ModelTally] = {}
        self._copies: dict[str, ModelTally] = {}  # the last ones
        self._states: dict[str, State] = {}
        self._ways: dict[str, _Way] = {}

    def note_records(self, records: Sequence[RequestRecord]) -> None:
        """Count requests that have ended."""
        for model, of_model in groupby(records, _model_of):
            (self._models.get(model) or self._of(model)).add_all(list(of_model))

    def note_event(self, event: AnyEvent) -> None:
        """Count what an event tells of a model; most tell nothing."""
        if isinstance(event, ProgressMade):
            self._progressed(event.model, event.progress.phase)
        elif isinstance(event, StateChanged):
            self._changed(event)

    def note_exit(self, model: str, code: int | None) -> None:
        """Count the end of a process; a negative code is a signal, None one that nobody knows."""
        tally = self._of(model)
        tally.changes += 1
        self._count(tally.exits, _exit_name(code))

    def snapshot(self) -> dict[str, ModelTally]:
        """Return a copy of all, which no later count changes: 10 us for each that has changed.

        What was counted of models that are not in the configuration any more is forgotten.
        """
        for names in (self._models, self._states, self._ways, self._copies):
            for name in [name for name in names if name and not self._known(name)]:
                del names[name]
        for name, tally in self._models.items():
            before = self._copies.get(name)
            if before is None or before.changes != tally.changes:
                self._copies[name] = copy(tally)
        return self._copies.copy()

    def _of(self, model: str) -> ModelTally:
        if not (model and self._known(model)):
            model = NONE
        if (found := self._models.get(model)) is None:
            found = self._models[model] = ModelTally()
        return found

    def _progressed(self, model: str, phase: Phase) -> None:
        now = self._clock()
        if (way := self._ways.get(model)) is None:
            self._ways[model] = _Way(phase, now)
        else:
            way.get_to(phase, now)

    def _changed(self, event: StateChanged) -> None:
        model, state, now = event.model, event.state, self._clock()
        before = self._states.get(model, "stopped")
        self._states[model] = state
        tally = self._of(model)
        tally.changes += 1
        if event.reason is not None and before in _SERVES and state not in _SERVES:
            self._count(tally.evictions, event.reason)
        if state == "starting":
            way = self._ways.get(model)
            if way is None:
                way = self._ways[model] = _Way("starting", now)
            way.began_at, way.wakes = now, before == "asleep"
        elif before == "starting" and (way := self._ways.pop(model, None)) is not None:
            if state != "ready":
                self._count(tally.loads, "stopped" if event.error is None else "failed")
            elif way.wakes:
                self._count(tally.loads, "woken")
            else:
                self._count(tally.loads, "ready")
                tally.load.add(now - (way.began_at or way.since))
                way.stages[way.phase] = way.stages.get(way.phase, 0.0) + now - way.since
                for stage, took_s in way.stages.items():
                    count, sum_s = tally.stages.get(stage, (0, 0.0))
                    tally.stages[stage] = (count + 1, sum_s + took_s)

    @staticmethod
    def _count(into: dict[str, int], what: str) -> None:
        into[what] = into.get(what, 0) + 1


def _class_of(status: int) -> str:
    return f"{status // 100}xx" if 100 <= status < 600 else "0"


def _exit_name(code: int | None) -> str:
    if code is None:
        return "unknown"
    if code >= 0:
        return str(code & 0xFF)
    try:
        return Signals(-code).name
    except ValueError:
        return "signal"
