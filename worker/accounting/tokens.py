"""Which API is spoken, and the tokens of one answer in one form for all of them."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from arriero.protocol.records import UsageSource


class Api(StrEnum):
    """The API of an answer."""

    OPENAI = "openai"  # chat, completions, embeddings; llama-server's and vLLM's as well
    RESPONSES = "responses"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"
    BEDROCK = "bedrock"


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one request. What was not reported is 0.

    Attributes:
        input_tokens: All of the prompt, with what was cached or written to a cache.
        cached_tokens: Of these: read from a cache.
        cache_write_tokens: Of these: written to a cache.
        cache_write_1h_tokens: Of the written ones: those that are kept for an hour.
        output_tokens: All that was generated, with reasoning.
        reasoning_tokens: Of these: reasoning.
        draft_tokens, draft_accepted: Of a draft model, and how many of them were right.
        source: `final`, the last word; `running`, a count that was still rising; `timings`,
            llama-server's; `estimated`, counted by us in a stream that did not get to its end;
            `none`, nothing was reported.
        prompt_ms, predicted_ms: Time for the prompt and for the answer; None if not told.
    """

    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    draft_tokens: int = 0
    draft_accepted: int = 0
    source: UsageSource = "none"
    prompt_ms: float | None = None
    predicted_ms: float | None = None


def mapping_in(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the object under `name`; an empty one if there is something else, or nothing."""
    found = value.get(name)
    return found if isinstance(found, dict) else {}
