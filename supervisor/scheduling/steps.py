"""Steps of a model: it starts, drains, ends, sleeps, wakes.

Each is a row of the table in `states/lifecycle.py`, with the commands that belong to it and the
memory that it takes or gives back. Whether a step is taken is decided elsewhere.
"""

from dataclasses import dataclass

from arriero.protocol.events import EndReason, StateChanged
from arriero.protocol.values import ErrorInfo

from .attempts import Attempts
from .messages.events import (
    Announce,
    PutToSleep,
    RevokeLease,
    Spawn,
    Terminate,
    Wake,
)
from .messages.pending_commands import PendingCommands
from .room.placement import Placement
from .states.lifecycle import Step, after
from .states.model_state import ModelState
from .states.model_table import ModelTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Takes models from one state to the next."""

    table: ModelTable
    placement: Placement
    attempts: Attempts
    out: PendingCommands

    def take(self, entry: ModelState, step: Step, now: float) -> None:
        """Take one step, and announce the state that follows."""
        entry.state = after(entry.state, step)
        entry.since = now
        entry.sleep_seen_by = None
        if entry.state in {"stopped", "starting", "ready"}:
            entry.reason = None
        self.placement.changed(entry)
        self.table.file(entry)
        if entry.state == "asleep":
            entry.goes_to_sleep, entry.up_at = False, None
            self.placement.sleeps(entry, now)
        elif entry.state == "stopped":
            self.placement.ends(entry, now)
        else:
            self.attempts.leave_rest(entry.spec.model)
        self.out.add(
            Announce(
                StateChanged(
                    model=entry.spec.model,
                    state=entry.state,
                    swap=entry.swap,
                    pid=entry.pid,
                    endpoint=entry.endpoint,
                    error=entry.error,
                    memory=self.placement.reserved(entry),
                    reason=entry.reason,
                )
            )
        )

    def start(self, entry: ModelState, now: float) -> None:
        """Start a model that is stopped, or wake it."""
        model = entry.spec.model
        entry.launch, entry.goes_for = entry.spec.launch, None
        entry.put_away, entry.went_for = False, None
        if entry.state == "asleep":
            entry.wakes = True
            self.placement.wakes(entry)
            self.take(entry, Step.WAKE, now)
            self.attempts.tell(entry, "waking", now)
            self.out.add(Wake(model, entry.swap))
            return
        self.placement.starts(entry)
        self.take(entry, Step.START, now)
        self.out.add(Spawn(model, entry.swap, entry.remark))

    # --- to an end ------------------------------------------------------------------------------

    def drain(
        self, entry: ModelState, now: float, reason: EndReason, *, unloading: bool = False
    ) -> None:
        """Let the requests of a ready model end, and then itself."""
        entry.reason = reason
        entry.unloading = unloading
        entry.admits = not unloading
        self.take(entry, Step.DRAIN, now)
        self._recall(entry)
        self.stop_if_drained(entry, now)

    def keep(self, entry: ModelState, now: float) -> None:
        """Let a draining model stay after all."""
        entry.goes_for, entry.goes_to_sleep = None, False
        self.take(entry, Step.KEEP, now)

    def admit_no_more(self, entry: ModelState) -> None:
        """Let a draining model admit no further requests on the leases that are out."""
        if not entry.admits:
            return
        entry.admits = False
        self._recall(entry)

    def _recall(self, entry: ModelState) -> None:
        for owner, lease in entry.leases.items():
            entry.recalled.add(owner)
            self.out.add(RevokeLease(owner, entry.spec.model, lease, when_idle=entry.admits))

    def cut(self, entry: ModelState, error: ErrorInfo, now: float) -> None:
        """End the requests of a model with `error`, then stop it."""
        if entry.state == "ready":
            self.take(entry, Step.DRAIN, now)
        entry.unloading, entry.admits, entry.cut_at = True, False, now
        for owner, lease in entry.leases.items():
            entry.recalled.add(owner)
            revoke = RevokeLease(owner, entry.spec.model, lease, when_idle=False, error=error)
            self.out.add(revoke)

    def stop_if_drained(self, entry: ModelState, now: float) -> None:
        """Stop a draining model, or put it to sleep, if nobody has a lease on it."""
        if entry.state != "draining" or entry.leases:
            return
        if entry.goes_to_sleep and not entry.unloading:
            self.take(entry, Step.SLEEP, now)
        elif self.placement.is_put_to_sleep(entry):
            self._put_to_sleep(entry, now)
        else:
            self.stop_drained(entry, now)

    def _put_to_sleep(self, entry: ModelState, now: float) -> None:
        if entry.goes_for is not None:
            self.tell_eviction(entry, entry.goes_for, now, sleeps=True)
            self.placement.falls_asleep(entry)
        self.take(entry, Step.STOP, now)
        entry.goes_to_sleep, entry.progress = True, None
        self.out.add(PutToSleep(entry.spec.model, entry.swap))

    def stop_drained(self, entry: ModelState, now: float) -> None:
        """Stop a draining model, whoever has a lease on it."""
        self.stop(entry, now, grace_s=0.0 if entry.killed else None)

    def stop(
        self,
        entry: ModelState,
        now: float,
        *,
        grace_s: float | None = None,
        reason: EndReason | None = None,
    ) -> None:
        """End the process of a model; with its own grace, unless `grace_s` is given."""
        entry.reason = reason or entry.reason
        if entry.goes_for and entry.state in {"ready", "draining"}:
            self.tell_eviction(entry, entry.goes_for, now)
        self.take(entry, Step.STOP, now)
        entry.progress = None
        entry.goes_to_sleep = entry.wakes = False
        grace_s = entry.spec.stop_grace_s if grace_s is None else grace_s
        self.out.add(Terminate(entry.spec.model, entry.swap, grace_s))

    def unload(
        self, entry: ModelState, now: float, reason: EndReason, *, at_once: bool = False
    ) -> None:
        """End a model in whatever state it is, after its requests unless `at_once`."""
        entry.goes_for = None  # stopped on request: it does not come back
        entry.reason = reason
        match entry.state:
            case "starting":
                self.stop(entry, now)
            case "asleep":
                self.stop(entry, now, grace_s=0.0 if at_once else None)
            case "ready" if not at_once:
                self.drain(entry, now, reason, unloading=True)
            case "draining" if not at_once:
                entry.unloading = True
                self.admit_no_more(entry)
            case "ready" | "draining":
                self.stop(entry, now, grace_s=0.0)
            case "stopping" if at_once:
                self.stop(entry, now, grace_s=0.0)
            case "stopping" if entry.goes_to_sleep:
                self.stop(entry, now)
            case _:
                pass

    def tell_eviction(
        self, entry: ModelState, target: str, now: float, *, sleeps: bool = False
    ) -> None:
        """Announce that a model goes for `target`, where memory decides."""
        record = self.placement.eviction(entry, target, now, sleeps=sleeps)
        if record is not None:
            self.out.add(Announce(record))
            entry.went_for = target, now

    # --- sleep, as its process reports it -------------------------------------------------------

    def fell_asleep(self, entry: ModelState, swap: int, now: float) -> None:
        """Note that a process sleeps: it was asked to, or did so by itself."""
        if entry.swap != swap or not self.placement.may_sleep(entry):
            return
        if entry.state == "stopping" and entry.goes_to_sleep:
            self.take(entry, Step.SLEEP, now)
        elif entry.state == "ready":  # by itself; a request that is on its way wakes it
            entry.goes_to_sleep = True
            self.drain(entry, now, "idle")
        elif entry.state == "draining":
            entry.goes_to_sleep = True

    def woke_up(self, entry: ModelState, swap: int, now: float) -> None:
        """Note that a process was woken by somebody else."""
        if entry.swap != swap:
            return
        if entry.state == "asleep":  # it is not its turn, and takes up room
            self.stop(entry, now, reason="room")
        elif entry.state == "draining":
            entry.goes_to_sleep = False

    def did_not_sleep(self, entry: ModelState, swap: int, now: float) -> None:
        """Stop a process that does not fall asleep, or wake."""
        is_asked = entry.wakes or (entry.state == "stopping" and entry.goes_to_sleep)
        if entry.swap == swap and is_asked:
            self.stop(entry, now, reason="failure")
