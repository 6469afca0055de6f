"""Deadlines: what happens when nothing else does. What `look` does is what `next` announces."""

import math
from dataclasses import dataclass
from typing import Final

from ..memory.sizes import UNKNOWN
from .attempts import Attempts
from .comebacks import Comebacks
from .messages import refusals
from .room.placement import Placement
from .room.sizing import Sizing
from .states.model_state import ModelState
from .states.model_table import ModelTable
from .states.rules import Rules
from .steps import Steps
from .waiters import Waiters

# Seconds that workers get to end requests of a model that is stopped without waiting for them. They
# need milliseconds; one that hangs itself is not waited for.
CUT_LIMIT_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Looks at all that has to happen by a time."""

    table: ModelTable
    rules: Rules
    placement: Placement
    sizing: Sizing
    attempts: Attempts
    steps: Steps
    waiters: Waiters
    comebacks: Comebacks

    def next(self, now: float) -> float:
        """Return when something has to happen by itself at the latest; infinity for never."""
        times = [self.placement.next_deadline(), self.sizing.next_deadline(self._to_size())]
        for entry in self.table.live.values():
            match entry.state:
                case "starting":
                    times.append(entry.start_deadline())
                case "draining" if entry.cut_at is not None:
                    times.append(entry.cut_at + CUT_LIMIT_S)
                case "draining" if entry.admits:
                    times.append(entry.since + self.rules.max_wait_s)
                case "ready":
                    times.append(entry.idle_until())
                case _:
                    pass
        for entry in self.table.asleep.values():
            times += [entry.idle_until(), entry.sleep_seen_by or math.inf]
        back = map(self.table.all.__getitem__, self.comebacks.models())
        paused = [*self.attempts.turning.values(), *back]
        times += [entry.not_before for entry in paused if entry.not_before > now]
        return min(times)

    def _to_size(self) -> tuple[str, ...]:
        """Return the models that are to start."""
        return (*self.waiters.queue.models(), *self.comebacks.models())

    def look(self, now: float) -> None:
        """Let happen what is due."""
        self.placement.expire(now)
        self.sizing.look(self._to_size(), now)
        for entry in list(self.table.live.values()):
            self._look_at(entry, now)
            self.steps.stop_if_drained(entry, now)
        for entry in list(self.table.asleep.values()):
            if now >= entry.idle_until():
                self.steps.stop(entry, now, reason="idle")
            elif entry.sleep_seen_by is not None and now >= entry.sleep_seen_by:
                self._give_up_seeing(entry)

    def _look_at(self, entry: ModelState, now: float) -> None:
        if entry.state == "starting" and now >= entry.start_deadline():
            self._give_up_starting(entry, now)
        elif entry.state == "draining":
            self._look_at_requests(entry, now)
        elif entry.state == "ready" and now >= entry.idle_until():
            self.steps.drain(entry, now, "idle", unloading=True)

    def _give_up_starting(self, entry: ModelState, now: float) -> None:
        if entry.wakes:  # it is started from nothing
            self.steps.stop(entry, now, reason="failure")
            return
        model = entry.spec.model
        error = refusals.too_slow(model, entry.spec.start_limit_s, entry.not_ready)
        entry.fail(error, now, self.rules.backoff)
        self.steps.stop(entry, now, reason="failure")
        self.waiters.refuse_all(model, error)
        self.comebacks.give_back(entry)

    def _look_at_requests(self, entry: ModelState, now: float) -> None:
        """Wait for the requests of a draining model no longer than may be."""
        limit_s = entry.spec.drain_limit_s
        if entry.cut_at is not None:
            if now >= entry.cut_at + CUT_LIMIT_S:
                self.steps.stop_drained(entry, now)
        elif limit_s and min(entry.still_s, now - entry.since) >= limit_s:
            self.steps.cut(entry, refusals.stalled(entry.spec.model, limit_s), now)
        elif entry.admits and now >= entry.since + self.rules.max_wait_s:
            self.steps.admit_no_more(entry)

    def _give_up_seeing(self, entry: ModelState) -> None:
        """Wait no longer for what a model gives back that sleeps."""
        entry.sleep_seen_by = None
        if entry.sleep_size is None:
            entry.sleep_size = UNKNOWN
        self.placement.changed(entry)
