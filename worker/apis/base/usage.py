"""Tokens of one response, in one form for all APIs."""

from typing import Any

import msgspec
from msgspec.structs import replace

from arriero.protocol.records import UsageSource

from .members import count_in, mapping_in, milliseconds_in


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one request; 0 for counts that were not reported.

    Attributes:
        input_tokens: All of the prompt, with what was cached or written to a cache.
        cached_tokens: Of these: read from a cache.
        cache_write_tokens: Of these: written to a cache.
        cache_write_1h_tokens: Of the written ones: those that are kept for an hour.
        output_tokens: All that was generated, with reasoning.
        reasoning_tokens: Of these: reasoning.
        draft_tokens, draft_accepted: Of a draft model, and how many of them were right.
        source: `final`, the final count; `running`, a count that was still rising; `timings`,
            llama-server's; `estimated`, counted by us in a stream that did not get to its end;
            `none`, nothing was reported.
        prompt_ms, predicted_ms: Time for the prompt and for the response; None if not reported.
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


def with_measures(value: dict[str, Any], known: Usage) -> Usage:
    """Add times and drafts: llama-server's `timings`, vLLM's `metrics`.

    Source: llama-server's README; vLLM's documents, "Per-Request Metrics".
    """
    found = known
    if timings := mapping_in(value, "timings") if "timings" in value else None:
        found = replace(
            found,
            cached_tokens=known.cached_tokens or count_in(timings, "cache_n"),
            prompt_ms=milliseconds_in(timings, "prompt_ms"),
            predicted_ms=milliseconds_in(timings, "predicted_ms"),
        )
        if "draft_n" in timings and "draft_n_accepted" in timings:
            drafts, accepted = count_in(timings, "draft_n"), count_in(timings, "draft_n_accepted")
            found = replace(found, draft_tokens=drafts, draft_accepted=accepted)
    if metrics := mapping_in(value, "metrics") if "metrics" in value else None:
        pause = milliseconds_in(metrics, "mean_itl_ms")
        found = replace(
            found,
            prompt_ms=milliseconds_in(metrics, "time_to_first_token_ms") or None,
            predicted_ms=pause * found.output_tokens if pause else None,
        )
        drafting = mapping_in(metrics, "speculative_decoding")
        if "num_draft_tokens" in drafting and "num_accepted_draft_tokens" in drafting:
            drafts = count_in(drafting, "num_draft_tokens")
            accepted = count_in(drafting, "num_accepted_draft_tokens")
            found = replace(found, draft_tokens=drafts, draft_accepted=accepted)
    return found
