"""Lines on their way to one reader, who may be slower than they come. Pure."""

from collections import deque
from typing import Final

# Characters that wait for one reader. More than that is left out, and the reader told.
MAX_WAITING: Final = 256 * 1024


class LineReader:
    """What waits for one reader of a log.

    Until `begin` all lines are kept that come; then those that are newer than what was said.
    """

    def __init__(self) -> None:
        self._lines: deque[tuple[int, str]] = deque()
        self._waiting = 0
        self._lost = 0
        self._said = 0

    def put(self, seq: int, line: str) -> None:
        """Add a line, the number `seq` of its log; without room for it, it is counted."""
        if seq <= self._said:
            return
        if self._waiting + len(line) > MAX_WAITING:
            self._lost += 1
            return
        self._lines.append((seq, line))
        self._waiting += len(line)

    def miss(self, count: int) -> None:
        """Note that so many lines did not come."""
        self._lost += count

    def begin(self, seq: int) -> None:
        """Leave out lines up to the number `seq`: they were said already."""
        self._said = seq
        while self._lines and self._lines[0][0] <= seq:
            self._waiting -= len(self._lines.popleft()[1])

    def take(self) -> str:
        """Return all that waits as text, with line ends; empty if nothing does."""
        parts = [f"{line}\n" for _, line in self._lines]
        if self._lost:
            parts.append(
                f"... {self._lost} lines are left out here: they came faster than they were read\n"
            )
        self._lines.clear()
        self._waiting = self._lost = 0
        return "".join(parts)

    @property
    def has_some(self) -> bool:
        """Whether `take` has something."""
        return bool(self._lines or self._lost)
