"""Frames of an upstream that continue a stream of ours.

Only streams that were begun early, and whose API wants one stream of one piece, come through here;
all others pass `sse_frames.FrameSplitter`, which never looks into them. The output does not depend
on where the input was cut.
"""

import re
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from ..errors import UpstreamDied
from ..json.read import light_object
from .sse_events import EventReader, SseEvent

# Two line ends in a row, each of them LF, CRLF or CR, and never half of a CRLF.
_BLANK: Final = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")

# Frames with nothing in them, of which one read may have thirty thousand: they are taken together.
# The last CR may be half of a CRLF.
_EMPTY_FRAMES: Final = re.compile(rb"(?:\n\n){2,}|(?:\r\r){2,}(?!\n)")

_BOM: Final = b"\xef\xbb\xbf"
_DATA_LINE: Final = re.compile(rb"(?<![^\r\n])data: ?([^\r\n]*)")
_WHOLE_DATA_LINE: Final = re.compile(rb"(?<![^\r\n])data(?::[^\r\n]*)?(?>\r\n|\n|\r)")

# Nothing of such a frame can be passed before its end is there. Longer ones end the stream.
MAX_MERGED_BYTES: Final = 16 * 1024 * 1024


class Merge(Protocol):
    """Continues a dialect's stream with the upstream's."""

    def begin(self) -> bytes:
        """Return the frames between the two."""

    def edit(self, frame: bytes) -> bytes:
        """Return a frame as the client gets it; empty to omit it."""


class MergingSplitter:
    """Merges an upstream's frames; used in place of a `FrameSplitter`.

    Attributes:
        at_boundary: Always: a frame is passed when it is complete.
        rest: Always empty: what is incomplete is no event, and cannot be merged.
    """

    at_boundary = True
    rest = b""

    def __init__(
        self,
        merge: Merge,
        limit_bytes: int = MAX_MERGED_BYTES,
        look: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        """Build it.

        Args:
            merge: Makes one stream of two.
            limit_bytes: Of one frame.
            look: Gets the frames as they came, those of one piece together.
        """
        self._merge = merge
        self._look = look
        self._limit = limit_bytes
        self._kept = bytearray()
        self._searched = 0
        self._begun = False
        # The last frame ended with a CR: a LF that follows belongs to it, and shares its fate.
        self._tail: bytes | None = None

    def push(self, data: bytes) -> bytes:
        """Take bytes; return all that may be sent now.

        Raises:
            UpstreamDied: A frame is too long to be merged.
        """
        if not data:
            return b""
        out: list[bytes] = []
        if self._tail is not None:
            if data.startswith(b"\n"):
                out.append(self._tail)
                data = data[1:]
            self._tail = None
        kept = self._kept
        kept += data
        start = 0
        while (blank := _BLANK.search(kept, max(start, self._searched))) is not None:
            out.append(self._take(bytes(kept[start : blank.end()])))
            start = blank.end()
            if (empty := _EMPTY_FRAMES.match(kept, start)) is not None:
                out.append(self._merge.edit(empty[0]))
                start = empty.end()
            if kept[start - 1 :] == b"\r":
                self._tail = b"\n" if out[-1].endswith(b"\r") else b""
            self._searched = 0
        if start:
            self._look(bytes(kept[:start]))
        del kept[:start]
        # a line end at the very end may be the first of two, or of a CRLF that is
        self._searched = max(0, len(kept) - 3)
        if len(kept) > self._limit:
            raise UpstreamDied(f"cannot pass on a frame of more than {self._limit} bytes")
        return b"".join(out)

    def _take(self, frame: bytes) -> bytes:
        if self._begun:
            return self._merge.edit(frame)
        self._begun = True
        return self._merge.begin() + self._merge.edit(frame.removeprefix(_BOM))


# What nearly every frame looks like: at most a name, and one line of data.
_SIMPLE: Final = re.compile(
    rb"(?:event: ?([^\r\n]*)(?>\r\n|\n|\r))?data: ?([^\r\n]*)(?>\r\n|\n|\r)(?>\r\n|\n|\r)"
)


def read_event(frame: bytes) -> SseEvent | None:
    """Return the event in a frame; None without data."""
    simple = _SIMPLE.fullmatch(frame)
    if simple is not None:
        return SseEvent(simple[2], (simple[1] or b"").decode("utf-8", "replace"))
    if b"data" not in frame:  # a comment, of which one read may have twenty thousand
        return None
    # a byte order mark that is not the first of the stream is a part of its line
    return next(iter(EventReader(MAX_MERGED_BYTES).push(_BOM + frame)), None)


def read_object(event: SseEvent | None) -> dict[str, Any] | None:
    """Return the JSON object in `event`; None without one."""
    return None if event is None else light_object(event.data)


def with_data(frame: bytes, value: dict[str, Any]) -> bytes:
    """Return `frame` with `value` in the place of its data.

    All its other lines stay as they are, as do the ends of lines.
    """
    first = _DATA_LINE.search(frame)
    assert first is not None
    rest = _WHOLE_DATA_LINE.sub(b"", frame[first.end(1) :])
    return frame[: first.start(1)] + msgspec.json.encode(value) + rest
