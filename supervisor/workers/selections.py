"""Which target of a selector answers a request; and how many of its requests each has.

Source: llama-swap, `selectors`. ``warm`` takes the first target that is ready, else the first that
is starting, else the first. ``spillover`` fills a target up to its limit before it starts the next
one; it counts the requests that came by the selector, no others.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from arriero.protocol.values import State

from ..config.names import Selector

Standing: TypeAlias = State | None
"""State of the process of a target's model; None for a target that is not here."""

# Requests that are counted. Those beyond, more than any machine serves, are answered uncounted.
MAX_COUNTED: Final = 100_000

_WARM: Final[Sequence[Standing]] = ("ready", "starting")
_ACTIVE: Final[frozenset[Standing]] = frozenset({"ready", "starting", "draining"})


class _Counted(msgspec.Struct, frozen=True):
    """The selector and the target of one request."""

    selector: str
    target: str


class Selections:
    """Chooses targets, and counts requests."""

    def __init__(
        self,
        selectors: Callable[[], Mapping[str, Selector]],
        standing: Callable[[str], Standing],
        *,
        most: int = MAX_COUNTED,
    ) -> None:
        """Build it.

        Args:
            selectors: Gives those of the configuration in force.
            standing: Tells how a target stands, by the name that a selector has for it.
            most: Requests that are counted at the most.
        """
        self._selectors = selectors
        self._standing = standing
        self._most = most
        self._running: dict[tuple[str, int], _Counted] = {}
        self._counts: dict[_Counted, int] = {}
        self._last: dict[str, str] = {}  # the busy target that was taken last, by selector

    def select(self, owner: str, ask: int, selector: str) -> str:
        """Return the target for a request; empty if all are about to end.

        Args:
            owner: The worker.
            ask: Number of its query, to be given back to `end`.
            selector: The selector's name; of one that is unknown nothing is left.
        """
        found = self._selectors().get(selector)
        if found is None:
            return ""
        if found.strategy != "spillover":
            return self._warm(found) if found.strategy == "warm" else found.targets[0]
        target = self._spill(found)
        if target:
            self.hold(owner, ask, selector, target)
        return target

    def hold(self, owner: str, ask: int, selector: str, target: str) -> None:
        """Count a request that runs on `target`, as this or an earlier supervisor has chosen."""
        found = self._selectors().get(selector)
        if found is None or found.strategy != "spillover" or len(self._running) >= self._most:
            return
        self._drop(self._running.pop((owner, ask), None))  # it was asked twice
        counted = self._running[owner, ask] = _Counted(selector, target)
        self._counts[counted] = self._counts.get(counted, 0) + 1

    def end(self, owner: str, ask: int) -> None:
        """Count a request no more."""
        self._drop(self._running.pop((owner, ask), None))

    def lost(self, owner: str) -> None:
        """Count none of those of a worker that is gone."""
        for key in [key for key in self._running if key[0] == owner]:
            self._drop(self._running.pop(key))

    def _drop(self, counted: _Counted | None) -> None:
        if counted is not None:
            self._counts[counted] -= 1
            if not self._counts[counted]:
                del self._counts[counted]

    def _warm(self, selector: Selector) -> str:
        standings = [self._standing(target) for target in selector.targets]
        for state in _WARM:
            if state in standings:
                return selector.targets[standings.index(state)]
        return selector.targets[0]

    def _spill(self, selector: Selector) -> str:
        active: dict[str, int] = {}
        cold: list[str] = []
        for target in selector.targets:
            count = self._counts.get(_Counted(selector.selector, target), 0)
            standing = self._standing(target)
            if standing == "stopping":
                continue
            if count or standing in _ACTIVE:
                active[target] = count
            else:
                cold.append(target)
        least = min(active.values(), default=0)
        if cold and (not active or least >= selector.spillover):
            return cold[0]
        idlest = [target for target, count in active.items() if count == least]
        if not idlest:
            return ""
        # in turn: the one behind that which was taken last
        last = self._last.get(selector.selector)
        at = idlest.index(last) + 1 if last in idlest else 0
        chosen = self._last[selector.selector] = idlest[at % len(idlest)]
        return chosen
