"""A log that a flood cannot fill.

Of many lines of one kind, the first and then a count.

The clock is an argument, so that tests need not wait.
"""

import logging
import time
from collections.abc import Callable

import msgspec
import trio

# Seconds for which lines of one kind are only counted. Two lines a minute and kind are nothing
# on any disk, and an operator who looks for what goes on now finds a line of the last minute.
INTERVAL_S = 60.0

# Longest text that is written of what a stranger sent.
MAX_CHARS = 500


class _RepeatedLine(msgspec.Struct):
    until: float  # lines are only counted so long
    level: int
    counted: int = 0


class FloodLog:
    """Writes lines that strangers can cause, twice an interval at most.

    That is for each kind of line.

    The kind of a line is its template, so there are as many as there are calls in the program.
    """

    def __init__(
        self,
        log: logging.Logger,
        *,
        interval_s: float = INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Build it.

        Args:
            log: Takes the lines.
            interval_s: Seconds from a line that was written to the next of its kind.
            clock: Returns seconds.
        """
        self._log = log
        self._interval_s = interval_s
        self._clock = clock
        self._kinds: dict[str, _RepeatedLine] = {}

    def warning(self, template: str, *args: object) -> None:
        """Write a line, or count it. `template` begins with the name of the event."""
        if self._is_due(template, logging.WARNING):
            self._log.warning("%s", _cut(template % args))

    def exception(self, template: str, *args: object, exc: BaseException) -> None:
        """Write a line with the traceback of `exc`, or count it."""
        if self._is_due(template, logging.ERROR):
            self._log.error("%s", _cut(template % args), exc_info=exc)

    def flush(self) -> None:
        """Write the counts that are due.

        To be called now and then, or they wait for a line.
        """
        now = self._clock()
        for template, kind in self._kinds.items():
            if kind.counted and now >= kind.until:
                self._write_count(template, kind)
                kind.until = now + self._interval_s

    async def flush_regularly(self) -> None:
        """Call `flush` when something may be due, until cancelled."""
        while True:
            await trio.sleep(self._interval_s)
            self.flush()

    def _is_due(self, template: str, level: int) -> bool:
        now = self._clock()
        kind = self._kinds.get(template)
        if kind is None:
            kind = self._kinds[template] = _RepeatedLine(now, level)
        if now < kind.until:
            kind.counted += 1
            return False
        if kind.counted:
            self._write_count(template, kind)
        kind.until = now + self._interval_s
        return True

    def _write_count(self, template: str, kind: _RepeatedLine) -> None:
        event, more = template.split(maxsplit=1)[0], kind.counted
        kind.counted = 0
        self._log.log(kind.level, "%s more=%d in_s=%.0f", event, more, self._interval_s)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARS else text[:MAX_CHARS] + "..."
