"""Waiters, in order of arrival.

Thousands may wait for one model, and each of them comes and goes by itself: so nothing that is
asked for one of them looks at the others.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable

from arriero.protocol.values import QueueEntry

from ..messages.events import Waiter
from ..states.model_state import QueuedWaiter


class WaitList:
    """All waiters.

    The cost for one of them does not depend on their number.

    Attributes:
        version: Rises with every change.
    """

    def __init__(self) -> None:
        self._all: dict[Waiter, QueuedWaiter] = {}
        # A dict is slow to find its first entry after many were taken from there; this is not.
        self._of: dict[str, OrderedDict[Waiter, QueuedWaiter]] = {}
        self._first: dict[str, QueuedWaiter] = {}
        self._orders: dict[str, int] = {}  # of `_of`, those that are no requests
        self.version = 0

    def __contains__(self, waiter: Waiter) -> bool:
        return waiter in self._all

    def __len__(self) -> int:
        return len(self._all)

    def add(self, wait: QueuedWaiter) -> None:
        """Add a waiter."""
        self.version += 1
        self._all[wait.waiter] = wait
        self._of.setdefault(wait.model, OrderedDict())[wait.waiter] = wait
        self._first.setdefault(wait.model, wait)
        if not wait.waiter.takes_lease:
            self._orders[wait.model] = self._orders.get(wait.model, 0) + 1

    def remove(self, waiter: Waiter) -> None:
        """Remove `waiter`, if it is there."""
        wait = self._all.pop(waiter, None)
        if wait is not None:
            self.version += 1
            rest = self._of[wait.model]
            del rest[waiter]
            if not waiter.takes_lease:
                self._orders[wait.model] -= 1
            if not rest:
                del self._of[wait.model], self._first[wait.model]
                self._orders.pop(wait.model, None)
            elif self._first[wait.model] is wait:
                self._first[wait.model] = next(iter(rest.values()))

    def remove_owner(self, owner: str) -> None:
        """Remove all waiters of `owner`."""
        for waiter in [waiter for waiter in self._all if waiter.owner == owner]:
            self.remove(waiter)

    def models(self) -> Iterable[str]:
        """Return the models with waiters."""
        return self._of.keys()

    def is_waited_for(self, model: str) -> bool:
        """Return whether `model` has waiters."""
        return model in self._of

    def count(self, model: str) -> int:
        """Return how many requests wait for `model`; who has ordered it is none."""
        return len(self._of.get(model, ())) - self._orders.get(model, 0)

    def firsts(self) -> Iterable[tuple[str, QueuedWaiter]]:
        """Return each model with waiters, and its oldest one."""
        return self._first.items()

    def of(self, model: str) -> list[QueuedWaiter]:
        """Return the waiters of `model`, in order of arrival."""
        return list(self._of.get(model, {}).values())

    def entries(self, models: Iterable[str], full: Collection[str] = ()) -> tuple[QueueEntry, ...]:
        """Return how many requests wait for each of `models`; `full` have no place for them."""
        return tuple(
            QueueEntry(model=model, waiting=self.count(model), is_full=model in full)
            for model in models
        )
