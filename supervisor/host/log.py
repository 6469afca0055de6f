"""The supervisor's own log, on standard error."""

import logging
import os
from collections.abc import Iterable
from functools import cache
from typing import Final

from arriero.protocol.log_format import LineFormatter, writes_to_journal

log = logging.getLogger(__name__)

_DEFAULT: Final = "info"
_STDERR = 2


def begin_log(level: str | None) -> None:
    """Log from `level` up, until a configuration sets another one."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter("%(name)s", for_journal=is_for_journal()))
    logging.basicConfig(level=_name_of(level), handlers=[handler])


@cache
def is_for_journal() -> bool:
    """Return whether our standard error goes to the systemd journal."""
    return writes_to_journal(_STDERR, os.environ)


def follow_log_level(level: str | None) -> None:
    """Log from `level` up, as the configuration sets it."""
    logging.getLogger().setLevel(_name_of(level))


def tell_warnings(problems: Iterable[object]) -> None:
    """Log the warnings of a configuration."""
    for problem in problems:
        log.warning("config.warning %s", problem)


def _name_of(level: str | None) -> str:
    return (level or _DEFAULT).upper()
