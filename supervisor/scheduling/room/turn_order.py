"""Whose turn it is: models with waiters, by priority, then by their oldest waiter.

A model in its pause after a failure has no turn: a crash loop takes nothing from others. Neither
has one that cannot have room, or of which it is not known yet what it needs.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from ..states.model_state import ModelState
from ..states.model_table import ModelTable
from ..states.wait_list import WaitList
from .placement import Placement
from .room import MAX_TURNS
from .turns import Turn

# The order of turns, the smallest first: minus the priority, and the number of the oldest waiter.
TurnKey: TypeAlias = tuple[float, float]
LAST: Final[TurnKey] = (math.inf, math.inf)


def turn_key(entry: ModelState, number: float) -> TurnKey:
    """Return the place of a waiter for the model of `entry` in the order of turns."""
    return (-entry.spec.priority, number)


class TurnOrder:
    """Plans the turns of models with waiters; reads only."""

    def __init__(self, table: ModelTable, queue: WaitList, placement: Placement) -> None:
        self._table, self._all = table, table.all
        self._queue = queue
        self._placement = placement
        self._plan_of: tuple[frozenset[str], list[str], object] = (frozenset(), [], None)
        self._planned: tuple[Turn, ...] = ()

    def forget(self) -> None:
        """Forget the plan: the configuration is another one."""
        self._plan_of, self._planned = (frozenset(), [], None), ()

    def keys(self, now: float) -> dict[str, TurnKey]:
        """Return the keys of the models that have a turn."""
        keys, entries = {}, self._all
        for model, first in self._queue.firsts():
            entry = entries[model]
            if not (entry.is_at_rest and (entry.pauses(now) or self.waits_for_room(entry))):
                keys[model] = turn_key(entry, first.number)
        return keys

    def waits_for_room(self, entry: ModelState) -> bool:
        """Return whether a model at rest has no turn for want of memory, or of its size."""
        placement = self._placement
        is_unsized = placement.room is not None and entry.size is None
        return is_unsized or placement.blockage(entry.spec.model) is not None

    def plan(self, keys: Mapping[str, TurnKey]) -> tuple[Turn, ...]:
        """Return the turns of the models of `keys`, in order."""
        staying = self._table.staying()
        wanted = sorted(keys, key=keys.__getitem__)
        plan_of = (staying, wanted, self._placement.plans_by)
        if plan_of != self._plan_of:  # it takes a while, and hardly ever changes
            self._plan_of, self._planned = plan_of, self._placement.plan(staying, wanted)
        return self._planned

    def contested(self, turns: Iterable[Turn], keys: Mapping[str, TurnKey]) -> dict[str, TurnKey]:
        """Return the models that are in the way of a turn.

        With the key of the first of these turns. A model that is stopping takes nothing from others
        until it has ended and can be started again.
        """
        contested: dict[str, TurnKey] = {}
        for turn in turns:
            if self._all[turn.model].is_at_rest:
                for model in turn.goes:
                    contested.setdefault(model, keys[turn.model])
        return contested

    def takes_nothing(self, model: str, now: float) -> bool:
        """Return whether a start of `model`, for which nobody waits, delays and costs no turn."""
        keys = self.keys(now)
        if model in keys:
            return False  # it has a turn of its own
        wanted = [*sorted(keys, key=keys.__getitem__), model]
        if not self._placement.looks_ahead(len(wanted)):
            return False  # there are many who come first
        turn = self._placement.plan(self._table.staying(), wanted)[-1]
        return turn.model == model and turn.is_free and not turn.goes

    def supposed(self, model: str, now: float) -> tuple[tuple[Turn, ...], bool]:
        """Return the turns if somebody wanted `model` now, and whether an earlier one needs it."""
        keys = self.keys(now)
        key = keys.setdefault(model, turn_key(self._all[model], math.inf))
        turns = self._placement.plan(self._table.staying(), self._first(keys, model))
        return turns, self.contested(turns, keys).get(model, LAST) < key

    def _first(self, keys: Mapping[str, TurnKey], model: str) -> list[str]:
        """Return the models of the turns before that of `model`, as far as they count, and it."""
        wanted = sorted(keys, key=keys.__getitem__)
        at = wanted.index(model)
        if self._placement.room is None:
            return wanted
        return [*wanted[: min(at, MAX_TURNS - 1)], model]
