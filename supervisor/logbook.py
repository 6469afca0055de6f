"""The last lines that each model's process wrote, in memory."""

import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import ClassVar

from arriero.protocol.control import LogsLine


class Logbook:
    """Keeps lines by model.

    Attributes:
        MOST_LINES: Kept for each model. At 8 KiB for the longest line a model's log cannot take
            more than 80 MiB, and in practice takes about one.
    """

    MOST_LINES: ClassVar[int] = 10_000

    def __init__(self) -> None:
        self._lines: dict[str, deque[LogsLine]] = {}

    def add(self, model: str, stream: str, line: str) -> None:
        """Note one line, as written now."""
        lines = self._lines.setdefault(model, deque(maxlen=self.MOST_LINES))
        lines.append(LogsLine(t=time.time(), model=model, stream=stream, line=line))

    def keep_only(self, is_known: Callable[[str], bool]) -> None:
        """Forget the lines of models that are not known any more."""
        self._lines = {model: lines for model, lines in self._lines.items() if is_known(model)}

    def last(self, count: int, *, model: str | None = None) -> tuple[LogsLine, ...]:
        """Return the newest `count` lines, oldest first, of `model` or of all."""
        if model is not None:
            lines = self._lines.get(model, deque())
            return tuple(islice(lines, max(0, len(lines) - count), None))
        newest = [line for lines in self._lines.values() for line in lines]
        return tuple(sorted(newest, key=lambda line: line.t)[-count:])
