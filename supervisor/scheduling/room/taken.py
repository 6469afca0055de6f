"""What some models have of each device, summed up."""

from collections.abc import Iterable

from ...memory.sizes import NOTHING, Amounts, largest
from .needs import Needs


class Taken:
    """What some models have, and those that sleep; a plan goes on with it step by step.

    Attributes:
        used: Device -> bytes.
        on: Device -> models that have some of it.
        asleep: Those of them that sleep: all that do, until they are started or removed.
    """

    def __init__(self, needs: Needs, models: Iterable[str], asleep: Iterable[str]) -> None:
        ledger, models = needs.ledger, frozenset(models)
        self.used = dict(ledger.used)
        self.on = {device: set(holders) for device, holders in ledger.on.items()}
        self.asleep = set(asleep)
        self._needs = needs
        self._other: dict[str, Amounts] = {}  # what is otherwise than at this moment
        for model in ledger.holders - models - self.asleep:
            self.remove(model)
        for model in models - ledger.holders:
            self.add(model, needs.amounts(model))

    def of(self, model: str) -> Amounts:
        """Return what `model` has."""
        found = self._other.get(model)
        return self._needs.amounts(model) if found is None else found

    def had_asleep(self, model: str) -> Amounts:
        """Return what `model` has already, for it sleeps."""
        return self._needs.held_asleep(model) if model in self.asleep else NOTHING

    def add(self, model: str, amounts: Amounts) -> None:
        """Add a model that has `amounts`."""
        for device, count in amounts.items():
            self.used[device] = self.used.get(device, 0) + count
            self.on.setdefault(device, set()).add(model)
        self._other[model] = amounts

    def start(self, model: str) -> None:
        """Add what `model` has when it is started, or woken."""
        if model in self.asleep:
            needed = largest(self._needs.need(model), self.had_asleep(model))
            self.remove(model)
            self.add(model, needed)
        else:
            self.add(model, self._needs.amounts(model))

    def remove(self, model: str) -> None:
        """Take a model away."""
        for device, count in self.of(model).items():
            self.used[device] -= count
            self.on[device].discard(model)
        self._other.pop(model, None)
        self.asleep.discard(model)

    def lack(self, target: str) -> dict[str, int]:
        """Return what is missing for a start of `target`: device -> bytes."""
        limit, used, has = self._needs.ledger.limit, self.used, self.had_asleep(target)
        missing = {}
        for device, count in self._needs.need(target).items():
            more = count - has.get(device, 0)
            over = more + used.get(device, 0) - limit(device)
            if more > 0 and over > 0:
                missing[device] = over
        return missing
