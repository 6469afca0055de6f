"""Files that a model loads, as they are on disk."""

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from ..llamacpp.command import server_options
from ..llamacpp.model_files import model_files

# A file, whatever its names are: device, inode, and size, for a file that grows is another one.
Identity: TypeAlias = tuple[int, int, int]

# Files of one model that are looked at: a split model of 256 parts is larger than any machine.
MAX_FILES: Final = 256


class LoadedFile(msgspec.Struct, frozen=True):
    """One regular file.

    Attributes:
        path: Absolute, as it was named: a link is followed each time.
        identity: What it is.
    """

    path: str
    identity: Identity

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.identity[2]


def loaded_files(command: Sequence[str], env: Mapping[str, str]) -> tuple[LoadedFile, ...]:
    """Return the files that `command` loads, each once. Blocks: one look at each.

    What is no regular file, is empty, cannot be seen or would be fetched first is left out.

    Args:
        command: Program and arguments; of llama-server, or of a script that takes its options.
        env: Additions to the environment.
    """
    options = server_options(command, env)
    named = model_files(command, env) if options is None else options.files
    found: dict[Identity, LoadedFile] = {}
    for path in named[:MAX_FILES]:
        file = _look(path)
        if file is not None:
            found.setdefault(file.identity, file)
    return tuple(found.values())


def _look(path: Path) -> LoadedFile | None:
    try:
        seen = path.stat()
    except (OSError, ValueError):  # gone, no permission; a NUL in the name
        return None
    if not stat.S_ISREG(seen.st_mode) or not seen.st_size:
        return None
    return LoadedFile(os.path.abspath(path), (seen.st_dev, seen.st_ino, seen.st_size))
