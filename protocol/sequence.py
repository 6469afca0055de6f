"""Numbers of published events: detects events that were missed."""

from enum import Enum, auto

import msgspec

from .events import AnyEvent, Heartbeat
from .values import Snapshot


class Verdict(Enum):
    """Treatment of an event by a subscriber."""

    FOLLOWS = auto()  # take it
    OLD = auto()  # already contained in what is known: leave it
    GAP = auto()  # something was missed: ask for a snapshot (and leave it, the snapshot has it)


class Sequence(msgspec.Struct):
    """The position of a subscriber, for each way of numbering.

    A subscriber starts with a snapshot (`restart`) and then shows each event to `judge`.
    """

    epoch: str = ""
    _last: dict[str, int] = msgspec.field(default_factory=dict)

    def restart(self, snapshot: Snapshot) -> None:
        """Stand where `snapshot` stands."""
        self.epoch = snapshot.epoch
        self._last = {"events": snapshot.seq}

    def is_ahead_of(self, snapshot: Snapshot) -> bool:
        """Return whether events after `snapshot` have been seen already."""
        return snapshot.epoch == self.epoch and snapshot.seq < self._last.get("events", 0)

    def judge(self, event: AnyEvent) -> Verdict:
        """Return whether `event` follows, and if so, move on to it."""
        if event.epoch != self.epoch:
            return Verdict.GAP
        if isinstance(event, Heartbeat):
            return Verdict.GAP if event.seq > self._last.get("events", 0) else Verdict.OLD
        last = self._last.get(event.numbered_as)
        if last is not None and event.seq <= last:
            return Verdict.OLD
        if last is not None and event.seq != last + 1:
            return Verdict.GAP
        self._last[event.numbered_as] = event.seq
        return Verdict.FOLLOWS
