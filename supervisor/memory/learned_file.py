"""The file of learned sizes. Losing it costs a run alone, no start."""

import logging
from pathlib import Path
from typing import Final

from ..host.atomic_file import read_file, replace_file
from .learned import LearnedSizes

log = logging.getLogger(__name__)

SIZES_FILE_NAME: Final = "sizes.json"

# Longest file that is read. 500 entries are about 60 kB.
MAX_FILE_BYTES: Final = 1024 * 1024


def load_sizes(path: Path) -> LearnedSizes:
    """Return the learned sizes; none, with a warning, if unreadable.

    A missing file is the ordinary first start and not worth a word. Blocks for one small file.
    """
    try:
        data = read_file(path, MAX_FILE_BYTES)
        return LearnedSizes() if data is None else LearnedSizes.decode(data)
    except (OSError, ValueError) as exc:
        log.warning("sizes.unreadable path=%s reason=%s", path, exc)
        return LearnedSizes()


def save_sizes(path: Path, sizes: LearnedSizes) -> bool:
    """Write `sizes` atomically: a reader finds the old file or the new.

    Blocks for one small file.

    Returns:
        Whether it was written. If not, the log has the reason, and no part of it is left behind.
    """
    try:
        replace_file(path, sizes.encode())
    except OSError as exc:
        log.warning("sizes.not_saved path=%s reason=%s", path, exc)
        return False
    return True
