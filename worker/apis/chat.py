"""Chat and text completions: chunks without an answer. Wire format, sections 4 and 5.

The upstream's stream follows byte for byte: two ids in one stream are accepted by all clients, so
nothing of it has to be rewritten.
"""

import functools
from typing import Any

import msgspec

from ..accounting.tokens import Usage
from ..errors import RelayError
from ..progress.dialect import Dialect, ProgressNumbers
from ..streams.sse_frames import DONE, error_frames
from .sent_so_far import read_chat


class ChatDialect(Dialect):
    """Speaks in chunks of a chat."""

    _ident = "chatcmpl-swap-"
    _object = "chat.completion.chunk"

    def __init__(self, *, model: str, ident: str, created: int) -> None:
        self._head: dict[str, Any] = {
            "id": self._ident + ident,
            "object": self._object,
            "created": created,
            "model": model,
        }
        self._prefix = msgspec.json.encode(self._head)[:-1] + b',"choices":[{'

    def line(self, text: str, numbers: ProgressNumbers | None) -> bytes:
        """Return `text` as reasoning: the one channel that is never taken for an answer."""
        return self._chunk(_reasoning(text), numbers)

    def heartbeat(self, numbers: ProgressNumbers | None) -> bytes:
        """Return a chunk that adds nothing."""
        return self._chunk(b"{}", numbers)

    def event(self, numbers: ProgressNumbers) -> bytes:
        """Return a heartbeat with a name.

        Its data is a complete chunk: clients that ignore the name are not surprised.
        """
        return b"event: swap_progress\n" + self.heartbeat(numbers)

    def failure(self, error: RelayError, heard: bytes = b"") -> bytes:
        """Return the error object alone in its frame, and the end marker."""
        return error_frames(error)

    def interrupted(self, heard: bytes, usage: Usage, *, asked_usage: bool = False) -> bytes:
        """Return a chunk that ends the choices, one with the counts, and the end marker.

        They call themselves what the upstream's chunks do.
        """
        found = read_chat(heard)
        if found.over:
            return b""
        head = self._head | found.head
        chunks: list[dict[str, Any]] = []
        if found.open:
            chunks.append({"choices": [self._end_of_choice(index) for index in found.open]})
        if asked_usage and usage.source != "none" and not found.has_usage:
            chunks.append({"choices": [], "usage": _counts(usage)})
        return b"".join(b"data: %b\n\n" % msgspec.json.encode(head | it) for it in chunks) + DONE

    def _end_of_choice(self, index: int) -> dict[str, Any]:
        return {"index": index, "delta": {}, "finish_reason": "stop"}

    def _chunk(self, delta: bytes, numbers: ProgressNumbers | None) -> bytes:
        return b'data: %b"index":0,"delta":%b,"finish_reason":null}]%b}\n\n' % (
            self._prefix,
            delta,
            member(numbers),
        )


class CompletionDialect(ChatDialect):
    """Speaks in chunks of a text completion, which have no channel for reasoning."""

    _ident = "cmpl-swap-"
    _object = "text_completion"

    def _end_of_choice(self, index: int) -> dict[str, Any]:
        return {"text": "", "index": index, "logprobs": None, "finish_reason": "stop"}

    def _chunk(self, delta: bytes, numbers: ProgressNumbers | None) -> bytes:
        # without `text` callers get None instead of a string
        return b'data: %b"text":"","index":0,"logprobs":null,"finish_reason":null}]%b}\n\n' % (
            self._prefix,
            member(numbers),
        )


# Thousands who wait for one model hear the same, within the same tenth of a second.
@functools.lru_cache(maxsize=64)
def _reasoning(text: str) -> bytes:
    return b'{"reasoning_content":%b}' % msgspec.json.encode(text)


@functools.lru_cache(maxsize=64)
def member(numbers: ProgressNumbers | None) -> bytes:
    """Return the last member of a chunk, with the comma before it."""
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
