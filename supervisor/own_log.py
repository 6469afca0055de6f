"""What the supervisor writes of itself, to standard error. Doing."""

import logging
from collections.abc import Iterable

from .config_values import Config, LogLevel

log = logging.getLogger(__name__)

_DEFAULT: LogLevel = "info"


class Lines:
    """Several messages that are logged at once: a fifth of the cost of one by one.

    Args:
        messages: Each gets a line of its own, with its time and level.
    """

    def __init__(self, messages: Iterable[str]) -> None:
        self.messages = tuple(messages)

    def __str__(self) -> str:
        return "\n".join(self.messages)


class LinesFormatter(logging.Formatter):
    """Begins each of several messages as if it had come alone."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the text of `record`, whose `message` and `asctime` are set."""
        if not isinstance(record.msg, Lines):
            return super().formatMessage(record)
        record.message = ""
        start = super().formatMessage(record)
        return "\n".join(start + message for message in record.msg.messages)


def begin_log(level: LogLevel | None) -> None:
    """Write lines of `level` and above, until a configuration says otherwise."""
    handler = logging.StreamHandler()
    handler.setFormatter(LinesFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=_name_of(level), handlers=[handler])


def follow_log_level(config: Config) -> None:
    """Write as much as `config` says."""
    logging.getLogger().setLevel(_name_of(config.logging.level))


def tell_warnings(config: Config) -> None:
    """Write what `config` says and surely does not mean."""
    for problem in config.warnings:
        log.warning("config.warning %s", problem)


def _name_of(level: LogLevel | None) -> str:
    return (level or _DEFAULT).upper()
