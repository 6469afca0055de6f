"""The table of the workers' connections; see `TABLE_BYTES`."""

import os
from collections.abc import Generator
from contextlib import contextmanager

from arriero.protocol.control.running import SLOT_BYTES, TABLE_BYTES

from ..errors import SupervisorError


@contextmanager
def open_shares() -> Generator[int, None, None]:
    """Give the descriptor of an empty table, which workers inherit.

    Raises:
        SupervisorError: The system has no memory or no descriptor for it.
    """
    try:
        fd = os.memfd_create("arriero-shares", os.MFD_CLOEXEC)
    except OSError as exc:
        raise SupervisorError(f"cannot share memory with workers: {exc.strerror}") from exc
    try:
        os.ftruncate(fd, TABLE_BYTES)
        yield fd
    finally:
        os.close(fd)


def clear_share(fd: int, worker: int) -> None:
    """Note that the worker with that number has ended.

    It takes no connections.
    """
    os.pwrite(fd, bytes(SLOT_BYTES), SLOT_BYTES * worker)


def has_share(fd: int, worker: int) -> bool:
    """Return whether the worker with that number takes connections."""
    return any(os.pread(fd, SLOT_BYTES, SLOT_BYTES * worker))
