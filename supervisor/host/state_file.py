"""Files of what was learned. Losing one costs accuracy, no start."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from .atomic_file import read_file, replace_file

Kept = TypeVar("Kept")

# Longest file that is read. 500 entries are about 60 kB.
MAX_FILE_BYTES: Final = 1024 * 1024


def load_state(
    path: Path,
    subject: str,
    empty: Callable[[], Kept],
    decode: Callable[[bytes], Kept],
    log: logging.Logger,
) -> Kept:
    """Return what is in `path`; `empty`, with a warning, if unreadable.

    A missing file is the ordinary first start and not worth a word. Blocks for one small file.

    Args:
        path: The file.
        subject: What is in it, for the log.
        empty: Makes one that holds nothing.
        decode: Reads the bytes, or raises ValueError.
        log: Of the caller.
    """
    try:
        data = read_file(path, MAX_FILE_BYTES)
        return empty() if data is None else decode(data)
    except (OSError, ValueError) as exc:
        log.warning("%s.unreadable path=%s reason=%s", subject, path, exc)
        return empty()


def save_state(path: Path, subject: str, data: bytes, log: logging.Logger) -> bool:
    """Write `data` atomically: a reader finds the old file or the new.

    Blocks for one small file. No fsync: after a power cut an older file does as well.

    Returns:
        Whether it was written. If not, the log has the reason, and no part of it is left behind.
    """
    try:
        replace_file(path, data)
    except OSError as exc:
        log.warning("%s.not_saved path=%s reason=%s", subject, path, exc)
        return False
    return True
