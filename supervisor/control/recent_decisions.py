"""The last decisions, for who comes later. Pure."""

from collections import deque
from typing import Final

from arriero.protocol.events import MAX_DECISIONS, AnyEvent, Decision, decision_in

# Bytes of all of them, as they were published. One may name thousands of models.
_MAX_BYTES: Final = 512 * 1024


class RecentDecisions:
    """The last ones among published events, within bounds of number and bytes."""

    def __init__(self) -> None:
        self._kept: deque[tuple[Decision, int]] = deque()
        self._bytes = 0

    def note(self, event: AnyEvent, size: int) -> None:
        """Keep an event, if it is a decision.

        Args:
            event: As it was published.
            size: Bytes of that.
        """
        if (decision := decision_in(event)) is None:
            return
        self._kept.append((decision, size))
        self._bytes += size
        while len(self._kept) > MAX_DECISIONS or self._bytes > _MAX_BYTES:
            _, freed = self._kept.popleft()
            self._bytes -= freed

    def all(self) -> tuple[Decision, ...]:
        """Return them, the oldest first."""
        return tuple(decision for decision, _ in self._kept)
