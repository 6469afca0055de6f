"""Locates the supervisor's sockets, and explains why they are unreachable.

The environment and the state of the file system come in as arguments.
"""

import errno
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from ..host.runtime_dir import find_runtime_dir

CONTROL_SOCKET: Final = "control.sock"
EVENTS_SOCKET: Final = "events.sock"

# The configuration that is taken when none is named.
DEFAULT_CONFIG: Final = Path("config.yaml")

# The folder of a system service with `RuntimeDirectory=arriero`.
SYSTEM_FOLDER: Final = Path("/run/arriero")


class CommandFailed(Exception):
    """A command failed; `exit_status` is that of the shell."""

    exit_status = 1


class CommandRefused(CommandFailed):
    """The supervisor refused the command."""


class SupervisorUnreachable(CommandFailed):
    """There is no supervisor, or it does not answer."""

    exit_status = 3


class SupervisorGone(SupervisorUnreachable):
    """The supervisor went away between the question and the answer."""


class AnswerOverdue(SupervisorUnreachable):
    """The supervisor has the question, and takes longer to answer than was waited for."""


def folders_of(environ: Mapping[str, str]) -> list[Path]:
    """Return the folders in which a supervisor may have its sockets.

    One of this user, or of this machine.

    ARRIERO_SOCKET_DIR is set on purpose and stands alone. The others are the
    conventions that `arriero serve` follows, and the place of a system service.
    """
    if chosen := environ.get("ARRIERO_SOCKET_DIR"):
        return [Path(chosen)]
    return [find_runtime_dir(None, environ), SYSTEM_FOLDER]


def socket_folder(environ: Mapping[str, str], exists: Callable[[Path], bool]) -> Path:
    """Choose the folder to connect to: the first that has a control socket.

    When none has one, the first is chosen, so that the error names the place that a supervisor of
    this user would take.
    """
    folders = folders_of(environ)
    for folder in folders:
        if exists(folder / CONTROL_SOCKET):
            return folder
    return folders[0]


def why_unreachable(path: Path, error: OSError, owner: str | None = None) -> str:
    """Return which socket cannot be reached, why, and the remedy.

    Args:
        path: The socket.
        error: Of the attempt to connect.
        owner: Name of the user whom the file belongs to, if that is known.
    """
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            what = "the file does not exist"
            would_do = (
                "start a supervisor with `arriero serve`, "
                "or give the folder of a running one with --socket-dir DIR"
            )
        case errno.ECONNREFUSED:
            what = "the file exists, but nobody listens on it"
            would_do = (
                "its supervisor has ended: start it again with `arriero serve` "
                "(it takes the file over)"
            )
        case errno.EACCES | errno.EPERM:
            what = "the file exists, but this user may not open it"
            would_do = f"run this command as {owner or 'its owner'}"
        case _:
            what = error.strerror or str(error)
            would_do = "give the folder that `arriero serve` uses with --socket-dir DIR"
    return f"cannot reach a supervisor at {path}: {what}; {would_do}"


def why_unanswered(place: object, within_s: float) -> str:
    """Return that a supervisor is there but did not answer in time."""
    return (
        f"the supervisor at {place} did not answer within {within_s:g} s; "
        "what was asked for may still happen: look with `arriero status`, "
        "or wait longer with --timeout SECONDS"
    )


def why_gone(place: object) -> str:
    """Return that the supervisor ended before its answer."""
    return f"the supervisor at {place} went away before it answered; is it being restarted?"
