"""Frames of HTTP/2 in a stream of bytes: where they end, and what they cost.

The HTTP/2 library takes every frame that is legal, as many as there are. What they cost is counted
here, before it sees them: frames that do no work are paid from a budget, which grows slowly by
itself and quickly with what the client is sent. So whoever only makes work is cut off, however the
work is made (CVE-2019-9511 to 9518, CVE-2023-44487, CVE-2024-27316 and what comes next).

Source: RFC 9113, sections 4.1, 6 and 10.5.
"""

from collections.abc import Iterator
from enum import IntEnum
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# Bytes of a head as it is sent (in HEADERS and CONTINUATION), and of its fields. nginx has 4 x 8
# KiB; unpacking so much takes 15 ms.
MAX_HEAD_BYTES: Final = 32 * 1024

# Bytes of SETTINGS: ten times what there is to set. Each setting is kept, whether known or not.
_MAX_SETTINGS_BYTES: Final = 64 * 6

# Bytes of any frame: what RFC 9113 begins with, and we never ask for more.
_MAX_FRAME_BYTES: Final = 16 * 1024

_HEADER_BYTES: Final = 9
_END_HEADERS: Final = 0x4

# Work in one go, until others have their turn: about 64 small frames (5 ms), 16 requests, or one
# large head.
_MAX_WORK: Final = 64
_WORK_OF_A_REQUEST: Final = 4
_HEAD_BYTES_PER_WORK: Final = 512

# The budget, in cheap frames. It begins with what the busiest browser needs for a page, ten times
# over. A reset costs more, because a request was begun and ended for it.
_BEGINS_WITH: Final = 1_000.0
_PER_S: Final = 50.0
_AT_MOST: Final = 10_000.0
_COST_OF_A_RESET: Final = 10.0

# A client pays for a frame with data with up to two WINDOW_UPDATE. Of tiny ones nothing comes
# back, or a client could have its answer in pieces of one byte for ever.
_PER_SENT_FRAME: Final = 2.0
_TINY_BYTES: Final = 64
_PER_ANSWER: Final = 4.0


class FrameKind(IntEnum):
    """Types of frames that are counted in a way of their own."""

    DATA = 0
    HEADERS = 1
    RST_STREAM = 3
    SETTINGS = 4
    CONTINUATION = 9


class Flooded(Exception):
    """The client sends more than anybody needs: of `what`."""

    def __init__(self, what: str) -> None:
        super().__init__(f"cannot take any more of {what}")
        self.what = what


class FrameGate:
    """Lets frames in, a few at a time, as long as they are paid for.

    Args:
        now: Seconds of any clock, that of `slices`.
    """

    def __init__(self, now: float) -> None:
        self._left = len(PREFACE)  # bytes until the next frame begins
        self._header = b""  # the beginning of one
        self._head_bytes = 0  # of the head that is not complete yet
        self._budget = _BEGINS_WITH
        self._paid_until = now

    def slices(self, data: bytes, now: float) -> Iterator[bytes]:
        """Yield all of `data`, in pieces that take a few milliseconds each.

        Raises:
            Flooded: The budget is used up, or a frame is beyond all limits. What was yielded before
                is fine.
        """
        self._budget = min(_AT_MOST, self._budget + (now - self._paid_until) * _PER_S)
        self._paid_until = now
        begin = at = work = 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            part = data[at : at + _HEADER_BYTES - len(self._header)]
            header = self._header + part
            if len(header) < _HEADER_BYTES:
                self._header = header
                break
            more = self._admit(header)
            if work and work + more > _MAX_WORK:
                if at > begin:
                    yield data[begin:at]
                begin, work = at, 0
            work += more
            at += len(part)
            self._header = b""
        if begin < len(data):
            yield data[begin:]

    def sent(self, size: int) -> None:
        """Take note of a frame with `size` bytes of an answer."""
        if size >= _TINY_BYTES:
            self._budget = min(_AT_MOST, self._budget + _PER_SENT_FRAME)

    def answered(self) -> None:
        """Take note of an answer that the client got as a whole."""
        self._budget = min(_AT_MOST, self._budget + _PER_ANSWER)

    def _admit(self, header: bytes) -> int:
        """Take note of a frame and return the work that it makes."""
        size, kind, flags = int.from_bytes(header[:3]), header[3], header[4]
        if size > _MAX_FRAME_BYTES:
            raise Flooded("one frame")
        self._left = size
        if kind in (FrameKind.HEADERS, FrameKind.CONTINUATION):
            self._pay(1.0, "heads")
            self._head_bytes = size + (0 if kind == FrameKind.HEADERS else self._head_bytes)
            if self._head_bytes > MAX_HEAD_BYTES:
                raise Flooded("one head")
            if not flags & _END_HEADERS:
                return 1
            return _WORK_OF_A_REQUEST + self._head_bytes // _HEAD_BYTES_PER_WORK
        if kind == FrameKind.DATA:
            if not size:
                self._pay(1.0, "frames without data")
            return 1
        if kind == FrameKind.SETTINGS and size > _MAX_SETTINGS_BYTES:
            raise Flooded("settings")
        if kind == FrameKind.RST_STREAM:
            self._pay(_COST_OF_A_RESET, "resets")
        else:
            self._pay(1.0, "control frames")
        return 1

    def _pay(self, cost: float, what: str) -> None:
        self._budget -= cost
        if self._budget < 0:
            raise Flooded(what)
