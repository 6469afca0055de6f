"""Leases that workers hold, as they report them."""

import math
from typing import Final

from arriero.protocol.lease import HeldLease

from .messages.events import KeptAlive, Released, Reported, RevokeLease, VoidLease, Waiter
from .messages.pending_commands import PendingCommands
from .room.placement import Placement
from .states.model_state import UNTOLD, ModelState
from .states.model_table import ModelTable

# Seconds within which workers have reported what runs: they do so every second. Until then another
# one may have a request that came after the one that wants its model to go.
REPORT_LIMIT_S: Final = 2.0


class WorkerLeases:
    """Follows what workers say of their leases.

    Attributes:
        used_at: When a request was last known to run.
    """

    def __init__(
        self, table: ModelTable, placement: Placement, out: PendingCommands, *, now: float = 0.0
    ) -> None:
        self.used_at = now
        self._table = table
        self._placement = placement
        self._out = out

    def release(self, event: Released, now: float) -> None:
        """Take a lease back."""
        entry = self._held(event.owner, event.model, event.lease)
        if entry is not None:
            entry.drop_lease(event.owner)
            entry.used_at = self.used_at = now
            self._placement.changed(entry)

    def keep_alive(self, event: KeptAlive, now: float) -> None:
        """Note how long the last request wants its model to be kept."""
        entry = self._held(event.owner, event.model, event.lease)
        if entry is not None:
            is_alone = len(entry.leases) == 1
            entry.used_at = self.used_at = now
            entry.keep_s = event.keep_s if is_alone else max(event.keep_s, REPORT_LIMIT_S)
            entry.in_flight[event.owner] = event.in_flight
            self._placement.changed(entry)

    def _held(self, owner: str, model: str, lease: int) -> ModelState | None:
        """Return the model on which `owner` has that lease; None: gone by now."""
        entry = self._table.all.get(model)
        return entry if entry is not None and entry.leases.get(owner) == lease else None

    def report(self, report: Reported, now: float) -> None:
        """Note what runs on the leases of a worker, and what showed a sign of life."""
        for name, entry in self._table.live.items():
            if report.owner not in entry.leases:
                continue
            before = entry.in_flight.get(report.owner, 0)
            running = entry.in_flight[report.owner] = report.in_flight.get(name, 0)
            if before or running or name in report.used:
                entry.used_at, entry.keep_s = now, math.inf
                self.used_at = now
                entry.asks += 1
                entry.use(now)
                self._placement.changed(entry)
            if name in report.heard:
                entry.heard += 1

    def lose(self, owner: str) -> None:
        """Forget the leases of a worker that is gone."""
        for entry in self._table.live.values():
            if owner in entry.leases:
                entry.drop_lease(owner)
                self._placement.changed(entry)

    def believe(self, owner: str, leases: tuple[HeldLease, ...]) -> None:
        """Believe what a worker of an earlier supervisor says of its leases."""
        held = {lease.model: lease for lease in leases}
        for name, entry in self._table.live.items():
            if entry.leases.get(owner) != UNTOLD:
                continue
            lease = held.get(name)
            if lease is None or lease.lease == UNTOLD or lease.endpoint != entry.endpoint:
                entry.drop_lease(owner)
                continue
            del held[name]
            number = entry.leases[owner] = lease.lease
            self._out.is_taken(number)
            if entry.spec.most:
                entry.places |= {Waiter(owner, request) for request in lease.places}
            if entry.state == "draining":  # it was not told, or could not know what was meant
                entry.recalled.add(owner)
                self._out.add(RevokeLease(owner, name, number, when_idle=entry.admits))
        self._out.add(*(VoidLease(owner, name, lease.lease) for name, lease in held.items()))
