"""`StoreLimits`: what may be kept, and where."""

from pathlib import Path
from typing import Final

import msgspec

FILE_NAME: Final = "activity.sqlite"
"""Of the store in the state folder."""


MAX_WAITING: Final = 20_000
"""Records that may wait for a disk that takes nothing."""
MAX_WAITING_BYTES: Final = 64 * 1024**2
"""Bytes of all that waits: captures may be some megabytes."""

IDLE_S: Final = 600.0
"""Seconds until it is looked what is too old, while nothing else happens."""


class StoreLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What may be kept, and where.

    Attributes:
        path: The file.
        rows: Most records.
        age_s: Seconds after which a record is forgotten.
        size_bytes: What records may take; the oldest go first.
        capture_bytes: What captures may take besides, compressed; the oldest go first.
        memory_rows: Most records while there is no file.
    """

    path: Path
    rows: int
    age_s: float
    size_bytes: int
    capture_bytes: int = 0
    memory_rows: int = 1000
