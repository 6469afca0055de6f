"""Bytes of server-sent events -> events.

What goes to the client goes byte for byte; this reads a copy, or one whole frame that is to be
changed. The rules are those of the standard (WHATWG HTML, section 9.2.6, "Interpreting an event
stream").
"""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

_BOM: Final = b"\xef\xbb\xbf"
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")

# The data of one event. Longer ones are images or uploads, of which nobody here has to know
# anything; they are given up, and the stream goes on.
MAX_DATA_BYTES: Final = 8 * 1024 * 1024


class SseEvent(msgspec.Struct, frozen=True):
    """One event.

    Attributes:
        data: All its ``data`` lines, with a line feed between two.
        name: Its ``event``; empty if it has none.
        ident: The last ``id`` so far.
    """

    data: bytes
    name: str = ""
    ident: str = ""


def only_data(frame: bytes) -> bytes | None:
    """Return the data of a frame that is one line of them; None for any other.

    Nearly all frames are, and to be told so takes an eighth of the time of reading them.
    """
    end = len(frame) - 2
    if frame[:6] == b"data: " and frame.find(b"\n") == end and frame[end:] == b"\n\n":
        return None if frame.find(b"\r") >= 0 else frame[6:end]
    return None


class EventReader:
    """Bytes as they come -> complete events.

    Attributes:
        oversize: How many events had more data than is kept; they are not given.
    """

    __slots__ = (
        "_begun", "_data", "_ident", "_limit", "_line", "_name", "_oversize_now", "_size",
        "_skip_lf", "oversize",
    )  # fmt: skip

    def __init__(self, limit_bytes: int = MAX_DATA_BYTES) -> None:
        self.oversize = 0
        self._limit = limit_bytes
        self._begun = False  # the first bytes were looked at for a byte order mark
        self._line = bytearray()  # the beginning of a line
        self._skip_lf = False  # the last byte was a CR, which ended a line
        self._data: list[bytes] | None = None
        self._size = 0
        self._oversize_now = False
        self._name = ""
        self._ident = ""

    @property
    def is_within_event(self) -> bool:
        """Whether the stream stopped in the middle of an event."""
        return bool(self._line) or self._data is not None or bool(self._name)

    def push(self, data: bytes) -> Iterator[SseEvent]:
        """Take bytes; give the events that end in them."""
        if self._skip_lf and data:
            self._skip_lf = False
            if data[:1] == b"\n":
                data = data[1:]
        if not data:
            return
        *lines, rest = _LINE_END.split(data)
        self._skip_lf = data.endswith(b"\r")
        if lines:
            lines[0] = bytes(self._line) + lines[0]
            self._line.clear()
        self._line += rest
        for line in lines:
            if not self._begun:
                self._begun = True
                line = line.removeprefix(_BOM)
            if line:
                self._take(line)
            else:
                event = self._finish()
                if event is not None:
                    yield event
        if len(self._line) > self._limit:  # a line without an end: only its beginning matters
            del self._line[64:]
            self._oversize_now = True

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if name == b"data":
            self._size += len(value) + 1
            if self._size > self._limit:
                self._oversize_now = True
            if self._oversize_now:
                self._data = []
            elif self._data is None:
                self._data = [value]
            else:
                self._data.append(value)
        elif name == b"event":
            self._name = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            self._ident = value.decode("utf-8", "replace")

    def _finish(self) -> SseEvent | None:
        data, name, oversize = self._data, self._name, self._oversize_now
        self._data, self._name, self._size, self._oversize_now = None, "", 0, False
        if oversize:
            self.oversize += 1
            return None
        if data is None:
            return None
        return SseEvent(b"\n".join(data), name, self._ident)
