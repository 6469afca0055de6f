"""Usage of a request, from all that its upstream reported."""

from typing import Final

from msgspec.structs import replace

from ..apis.base.api import Api
from ..apis.base.members import MAX_COUNT
from ..apis.base.usage import Usage

# In the head of Fireworks' responses: how much of the prompt was cached, should the body not say
# it.
CACHED_FIELD: Final = b"fireworks-cached-prompt-tokens"

# Of a body, of which the tokens are estimated: half a millisecond's work.
_SEEN_BYTES: Final = 1024 * 1024
_ASCII: Final = bytes(range(128))

_LAST_WORDS: Final = frozenset({"final", "timings"})


def read_usage(api: Api, value: object, known: Usage) -> Usage:
    """Return `known` with the usage in an event; never raises.

    A whole response is read in the same way.
    """
    if isinstance(value, list) and value:
        value = value[-1]  # /infill
    return api.read_usage(value, known) if isinstance(value, dict) else known


def read_cached_field(name: bytes, value: bytes) -> int | None:
    """Return the cached tokens that a response header reports, if any.

    Args:
        name: In lower case.
        value: Whatever the upstream has written there.
    """
    if name == CACHED_FIELD and value.isdigit() and len(value) <= len(str(MAX_COUNT)):
        return int(value)
    return None


def is_final(usage: Usage) -> bool:
    """Whether the response has said its last word on its usage."""
    return usage.source in _LAST_WORDS


def bounded(known: Usage, cached_of_head: int = 0) -> Usage:
    """Return `known` with no part larger than its whole, whatever was said.

    Args:
        known: As it was reported.
        cached_of_head: The cached tokens, by the head of the response; the body is nearer.
    """
    cached = min(known.cached_tokens or cached_of_head, known.input_tokens)
    written = min(known.cache_write_tokens, known.input_tokens - cached)
    if (
        cached == known.cached_tokens
        and written == known.cache_write_tokens >= known.cache_write_1h_tokens
        and known.reasoning_tokens <= known.output_tokens
        and known.draft_accepted <= known.draft_tokens
    ):
        return known
    return replace(
        known,
        cached_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=min(known.cache_write_1h_tokens, written),
        reasoning_tokens=min(known.reasoning_tokens, known.output_tokens),
        draft_accepted=min(known.draft_accepted, known.draft_tokens),
    )


def estimated(usage: Usage, pieces: int, prompt_tokens: int = 0) -> Usage:
    """Return the usage of a response that may have ended early.

    Args:
        usage: As it was reported, and bounded.
        pieces: How many events with a piece of text came: most servers send one per token.
        prompt_tokens: An estimate of the prompt, if that was worked on for nothing; else 0.
    """
    if usage.source in _LAST_WORDS or (pieces <= usage.output_tokens and not prompt_tokens):
        return usage
    return replace(
        usage,
        input_tokens=usage.input_tokens or prompt_tokens,
        output_tokens=max(usage.output_tokens, pieces),
        source="estimated",
    )


def prompt_estimate(body: bytes) -> int:
    """Return about how many tokens the prompt in `body` has, at least 1.

    Four bytes a token, as models count English; but no more than two for a word, for what has no
    blanks is an image, and not text; scripts that do without them are counted by their bytes. Of a
    long body the beginning stands for the rest. Whoever is right about it asks the model's server.
    """
    seen = body[:_SEEN_BYTES]
    if not seen:
        return 1
    foreign = len(seen.translate(None, _ASCII))
    words = seen.count(b" ") + 1
    tokens = min(len(seen), 8 * words + foreign) // 4
    return max(1, tokens * len(body) // len(seen))
