"""Server-sent events as bytes: where a frame ends."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from ..json.read import light_object

# A frame is kept back until it is complete. Longer ones (tool calls with images) are passed raw.
MAX_FRAME_BYTES = 8 * 1024 * 1024

DONE: Final = b"data: [DONE]\n\n"


def last_boundary(data: bytes | bytearray, start: int = 0, stop: int | None = None) -> int:
    r"""Return the index after the last whole frame; 0 without one.

    A frame ends with a blank line, and lines end with LF, CRLF or CR: so the last of two line
    ends in a row is what is looked for. A CR at the very end counts: its LF, should one follow,
    comes with the next piece.

    Args:
        data: Whole lines and perhaps a part of one.
        start: Index before which no boundary needs to be looked for.
        stop: Index behind which none is looked for; None for the end.
    """
    if stop is None:
        stop = len(data)
    if data.endswith(b"\n\n", start, stop):
        return stop
    found = data.rfind(b"\n\n", start, stop)
    for pair in (b"\n\r", b"\r\r"):
        found = max(found, data.rfind(pair, max(start, found), stop))
    if found < 0:
        return 0
    end = found + 2
    if data[end - 1 : end + 1] == b"\r\n":
        end += 1
    return end


# Blank lines, the first of which ends a frame; lines end with LF, CRLF or CR. Those that follow it
# are no frames of their own: thirty thousand in one read would take a third of a second.
BLANK_LINE: Final = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)+")


def first_boundary(data: bytes, start: int = 0) -> int:
    """Return the index after the first blank line; else the length."""
    found = BLANK_LINE.search(data, start)
    return found.end() if found is not None else len(data)


def completed(frame: bytes) -> bytes:
    """Return the last frame of a stream with the blank line that it lacks.

    Empty if more than that is missing, as far as anybody can tell.
    """
    lines = (line.strip() for line in frame.splitlines() if line.startswith(b"data:"))
    data = b"\n".join(line[5:].strip() for line in lines)
    if data != b"[DONE]" and light_object(data) is None:
        return b""
    return frame + (b"\n" if frame.endswith((b"\n", b"\r")) else b"\n\n")


def split_frames(data: bytes) -> Iterator[bytes]:
    """Give the frames in `data` with their blank lines, if any."""
    start = 0
    for blank in BLANK_LINE.finditer(data):
        yield data[start : blank.end()]
        start = blank.end()
    if start < len(data):
        yield data[start:]


def frames_with(data: bytes, hints: Iterable[bytes], start: int = 0) -> Iterator[bytes]:
    """Give the frames that have one of `hints`, in order.

    All of `data` is searched for one hint after the other: that takes a twentieth of the time of
    looking at each frame.

    Args:
        data: Whole frames.
        hints: Bytes within a line.
        start: Index at which a frame begins; those before it are passed over.
    """
    found: dict[int, int] = {}  # end and beginning
    for hint in hints:
        done = start
        while (at := data.find(hint, done)) >= 0:
            begin = max(done, last_boundary(data, done, at))
            done = first_boundary(data, at)
            found[done] = begin
    for end in sorted(found):
        yield data[found[end] : end]


class FrameSplitter:
    """Cuts a stream between frames: `push` returns whole ones.

    Attributes:
        oversize: How many frames were too long to be kept and were passed raw.
        at_boundary: What was returned so far ends between two frames, so a frame of our own may
            follow.
    """

    __slots__ = ("_kept", "_limit", "_raw", "_tail", "at_boundary", "oversize")

    def __init__(self, limit_bytes: int = MAX_FRAME_BYTES) -> None:
        self._kept = bytearray()
        self._limit = limit_bytes
        self._raw = False
        self._tail = b""  # last bytes of a frame that is passed raw: a boundary may span pieces
        self.oversize = 0
        self.at_boundary = True

    @property
    def rest(self) -> bytes:
        """The part of a frame that is kept back."""
        return bytes(self._kept)

    def push(self, data: bytes) -> bytes:
        """Take bytes; return all that may be sent now."""
        kept = self._kept
        if not kept:
            if data.endswith(b"\n\n"):  # nearly always
                self._raw = False
                self.at_boundary = True
                return data
            if self._raw:
                return self._pass_raw(data)
        searched = max(0, len(kept) - 2)
        kept += data
        end = last_boundary(kept, searched)
        if end:
            self.at_boundary = True
        elif len(kept) <= self._limit:
            return b""
        else:
            self.oversize += 1
            self._raw = True
            self.at_boundary = False
            end = len(kept)
            self._tail = bytes(kept[-2:])
        out = bytes(kept[:end])
        del kept[:end]
        return out

    def _pass_raw(self, data: bytes) -> bytes:
        """Continue an overlong frame; `data` does not end with LF LF."""
        seen = self._tail + data
        end = last_boundary(seen) - len(self._tail)
        if end > 0:
            self._raw = False
            self.at_boundary = True
            self._kept += data[end:]
            return data[:end]
        self._tail = seen[-2:]
        return data


def is_line(frames: bytes, word: bytes, before: frozenset[bytes]) -> bool:
    """Whether the last `word` begins a line, but for `before`.

    JSON inside a frame has no bare line ends, so the text of a response cannot look like this.
    """
    found = frames.rfind(word)
    if found < 0:
        return False
    start = max(frames.rfind(b"\n", 0, found), frames.rfind(b"\r", 0, found)) + 1
    return frames[start:found] in before
