"""Which API reports usage how.

Every API counts in its own way: one includes cached tokens in the prompt, another does not; one
gives running totals, another a final word. Here all of them become one `Usage`. Which way of
counting applies is decided by the API that was spoken, never by the look of the numbers (but for
Bedrock, whose documents contradict each other).

Sources: OpenAI's, Anthropic's, Google's and Amazon's API references; llama-server's README
(`timings`); vLLM's documents, "Per-Request Metrics" (`metrics`).
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec.structs import replace

from .tokens import Api, Usage, mapping_in

# More than any request can use: a larger count is nonsense.
MAX_TOKENS: Final = 2**40

# Bytes of which one is in every event that says something about usage, so that the others need
# not be parsed.
HINTS: Final[Mapping[Api, tuple[bytes, ...]]] = {
    Api.OPENAI: (b'"usage"', b'"timings"', b'"prompt_progress"'),
    Api.RESPONSES: (b'"usage"',),
    Api.ANTHROPIC: (b'"usage"',),
    Api.GEMINI: (b'"usageMetadata"',),
    Api.BEDROCK: (b'"usage"',),
}


def _openai(value: dict[str, Any], known: Usage) -> Usage:
    found = known
    usage = mapping_in(value, "usage")
    timings = mapping_in(value, "timings")
    if usage:
        found = replace(
            found,
            input_tokens=_count(usage, "prompt_tokens"),
            output_tokens=_count(usage, "completion_tokens"),
            source="running" if _is_unfinished(value) else "final",
        )
        if "prompt_tokens_details" in usage or "completion_tokens_details" in usage:
            found = _with_details(usage, found)
    elif timings and known.source != "final":
        # `prompt_n` leaves out what was cached, `usage.prompt_tokens` does not
        cached = _count(timings, "cache_n")
        found = replace(
            found,
            input_tokens=cached + _count(timings, "prompt_n"),
            cached_tokens=cached,
            output_tokens=_count(timings, "predicted_n"),
            source="running" if _is_unfinished(value) else "timings",
        )
    elif known.source == "none" or (known.source == "running" and not known.output_tokens):
        found = _with_prompt(value, found)
    return _with_measures(value, found)


def _with_details(usage: dict[str, Any], known: Usage) -> Usage:
    """Add what the counts are made of."""
    details = mapping_in(usage, "prompt_tokens_details")
    output = mapping_in(usage, "completion_tokens_details")
    found = replace(
        known,
        cached_tokens=_count(details, "cached_tokens", known.cached_tokens),
        reasoning_tokens=_count(output, "reasoning_tokens", known.reasoning_tokens),
    )
    accepted = _count(output, "accepted_prediction_tokens")
    rejected = _count(output, "rejected_prediction_tokens")
    if accepted or rejected:
        found = replace(found, draft_tokens=accepted + rejected, draft_accepted=accepted)
    return found


def _is_unfinished(value: dict[str, Any]) -> bool:
    """Whether this is a chunk with text and a count that goes on.

    vLLM's ``continuous_usage_stats`` and llama-server's ``timings_per_token`` make such counts.
    """
    choices = value.get("choices")
    if not isinstance(choices, list):
        return value.get("stop") is False  # llama-server's own form
    return (
        value.get("object") in ("chat.completion.chunk", "text_completion")
        and bool(choices)
        and all(
            isinstance(choice, dict) and choice.get("finish_reason") is None for choice in choices
        )
    )


def _with_prompt(value: dict[str, Any], known: Usage) -> Usage:
    """Add what llama-server says of the prompt before there is an answer."""
    progress = mapping_in(value, "prompt_progress")
    prompt = _count(progress, "total") or _count(value, "tokens_evaluated")
    if not prompt:
        return known
    return replace(
        known, input_tokens=prompt, cached_tokens=_count(progress, "cache"), source="running"
    )


def _with_measures(value: dict[str, Any], known: Usage) -> Usage:
    """Add times and drafts, as measured by llama-server (`timings`) or vLLM (`metrics`)."""
    found = known
    timings = mapping_in(value, "timings")
    if timings:
        found = replace(
            found,
            cached_tokens=known.cached_tokens or _count(timings, "cache_n"),
            prompt_ms=_milliseconds(timings, "prompt_ms"),
            predicted_ms=_milliseconds(timings, "predicted_ms"),
        )
        if "draft_n" in timings and "draft_n_accepted" in timings:
            drafts, accepted = _count(timings, "draft_n"), _count(timings, "draft_n_accepted")
            found = replace(found, draft_tokens=drafts, draft_accepted=accepted)
    metrics = mapping_in(value, "metrics")
    if metrics:
        pause = _milliseconds(metrics, "mean_itl_ms")
        found = replace(
            found,
            prompt_ms=_milliseconds(metrics, "time_to_first_token_ms") or None,
            predicted_ms=pause * found.output_tokens if pause else None,
        )
        drafting = mapping_in(metrics, "speculative_decoding")
        if "num_draft_tokens" in drafting and "num_accepted_draft_tokens" in drafting:
            drafts = _count(drafting, "num_draft_tokens")
            accepted = _count(drafting, "num_accepted_draft_tokens")
            found = replace(found, draft_tokens=drafts, draft_accepted=accepted)
    return found


def _responses(value: dict[str, Any], known: Usage) -> Usage:
    # In a stream the object of the answer is within the event, and only the last events have it
    # complete: completed, incomplete and failed alike.
    response = mapping_in(value, "response")
    usage = mapping_in(response, "usage") or mapping_in(value, "usage")
    if not usage:
        return known
    found = replace(
        known,
        input_tokens=_count(usage, "input_tokens"),
        cached_tokens=_count(mapping_in(usage, "input_tokens_details"), "cached_tokens"),
        output_tokens=_count(usage, "output_tokens"),
        reasoning_tokens=_count(mapping_in(usage, "output_tokens_details"), "reasoning_tokens"),
        source="final",
    )
    # llama-server has its timings beside the answer, vLLM its metrics within
    return _with_measures(response, _with_measures(value, found))


def _anthropic(value: dict[str, Any], known: Usage) -> Usage:
    """Read ``message_start``, ``message_delta`` or a whole message.

    A delta holds totals so far, of those counts that it names: they replace the earlier ones.
    """
    usage = mapping_in(mapping_in(value, "message"), "usage") or mapping_in(value, "usage")
    if not usage:
        return known
    fresh = known.input_tokens - known.cached_tokens - known.cache_write_tokens
    fresh = _count(usage, "input_tokens", fresh)
    cached = _count(usage, "cache_read_input_tokens", known.cached_tokens)
    written = _count(usage, "cache_creation_input_tokens", known.cache_write_tokens)
    hour = known.cache_write_1h_tokens
    for place in (usage, mapping_in(usage, "cache_creation")):
        hour = _count(place, "ephemeral_1h_input_tokens", hour)
        short = _count(place, "ephemeral_5m_input_tokens", -1)
        if short >= 0 and "cache_creation_input_tokens" not in usage:
            written = short + hour
    return replace(
        known,
        input_tokens=fresh + cached + written,
        cached_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=min(hour, written),
        output_tokens=_count(usage, "output_tokens", known.output_tokens),
        source="running" if value.get("type") == "message_start" else "final",
    )


def _gemini(value: dict[str, Any], known: Usage) -> Usage:
    """Every chunk may have it; the last one counts. Thoughts are not in ``candidates``."""
    usage = mapping_in(value, "usageMetadata")
    if not usage:
        return known
    candidates = value.get("candidates")
    unfinished = isinstance(candidates, list) and any(
        isinstance(candidate, dict) and not candidate.get("finishReason")
        for candidate in candidates
    )
    thoughts = _count(usage, "thoughtsTokenCount")
    return replace(
        known,
        input_tokens=_count(usage, "promptTokenCount") + _count(usage, "toolUsePromptTokenCount"),
        cached_tokens=_count(usage, "cachedContentTokenCount"),
        output_tokens=_count(usage, "candidatesTokenCount") + thoughts,
        reasoning_tokens=thoughts,
        source="running" if unfinished else "final",
    )


def _bedrock(value: dict[str, Any], known: Usage) -> Usage:
    """Read the ``metadata`` message, or a whole answer.

    Whether ``inputTokens`` has the cached ones in it is said in two ways by Amazon's documents;
    the total of each answer tells which is meant. In doubt it has not.
    """
    usage = mapping_in(value, "usage")
    if not usage:
        return known
    fresh = _count(usage, "inputTokens")
    output = _count(usage, "outputTokens")
    cached = _count(usage, "cacheReadInputTokens")
    written = _count(usage, "cacheWriteInputTokens")
    total = _count(usage, "totalTokens", -1)
    is_included = total >= 0 and total - output == fresh and cached + written <= fresh
    details = usage.get("cacheDetails")
    hour = sum(
        _count(entry, "cacheWriteInputTokens")
        for entry in (details if isinstance(details, list) else ())
        if isinstance(entry, dict) and entry.get("ttl") == "1h"
    )
    return replace(
        known,
        input_tokens=fresh if is_included else fresh + cached + written,
        cached_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=min(hour, written),
        output_tokens=output,
        source="final",
    )


READERS: Final[Mapping[Api, Callable[[dict[str, Any], Usage], Usage]]] = {
    Api.OPENAI: _openai,
    Api.RESPONSES: _responses,
    Api.ANTHROPIC: _anthropic,
    Api.GEMINI: _gemini,
    Api.BEDROCK: _bedrock,
}


def _count(value: Mapping[str, Any], name: str, otherwise: int = 0) -> int:
    found = value.get(name)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= MAX_TOKENS:
        return otherwise
    return found


def _milliseconds(value: Mapping[str, Any], name: str) -> float | None:
    found = value.get(name)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < 1e12:
        return None
    return float(found)
