"""What operators order, and configurations that they put in force."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from arriero.protocol.events import EndReason

from .attempts import Attempts
from .comebacks import Comebacks
from .messages import refusals
from .messages.events import HoldRequested, Reconfigured, UnloadRequested
from .room.placement import Placement
from .room.turn_order import TurnOrder
from .states.model_state import ModelState
from .states.model_table import ModelTable
from .steps import Steps
from .waiters import Waiters


class StandingOrders(NamedTuple):
    """What was ordered and is not over, and does not follow from what runs.

    Attributes:
        unloading: Numbers of the starts of models that are to end after their running requests.
        holds: Devices that are held, and until when; "" is all there is.
        pins: Models that stay while they are loaded.
    """

    unloading: tuple[int, ...] = ()
    holds: tuple[tuple[str, float], ...] = ()
    pins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """Carries out orders."""

    table: ModelTable
    placement: Placement
    turn_order: TurnOrder
    attempts: Attempts
    steps: Steps
    waiters: Waiters
    comebacks: Comebacks

    def standing(self) -> StandingOrders:
        """Return what another engine that goes on with this one's models has to be told."""
        live = self.table.live.values()
        unloading = tuple(e.swap for e in live if e.state == "draining" and e.unloading)
        pins = tuple(name for name, entry in self.table.all.items() if entry.is_pinned)
        return StandingOrders(unloading, self.placement.holds(), pins)

    def hold(self, order: HoldRequested, now: float) -> None:
        """Keep a device free for others, or all."""
        until = math.inf if order.for_s is None else now + order.for_s
        for entry in self.placement.hold(order.device, until):
            self.unload(entry, now, "hold")

    def pin(self, model: str, *, is_pinned: bool) -> None:
        """Let a model stay while it is loaded, or no more."""
        entry = self.table.all[model]
        entry.is_pinned = is_pinned
        self.placement.changed(entry)

    def unload_model(self, order: UnloadRequested, now: float) -> None:
        """End a model, which is not started again by itself."""
        model, entry = order.model, self.table.all[order.model]
        self.waiters.refuse_all(model, refusals.unavailable(model, "it was unloaded"))
        entry.put_away = True
        self.unload(entry, now, "request", at_once=order.at_once)

    def shut_down(self, now: float, *, at_once: bool) -> None:
        """End all models, and take no more waiters."""
        self.waiters.is_closing = True
        for model, entry in self.table.all.items():
            self.waiters.refuse_all(model, refusals.unavailable(model, "arriero is stopping"))
            self.unload(entry, now, "shutdown", at_once=at_once)

    def unload(
        self, entry: ModelState, now: float, reason: EndReason, *, at_once: bool = False
    ) -> None:
        """End a model in whatever state it is, for good."""
        self.comebacks.forget(entry.spec.model)
        self.steps.unload(entry, now, reason, at_once=at_once)

    # --- configurations -------------------------------------------------------------------------

    def reconfigure(self, change: Reconfigured, now: float) -> None:
        """Follow another configuration; a model that is not in it ends after its requests."""
        old = self.table.all.copy()
        self.table.all.clear()
        for spec in change.specs:
            entry = old.pop(spec.model, None) or ModelState(spec, since=now)
            self.table.all[spec.model] = entry
            entry.follow(spec)
            if change.drain and entry.is_stale:
                self.unload(entry, now, "config")
        for model, entry in old.items():
            self._remove(model, entry, now)
        self.placement.follow(change.policy)
        self.comebacks.follow()
        self.turn_order.forget()
        for entry in list(self.table.asleep.values()):
            if entry.is_stale or not self.placement.may_sleep(entry):
                self.unload(entry, now, "config")

    def _remove(self, model: str, entry: ModelState, now: float) -> None:
        entry.removed = True
        self.waiters.refuse_all(model, refusals.removed(model))
        self.attempts.leave_rest(model)
        self.comebacks.stay_away(model)
        self.comebacks.forget(model)
        if entry.state != "stopped":
            self.table.all[model] = entry
            self.unload(entry, now, "config")
