"""The last messages of some kind, in memory that outlives this process.

The memory is an open file without a name (memfd); whoever has its descriptor goes on with it. This
process may be killed at any moment: what was appended before is there, and nothing by halves.
"""

import fcntl
import mmap
import os
import struct
from typing import Final

# Before the messages: where the first one begins and the last one ends, both ever rising, counted
# in bytes from the very first. Eight bytes that begin at a multiple of eight are written in one go.
_PLACE: Final = struct.Struct("<Q")
_FIRST: Final = 0
_END: Final = 8
_HEAD_BYTES: Final = 64

# Before each message: its length. Messages are padded to multiples of that, so no length is cut in
# two by the end of the memory.
_LENGTH: Final = struct.Struct("<I")

# Without the first of these its memory could be taken away under us, which ends a process.
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class KeptRing:
    """Messages, of which the oldest make room for new ones.

    Args:
        name: Shown in /proc.
        size: Bytes for messages; a multiple of 4.
        inherited: Descriptor of an earlier one, which this one has from now on. If it is not what
            it should be, it is closed, and there is an empty one in its place.

    Attributes:
        fd: Its descriptor.

    Raises:
        OSError: There is no memory, or no descriptor, for it.
    """

    def __init__(self, name: str, size: int, inherited: int | None = None) -> None:
        self._size = size
        if inherited is not None and not _is_sound(inherited, size):
            os.close(inherited)
            inherited = None
        self.fd = _new(name, size) if inherited is None else inherited
        try:
            self._memory = mmap.mmap(self.fd, _HEAD_BYTES + size)
        except BaseException:
            os.close(self.fd)
            raise
        self._first = self._get(_FIRST)
        self._end = self._get(_END)
        if not self._is_whole():
            self._first = self._end = 0
            self._put(_END, 0)
            self._put(_FIRST, 0)

    def append(self, message: bytes) -> None:
        """Add a message; one that has no room at all is left out."""
        needed = _padded(len(message))
        if needed > self._size:
            return
        while self._end + needed - self._first > self._size:
            self._first += self._length_at(self._first)
        self._put(_FIRST, self._first)  # before anything there is overwritten
        entry = _LENGTH.pack(len(message)) + message
        at = _HEAD_BYTES + self._end % self._size
        until_end = _HEAD_BYTES + self._size - at
        self._memory[at : at + min(len(entry), until_end)] = entry[:until_end]
        if len(entry) > until_end:
            rest = entry[until_end:]
            self._memory[_HEAD_BYTES : _HEAD_BYTES + len(rest)] = rest
        self._end += needed
        self._put(_END, self._end)

    def messages(self) -> list[bytes]:
        """Return all messages, the oldest first."""
        found, at = [], self._first
        while at < self._end:
            found.append(self._read(at + _LENGTH.size, self._message_bytes(at)))
            at += self._length_at(at)
        return found

    def close(self) -> None:
        """Close it: only who else has its descriptor goes on with it."""
        self._memory.close()
        os.close(self.fd)

    def _is_whole(self) -> bool:
        if not 0 <= self._end - self._first <= self._size or self._first % _LENGTH.size:
            return False
        at = self._first
        while at < self._end:
            at += self._length_at(at)
        return at == self._end

    def _message_bytes(self, at: int) -> int:
        return int(_LENGTH.unpack_from(self._memory, _HEAD_BYTES + at % self._size)[0])

    def _length_at(self, at: int) -> int:
        return _padded(self._message_bytes(at))

    def _read(self, at: int, length: int) -> bytes:
        begin = _HEAD_BYTES + at % self._size
        found = self._memory[begin : begin + min(length, _HEAD_BYTES + self._size - begin)]
        return found + self._memory[_HEAD_BYTES : _HEAD_BYTES + length - len(found)]

    def _get(self, at: int) -> int:
        return int(_PLACE.unpack_from(self._memory, at)[0])

    def _put(self, at: int, place: int) -> None:
        _PLACE.pack_into(self._memory, at, place)


def _padded(message_bytes: int) -> int:
    unit = _LENGTH.size
    return unit + (message_bytes + unit - 1) // unit * unit


def _new(name: str, size: int) -> int:
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, _HEAD_BYTES + size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _is_sound(fd: int, size: int) -> bool:
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
        return seals & _SEALS == _SEALS and os.fstat(fd).st_size == _HEAD_BYTES + size
    except OSError:
        return False
