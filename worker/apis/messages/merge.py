"""Continues our own message with the upstream's. Wire format, 6.2.

Three edits: its `message_start` is left out, the indices of its blocks are one higher, and the
counts of the event that was left out are carried over into `message_delta`.
"""

import re
from typing import Any, Final

from ...streams.merge import read_event, read_object, with_data

# Counts of a `message_start` that a `message_delta` repeats.
_COUNTS: Final = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")

# Nearly every frame: only one number has to change, so it is not parsed. The pattern is anchored
# at the beginning of the data, where no text of the model can be.
_BLOCK: Final = re.compile(
    rb"(?:event: ?[^\r\n]*(?:\r\n|\n|\r))?"
    rb'data: ?\{"type": ?"content_block_(?:start|delta|stop)", ?"index": ?([0-9]{1,6})[,}]'
)


class MessagesMerge:
    """Edits an upstream's frames that follow our own block.

    Args:
        closing: Ends that block.

    Attributes:
        begun: That block was ended.
    """

    def __init__(self, closing: bytes) -> None:
        self.begun = False
        self._closing = closing
        self._carried: dict[str, Any] = {}

    def begin(self) -> bytes:
        """Return the end of our own block."""
        self.begun = True
        return self._closing

    def edit(self, frame: bytes) -> bytes:
        """Return a frame as the client gets it; empty to omit it."""
        found = _BLOCK.match(frame)
        if found is not None:
            return b"%b%d%b" % (frame[: found.start(1)], int(found[1]) + 1, frame[found.end(1) :])
        value = read_object(read_event(frame))
        if value is None:
            return frame
        match value.get("type"):
            case "message_start":
                self._remember(value)
                return b""
            case "content_block_start" | "content_block_delta" | "content_block_stop":
                if not isinstance(index := value.get("index"), int):
                    return frame
                value["index"] = index + 1
            case "message_delta":
                if not self._carry_into(value.get("usage")):
                    return frame
            case _:
                return frame
        return with_data(frame, value)

    def _remember(self, value: dict[str, Any]) -> None:
        message = value.get("message")
        usage = message.get("usage") if isinstance(message, dict) else None
        if isinstance(usage, dict):
            self._carried = {name: usage[name] for name in _COUNTS if usage.get(name) is not None}

    def _carry_into(self, usage: object) -> bool:
        """Add the counts that `usage` lacks; False without any."""
        if not isinstance(usage, dict):
            return False
        missing = {name: n for name, n in self._carried.items() if usage.get(name) is None}
        usage.update(missing)
        return bool(missing)
