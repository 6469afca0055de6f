"""Models that come back: stopped for one that then could not be started, or pinned to be there.

As if nothing had been: those that fit are started again, unless their place is waited for, or they
were stopped on request.
"""

from collections.abc import Iterable

from .attempts import Attempts
from .room.placement import Placement
from .room.sizing import Sizing
from .room.turn_order import TurnOrder
from .states.model_state import ModelState
from .states.model_table import ModelTable
from .steps import Steps


class Comebacks:
    """Knows who went for whom, and starts again who may come back."""

    def __init__(
        self,
        table: ModelTable,
        *,
        placement: Placement,
        turn_order: TurnOrder,
        attempts: Attempts,
        steps: Steps,
        sizing: Sizing,
    ) -> None:
        self._table = table
        self._placement = placement
        self._turn_order = turn_order
        self._attempts = attempts
        self._steps = steps
        self._sizing = sizing
        self._restoring: dict[str, str] = {}  # who; for which one it went that failed, if so
        self._always: list[ModelState] = []  # pinned to be there at any time

    def models(self) -> Iterable[str]:
        """Return the models that are to be started again."""
        return self._restoring.keys()

    def possible(self) -> set[str]:
        """Return the stopped models that may be started again by themselves."""
        gone = {name for name, entry in self._table.all.items() if entry.goes_for is not None}
        return gone.union(self._restoring)

    def follow(self) -> None:
        """Follow the settings of models, which may be others."""
        self._always = [
            entry
            for entry in self._table.all.values()
            if entry.spec.pin == "always" and not entry.removed
        ]

    # --- who went for whom ----------------------------------------------------------------------

    def gone_for(self, model: str) -> list[ModelState]:
        """Return the models evicted for `model`, in the order of their starts.

        In another order they may not fit.
        """
        gone = [entry for entry in self._table.all.values() if entry.goes_for == model]
        return sorted(gone, key=lambda entry: entry.swap)

    def take_for_good(self, model: str) -> None:
        """Give up the places of evicted models that do not fit beside `model`."""
        policy = self._placement.policy
        for entry in self._table.all.values():
            if entry.goes_for not in (None, model) and model in policy.evicted_by(
                entry.spec.model, [model]
            ):
                entry.goes_for = None
            elif entry.goes_for == model:
                entry.sleep_seen_by = None  # it gave enough

    def stay_away(self, model: str) -> None:
        """Note that models stopped for `model` do not come back."""
        for entry in self.gone_for(model):
            entry.goes_for = None

    def give_back(self, failed: ModelState) -> None:
        """Mark the models stopped for `failed`, which could not start, for a restart."""
        model = failed.spec.model
        for entry in self.gone_for(model):
            if entry.state in {"stopping", "stopped", "asleep"}:
                entry.goes_for = None
                if failed.spec.restores:
                    self._restoring[entry.spec.model] = model

    def forget(self, model: str) -> None:
        """Note that `model` is there, or is not to come back."""
        self._restoring.pop(model, None)

    # --- starting them again --------------------------------------------------------------------

    def want_pinned(self, now: float) -> None:
        """Mark models that are to be there at any time, for a start."""
        if self._placement.room is None:
            return
        for entry in self._always:
            if entry.state == "stopped" and not entry.put_away:
                self._restoring.setdefault(entry.spec.model, "")
                if entry.size is None and entry.sizing_until is None:
                    self._sizing.ask(entry, now)

    def restore(self, now: float) -> None:
        """Start marked models again, where no turn is the worse for it."""
        entries, live = self._table.all, self._table.live
        for model, failed in list(self._restoring.items()):
            entry = entries[model]
            blocking = self._placement.policy.evicted_by(model, live.keys() - {model})
            if not all(entries[name].is_leaving for name in blocking):
                del self._restoring[model]  # another model has its place
            elif (entry.is_at_rest and self._turn_order.waits_for_room(entry)) or (
                now < entry.not_before and not failed
            ):
                pass
            elif (
                entry.is_at_rest
                and not blocking
                and self._turn_order.takes_nothing(model, now)
                and self._placement.has_room(model)
            ):
                self._start(entry, failed, now)

    def _start(self, entry: ModelState, failed: str, now: float) -> None:
        entry.remark = (
            f"restoring {entry.spec.model}: {failed} could not be started"
            if failed
            else "it is pinned: always"
        )
        self._attempts.begin(entry, now)
        self.start(entry, now)

    def start(self, entry: ModelState, now: float) -> None:
        """Start a model; it is marked no more, but for one that is woken, until it is awake."""
        is_woken = entry.state == "asleep"
        self._steps.start(entry, now)
        if not is_woken:
            self.forget(entry.spec.model)
