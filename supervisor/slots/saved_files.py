"""The files of saved slots, and the file of the manifest. All of it blocks.

They hold what people have written: so each is made by us, readable by this user alone, before
llama-server writes into it. Nothing is removed but regular files of this user.
"""

import logging
import os
import shutil
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from ..host.atomic_file import read_file, replace_file
from .manifest import Manifest, is_file_name

log = logging.getLogger(__name__)

FILE_NAME: Final = "slots.json"

# Longest manifest that is read: each of 500 models with 64 slots takes some 8 kB.
MAX_MANIFEST_BYTES: Final = 8 * 1024 * 1024


def load_manifest(path: Path) -> Manifest:
    """Return the manifest; an empty one, with a warning, if it cannot be read."""
    try:
        data = read_file(path, MAX_MANIFEST_BYTES)
        return Manifest() if data is None else Manifest.decode(data)
    except (OSError, ValueError) as exc:
        log.warning("slots.manifest_unreadable path=%s reason=%s", path, exc)
        return Manifest()


def save_manifest(path: Path, data: bytes) -> bool:
    """Write an encoded manifest atomically.

    Returns:
        Whether it was written. If not, the log has the reason, and nothing may be saved that it
        would have to name.
    """
    try:
        replace_file(path, data)
    except OSError as exc:
        log.warning("slots.manifest_not_saved path=%s reason=%s", path, exc)
        return False
    return True


def make_file(path: Path) -> None:
    """Make an empty file that only this user can read.

    Raises:
        OSError: That cannot be done, or something is there.
    """
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))


def size_of(path: Path) -> int | None:
    """Return the size of one of our files; None if it is none."""
    try:
        found = path.lstat()
    except (OSError, ValueError):
        return None
    is_ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
    return found.st_size if is_ours else None


def remove_files(folder: str, names: Iterable[str]) -> None:
    """Remove those files that are ours; one that cannot be removed is told in the log."""
    for name in names:
        path = Path(folder, name)
        if not is_file_name(name) or size_of(path) is None:
            continue
        try:
            path.unlink(missing_ok=True)
        except OSError as exc:
            log.warning("slots.not_removed path=%s reason=%s", path, exc)


def free_bytes(folder: str) -> int:
    """Return how much the disk of `folder` has left; 0 if that cannot be known."""
    with suppress(OSError):
        return shutil.disk_usage(folder).free
    return 0
