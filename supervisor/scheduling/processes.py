"""What processes do: they start, are ready, fail, hang, end; and those of an earlier supervisor."""

from dataclasses import dataclass

from arriero.protocol.events import EndReason
from arriero.protocol.values import State

from .attempts import Attempts
from .comebacks import Comebacks
from .messages.events import (
    Adopted,
    BecameReady,
    Failing,
    Hung,
    NotReady,
    ProcessEnded,
    Spawned,
    Spec,
    Stalled,
    VoidLease,
)
from .messages.pending_commands import PendingCommands
from .orders import Orders
from .room.placement import Placement
from .room.sizing import Sizing
from .states.backoff import Backoff
from .states.lifecycle import Step
from .states.model_state import MUTE, UNTOLD, ModelState
from .states.model_table import ModelTable
from .steps import Steps
from .waiters import Waiters


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessNews:
    """Follows what processes report."""

    table: ModelTable
    out: PendingCommands
    placement: Placement
    sizing: Sizing
    attempts: Attempts
    steps: Steps
    waiters: Waiters
    comebacks: Comebacks
    orders: Orders
    backoff: Backoff

    def spawned(self, event: Spawned, now: float) -> None:
        """Note that a process exists."""
        entry = self.table.all[event.model]
        if entry.swap == event.swap and entry.state in {"starting", "stopping"}:
            entry.pid, entry.endpoint, entry.not_ready = event.pid, event.endpoint, ""
            entry.host = event.host
            entry.is_there(now)

    def not_ready(self, event: NotReady) -> None:
        """Note why a model is not ready yet."""
        entry = self.table.all[event.model]
        if entry.swap == event.swap:
            entry.not_ready = event.why

    def refused(self, model: str) -> None:
        """Count a connection of a worker that was refused."""
        if model in self.table.all:
            self.table.all[model].refused += 1

    def stalled(self, event: Stalled) -> None:
        """Note for how long no request of a model has got further."""
        entry = self.table.all[event.model]
        if entry.swap == event.swap:
            entry.still_s = event.still_s

    def ready(self, event: BecameReady, now: float) -> None:
        """Let a model serve that was started or woken."""
        entry = self.table.all[event.model]
        if entry.swap != event.swap or entry.state != "starting":
            return
        entry.error = entry.progress = None
        entry.kind = event.kind
        entry.up_at = entry.used_at = now
        entry.remark, entry.grew = "", False
        if not entry.wakes:
            entry.started_in(now - entry.start_since())
        else:  # it has given back what it kept while it slept
            self.placement.starts(entry)
        entry.wakes = False
        self.steps.take(entry, Step.UP, now)
        self.comebacks.stay_away(event.model)
        self.comebacks.forget(event.model)  # it was woken for that
        self.waiters.grant_all(entry, now)

    def ended(self, end: ProcessEnded, now: float) -> None:
        """Note the end of a process; one that went by itself has failed."""
        entry = self.table.all[end.model]
        if entry.swap != end.swap or entry.state == "stopped":
            return
        was: State = "stopping" if entry.wakes or entry.state == "asleep" else entry.state
        if was == "starting" and self.sizing.grow(entry, end):
            was = "stopping"  # as if it had been asked to: no failure, and its waiters wait on
        self.out.add(*(VoidLease(owner, end.model, no) for owner, no in entry.leases.items()))
        entry.lose_process(now, self.backoff)
        if was != "stopping":
            entry.fail(end.error, now, self.backoff)
        self.steps.take(entry, Step.END, now)
        if was == "starting":
            self.waiters.refuse_all(end.model, end.error)
            self.comebacks.give_back(entry)
        elif was != "stopping":
            entry.goes_for = None  # it would have gone by itself

    def hung(self, event: Hung, now: float) -> None:
        """Kill a process that shows no sign of life; its requests end."""
        entry = self.table.all[event.model]
        if entry.swap == event.swap and entry.state in {"ready", "draining"}:
            entry.give_up(event.error, event.well_s, now, self.backoff)
            entry.killed, entry.goes_for, entry.reason = True, None, "failure"
            self.steps.cut(entry, event.error, now)

    def failing(self, event: Failing, now: float) -> None:
        """End a process that answers with errors only."""
        entry = self.table.all[event.model]
        if entry.swap == event.swap and entry.state == "ready":
            entry.give_up(event.error, event.well_s, now, self.backoff)
            self.steps.drain(entry, now, "failure", unloading=True)

    # --- those of an earlier supervisor ---------------------------------------------------------

    def adopted(self, found: Adopted, now: float) -> None:
        """Go on with a process of an earlier supervisor, as it was when that left it."""
        entry = self.table.all.get(found.model)
        if entry is None:
            entry = ModelState(Spec(model=found.model), since=now, removed=True)
            self.table.all[found.model] = entry
        if entry.state != "stopped":
            return
        entry.swap, entry.swap_since, entry.launch = found.swap, now, found.launch
        entry.pid, entry.endpoint, entry.kind = found.pid, found.endpoint, found.kind
        entry.host = found.host
        entry.leases = dict.fromkeys(found.owners, UNTOLD) | dict.fromkeys(found.mute, MUTE)
        self.out.is_taken(found.swap)
        self.placement.starts(entry)
        if found.serves:
            entry.up_at = entry.used_at = now
            self.steps.take(entry, Step.ADOPT, now)
        else:
            self._go_on_starting(entry, found, now)
        is_other = entry.is_stale or entry.removed
        if is_other or found.unloading:
            reason: EndReason = "config" if is_other else "request"
            self.orders.unload(entry, now, reason)

    def _go_on_starting(self, entry: ModelState, found: Adopted, now: float) -> None:
        self.steps.take(entry, Step.START, now)
        entry.since = entry.swap_since = now - found.age_s
        self.attempts.tell(entry, "starting", now)
        for before in map(self.table.all.get, found.went):
            if before is not None and before.state == "stopped":
                before.goes_for = found.model
