"""Turns are taken: ready models are granted, others go, the next one is started."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from arriero.protocol.values import ErrorInfo

from .attempts import Attempts
from .comebacks import Comebacks
from .messages.pending_commands import PendingCommands
from .room.placement import Placement
from .room.turn_order import LAST, TurnKey, TurnOrder, turn_key
from .room.turns import Turn
from .states.backoff import Backoff
from .states.model_state import ModelState
from .states.model_table import ModelTable
from .steps import Steps
from .waiters import Waiters


@dataclass(frozen=True, slots=True, kw_only=True)
class Pursuit:
    """Takes each turn one step further."""

    table: ModelTable
    out: PendingCommands
    placement: Placement
    turn_order: TurnOrder
    attempts: Attempts
    steps: Steps
    waiters: Waiters
    comebacks: Comebacks
    backoff: Backoff
    obstacle: Callable[[str], ErrorInfo | None]

    def take_turns(self, now: float) -> None:
        """Serve who can be served, and go on with each turn that is free."""
        for turn in self._serve(now):
            if turn.is_free:
                self._pursue(turn, now)
            elif turn.model in self.attempts.turning:  # before a waiter came that goes first
                self.attempts.tell(self.table.all[turn.model], "waiting", now)

    def tell_who_is_paused(self, now: float) -> None:
        """Announce models that are waited for, and not started yet after a failure."""
        for model in self.waiters.queue.models():
            entry = self.table.all[model]
            if entry.pauses(now):
                self.attempts.begin(entry, now)
                self.attempts.tell(entry, "waiting", now, eta_s=entry.not_before - now)

    def forget_turns(self) -> None:
        """Take back the beginnings of turns whose waiters have left."""
        for name in list(self.attempts.turning):
            if not self.waiters.queue.is_waited_for(name):
                self.attempts.take_back(name)
                self.comebacks.stay_away(name)

    # --- models that are there ------------------------------------------------------------------

    def _serve(self, now: float) -> tuple[Turn, ...]:
        """Keep and grant models, unless an earlier turn needs their place.

        Returns:
            The turns that are left.
        """
        keys = self.turn_order.keys(now)
        turns, commands = self.turn_order.plan(keys), len(self.out)
        contested = self.turn_order.contested(turns, keys)
        for name, entry in self.table.live.items():
            if self._may_stay(entry) and keys.get(name, LAST) <= contested.get(name, LAST):
                self.steps.keep(entry, now)
        for model in list(self.waiters.queue.models()):
            entry = self.table.all[model]
            if entry.state == "ready":
                self._grant(entry, contested.get(model, LAST), now)
        if len(self.out) == commands:
            return turns
        return self.turn_order.plan(self.turn_order.keys(now))

    def _may_stay(self, entry: ModelState) -> bool:
        if entry.state != "draining" or entry.unloading:
            return False
        # One that sleeps already stays for those only who wait for it.
        return not entry.goes_to_sleep or self.waiters.queue.is_waited_for(entry.spec.model)

    def _grant(self, entry: ModelState, before: TurnKey, now: float) -> None:
        """Grant to those who wait for a ready model and have their turn before that."""
        for wait in self.waiters.queue.of(entry.spec.model):
            if entry.is_full() or turn_key(entry, wait.number) > before:
                break  # and so are all later ones
            self.waiters.grant(entry, wait, now)
        if entry.is_full() and not entry.is_untold:
            self.waiters.refuse_newcomers(entry, now)

    # --- models that have to be started ---------------------------------------------------------

    def _pursue(self, turn: Turn, now: float) -> None:
        """Take the next step of the turn's model towards ready."""
        model, target = turn.model, self.table.all[turn.model]
        if not target.is_at_rest:
            return
        blocking = self.placement.policy.evicted_by(model, self.table.live)
        if blocking and (error := self.obstacle(model)) is not None:
            self._fail(target, error, now)
            return
        self.attempts.begin(target, now)
        if (unseen := self._unseen_sleeper(blocking, model)) is not None:
            self.attempts.tell(target, "stopping", now, other=unseen)
            return
        if not blocking:
            self._start_if_there_is_room(target, now)
            return
        for name in sorted(turn.goes):
            self._make_go(self.table.all[name], model, now)
        leaving = self.table.live.keys() - turn.after
        names = sorted((blocking & leaving) or leaving or blocking)
        in_the_way = [self.table.all[name] for name in names]
        self.attempts.tell_who_is_in_the_way(target, in_the_way, now)

    def _fail(self, target: ModelState, error: ErrorInfo, now: float) -> None:
        target.fail(error, now, self.backoff)
        self.waiters.refuse_all(target.spec.model, error)
        self.comebacks.give_back(target)
        self._serve(now)  # it was in their way, and they in its way

    def _start_if_there_is_room(self, target: ModelState, now: float) -> None:
        """Start it, unless memory of a process that is gone has not come back yet."""
        model = target.spec.model
        if not self.placement.has_room(model):
            for other in self.placement.coming_back(model)[:1]:
                self.attempts.tell(target, "stopping", now, other=other)
            return
        self.comebacks.take_for_good(model)
        self.comebacks.start(target, now)

    def _unseen_sleeper(self, blocking: Iterable[str], target: str) -> str | None:
        """Return a model that fell asleep for `target` and was not seen yet to give enough."""
        for name in sorted(blocking):
            entry = self.table.all[name]
            if entry.goes_for == target and entry.sleep_seen_by is not None:
                return name
        return None

    def _make_go(self, entry: ModelState, model: str, now: float) -> None:
        """Let a model make room for another one, unless somebody waits for its start."""
        if entry.state == "ready":
            entry.goes_for = model
            self.steps.drain(entry, now, "room")
        elif entry.state == "draining":
            entry.goes_for = model
        elif entry.state == "asleep":
            self.steps.tell_eviction(entry, model, now)
            self.steps.stop(entry, now, reason="room")
        elif entry.state == "starting" and not self.waiters.is_waited_for(entry):
            # It never took the place of those that went for it: they would come back, not it.
            for before in self.comebacks.gone_for(entry.spec.model) or [entry]:
                before.goes_for = model
            self.steps.stop(entry, now, reason="room")
