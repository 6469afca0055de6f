"""Usage in OpenAI's chunks and responses, and in llama-server's own.

Sources: OpenAI's API reference; llama-server's README (`timings`).
"""

from typing import Any

from msgspec.structs import replace

from ..base.members import count_in, mapping_in
from ..base.usage import Usage, with_measures


def read_usage(value: dict[str, Any], known: Usage) -> Usage:
    """Return `known` with the usage in a chunk or response."""
    found = known
    usage = mapping_in(value, "usage")
    if usage:
        found = replace(
            found,
            input_tokens=count_in(usage, "prompt_tokens"),
            output_tokens=count_in(usage, "completion_tokens"),
            source="running" if _is_unfinished(value) else "final",
        )
        if "prompt_tokens_details" in usage or "completion_tokens_details" in usage:
            found = _with_details(usage, found)
    elif known.source != "final" and (timings := mapping_in(value, "timings")):
        # `prompt_n` leaves out what was cached, `usage.prompt_tokens` does not
        cached = count_in(timings, "cache_n")
        found = replace(
            found,
            input_tokens=cached + count_in(timings, "prompt_n"),
            cached_tokens=cached,
            output_tokens=count_in(timings, "predicted_n"),
            source="running" if _is_unfinished(value) else "timings",
        )
    elif known.source == "none" or (known.source == "running" and not known.output_tokens):
        found = _with_prompt(value, found)
    return with_measures(value, found) if "timings" in value or "metrics" in value else found


def _with_details(usage: dict[str, Any], known: Usage) -> Usage:
    """Add what the counts are made of."""
    details = mapping_in(usage, "prompt_tokens_details")
    output = mapping_in(usage, "completion_tokens_details")
    found = replace(
        known,
        cached_tokens=count_in(details, "cached_tokens", known.cached_tokens),
        reasoning_tokens=count_in(output, "reasoning_tokens", known.reasoning_tokens),
    )
    accepted = count_in(output, "accepted_prediction_tokens")
    rejected = count_in(output, "rejected_prediction_tokens")
    if accepted or rejected:
        found = replace(found, draft_tokens=accepted + rejected, draft_accepted=accepted)
    return found


def _is_unfinished(value: dict[str, Any]) -> bool:
    """Whether this is a chunk with a running count.

    vLLM's ``continuous_usage_stats`` and llama-server's ``timings_per_token`` make such counts.
    """
    choices = value.get("choices")
    if not isinstance(choices, list):
        return value.get("stop") is False  # llama-server's own API
    return (
        value.get("object") in ("chat.completion.chunk", "text_completion")
        and bool(choices)
        and all(
            isinstance(choice, dict) and choice.get("finish_reason") is None for choice in choices
        )
    )


def _with_prompt(value: dict[str, Any], known: Usage) -> Usage:
    """Add llama-server's counts of a prompt that is being read."""
    progress = mapping_in(value, "prompt_progress")
    prompt = count_in(progress, "total") or count_in(value, "tokens_evaluated")
    if not prompt:
        return known
    return replace(
        known, input_tokens=prompt, cached_tokens=count_in(progress, "cache"), source="running"
    )
