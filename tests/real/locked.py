"""One process at a time: a lock that the kernel takes back when its holder dies."""

import fcntl
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.real.fetch import PartsError, disk_error

# Seconds to wait for another process; 400 MB through 2 Mbit/s take 27 minutes.
WAIT_S = 1800.0

_POLL_S = 0.2


@contextmanager
def locked(cache: Path, *, wait_s: float = WAIT_S) -> Generator[None, None, None]:
    """Hold the lock of `cache` while the block runs; the folder is made if it is not there.

    Raises:
        PartsError: The folder cannot be written, or another process held the lock for `wait_s`.
    """
    path = cache / ".lock"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as exc:
        raise disk_error(path, exc) from exc
    with file:
        _wait(file.fileno(), cache, wait_s)
        yield


def _wait(descriptor: int, cache: Path, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise PartsError(
                    f"cannot fetch into {cache}: another process has been at it for "
                    f"{wait_s:.0f} s; `fuser {cache}/.lock` names it"
                ) from None
        else:
            return
        if not told:
            print(f"waiting for another process that fetches into {cache}", flush=True)
            told = True
        time.sleep(_POLL_S)
