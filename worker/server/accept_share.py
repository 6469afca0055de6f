"""How many connections this worker has, and whether it is its turn to take another.

All workers accept from one socket. Whoever calls first has the connection, and that is not chance:
a worker that was active a moment ago is awake. So each shows the others its count, and leaves a
connection to those that have fewer.

One that is hung shows its last count for ever, and must not keep connections waiting: whose count
does not move although connections wait is not waited for any longer, until it moves.
"""

import mmap
from typing import Final

from arriero.protocol.control.running import TABLE_BYTES

# Seconds for which one connection is left to others, and after which nobody waits for a worker
# that has taken none. The first is what a connection may wait longer for its worker.
PATIENCE_S: Final = 0.01
HUNG_S: Final = 0.3

# One in that many connections may be more than the others have: a burst is then taken in pieces
# that grow with it, and not one by one in turns.
_SLACK: Final = 12


class AcceptShares:
    """The count of this worker, and those of the others.

    Args:
        worker: Its number.
        fd: Of the shared table; None for a worker that is alone.
    """

    def __init__(self, worker: int, fd: int | None = None) -> None:
        self.connections = 0
        self._worker = worker
        self._map = mmap.mmap(-1 if fd is None else fd, TABLE_BYTES)
        self._table = memoryview(self._map).cast("I")
        self._takes = False
        self._hung: dict[int, int] = {}  # worker -> what it showed when it was given up
        self._waited: dict[int, tuple[int, float]] = {}  # worker -> what it showed, since when

    def open(self) -> None:
        """Take connections from now on."""
        self._takes = True
        self._show()

    def close(self) -> None:
        """Take none from now on; those that are there are kept."""
        self._takes = False
        self._show()

    def add(self, count: int) -> None:
        """Have so many more connections, or less."""
        self.connections += count
        self._show()

    def least(self) -> int | None:
        """Return the fewest connections that another worker has that takes some; None if none."""
        others = [
            shown - 1
            for worker, shown in enumerate(self._table)
            if shown and worker != self._worker and self._hung.get(worker) != shown
        ]
        return min(others, default=None)

    def is_next(self) -> bool:
        """Whether no other worker should take the next connection."""
        least = self.least()
        return least is None or self.connections <= least + self.connections // _SLACK

    def note_wait(self, now: float) -> None:
        """A connection was left to those that have fewer, for a while, and nobody took it."""
        for worker, shown in enumerate(self._table):
            if not shown or worker == self._worker or shown > self.connections:
                self._waited.pop(worker, None)
                continue
            before, since = self._waited.setdefault(worker, (shown, now))
            if before != shown:
                self._waited[worker] = (shown, now)
            elif now >= since + HUNG_S:
                self._hung[worker] = shown

    def note_taken(self) -> None:
        """What was left to others was taken, so those that take are not hung."""
        self._waited.clear()

    def _show(self) -> None:
        self._table[self._worker] = self.connections + 1 if self._takes else 0
