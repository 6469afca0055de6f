"""Format of log lines, for the supervisor and its workers. No I/O.

On a terminal or in a file a line begins with its time and level. The journal of systemd knows the
time of each line already and keeps its level apart, so there a line begins with ``<3>`` instead:
``journalctl -p err`` then shows what is an error.

A worker sends its lines to the supervisor, which writes them as it writes its own: so they come as
JSON text sequences (RFC 7464), one line each, which no line of anybody else begins like.

Source: sd-daemon(3), "logging"; systemd.exec(5), ``$JOURNAL_STREAM``.
"""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from .read_json import UNREADABLE

# Least level -> priority of syslog(3), the most important first.
_PRIORITIES: Final = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
)
_DEBUG_PRIORITY: Final = 7

_MARK: Final = b"\x1e"

# Of a message, and of a line of a traceback: so many characters are less than a line that the
# supervisor reads as one, however they are escaped. Lines of a traceback: the last ones.
_MAX_CHARS: Final = 1200
_MAX_TRACEBACK: Final = 400


class LogLines:
    """Messages that are logged at once, at a fifth of the cost.

    Args:
        messages: Each gets a line of its own, with its time and level.
    """

    def __init__(self, messages: Iterable[str]) -> None:
        self.messages = tuple(messages)

    def __str__(self) -> str:
        return "\n".join(self.messages)


class LineFormatter(logging.Formatter):
    """Begins each of several messages as if it had come alone.

    Args:
        write_time: Writes Unix times; None: the lines have none.
    """

    def __init__(self, write_time: Callable[[float], str] | None) -> None:
        time = "" if write_time is None else "%(asctime)s %(levelname)s "
        super().__init__(f"{time}%(name)s %(message)s")
        self._write_time = write_time

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Return the time of `record`."""
        del datefmt
        return "" if self._write_time is None else self._write_time(record.created)

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the text of `record`, whose `message` and `asctime` are set."""
        if not isinstance(record.msg, LogLines):
            return super().formatMessage(record)
        record.message = ""
        start = super().formatMessage(record)
        return start + f"\n{start}".join(record.msg.messages)


def for_journal(text: str, level: int) -> str:
    """Return lines, each with its priority."""
    prefix = f"<{_priority(level)}>"
    return prefix + text.replace("\n", f"\n{prefix}")


def writes_to_journal(fd: int, environ: Mapping[str, str]) -> bool:
    """Return whether the descriptor `fd` leads directly to the journal.

    A redirection or a pipe on the way has another inode than the one that systemd names.
    """
    try:
        status = os.fstat(fd)
    except OSError:  # it is closed
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _priority(level: int) -> int:
    return next((found for least, found in _PRIORITIES if level >= least), _DEBUG_PRIORITY)


# --- from a worker to the supervisor -------------------------------------------------------------


class _SentRecord(msgspec.Struct, omit_defaults=True):
    t: float
    level: int
    text: str
    more: int = 0  # lines of its traceback, which follow


_read_sent: Final = msgspec.json.Decoder(_SentRecord)
_read_more: Final = msgspec.json.Decoder(str)


class SentFormatter(logging.Formatter):
    """Writes what a worker logs, for a `RecordReader`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines for `record`, without the last line end."""
        text = _sendable(record.getMessage())
        traceback: list[str] = []
        if record.exc_info:
            traceback = self.formatException(record.exc_info).split("\n")[-_MAX_TRACEBACK:]
        sent = _SentRecord(record.created, record.levelno, text, len(traceback))
        lines: list[_SentRecord | str] = [sent, *map(_sendable, traceback)]
        return "\n".join(f"{_MARK.decode()}{msgspec.json.encode(it).decode()}" for it in lines)


def _sendable(text: str) -> str:
    return text[:_MAX_CHARS].encode(errors="replace").decode()


class RecordReader:
    """Reads the lines of one worker, and gives what it logs to `take`.

    Args:
        name: Of the worker.
        take: Gets its records.
        take_raw: Gets every other line: it was not logged, such as one of a traceback at the end.
    """

    def __init__(
        self,
        name: str,
        take: Callable[[logging.LogRecord], None],
        take_raw: Callable[[str, str], None],
    ) -> None:
        self._name = name
        self._take = take
        self._take_raw = take_raw
        self._begun: logging.LogRecord | None = None
        self._traceback: list[str] = []
        self._more = 0

    def read(self, line: bytes) -> None:
        """Take one line, without its end."""
        if not line.startswith(_MARK):
            self.finish()
            self._take_raw(self._name, line.decode(errors="replace"))
            return
        try:
            if self._more and line.startswith(b'"', 1):
                self._traceback.append(_read_more.decode(line[1:]))
                self._more -= 1
            else:
                self.finish()
                self._begin(_read_sent.decode(line[1:]))
        except UNREADABLE:
            self._take_raw(self._name, line[1:].decode(errors="replace"))
        if not self._more:
            self.finish()

    def finish(self) -> None:
        """Give what has begun, complete or not."""
        if self._begun is not None:
            self._begun.exc_text = "\n".join(self._traceback) or None
            self._take(self._begun)
            self._begun = None
        self._traceback, self._more = [], 0

    def _begin(self, sent: _SentRecord) -> None:
        record = logging.LogRecord(self._name, sent.level, "", 0, sent.text, None, None)
        record.created = sent.t
        self._begun, self._more = record, min(sent.more, _MAX_TRACEBACK)
