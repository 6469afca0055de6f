"""Who waits for what, in order of arrival.

Thousands may wait for one model, and each of them comes and goes by itself: so nothing that is
asked for one of them looks at the others.
"""

from collections import OrderedDict
from collections.abc import Iterable

from arriero.protocol.values import QueueEntry

from .events import Waiter
from .model_state import QueuedWaiter


class WaitList:
    """All waiters. What is done for one of them costs the same however many there are."""

    def __init__(self) -> None:
        self._all: dict[Waiter, QueuedWaiter] = {}
        # A dict is slow to find its first entry after many were taken from there; this is not.
        self._of: dict[str, OrderedDict[Waiter, QueuedWaiter]] = {}

    def __contains__(self, waiter: Waiter) -> bool:
        return waiter in self._all

    def __len__(self) -> int:
        return len(self._all)

    def add(self, wait: QueuedWaiter) -> None:
        """Let one more wait."""
        self._all[wait.waiter] = wait
        self._of.setdefault(wait.model, OrderedDict())[wait.waiter] = wait

    def remove(self, waiter: Waiter) -> None:
        """Let `waiter` go, if it is there."""
        wait = self._all.pop(waiter, None)
        if wait is not None:
            rest = self._of[wait.model]
            del rest[waiter]
            if not rest:
                del self._of[wait.model]

    def remove_owner(self, owner: str) -> None:
        """Let all go that belong to `owner`."""
        for waiter in [waiter for waiter in self._all if waiter.owner == owner]:
            self.remove(waiter)

    def models(self) -> Iterable[str]:
        """Return the models that somebody waits for."""
        return self._of.keys()

    def is_waited_for(self, model: str) -> bool:
        """Say whether somebody waits for `model`."""
        return model in self._of

    def first(self, model: str) -> QueuedWaiter:
        """Return who has waited longest for `model`; somebody does."""
        return next(iter(self._of[model].values()))

    def of(self, model: str) -> list[QueuedWaiter]:
        """Return all that wait for `model`, in order of arrival."""
        return list(self._of.get(model, {}).values())

    def entries(self, models: Iterable[str]) -> tuple[QueueEntry, ...]:
        """Return how many wait for each of `models`."""
        return tuple(QueueEntry(model=model, waiting=len(self._of[model])) for model in models)
