"""The last lines that each model's process wrote, in memory."""

import time
from collections.abc import Callable
from contextlib import suppress
from heapq import merge
from itertools import islice
from typing import ClassVar, Final

import msgspec

from arriero.protocol.control.models import LogsLine

from ...host.kept_ring import KeptRing
from ...text.line_ring import LineRing, last_of

_read_line: Final = msgspec.json.Decoder(LogsLine)


class OutputLog:
    """Keeps lines by model.

    Args:
        take: Gets each line as it is noted.
        hide: Takes what is secret out of a line.

    Attributes:
        MAX_LINES: Kept for each model.
        MODEL_BYTES: Of memory that they take.
        TOTAL_BYTES: The same for all models together; over it, the longest log gets shorter.
        MAX_BYTES: Of lines that are given at once: ten thousand of a hundred characters. With the
            longest ones it would be 80 MB, for every client that asks.
    """

    MAX_LINES: ClassVar[int] = 10_000
    MODEL_BYTES: ClassVar[int] = 4 * 1024**2
    TOTAL_BYTES: ClassVar[int] = 64 * 1024**2
    MAX_BYTES: ClassVar[int] = 1024 * 1024

    def __init__(
        self,
        take: Callable[[LogsLine], None] = lambda _: None,
        hide: Callable[[str], str] = lambda line: line,
    ) -> None:
        self._take = take
        self._hide = hide
        self._logs: dict[str, LineRing] = {}
        self._ring: KeptRing | None = None
        self._size_bytes = 0

    def keep_in(self, ring: KeptRing) -> None:
        """Go on with the lines in `ring`, and put all new ones there."""
        for message in ring.messages():
            with suppress(msgspec.DecodeError):
                self._append(_read_line.decode(message))
        self._ring = ring

    def add(self, model: str, stream: str, line: str) -> str:
        """Note one line, as written now; return it without what is secret."""
        line = self._hide(line)
        added = LogsLine(t=time.time(), model=model, stream=stream, line=line)
        self._append(added)
        if self._ring is not None:
            self._ring.append(msgspec.json.encode(added))
        self._take(added)
        return line

    def _append(self, line: LogsLine) -> None:
        log = self._logs.get(line.model)
        if log is None:
            log = self._logs[line.model] = LineRing(self.MAX_LINES, self.MODEL_BYTES)
        before = log.size_bytes
        log.append(line)
        self._size_bytes += log.size_bytes - before
        while self._size_bytes > self.TOTAL_BYTES:
            longest = max(self._logs.values(), key=lambda log: log.size_bytes)
            before = longest.size_bytes
            for _ in range(len(longest) // 8 + 1):  # a share, so that few are looked for
                longest.drop_oldest()
            self._size_bytes -= before - longest.size_bytes

    def pack(self) -> bool:
        """Pack a piece of what is kept; return whether there was one that was not packed."""
        return any(log.pack() for log in self._logs.values())

    def keep_only(self, is_known: Callable[[str], bool]) -> None:
        """Forget the lines of models that are not known any more."""
        self._logs = {model: log for model, log in self._logs.items() if is_known(model)}
        self._size_bytes = sum(log.size_bytes for log in self._logs.values())

    def last(
        self, count: int, *, model: str | None = None, most_bytes: int | None = None
    ) -> tuple[LogsLine, ...]:
        """Return the newest `count` lines, oldest first, of `model` or of all.

        Fewer, if they are longer than `MAX_BYTES` together, or than `most_bytes`.
        """
        chosen = self._logs.values() if model is None else filter(None, [self._logs.get(model)])
        newest = merge(*map(reversed, chosen), key=lambda line: line.t, reverse=True)
        limit = self.MAX_BYTES if most_bytes is None else min(most_bytes, self.MAX_BYTES)
        return last_of(islice(newest, count), limit)
