"""What the supervisor writes of itself, to standard error. Doing."""

import logging
import os
from functools import cache

from arriero.protocol.log_lines import LineFormatter, writes_to_journal

from .config_values import Config, LogLevel
from .exposure import exposure

log = logging.getLogger(__name__)

_DEFAULT: LogLevel = "info"
_STDERR = 2


def begin_log(level: LogLevel | None) -> None:
    """Write lines of `level` and above, until a configuration says otherwise."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter("%(name)s", for_journal=is_for_journal()))
    logging.basicConfig(level=_name_of(level), handlers=[handler])


@cache
def is_for_journal() -> bool:
    """Say whether this process's standard error goes to the journal of systemd."""
    return writes_to_journal(_STDERR, os.environ)


def follow_log_level(config: Config) -> None:
    """Write as much as `config` says."""
    logging.getLogger().setLevel(_name_of(config.logging.level))


def tell_warnings(config: Config) -> None:
    """Write what `config` says and surely does not mean."""
    for problem in config.warnings:
        log.warning("config.warning %s", problem)


def tell_exposure(config: Config, host: str | None) -> None:
    """Write who may use the models, if that is surely not meant and no warning of `config` says so.

    Args:
        config: The configuration.
        host: What systemd, or else `config`, has made us listen on; None for a unix socket.
    """
    if host is None or exposure(config, config.listen.host) is not None:
        return
    if (told := exposure(config, host)) is not None:
        log.warning("config.warning listen: %s", told)


def _name_of(level: LogLevel | None) -> str:
    return (level or _DEFAULT).upper()
