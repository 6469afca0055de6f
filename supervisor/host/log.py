"""What the supervisor writes of itself, to standard error."""

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
    """Write lines of `level` and above, until a configuration says otherwise."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter("%(name)s", for_journal=is_for_journal()))
    logging.basicConfig(level=_name_of(level), handlers=[handler])


@cache
def is_for_journal() -> bool:
    """Say whether this process's standard error goes to the journal of systemd."""
    return writes_to_journal(_STDERR, os.environ)


def follow_log_level(level: str | None) -> None:
    """Write lines of `level` and above, as a configuration says."""
    logging.getLogger().setLevel(_name_of(level))


def tell_warnings(problems: Iterable[object]) -> None:
    """Write what a configuration says and surely does not mean."""
    for problem in problems:
        log.warning("config.warning %s", problem)


def _name_of(level: str | None) -> str:
    return (level or _DEFAULT).upper()
