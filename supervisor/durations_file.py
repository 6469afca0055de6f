"""Doing: the file of learned durations. It is a convenience: losing it costs an ETA, no start."""

import logging
import os
import tempfile
from pathlib import Path
from typing import Final

from .durations import Durations

log = logging.getLogger(__name__)

FILE_NAME: Final = "durations.json"

# Longest file that is read. 500 entries are about 60 kB.
MAX_FILE_BYTES: Final = 1024 * 1024


def load_durations(path: Path) -> Durations:
    """Return what was learned before. Starts empty, and says so in the log, if it can't be read.

    A missing file is the ordinary first start and not worth a word. Blocks for one small file.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ValueError(f"longer than {MAX_FILE_BYTES} bytes")
        return Durations.decode(data)
    except FileNotFoundError:
        return Durations()
    except (OSError, ValueError) as exc:
        log.warning("durations.unreadable path=%s reason=%s", path, exc)
        return Durations()


def save_durations(path: Path, durations: Durations) -> bool:
    """Write `durations` so that a reader finds the old file or the new one, never a part.

    Blocks for one small file. No fsync: after a power cut an older file does as well.

    Returns:
        Whether it was written. If not, the log says why, and no part of it is left behind.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A name of its own for each writer: two of them must not write into one file.
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            file.write(durations.encode())
        temporary.replace(path)
    except OSError as exc:
        log.warning("durations.not_saved path=%s reason=%s", path, exc)
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        return False
    return True
