"""The end of a stream: its looks, and whether it was there."""

import re
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

# Pieces of a stream, each of whole frames, among which the end of the response is looked for.
_LAST_PIECES: Final = 8

# Data that are more than a heartbeat; Anthropic's is a ping.
DATA: Final = re.compile(rb'(?:^|[\r\n])data:(?! ?\{ ?"type": ?"ping")')

# A piece of nothing but comments and pings.
_HEARTBEATS: Final = re.compile(
    rb"(?::[^\r\n]*[\r\n]+|event: ?ping[\r\n]+data: ?[^\r\n]{0,64}[\r\n]+)+"
)


class StreamEnd(msgspec.Struct, frozen=True):
    """The looks of the end of an API's streams, errors included.

    Attributes:
        is_in: Whether whole frames have it in them.
        may_be_cut: An incomplete frame may hold it. Not with named events: a client never sees one
            that lacks its blank line. Nor in a message that has a checksum at its end.
        is_named: All events have names, and the first of them the id of the response.
        marker: The frame that clients wait for after the end; empty if the end is the last frame.
        has_marker: Whether whole frames have that marker in them.
    """

    is_in: Callable[[bytes], object]
    may_be_cut: bool = False
    is_named: bool = False
    marker: bytes = b""
    has_marker: Callable[[bytes], bool] = lambda _: False


def end_of_named(ends: bytes) -> StreamEnd:
    """Return the end of named events: `ends`, or an error.

    Events go by their name or by the `type` in their data. Inside of JSON's strings the quotes are
    escaped and there are no line ends, so the text of a response cannot look like this.
    """
    pattern = re.compile(
        rb'"type": ?"(?:%b)"|(?:^|[\r\n])(?:event: ?(?:%b|error)[\r\n]'
        rb'|data: ?\{ ?"(?:error"|type": ?"error"))' % (ends, ends)
    )
    return StreamEnd(pattern.search, is_named=True)


class EndWatcher:
    """Keeps a stream's last pieces, to find its end.

    Args:
        end: What it looks like.

    Attributes:
        look: Takes the next piece.
        may_be_cut: See `StreamEnd`.
    """

    __slots__ = ("_end", "_first", "_last", "look", "may_be_cut")

    look: Callable[[bytes], None]

    def __init__(self, end: StreamEnd) -> None:
        # After the finish_reason come a frame or two (usage, timings) and the end marker, so the
        # end of a response is in its last pieces; looking at each would take a tenth of all time.
        self._last: deque[bytes] = deque(maxlen=_LAST_PIECES)
        self._first = b""
        self._end = end
        self.may_be_cut = end.may_be_cut
        self.look = self._look_at_named if end.is_named else self._last.append

    @property
    def seen(self) -> bool:
        """Whether the end of the response was there."""
        return any(bool(self._end.is_in(frames)) for frames in reversed(self._last))

    @property
    def missing_marker(self) -> bytes:
        """The end marker, if the API has one and it is missing."""
        return b"" if any(map(self._end.has_marker, self._last)) else self._end.marker

    @property
    def sent_so_far(self) -> bytes:
        """The first frames, if they matter, and the last ones."""
        return self._first + b"".join(self._last)

    def _look_at_named(self, frames: bytes) -> None:
        """Keep the first piece too: it has the response's id.

        Heartbeats do not count; a stream that is silent for long would have nothing else.
        """
        if _HEARTBEATS.fullmatch(frames):
            return
        if not self._first:
            self._first = frames
        self._last.append(frames)
