"""Requests that wait for another machine, and may go to the next one if that has fallen silent."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, Protocol

# Silence after which a machine says nothing any more of a model that it loads: it tells of it every
# five seconds.
_SILENCE_S: Final = 7.0


class Waiting(Protocol):
    """A request that was sent to another machine."""

    is_answered: bool
    """Its response has begun to come."""
    heard_at: float
    """When that machine has told last of its model."""

    def give_up(self) -> None:
        """Wait no longer for that machine."""


class AwaitedPeers:
    """Those of one worker. Requests that have nowhere else to go are not among them."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[Waiting]] = {}  # by peer

    @contextmanager
    def waits(self, peer: str, request: Waiting) -> Generator[None]:
        """Count a request among them while the block runs; from its response on it does not act."""
        there = self._waiting.setdefault(peer, set())
        there.add(request)
        try:
            yield
        finally:
            there.discard(request)
            if not there:
                self._waiting.pop(peer, None)

    def lost(self, peer: str, now: float) -> None:
        """Have those that wait for `peer` go elsewhere: it does not answer the supervisor either.

        A machine that has just told how far it is lives, and may have no time for lists.
        """
        for request in tuple(self._waiting.get(peer, ())):
            if not request.is_answered and now - request.heard_at > _SILENCE_S:
                request.give_up()
