"""Waiters of models that cannot have room, whoever else went: as `onBlocked` says."""

from dataclasses import dataclass

from .attempts import Attempts
from .messages import refusals
from .room.needs import Blockage
from .room.placement import Placement
from .states.model_state import ModelState
from .states.model_table import ModelTable
from .waiters import Waiters


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """Refuses them, lets them wait, or sends them to another model."""

    table: ModelTable
    placement: Placement
    attempts: Attempts
    waiters: Waiters

    def settle(self, now: float) -> None:
        """Serve all such waiters."""
        if not self.placement.can_block():
            return
        for model in list(self.waiters.queue.models()):
            entry = self.table.all[model]
            if not entry.is_at_rest or entry.pauses(now):
                continue
            blockage = self.placement.blockage(model)
            if blockage is not None:
                self._serve(entry, blockage, now)

    def _serve(self, entry: ModelState, blockage: Blockage, now: float) -> None:
        spec, model = entry.spec, entry.spec.model
        if blockage.for_good or spec.on_blocked == "refuse":
            error = refusals.no_room(model, blockage.why, for_good=blockage.for_good)
            self.waiters.refuse_all(model, error)
        elif spec.on_blocked == "use" and self._can_serve(spec.instead):
            self.waiters.send_to(model, spec.instead)
        else:
            self.attempts.begin(entry, now)
            self.attempts.tell(entry, "waiting", now, detail=blockage.why)

    def _can_serve(self, model: str) -> bool:
        entry = self.table.all.get(model)
        return (
            entry is not None
            and not entry.removed
            and (entry.state in {"ready", "starting"} or self.placement.blockage(model) is None)
        )
