"""Format of log lines, for the supervisor and its workers. No I/O.

On a terminal or in a file a line begins with its time and level. The journal of systemd knows the
time of each line already and keeps its level apart, so there a line begins with ``<3>`` instead:
``journalctl -p err`` then shows what is an error.

Source: sd-daemon(3), "logging"; systemd.exec(5), ``$JOURNAL_STREAM``.
"""

import logging
import os
from collections.abc import Iterable, Mapping
from typing import Final

# Least level -> priority of syslog(3), the most important first.
_PRIORITIES: Final = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
)
_DEBUG_PRIORITY: Final = 7
_ERROR_PREFIX: Final = b"<3>"


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
        name: The writer, as a field of `logging`: ``%(name)s``, or a word.
        for_journal: Lines go to the journal.
    """

    def __init__(self, name: str, *, for_journal: bool) -> None:
        super().__init__(f"{name} %(message)s" if for_journal else _PLAIN % name)
        self._for_journal = for_journal

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of `record`, without a line end; every line has its priority."""
        text = super().format(record)
        if not self._for_journal:
            return text
        prefix = f"<{_priority(record.levelno)}>"
        return prefix + text.replace("\n", f"\n{prefix}")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the text of `record`, whose `message` and `asctime` are set."""
        if not isinstance(record.msg, LogLines):
            return super().formatMessage(record)
        record.message = ""
        start = super().formatMessage(record)
        return "\n".join(start + message for message in record.msg.messages)


_PLAIN: Final = "%%(asctime)s %%(levelname)s %s %%(message)s"


def writes_to_journal(fd: int, environ: Mapping[str, str]) -> bool:
    """Return whether the descriptor `fd` leads directly to the journal.

    A redirection or a pipe on the way has another inode than the one that systemd names.
    """
    try:
        status = os.fstat(fd)
    except OSError:  # it is closed
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def as_error(line: bytes) -> bytes:
    """Return `line` for the journal, as an error if it has no priority.

    Such as one of a traceback: it was not logged.
    """
    has_priority = line[:1] == b"<" and line[2:3] == b">" and line[1:2].isdigit()
    return line if has_priority else _ERROR_PREFIX + line


def _priority(level: int) -> int:
    return next((found for least, found in _PRIORITIES if level >= least), _DEBUG_PRIORITY)
