"""The file of learned durations. Losing it costs an ETA, no start."""

import logging
from pathlib import Path
from typing import Final

from ..host.atomic_file import read_file, replace_file
from .stage_times import Durations

log = logging.getLogger(__name__)

FILE_NAME: Final = "durations.json"

# Longest file that is read. 500 entries are about 60 kB.
MAX_FILE_BYTES: Final = 1024 * 1024


def load_durations(path: Path) -> Durations:
    """Return the learned durations; none, with a warning, if unreadable.

    A missing file is the ordinary first start and not worth a word. Blocks for one small file.
    """
    try:
        data = read_file(path, MAX_FILE_BYTES)
        return Durations() if data is None else Durations.decode(data)
    except (OSError, ValueError) as exc:
        log.warning("durations.unreadable path=%s reason=%s", path, exc)
        return Durations()


def save_durations(path: Path, durations: Durations) -> bool:
    """Write `durations` atomically: a reader finds the old file or the new.

    Blocks for one small file. No fsync: after a power cut an older file does as well.

    Returns:
        Whether it was written. If not, the log has the reason, and no part of it is left behind.
    """
    try:
        replace_file(path, durations.encode())
    except OSError as exc:
        log.warning("durations.not_saved path=%s reason=%s", path, exc)
        return False
    return True
