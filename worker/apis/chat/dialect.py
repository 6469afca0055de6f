"""Chunks of a chat without text; errors; the end of a stream.

The upstream's stream follows byte for byte: two ids in one stream are accepted by all clients, so
nothing of it has to be rewritten.
"""

import functools
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ...errors import RelayError
from ...streams.sse_frames import DONE
from ..base.api import ChunkShape
from ..base.dialect import Dialect, ProgressNumbers, events_in
from ..base.usage import Usage

SHAPE: Final = ChunkShape(
    "chatcmpl-swap-",
    "chat.completion.chunk",
    {"index": 0, "delta": {}, "finish_reason": None},
)


class ChatDialect(Dialect):
    """Chunks of a chat."""

    _shape = SHAPE

    def __init__(self, *, model: str, ident: str, created: int) -> None:
        self._head: dict[str, Any] = {
            "id": self._shape.id_prefix + ident,
            "object": self._shape.kind,
            "created": created,
            "model": model,
        }
        self._prefix = msgspec.json.encode(self._head)[:-1] + b',"choices":[{'

    def line(self, text: str, numbers: ProgressNumbers | None) -> bytes:
        """Return `text` as reasoning, which no client shows as content."""
        return self._chunk(_reasoning(text), numbers)

    def heartbeat(self, numbers: ProgressNumbers | None) -> bytes:
        """Return a chunk that adds nothing."""
        return self._chunk(b"{}", numbers)

    def event(self, numbers: ProgressNumbers) -> bytes:
        """Return a heartbeat with a name.

        Its data is a complete chunk: clients that ignore the name are not surprised.
        """
        return b"event: swap_progress\n" + self.heartbeat(numbers)

    def failure(self, error: RelayError, sent_so_far: bytes = b"") -> bytes:
        """Return the error object and the end marker. Wire format, 4.4."""
        return b"data: %b\n\n%b" % (error_body(error), DONE)

    def interrupted(self, sent_so_far: bytes, usage: Usage, *, asked_usage: bool = False) -> bytes:
        """Return the ends of the choices, counts, and the end marker.

        All chunks have the id of the upstream's chunks.
        """
        state = read_chat(sent_so_far)
        if state.over:
            return b""
        head = self._head | state.head
        chunks: list[dict[str, Any]] = []
        if state.open:
            chunks.append({"choices": [self._end_of_choice(index) for index in state.open]})
        if asked_usage and usage.source != "none" and not state.has_usage:
            chunks.append({"choices": [], "usage": _counts(usage)})
        return b"".join(b"data: %b\n\n" % msgspec.json.encode(head | it) for it in chunks) + DONE

    def _end_of_choice(self, index: int) -> dict[str, Any]:
        return {**self._shape.empty_choice, "index": index, "finish_reason": "stop"}

    def _chunk(self, delta: bytes, numbers: ProgressNumbers | None) -> bytes:
        return b'data: %b"index":0,"delta":%b,"finish_reason":null}]%b}\n\n' % (
            self._prefix,
            delta,
            member(numbers),
        )


# Thousands who wait for one model get the same, within the same tenth of a second.
@functools.lru_cache(maxsize=64)
def _reasoning(text: str) -> bytes:
    return b'{"reasoning_content":%b}' % msgspec.json.encode(text)


@functools.lru_cache(maxsize=64)
def member(numbers: ProgressNumbers | None) -> bytes:
    """Return a chunk's last member, after its comma."""
    if numbers is None:
        return b""
    return b',"swap_progress":' + msgspec.json.encode(numbers._asdict())


def _counts(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def error_body(error: RelayError) -> bytes:
    """Return OpenAI's error object as one line of JSON."""
    return msgspec.json.encode(
        {
            "error": {
                "message": error.message,
                "type": error.kind,
                "param": None,
                "code": error.code,
            }
        }
    )


# --- sent so far ---------------------------------------------------------------------------------


class ChatState(msgspec.Struct):
    """Progress of the client in a chat or a text completion.

    Attributes:
        head: `id`, `created` and `model` of its chunks; empty if there was none.
        open: Choices that go on, in their order; one if nothing tells.
        has_usage: The chunk with the counts was there.
        over: Its end was there: the end marker, or an error.
    """

    head: dict[str, Any] = msgspec.field(default_factory=dict)
    open: list[int] = msgspec.field(default_factory=lambda: [0])
    has_usage: bool = False
    over: bool = False


def read_chat(frames: bytes) -> ChatState:
    """Return the state of a chat after `frames`."""
    state = ChatState()
    goes_on: dict[int, bool] = {}
    for data, value in events_in(frames):
        if data == b"[DONE]" or value.get("error"):
            state.over = True
        if not isinstance(choices := value.get("choices"), list):
            continue
        state.head |= {
            name: value[name] for name in _HEAD if isinstance(value.get(name), _HEAD[name])
        }
        state.has_usage |= not choices and isinstance(value.get("usage"), dict)
        for choice in choices:
            if isinstance(choice, dict) and isinstance(index := choice.get("index", 0), int):
                goes_on[index] = goes_on.get(index, True) and choice.get("finish_reason") is None
    if goes_on:
        state.open = sorted(index for index, open_ in goes_on.items() if open_)
    return state


# What all chunks of one response repeat, and its type.
_HEAD: Final[Mapping[str, type]] = {"id": str, "created": int, "model": str}
