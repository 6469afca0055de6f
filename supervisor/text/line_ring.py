"""The last lines of a log, bounded in number and in bytes."""

from collections import deque
from collections.abc import Iterable, Iterator
from sys import getsizeof
from typing import Final

from arriero.protocol.control.models import LogsLine

# Of memory, for each line beside its text.
_LINE_BYTES: Final = 150


class LineRing:
    """Lines, of which the oldest make room for new ones.

    Args:
        most_lines: How many are kept.
        most_bytes: Of memory that they take, all together.

    Attributes:
        size_bytes: What they take now.
    """

    def __init__(self, most_lines: int, most_bytes: int) -> None:
        self._most_lines = most_lines
        self._most_bytes = most_bytes
        self._lines: deque[LogsLine] = deque()
        self.size_bytes = 0

    def append(self, line: LogsLine) -> None:
        """Add a line; one that is longer than all may be is left out."""
        self._lines.append(line)
        self.size_bytes += getsizeof(line.line) + _LINE_BYTES
        while len(self._lines) > self._most_lines or self.size_bytes > self._most_bytes:
            self.size_bytes -= getsizeof(self._lines.popleft().line) + _LINE_BYTES

    def drop_oldest(self) -> None:
        """Drop the oldest line, of which there has to be one."""
        self.size_bytes -= getsizeof(self._lines.popleft().line) + _LINE_BYTES

    def __len__(self) -> int:
        return len(self._lines)

    def __reversed__(self) -> Iterator[LogsLine]:
        return reversed(self._lines)


def last_of(newest_first: Iterable[LogsLine], most_bytes: int) -> tuple[LogsLine, ...]:
    """Return the first of `newest_first`, the oldest first, up to `most_bytes` of text."""
    left, found = most_bytes, []
    for line in newest_first:
        left -= len(line.line) + 1
        if left < 0:
            break
        found.append(line)
    return tuple(reversed(found))
