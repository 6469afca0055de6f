"""What it costs to take a model away.

First go those that are on their way out for the same model already; then idle ones; then busy ones,
which end when their requests have; then ones that start for others. Within each kind the set that
costs least to bring back: the seconds that a start takes, times how much a model was used lately.
"""

from typing import Final

from ...memory.sizes import NOTHING, Amounts
from ...memory.victims import Evictable
from ..states.model_state import ModelState
from ..states.model_table import ModelTable
from .needs import Needs
from .taken import Taken

# What it costs to take a busy model, and one that starts for somebody: more than any idle ones.
_BUSY: Final = 1e9
_STARTING: Final = 1e12

# Bytes a second that a start takes, for a model of which no start is known: a slow disk.
_BYTES_PER_S: Final = 0.5e9

# What counts for a model that was not used lately: so that dear ones stay before cheap ones.
_LITTLE_USE: Final = 0.01


class Costs:
    """Costs of models, remembered until they change.

    Attributes:
        at: Second in which the uses were seen that decide.
    """

    def __init__(self, table: ModelTable, needs: Needs) -> None:
        self.at = 0
        self._needs = needs
        self._all, self._asleep = table.all, table.asleep
        self._known: dict[str, Evictable] = {}

    def changed(self, model: str) -> None:
        """Note that `model` is used or counted otherwise than before."""
        self._known.pop(model, None)

    def forget(self) -> None:
        """Forget all that is remembered."""
        self._known.clear()

    def see(self, second: int) -> None:
        """Go on with how much models are used in that second: uses fade, and slowly."""
        if self.at != second:
            self.at = second
            self.forget()

    def candidate(self, target: str, model: str, taken: Taken) -> Evictable:
        """Return `model` as one that could go for `target`, beside what is `taken`."""
        entry = self._all.get(model)
        if entry is None or entry.is_leaving:
            return Evictable(0.0, 0.0, model, self._needs.amounts(model))
        found = self._known.get(model)
        if found is None:
            found = self._known[model] = self._evictable(entry)
        if entry.goes_for == target:
            return found._replace(cost=0.0)
        if model in self._asleep and model not in taken.asleep:  # it is woken before that
            return found._replace(cost=found.cost + _STARTING, amounts=taken.of(model))
        return found

    def _evictable(self, entry: ModelState) -> Evictable:
        amounts = self._needs.amounts(entry.spec.model)
        cost = self.of(entry, amounts)
        if entry.state not in {"ready", "draining", "asleep"}:
            cost += _STARTING
        elif entry.is_busy:
            cost += _BUSY * (1 + sum(entry.in_flight.values()))
        return Evictable(cost, entry.used_at, entry.spec.model, amounts)

    def of(self, entry: ModelState, amounts: Amounts = NOTHING) -> float:
        """Return what it costs to bring a model back: seconds, times recent use."""
        start_s = entry.start_s
        if start_s is None:
            start_s = 1.0 + sum(amounts.values()) / _BYTES_PER_S
        return start_s * (_LITTLE_USE + entry.use_at(self.at))
