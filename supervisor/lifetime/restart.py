"""The next supervisor, in the process of this one: for `arriero restart`."""

import logging
import os
import sys
from collections.abc import Callable, Mapping
from typing import Final, NoReturn

import trio

from arriero.protocol.control.base import Refusal, refused

from ..config.load import Config
from ..errors import ConfigError
from ..host.file_limit import restore_own_limit

# Tell of sockets that systemd has handed to this process. The next one gets them from the reaper.
_LISTEN: Final = frozenset({"LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID"})


async def why_no_restart(config: Config, load: Callable[[], Config]) -> Refusal | None:
    """Return why no other supervisor could go on; None if one can, as far as is known.

    Args:
        config: The configuration in force.
        load: Reads the one that the next supervisor would read.
    """
    if not config.adopt:
        return refused(
            "bad_request",
            "cannot restart without ending all models and requests: adopt is not set; stop arriero "
            "and start it again, with adopt: true in the configuration",
        )
    try:
        following = await trio.to_thread.run_sync(load, abandon_on_cancel=True)
    except ConfigError as exc:
        problems = tuple(map(str, exc.problems))
        return refused("bad_config", "cannot restart with this configuration", problems)
    if not following.adopt:
        return refused(
            "bad_config",
            "cannot restart without ending all models and requests: adopt is not set in the "
            "configuration any more",
        )
    return None


def next_command(
    program: tuple[str, ...], arguments: list[str], environ: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Return command line and environment of the next supervisor."""
    kept = {name: value for name, value in environ.items() if name not in _LISTEN}
    return [*program, *arguments], kept


def become_next() -> NoReturn:
    """Replace this program: by that version of it which is installed now.

    Its process stays, and so does its number: whoever watches it sees no end.
    """
    from ..generate.unit_files import this_program  # few supervisors come here

    command, environ = next_command(this_program(), sys.argv[1:], os.environ)
    logging.shutdown()
    restore_own_limit()
    os.execve(command[0], command, environ)  # noqa: S606  no shell is wanted
