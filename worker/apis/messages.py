"""Anthropic's messages: pings, or a block of thinking. Wire format, section 6.

Pings may come before the upstream's own stream, which then passes untouched. A block of thinking
needs a message around it, so the two streams are merged into one (`messages_merge`).
"""

import functools
from typing import Any

from ..accounting.tokens import Usage
from ..errors import RelayError, anthropic_error
from ..progress.dialect import Dialect, ProgressNumbers, event_frame
from .messages_merge import MessagesMerge
from .sent_so_far import read_message
from .strip_progress import SIGNATURE

_PING = event_frame("ping", {})


class MessagesDialect(Dialect):
    """Speaks in pings, and in lines of a block of thinking if it merges.

    Args:
        merges: Begin a message with a block of thinking, which the upstream's stream continues.
        model: Name as the client wrote it.
        ident: 24 hexadecimal digits.
    """

    def __init__(self, *, merges: bool, model: str, ident: str) -> None:
        self._model = model
        self._ident = ident
        self._merge = MessagesMerge(_END_OF_BLOCK) if merges else None
        self.merge = self._merge
        self._opened = False

    def opening(self) -> bytes:
        """Return the beginning of the one message, and of its block of thinking."""
        if self._merge is None:
            return b""
        self._opened = True
        block = {"type": "thinking", "thinking": "", "signature": ""}
        return self._start() + event_frame(
            "content_block_start", {"index": 0, "content_block": block}
        )

    def _start(self) -> bytes:
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
        return event_frame("message_start", {"message": message})

    def line(self, text: str, numbers: ProgressNumbers | None) -> bytes:
        """Return `text` as thinking."""
        return _thinking(text)

    def heartbeat(self, numbers: ProgressNumbers | None) -> bytes:
        """Return a ping; nothing may be added to it."""
        return _PING

    def failure(self, error: RelayError, heard: bytes = b"") -> bytes:
        """Return the error event; neither block nor message need an end."""
        found = anthropic_error(error)
        return event_frame("error", {"error": found["error"]})

    def interrupted(self, heard: bytes, usage: Usage, *, asked_usage: bool = False) -> bytes:
        """Return the end of the open block and of the message.

        A client that has got pings only is given a whole message, if an empty one: helpers
        cannot do without.
        """
        found = read_message(heard)
        if found.over:
            return b""
        # what was counted was said, be it so long ago that only pings are kept
        counted = bool(heard) and usage.source != "none"
        begun = found.begun or self._opened or counted
        out = b"" if begun else self._start()
        if self._opened and self._merge is not None and not self._merge.begun:
            out += _END_OF_BLOCK
        elif found.open is not None:
            out += event_frame("content_block_stop", {"index": found.open})
        if not found.has_reason:
            delta = {"stop_reason": "end_turn", "stop_sequence": None}
            out += event_frame("message_delta", {"delta": delta, "usage": _counts(usage)})
        return out + event_frame("message_stop", {})

    def midway_heartbeat(self, after_id: bool) -> bytes:
        """Return a ping, the API's own word for it."""
        return _PING


def _counts(usage: Usage) -> dict[str, int]:
    """Return totals; a prompt of which nothing is known is not told."""
    counts = {"output_tokens": usage.output_tokens}
    if usage.input_tokens:
        cached, written = usage.cached_tokens, usage.cache_write_tokens
        counts |= {
            "input_tokens": usage.input_tokens - cached - written,
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": cached,
        }
    return counts


@functools.lru_cache(maxsize=64)  # thousands who wait for one model hear the same
def _thinking(text: str) -> bytes:
    return _delta({"type": "thinking_delta", "thinking": text})


def _delta(delta: dict[str, str]) -> bytes:
    return event_frame("content_block_delta", {"index": 0, "delta": delta})


# Never without a signature: it comes back unchanged and marks the block, and clients turn unsigned
# thinking into text.
_END_OF_BLOCK = _delta({"type": "signature_delta", "signature": SIGNATURE}) + event_frame(
    "content_block_stop", {"index": 0}
)
