"""Ends what a supervisor has left that was killed together with its reaper.

Then nobody has seen to its processes. All of them have its mark in their environment, and that mark
stands in a file while it runs: whoever comes next in its folder finds both.
"""

import logging
import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from .reaper_child import MARK_CHARS, end_marked

log = logging.getLogger(__name__)

FILE_NAME: Final = "spawned"

_MARK: Final = re.compile(rb"[0-9a-f]{%d}" % MARK_CHARS)
_FLAGS: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MODE: Final = 0o600


def end_leftovers(folder: Path) -> int:
    """End the processes of the last supervisor in `folder`; return how many there were.

    Blocks: reads a file per process, for milliseconds; for longer only while some are left, which
    are killed after `TERM_S`. To be
    called by who has the folder's lock, when no reaper hands anything over.
    """
    mark = _read(folder / FILE_NAME)
    count = 0 if mark is None else end_marked(f"{mark}.")
    if count:
        log.warning("supervisor.ended_leftovers processes=%d", count)
    return count


def note_mark(folder: Path, mark: str) -> None:
    """Write the mark of our processes into the file; if that cannot be, it costs a warning."""
    path = folder / FILE_NAME
    fresh = path.with_suffix(".new")
    try:
        fresh.unlink(missing_ok=True)
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, _MODE)
        try:
            os.write(fd, mark.encode())
        finally:
            os.close(fd)
        fresh.replace(path)
    except OSError as exc:
        log.warning("supervisor.mark_not_kept path=%s reason=%s", path, exc.strerror)


def forget_mark(folder: Path) -> None:
    """Remove the file: all processes have ended."""
    with suppress(OSError):
        (folder / FILE_NAME).unlink()


def _read(path: Path) -> str | None:
    """Return the mark in a file; None if there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | _FLAGS)
    except OSError:
        return None
    try:
        is_file = stat.S_ISREG(os.fstat(fd).st_mode)
        found = os.read(fd, 2 * MARK_CHARS) if is_file else b""
    except OSError:
        return None
    finally:
        os.close(fd)
    return found.decode() if _MARK.fullmatch(found) else None
