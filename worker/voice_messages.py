"""Anthropic's messages: pings, or a block of thinking. Deciding; wire format, section 6.

Pings may come before the upstream's own stream, which then passes untouched. A block of thinking
needs a message around it, so the two streams are merged into one (`merge_messages`).
"""

from typing import Any

from .errors import RelayError, anthropic_error
from .merge_messages import MessagesMerge
from .stripping import SIGNATURE
from .voice import Numbers, Voice, event_frame

_PING = event_frame("ping", {})


class MessagesVoice(Voice):
    """Speaks in pings, and in lines of a block of thinking if it merges.

    Args:
        merges: Begin a message with a block of thinking, which the upstream's stream continues.
        model: Name as the client wrote it.
        ident: 24 hexadecimal digits.
    """

    def __init__(self, *, merges: bool, model: str, ident: str) -> None:
        self._model = model
        self._ident = ident
        self._merges = merges
        if merges:
            self.merge = MessagesMerge(_END_OF_BLOCK)

    def opening(self) -> bytes:
        """Return the beginning of the one message, and of its block of thinking."""
        if not self._merges:
            return b""
        message: dict[str, Any] = {
            "id": f"msg_swap_{self._ident}",
            "type": "message",
            "role": "assistant",
            "content": [],
            "model": self._model,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        block = {"type": "thinking", "thinking": "", "signature": ""}
        return event_frame("message_start", {"message": message}) + event_frame(
            "content_block_start", {"index": 0, "content_block": block}
        )

    def line(self, text: str, numbers: Numbers | None) -> bytes:
        """Return `text` as thinking."""
        return _delta({"type": "thinking_delta", "thinking": text})

    def heartbeat(self, numbers: Numbers | None) -> bytes:
        """Return a ping; nothing may be added to it."""
        return _PING

    def failure(self, error: RelayError, heard: bytes = b"") -> bytes:
        """Return the error event; neither block nor message need an end."""
        found = anthropic_error(error)
        return event_frame("error", {"error": found["error"]})


def _delta(delta: dict[str, str]) -> bytes:
    return event_frame("content_block_delta", {"index": 0, "delta": delta})


# Never without a signature: it comes back unchanged and marks the block, and clients turn unsigned
# thinking into text.
_END_OF_BLOCK = _delta({"type": "signature_delta", "signature": SIGNATURE}) + event_frame(
    "content_block_stop", {"index": 0}
)
