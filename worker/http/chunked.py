"""Chunked bodies of requests -> plain bytes. Strict, as smuggling demands."""

import re
from typing import Final

from ..errors import BadRequest, TooLarge

# At most eight digits: 4 GiB, above any limit of a body. Extensions are allowed and not looked at.
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*+(?:;[^\r\n\x00]*+)?\r\n")

# Bytes of one size line with its extensions, and of all trailers together.
_MAX_LINE_BYTES = 4096
_MAX_TRAILER_BYTES = 16 * 1024

# Chunks that are looked at in one go: clients that send byte by byte are slow, not wrong.
MAX_CHUNKS: Final = 250

# Bytes that are no body. Allowed are so many for each chunk, twice what the chunk brings, and a
# rest; Go's net/http has the same rule. Without it extensions could go on for ever.
_OVERHEAD_BYTES: Final = 16
_MAX_EXCESS_BYTES: Final = 16 * 1024


class ChunkedBody:
    """Takes the bytes after a head as they come and finds the body in them.

    Args:
        limit_bytes: So long may the body be.
        hint: What a client is told besides whose body is longer.

    Attributes:
        rest: Once `complete`, the bytes after the body: the next request begins there.
        complete: The whole body has been found.
        has_more: There were more than `MAX_CHUNKS` in what came: nothing has to come before
            `push` goes on, with no bytes.
    """

    def __init__(self, limit_bytes: int, hint: str = "") -> None:
        self.rest = b""
        self.complete = False
        self.has_more = False
        self._limit = limit_bytes
        self._hint = hint
        self._announced = 0  # bytes of all chunks so far, the current one included
        self._pending = b""
        self._wanted = 0  # bytes of the current chunk that have not come yet
        self._after_data = False  # the line end after a chunk's data is due
        self._in_trailers = False
        self._trailer_bytes = 0
        self._excess_bytes = 0

    def push(self, data: bytes) -> bytes:
        """Take the next bytes and return those of the body; perhaps none.

        Raises:
            BadRequest: They are no chunked body.
            TooLarge: The body is longer than the limit.
        """
        if 0 < len(data) <= self._wanted:  # the middle of a large chunk: nothing is pending
            self._wanted -= len(data)
            self._after_data = self._wanted == 0
            return data
        if self._pending:
            data = self._pending + data
        found: list[bytes] = []
        position = 0
        size = len(data)
        for _ in range(MAX_CHUNKS):
            if self._wanted:
                piece = data[position : position + self._wanted]
                found.append(piece)
                position += len(piece)
                self._wanted -= len(piece)
                if self._wanted:
                    break
                self._after_data = True
            if self._after_data:
                if size - position < 2:
                    break
                if data[position : position + 2] != b"\r\n":
                    raise BadRequest("cannot read the chunked body: a chunk is longer than it says")
                position += 2
                self._after_data = False
            if self._in_trailers:
                position = self._skip_trailers(data, position)
                break
            end = self._take_size(data, position)
            if end == position:
                break
            position = end
        else:
            self.has_more = True
            self._pending = data[position:]
            return b"".join(found)
        self.has_more = False
        if self.complete:
            self.rest = data[position:]
            self._pending = b""
        else:
            self._pending = data[position:]
        return b"".join(found)

    def _take_size(self, data: bytes, position: int) -> int:
        """Return the index after the size line that begins there; `position` if it is not whole."""
        match = _SIZE_LINE.match(data, position)
        if match is None or match.end() - position > _MAX_LINE_BYTES + 1:
            if data.find(b"\n", position, position + _MAX_LINE_BYTES + 1) >= 0:
                raise BadRequest("cannot read the chunked body: a size line makes no sense")
            if len(data) - position > _MAX_LINE_BYTES:
                raise BadRequest("cannot read the chunked body: a size line is too long")
            return position
        size = int(match[1], 16)
        self._announced += size
        if self._announced > self._limit:
            raise TooLarge(f"cannot take a body of more than {self._limit} bytes{self._hint}")
        excess = self._excess_bytes + match.end() - position - _OVERHEAD_BYTES - 2 * size
        self._excess_bytes = max(0, excess)
        if excess > _MAX_EXCESS_BYTES:
            raise BadRequest("cannot read the chunked body: it is hardly anything but extensions")
        self._wanted = size
        self._in_trailers = size == 0
        return match.end()

    def _skip_trailers(self, data: bytes, position: int) -> int:
        """Return the index after the whole trailers that are there: nobody reads those."""
        while not self.complete:
            end = data.find(b"\n", position) + 1
            seen = (end or len(data)) - position
            if self._trailer_bytes + seen > _MAX_TRAILER_BYTES:
                raise BadRequest("cannot read the chunked body: its trailers are too long")
            if not end:
                return position
            line = data[position:end]
            if not line.endswith(b"\r\n") or b"\r" in line[:-2] or b"\0" in line:
                raise BadRequest("cannot read the chunked body: a trailer makes no sense")
            self._trailer_bytes += seen
            position = end
            self.complete = line == b"\r\n"
        return position


def chunk(data: bytes) -> bytes:
    """Return `data`, which is not empty, as one chunk of the chunked transfer coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)
