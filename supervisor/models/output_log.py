"""The last lines that each model's process wrote, in memory."""

import time
from collections import deque
from collections.abc import Callable
from heapq import merge
from itertools import islice
from typing import ClassVar

from arriero.protocol.control import LogsLine


class OutputLog:
    """Keeps lines by model.

    Attributes:
        MAX_LINES: Kept for each model. At 8 KiB for the longest line a model's log cannot take
            more than 80 MiB, and in practice takes about one.

        MAX_BYTES: Of lines that are given at once: ten thousand of a hundred characters. With the
            longest ones it would be 80 MB, for every client that asks.
    """

    MAX_LINES: ClassVar[int] = 10_000
    MAX_BYTES: ClassVar[int] = 1024 * 1024

    def __init__(self) -> None:
        self._lines: dict[str, deque[LogsLine]] = {}

    def add(self, model: str, stream: str, line: str) -> None:
        """Note one line, as written now."""
        lines = self._lines.setdefault(model, deque(maxlen=self.MAX_LINES))
        lines.append(LogsLine(t=time.time(), model=model, stream=stream, line=line))

    def keep_only(self, is_known: Callable[[str], bool]) -> None:
        """Forget the lines of models that are not known any more."""
        self._lines = {model: lines for model, lines in self._lines.items() if is_known(model)}

    def last(self, count: int, *, model: str | None = None) -> tuple[LogsLine, ...]:
        """Return the newest `count` lines, oldest first, of `model` or of all.

        Fewer, if they are longer than `MAX_BYTES` together.
        """
        logs = self._lines.values() if model is None else [self._lines.get(model, deque())]
        newest = islice(merge(*map(reversed, logs), key=lambda line: line.t, reverse=True), count)
        left, found = self.MAX_BYTES, []
        for line in newest:
            left -= len(line.line)
            if left < 0:
                break
            found.append(line)
        return tuple(reversed(found))
