"""Files that are written whole: a reader finds the old one or the new one, never a part."""

import errno
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from arriero.digests import random_hex


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


def create_file(path: Path, data: bytes, *, replace: bool = False) -> None:
    """Write `data` to `path`, with the rights that new files have here.

    Blocks, until it is on the disk: somebody wants to keep it.

    Args:
        path: Its folder has to be there. Behind a link that is to be replaced, its target is.
        data: What is written.
        replace: One that is there is replaced, and keeps its rights.

    Raises:
        FileExistsError: It is there, and is not to be replaced.
        OSError: It was not written; no part of it is left behind.
    """
    target = Path(os.path.realpath(path)) if replace else path
    temporary = target.with_name(f".{target.name[:40]}.{random_hex(4)}")
    if not replace and os.path.lexists(target):
        raise FileExistsError(str(target))
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            if replace:
                with suppress(FileNotFoundError):
                    os.fchmod(descriptor, stat.S_IMODE(target.stat().st_mode))
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        if replace:
            temporary.replace(target)
        else:
            _link(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _link(temporary: Path, target: Path) -> None:
    """Give a file its name, not over one that has come meanwhile."""
    try:
        os.link(temporary, target)
    except OSError as exc:
        if exc.errno not in {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}:
            raise
        temporary.rename(target)  # a file system without links, such as a USB stick's


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
