"""Pings, or a block of thinking; errors; the end of a message.

Pings may come before the upstream's own stream, which then passes untouched. A block of thinking
needs a message around it, so the two streams are merged into one (`merge`).
"""

import functools
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ...errors import RelayError, UpstreamAnsweredError
from ..base.dialect import Dialect, ProgressNumbers, event_frame, events_in
from ..base.members import mapping_in
from ..base.usage import Usage
from .merge import MessagesMerge

# Signs our block of thinking.
SIGNATURE: Final = "swap-progress-v1"

_PING: Final = event_frame("ping", {})


class MessagesDialect(Dialect):
    """Pings, or lines of a block of thinking.

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
        """Return the start of the message and of its block."""
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

    def failure(self, error: RelayError, sent_so_far: bytes = b"") -> bytes:
        """Return the error event; nothing open needs an end."""
        return event_frame("error", {"error": error_object(error)["error"]})

    def interrupted(self, sent_so_far: bytes, usage: Usage, *, asked_usage: bool = False) -> bytes:
        """Return the ends of the open block and the message.

        A client that has got pings only is given a whole message, if an empty one: helpers
        cannot do without.
        """
        state = read_message(sent_so_far)
        if state.over:
            return b""
        # what was counted was sent, be it so long ago that only pings are kept
        counted = bool(sent_so_far) and usage.source != "none"
        begun = state.begun or self._opened or counted
        out = b"" if begun else self._start()
        if self._opened and self._merge is not None and not self._merge.begun:
            out += _END_OF_BLOCK
        elif state.open is not None:
            out += event_frame("content_block_stop", {"index": state.open})
        if not state.has_reason:
            delta = {"stop_reason": "end_turn", "stop_sequence": None}
            out += event_frame("message_delta", {"delta": delta, "usage": _counts(usage)})
        return out + event_frame("message_stop", {})

    def midway_heartbeat(self, after_id: bool) -> bytes:
        """Return a ping, the API's own heartbeat."""
        return _PING


def _counts(usage: Usage) -> dict[str, int]:
    """Return totals; without the prompt's if they are unknown."""
    counts = {"output_tokens": usage.output_tokens}
    if usage.input_tokens:
        cached, written = usage.cached_tokens, usage.cache_write_tokens
        counts |= {
            "input_tokens": usage.input_tokens - cached - written,
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": cached,
        }
    return counts


@functools.lru_cache(maxsize=64)  # thousands who wait for one model get the same
def _thinking(text: str) -> bytes:
    return _delta({"type": "thinking_delta", "thinking": text})


def _delta(delta: dict[str, str]) -> bytes:
    return event_frame("content_block_delta", {"index": 0, "delta": delta})


# Never without a signature: it comes back unchanged and marks the block, and clients turn unsigned
# thinking into text.
_END_OF_BLOCK = _delta({"type": "signature_delta", "signature": SIGNATURE}) + event_frame(
    "content_block_stop", {"index": 0}
)


# --- errors --------------------------------------------------------------------------------------


# `type` by HTTP status. Source: Anthropic's API reference, "Errors".
_TYPES: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_OTHER: Final = "api_error"
_KNOWN: Final = frozenset({*_TYPES.values(), _OTHER})


def error_object(error: RelayError) -> dict[str, Any]:
    """Return Anthropic's error object, for a body or a frame."""
    status = error.status
    kind: str | None = None
    if isinstance(error, UpstreamAnsweredError):
        status = error.upstream_status
        if error.kind in _KNOWN:  # the upstream speaks the same API
            kind = error.kind
    other = "invalid_request_error" if 400 <= status < 500 else _OTHER
    kind = kind or _TYPES.get(status, other)
    return {"type": "error", "error": {"type": kind, "message": error.message}}


# --- sent so far ---------------------------------------------------------------------------------


class MessageState(msgspec.Struct):
    """Progress of the client in a message.

    Attributes:
        begun: Something of it was there; pings are nothing.
        open: Index of the block that goes on, as the client counts; None between two.
        has_reason: The reason why it ends was there.
        over: Its end was there, or an error.
    """

    begun: bool = False
    open: int | None = None
    has_reason: bool = False
    over: bool = False


def read_message(frames: bytes) -> MessageState:
    """Return the state of a message after `frames`."""
    state = MessageState()
    for _, value in events_in(frames):
        match value.get("type"):
            case "message_stop" | "error":
                state.over = True
            case "message_start":
                state.begun = True
            case "message_delta":
                state.begun = True
                state.has_reason |= mapping_in(value, "delta").get("stop_reason") is not None
            case "content_block_start" | "content_block_delta":
                state.begun = True
                index = value.get("index")
                state.open = index if isinstance(index, int) else None
            case "content_block_stop":
                state.begun = True
                state.open = None
    return state
