"""Lines on their way to readers, who may be slower than they come. Pure.

All readers of the same lines share them, so a line costs the same however many there are.
"""

from collections import deque
from itertools import islice
from typing import Final

from ..connections.connection import Wakeup

# Characters that are kept for those who have not read them yet. Who is slower is told what is
# left out.
MAX_WAITING: Final = 64 * 1024


class LineJournal:
    """The newest lines of a log, for its readers.

    Attributes:
        first, end: Places of the oldest line that is kept, and of the next one: ever rising.
        readers: How many there are.
    """

    def __init__(self) -> None:
        self.lines: deque[tuple[int, str]] = deque()
        self.first = self.end = 0
        self.readers = 0
        self._waiting: set[Wakeup] = set()
        self._size = 0

    def put(self, seq: int, line: str) -> None:
        """Add a line, the number `seq` of its log; the oldest make room for it."""
        self.lines.append((seq, line))
        self.end += 1
        self._size += len(line)
        while self._size > MAX_WAITING:
            self._size -= len(self.lines.popleft()[1])
            self.first += 1
        if self._waiting:
            for wakeup in self._waiting:
                wakeup.set()
            self._waiting.clear()

    def arm(self, wakeup: Wakeup) -> None:
        """Have `wakeup` set at the next line, once."""
        self._waiting.add(wakeup)

    def disarm(self, wakeup: Wakeup) -> None:
        """Forget about it."""
        self._waiting.discard(wakeup)


class LineReader:
    """What waits for one reader of a log: lines that come from now on."""

    def __init__(self, journal: LineJournal) -> None:
        self.journal = journal
        self._at = journal.end

    def begin(self, seq: int) -> None:
        """Leave out lines up to the number `seq`: they were said already."""
        journal = self.journal
        self._at = max(self._at, journal.first)
        for found, _ in islice(journal.lines, self._at - journal.first, None):
            if found > seq:
                break
            self._at += 1

    def take(self) -> str:
        """Return all that waits as text, with line ends; empty if nothing does."""
        journal, at = self.journal, self._at
        if at == journal.end:
            return ""
        self._at = journal.end
        unread = islice(journal.lines, max(0, at - journal.first), None)
        text = "".join(f"{line}\n" for _, line in unread)
        return told_loss(journal.first - at) + text if at < journal.first else text


def told_loss(count: int) -> str:
    """Return what stands in the place of lines that are left out."""
    return f"... {count} lines are left out here: they came faster than they were read\n"
