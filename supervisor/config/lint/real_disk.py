"""What a configuration is held against: the files and programs of this machine."""

import shutil
from functools import cache
from pathlib import Path


class RealDisk:
    """This machine. Everything is looked at, and nothing opened; each thing once."""

    def __init__(self) -> None:
        self._is_file = cache(_is_file)
        self._is_program = cache(lambda name, path: shutil.which(name, path=path) is not None)

    def is_file(self, path: Path) -> bool:
        """Say whether there is a file; True, too, where that cannot be seen."""
        return self._is_file(path)

    def is_program(self, name: str, path: str | None) -> bool:
        """Say whether `name` can be started, with `path` as its PATH."""
        return self._is_program(name, path)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except PermissionError:
        return True  # the user who is going to run it may be another one
    except (OSError, ValueError):  # such as a name that is too long, or holds a zero byte
        return False
