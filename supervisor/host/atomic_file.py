"""Files in the state folder: a reader finds the old one or the new one, never a part."""

import os
import stat
import tempfile
from pathlib import Path


def replace_file(path: Path, data: bytes) -> None:
    """Write `data` to `path`, which only this user can read; its folder is made if need be.

    Blocks. No fsync: after a power cut an older file does as well.

    Raises:
        OSError: It was not written; no part of it is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # A name of its own for each writer: two of them must not write into one file.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def read_file(path: Path, most_bytes: int) -> bytes | None:
    """Return what is in `path`; None if there is no such file. Blocks.

    Raises:
        OSError: It cannot be read, or is no file: nobody waits for who would write to a pipe.
        ValueError: It is longer than `most_bytes`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is no file")
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise ValueError(f"longer than {most_bytes} bytes")
    return data
