"""Chunked bodies of requests -> plain bytes. Deciding; no I/O. Strict, as smuggling demands."""

import re

from .errors import BadRequest, TooLarge

# At most eight digits: 4 GiB, above any limit of a body. Extensions are allowed and not looked at.
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n\x00]*)?\r\n")

# Bytes of one size line with its extensions, and of all trailers together.
_MAX_LINE_BYTES = 4096
_MAX_TRAILER_BYTES = 16 * 1024


class ChunkedBody:
    """Takes the bytes after a head as they come and finds the body in them.

    Args:
        limit_bytes: So long may the body be.

    Attributes:
        rest: Once `complete`, the bytes after the body: the next request begins there.
        complete: The whole body has been found.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.rest = b""
        self.complete = False
        self._limit = limit_bytes
        self._announced = 0  # bytes of all chunks so far, the current one included
        self._pending = bytearray()
        self._wanted = 0  # bytes of the current chunk that have not come yet
        self._after_data = False  # the line end after a chunk's data is due
        self._in_trailers = False
        self._trailer_bytes = 0

    def push(self, data: bytes) -> bytes:
        """Take the next bytes and return those of the body; perhaps none.

        Raises:
            BadRequest: They are no chunked body.
            TooLarge: The body is longer than the limit.
        """
        if 0 < len(data) <= self._wanted:  # the middle of a large chunk: nothing is pending
            self._take_data(len(data))
            return data
        pending = self._pending
        pending += data
        found = bytearray()
        while not self.complete:
            if self._wanted:
                piece = pending[: self._wanted]
                if not piece:
                    break
                found += piece
                self._take_data(len(piece))
                del pending[: len(piece)]
            elif self._after_data:
                if len(pending) < 2:
                    break
                if pending[:2] != b"\r\n":
                    raise BadRequest("cannot read the chunked body: a chunk is longer than it says")
                del pending[:2]
                self._after_data = False
            elif self._in_trailers:
                if not self._take_trailer():
                    break
            elif not self._take_size():
                break
        return bytes(found)

    def _take_data(self, count: int) -> None:
        self._wanted -= count
        self._after_data = self._wanted == 0

    def _take_size(self) -> bool:
        end = self._pending.find(b"\n")
        if end < 0:
            if len(self._pending) > _MAX_LINE_BYTES:
                raise BadRequest("cannot read the chunked body: a size line is too long")
            return False
        match = _SIZE_LINE.fullmatch(self._pending, 0, end + 1)
        if match is None or end > _MAX_LINE_BYTES:
            raise BadRequest("cannot read the chunked body: a size line makes no sense")
        size = int(match[1], 16)
        del match  # it holds a view on the buffer, which could not be cut then
        del self._pending[: end + 1]
        self._announced += size
        if self._announced > self._limit:
            raise TooLarge(f"cannot take a body of more than {self._limit} bytes")
        self._wanted = size
        self._in_trailers = size == 0
        return True

    def _take_trailer(self) -> bool:
        """Skip one trailer line: nobody reads trailers of requests."""
        end = self._pending.find(b"\n")
        self._trailer_bytes += (end if end >= 0 else len(self._pending)) + 1
        if self._trailer_bytes > _MAX_TRAILER_BYTES:
            raise BadRequest("cannot read the chunked body: its trailers are too long")
        if end < 0:
            self._trailer_bytes -= len(self._pending) + 1
            return False
        line = bytes(self._pending[: end + 1])
        if not line.endswith(b"\r\n") or b"\r" in line[:-2] or b"\0" in line:
            raise BadRequest("cannot read the chunked body: a trailer makes no sense")
        del self._pending[: end + 1]
        if line == b"\r\n":
            self.complete = True
            self.rest = bytes(self._pending)
            self._pending = bytearray()
        return True
