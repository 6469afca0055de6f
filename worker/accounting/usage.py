"""What a request used, as its upstream reported it."""

from typing import Final

from msgspec.structs import replace

from ..apis.base.api import Api
from ..apis.base.members import MAX_COUNT
from ..apis.base.usage import Usage

# In the head of Fireworks' answers: how much of the prompt was cached, should the body not say it.
CACHED_FIELD: Final = b"fireworks-cached-prompt-tokens"


_NOTHING: Final = Usage()

_LAST_WORDS: Final = frozenset({"final", "timings"})


class UsageReader:
    """Collects the usage of one answer, streamed or not."""

    __slots__ = ("_cached_of_head", "_known", "_read")

    def __init__(self, api: Api) -> None:
        self._known = _NOTHING
        self._cached_of_head = 0
        self._read = api.read_usage

    @property
    def usage(self) -> Usage:
        """All that is known so far. No part is larger than the whole, whatever was said."""
        known = self._known
        cached = min(known.cached_tokens or self._cached_of_head, known.input_tokens)
        written = min(known.cache_write_tokens, known.input_tokens - cached)
        if (
            cached == known.cached_tokens
            and written == known.cache_write_tokens >= known.cache_write_1h_tokens
            and known.reasoning_tokens <= known.output_tokens
            and known.draft_accepted <= known.draft_tokens
        ):
            return known
        parts = {
            "cached_tokens": cached,
            "cache_write_tokens": written,
            "cache_write_1h_tokens": min(known.cache_write_1h_tokens, written),
            "reasoning_tokens": min(known.reasoning_tokens, known.output_tokens),
            "draft_accepted": min(known.draft_accepted, known.draft_tokens),
        }
        return replace(known, **parts)

    @property
    def is_final(self) -> bool:
        """Whether the answer has said its last word on that."""
        return self._known.source in _LAST_WORDS

    def estimate(self, deltas: int) -> Usage:
        """Return the usage of an answer that may have ended early.

        Args:
            deltas: How many events with a piece of text came: most servers send one per token.
        """
        usage = self.usage
        if usage.source in _LAST_WORDS or deltas <= usage.output_tokens:
            return usage
        return replace(usage, output_tokens=deltas, source="estimated")

    def take(self, value: object) -> None:
        """Take note of an event, or of a whole answer. Whatever it is, nothing is raised."""
        if isinstance(value, list) and value:
            value = value[-1]  # /infill
        if isinstance(value, dict):
            self._known = self._read(value, self._known)

    def take_field(self, name: bytes, value: bytes) -> None:
        """Take note of a field in the head of the answer; `name` in small letters."""
        if name == CACHED_FIELD and value.isdigit() and len(value) <= len(str(MAX_COUNT)):
            self._cached_of_head = int(value)
