"""Polls the files of a configuration. `Watch` decides what is a change.

It asks for the state of the files instead of waiting for the kernel: inotify does not see what
others write to a network mount, follows a path to one file for good, and so misses the swap of a
link (``..data`` of Kubernetes' config maps) and what happens behind a bind mount.
"""

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import trio

from arriero.protocol.flood_log import FloodLog

from ..errors import SupervisorError
from ..host.shortage import why
from .change_detector import Mark, Signature, View, Watch

log = logging.getLogger(__name__)

# Seconds between two looks. A look takes 20 µs for a file, 0.6 ms for a folder of ten; with
# the thread that is 0.3 % of a core.
POLL_S: Final = 0.5


async def watch(
    look: Callable[[], View],
    changed: Callable[[], None],
    *,
    first: View,
    poll_s: float = POLL_S,
) -> None:
    """Call `changed` whenever the files have changed and stand still; never return.

    It goes on looking while the configuration is loaded: what changes meanwhile is reported again.
    What `changed` raises ends the watch.

    Cancelling acts at once, even if `look` hangs on a file server that is gone: its thread is then
    left to itself, and ends when the server is back.

    Args:
        look: Returns what there is now, such as ``partial(look_at, files, folder, list_folder)``.
            Runs in a thread, because it may block; never more than one at a time.
        changed: Asks for the configuration to be loaded again.
        first: From `look`, *before* the configuration in force was loaded.
        poll_s: Seconds between two looks.
    """
    state = Watch(first)
    flood = FloodLog(log)
    while True:
        await trio.sleep(poll_s)
        try:
            view = await trio.to_thread.run_sync(look, abandon_on_cancel=True)
        except (OSError, RuntimeError) as exc:  # no thread or descriptor: it looks again soon
            flood.warning("config.not_watched reason=%r", why(exc))
            continue
        if state.see(view, trio.current_time()):
            changed()


def look_at(
    files: Sequence[Path],
    folder: Path | None,
    list_folder: Callable[[Path], Iterable[Path]],
) -> View:
    """Return the state of `files` and of those in `folder`. Blocks; raises nothing.

    Args:
        files: Those that were named one by one.
        folder: The folder, if one was named.
        list_folder: Returns the files of a folder that belong to a configuration, in order; may
            raise OSError or SupervisorError, which count as a folder without any.
    """
    view: dict[Path, Signature] = {}
    for path in files:
        mark = _mark(path)
        view[path] = None if mark is None else (mark,)
    if folder is not None:
        try:
            found = tuple(list_folder(folder))
        except (OSError, SupervisorError):
            found = ()
        # A file that went away since the folder was listed is one that is not there.
        view[folder] = tuple(mark for mark in map(_mark, found) if mark is not None) or None
    return view


def _mark(path: Path) -> Mark | None:
    try:
        status = os.stat(path)
        target = os.path.realpath(path)
    except OSError:
        return None
    return Mark(str(path), target, status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev)
