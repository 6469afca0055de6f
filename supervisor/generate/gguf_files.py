"""Finds GGUF files in a folder and reads their headers.

`from_scan` decides what they are.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from ..llamacpp.gguf import GgufError, read_head
from .from_scan import FoundFile

# Deeper, and more, than any collection; what is beyond is reported.
_MAX_DEPTH: Final = 16
_MAX_ENTRIES: Final = 1_000_000


def find_files(folder: Path, remarks: list[str]) -> list[Path]:
    """Return the GGUF files under `folder`, sorted by path; each file once.

    Links are followed, to files and to folders; a folder is never entered twice.

    Args:
        folder: The first one.
        remarks: Gets what was not looked at, and why.

    Raises:
        OSError: `folder` itself cannot be read.
    """
    os.scandir(folder).close()
    seen: set[tuple[int, int]] = set()
    found = []
    for count, (path, status) in enumerate(_walk(folder, 0, seen, remarks)):
        if count >= _MAX_ENTRIES:
            remarks.append(
                f"{folder}: it has more than {_MAX_ENTRIES:,} entries; the rest was left"
            )
            break
        if path.suffix.lower() != ".gguf" or not stat.S_ISREG(status.st_mode):
            continue
        try:
            str(path).encode()
        except UnicodeEncodeError:
            remarks.append(f"{str(path)!a}: its name is not UTF-8; rename it")
            continue
        if _new(status, seen):
            found.append(path)
    return sorted(found)


def read_files(paths: Iterable[Path]) -> Iterator[FoundFile]:
    """Give the header of each of `paths`, or why it cannot be read."""
    for path in paths:
        size_bytes = 0
        try:
            size_bytes = path.stat().st_size
            yield FoundFile(path=path, size_bytes=size_bytes, head=read_head(path))
        except GgufError as exc:
            yield FoundFile(path=path, size_bytes=size_bytes, error=str(exc))
        except OSError as exc:
            yield FoundFile(
                path=path, size_bytes=size_bytes, error=f"cannot read it: {exc.strerror}"
            )


def _walk(
    folder: Path, depth: int, seen: set[tuple[int, int]], remarks: list[str]
) -> Iterator[tuple[Path, os.stat_result]]:
    """Give all paths under `folder`, in the order of names."""
    try:
        if not _new(folder.stat(), seen):
            return
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
    except OSError as exc:
        remarks.append(f"{folder}: cannot read it: {exc.strerror}")
        return
    for name in names:
        path = folder / name
        try:
            status = path.stat()
        except OSError as exc:  # such as a link to nowhere
            if path.suffix.lower() == ".gguf":
                remarks.append(f"{path}: cannot read it: {exc.strerror}")
            continue
        if not stat.S_ISDIR(status.st_mode):
            yield path, status
        elif depth < _MAX_DEPTH:
            yield from _walk(path, depth + 1, seen, remarks)
        else:
            remarks.append(f"{path}: it lies too deep, and was not looked at")


def _new(status: os.stat_result, seen: set[tuple[int, int]]) -> bool:
    """Note a file or folder; False if it was there under another name."""
    key = status.st_dev, status.st_ino
    if key in seen:
        return False
    seen.add(key)
    return True
