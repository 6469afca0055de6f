"""Who has to go so that a model can run: the place for groups, sets and memory to come."""

from collections.abc import Iterable
from typing import Protocol


class Room(Protocol):
    """Decides which models cannot run beside which."""

    def must_go(self, target: str, running: Iterable[str]) -> frozenset[str]:
        """Return those of `running` that have to end before `target` may be started."""
        ...


class OneAtATime:
    """Every model needs the whole machine."""

    def must_go(self, target: str, running: Iterable[str]) -> frozenset[str]:
        """Return all that run, but `target` itself."""
        return frozenset(running) - {target}
