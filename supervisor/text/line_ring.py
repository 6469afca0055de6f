"""The last lines of a log, bounded in number and in bytes.

They stand one after the other in pieces of some 64 KiB, not as an object each, which takes twice as
much and leaves holes where it was. Pieces that are full can be packed, to a fifth.
"""

import zlib
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from sys import intern
from typing import Final

from arriero.protocol.control.models import LogsLine

# Of memory, for each line beside its text: its time, its end and its stream.
_LINE_BYTES: Final = 20

# Of text, from which on a piece is full. To pack it takes less than a millisecond.
PIECE_BYTES: Final = 64 * 1024

# The quickest; others save a tenth more in twice the time.
_LEVEL: Final = 1

# Of lines that are no UTF-8: halves of characters come back as they were.
_HALVES: Final = "surrogatepass"


class LineRing:
    """Lines, of which the oldest make room for new ones.

    Other threads may append, one at a time.

    Args:
        most_lines: How many are kept.
        most_bytes: Of memory that they take, all together, without being packed. What is dropped is
            freed by pieces.

    Attributes:
        size_bytes: What they take now, without being packed.
    """

    def __init__(self, most_lines: int, most_bytes: int) -> None:
        self._most_lines = most_lines
        self._most_bytes = most_bytes
        self._pieces: deque[_Piece] = deque()
        self._count = 0
        self.size_bytes = 0

    def append(self, line: LogsLine) -> None:
        """Add a line; one that is longer than all may be is left out."""
        pieces = self._pieces
        if not pieces or not pieces[-1].takes(line):
            pieces.append(_Piece(line.model))
        self.size_bytes += pieces[-1].append(line)
        self._count += 1
        while self._count > self._most_lines or self.size_bytes > self._most_bytes:
            self.drop_oldest()

    def drop_oldest(self) -> None:
        """Drop the oldest line, of which there has to be one."""
        oldest = self._pieces[0]
        self.size_bytes -= oldest.drop_first()
        self._count -= 1
        if not len(oldest):
            self._pieces.popleft()

    def pack(self) -> bool:
        """Pack one full piece, the oldest that is not; return whether there was one."""
        return any(piece.pack() for piece in list(self._pieces)[:-1])

    def __len__(self) -> int:
        return self._count

    def __reversed__(self) -> Iterator[LogsLine]:
        for piece in reversed(list(self._pieces)):
            yield from reversed(piece)


class _Piece:
    """Lines of one model, one after the other."""

    __slots__ = ("_ends", "_first", "_model", "_packed", "_streams", "_text", "_times")

    def __init__(self, model: str) -> None:
        self._model = model
        self._text = bytearray()
        self._packed: bytes | None = None  # in its place
        self._times = array("d")
        self._ends = array("I")
        self._streams: list[str] = []
        self._first = 0  # how many were dropped

    def takes(self, line: LogsLine) -> bool:
        """Return whether `line` may be appended."""
        return self._packed is None and len(self._text) < PIECE_BYTES and line.model == self._model

    def append(self, line: LogsLine) -> int:
        """Add a line; return what it takes, in bytes."""
        text = line.line.encode(errors=_HALVES)
        self._text += text
        self._times.append(line.t)
        self._streams.append(intern(line.stream))
        self._ends.append(len(self._text))  # at last: it is there from now on
        return len(text) + _LINE_BYTES

    def drop_first(self) -> int:
        """Drop the oldest line; return what it took, in bytes."""
        size = self._ends[self._first] - self._begin(self._first)
        self._first += 1
        return size + _LINE_BYTES

    def pack(self) -> bool:
        """Compress the text, unless it is; return whether it was not."""
        if self._packed is not None:
            return False
        self._packed = zlib.compress(self._text, _LEVEL)
        self._text = bytearray()
        return True

    def _begin(self, index: int) -> int:
        return self._ends[index - 1] if index else 0

    def __len__(self) -> int:
        return len(self._ends) - self._first

    def __reversed__(self) -> Iterator[LogsLine]:
        text, packed = self._text, self._packed
        if packed is not None:
            text = bytearray(zlib.decompress(packed))
        for index in range(len(self._ends) - 1, self._first - 1, -1):
            line = text[self._begin(index) : self._ends[index]].decode(errors=_HALVES)
            yield LogsLine(
                t=self._times[index], model=self._model, stream=self._streams[index], line=line
            )


def last_of(newest_first: Iterable[LogsLine], most_bytes: int) -> tuple[LogsLine, ...]:
    """Return the first of `newest_first`, the oldest first, up to `most_bytes` of text."""
    left, found = most_bytes, []
    for line in newest_first:
        left -= len(line.line) + 1
        if left < 0:
            break
        found.append(line)
    return tuple(reversed(found))
