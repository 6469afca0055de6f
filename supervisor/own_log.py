"""What the supervisor writes of itself, to standard error. Doing."""

import logging

from .config_values import Config, LogLevel

log = logging.getLogger(__name__)

_DEFAULT: LogLevel = "info"


def begin_log(level: LogLevel | None) -> None:
    """Write lines of `level` and above, until a configuration says otherwise."""
    logging.basicConfig(
        level=_name_of(level), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )


def follow_log_level(config: Config) -> None:
    """Write as much as `config` says."""
    logging.getLogger().setLevel(_name_of(config.logging.level))


def tell_warnings(config: Config) -> None:
    """Write what `config` says and surely does not mean."""
    for problem in config.warnings:
        log.warning("config.warning %s", problem)


def _name_of(level: LogLevel | None) -> str:
    return (level or _DEFAULT).upper()
