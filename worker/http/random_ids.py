"""Randomness for ids, bought in bulk."""

import os
from typing import Final

_BULK_BYTES: Final = 4096


class RandomPool:
    """Random bytes of the system, read many at once, in a process that does not fork.

    A system call for each id would take longer than all else that is done for it.
    """

    __slots__ = ("_bulk", "_used")

    def __init__(self) -> None:
        self._bulk = b""
        self._used = 0

    def take(self, count: int) -> bytes:
        """Return `count` bytes, 4,096 at the most, which nobody else gets."""
        end = self._used + count
        if end > len(self._bulk):
            self._bulk = os.urandom(_BULK_BYTES)
            end = count
        self._used = end
        return self._bulk[end - count : end]
