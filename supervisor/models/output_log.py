"""The last lines that each model's process wrote, in memory."""

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from heapq import merge
from itertools import islice
from typing import ClassVar, Final

import msgspec

from arriero.protocol.control import LogsLine

from ..host.kept_ring import KeptRing

_read_line: Final = msgspec.json.Decoder(LogsLine)


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
        self._ring: KeptRing | None = None

    def keep_in(self, ring: KeptRing) -> None:
        """Go on with the lines in `ring`, and put all new ones there."""
        for message in ring.messages():
            with suppress(msgspec.DecodeError):
                self._append(_read_line.decode(message))
        self._ring = ring

    def add(self, model: str, stream: str, line: str) -> None:
        """Note one line, as written now."""
        added = LogsLine(t=time.time(), model=model, stream=stream, line=line)
        self._append(added)
        if self._ring is not None:
            self._ring.append(msgspec.json.encode(added))

    def _append(self, line: LogsLine) -> None:
        self._lines.setdefault(line.model, deque(maxlen=self.MAX_LINES)).append(line)

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
