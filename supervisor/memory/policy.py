"""The placement policy of a configuration in which memory decides."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..placement.policy import PlacementPolicy
from .devices import Budget


@dataclass(frozen=True, slots=True, kw_only=True)
class ByMemory(PlacementPolicy):
    """As many models as fit; groups or the matrix, where written, act on top.

    What is in memory is not known here: these answers are those of the groups or the matrix alone.
    The engine asks its `Room`.

    Attributes:
        budgets: Devices that are declared.
        finds: Devices that are found count, too.
        inner: Groups or the matrix; None without.
    """

    budgets: Mapping[str, Budget]
    finds: bool = True
    inner: PlacementPolicy | None = None

    def evicted_by(self, target: str, running: Iterable[str]) -> frozenset[str]:
        """Return those of `running` that end before `target` is started, memory aside."""
        return frozenset() if self.inner is None else self.inner.evicted_by(target, running)

    def can_run_together(self, models: Iterable[str]) -> bool:
        """Return whether `models` may all run at the same time, memory aside."""
        return self.inner is None or self.inner.can_run_together(models)
