"""The file of what keys have used today, written a moment after it has changed."""

import logging
from pathlib import Path
from typing import Final

import trio

from ..host.state_file import load_state, save_state
from .key_limits import DayOfKeys, KeyLimits

log = logging.getLogger(__name__)

FILE_NAME: Final = "key-use.json"

# Seconds between two writes: what is used in them is forgotten when the supervisor is killed. And
# until the next one, when a disk has taken nothing.
_WRITE_S: Final = 1.0
_AGAIN_S: Final = 60.0


def load_day(path: Path) -> DayOfKeys:
    """Return what was used; see `load_state`."""
    return load_state(path, "key_use", DayOfKeys, DayOfKeys.decode, log)


async def keep_day(path: Path, limits: KeyLimits) -> None:
    """Keep the file up to date until cancelled, and once more then.

    A disk that takes nothing costs what a restart would forget, and no request.
    """
    written = 0
    try:
        while True:
            await trio.sleep(_WRITE_S)
            if (changes := limits.changes) != written:
                if await trio.to_thread.run_sync(_save, path, limits.used.encode()):
                    written = changes
                else:
                    await trio.sleep(_AGAIN_S)
    finally:
        if limits.changes != written:
            _save(path, limits.used.encode())  # a small file, at the end of all


def _save(path: Path, data: bytes) -> bool:
    return save_state(path, "key_use", data, log)
