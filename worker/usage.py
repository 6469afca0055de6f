"""What a request used, as its upstream reported it. Deciding.

Every API counts in its own way: one includes cached tokens in the prompt, another does not; one
gives running totals, another a final word. Here all of them become one `Usage`. Which way of
counting applies is decided by the API that was spoken, never by the look of the numbers (but for
Bedrock, whose documents contradict each other).

Sources: OpenAI's, Anthropic's, Google's and Amazon's API references; llama-server's README
(`timings`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final, Literal, TypeAlias

Source: TypeAlias = Literal["final", "running", "timings", "none"]


class Api(Enum):
    """The API of an answer."""

    OPENAI = "openai"  # chat, completions, embeddings; llama-server's and vLLM's as well
    RESPONSES = "responses"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"
    BEDROCK = "bedrock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
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
            llama-server's; `none`, nothing was reported.
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
    source: Source = "none"
    prompt_ms: float | None = None
    predicted_ms: float | None = None


# Bytes of which one is in every event that says something about usage, so that the others need
# not be parsed.
HINTS: Final[Mapping[Api, tuple[bytes, ...]]] = {
    Api.OPENAI: (b'"usage"', b'"timings"'),
    Api.RESPONSES: (b'"usage"',),
    Api.ANTHROPIC: (b'"usage"',),
    Api.GEMINI: (b'"usageMetadata"',),
    Api.BEDROCK: (b'"usage"',),
}


class UsageReader:
    """Collects the usage of one answer, streamed or not.

    Attributes:
        usage: All that is known so far.
    """

    def __init__(self, api: Api) -> None:
        self.usage = Usage()
        self._hints = HINTS[api]
        self._read = _READERS[api]

    def may_tell(self, data: bytes) -> bool:
        """Whether `data`, an event or a whole body, is worth being parsed."""
        return any(data.find(hint) >= 0 for hint in self._hints)

    def take(self, value: object) -> None:
        """Take note of an event, or of a whole answer. Whatever it is, nothing is raised."""
        if isinstance(value, dict):
            self.usage = self._read(value, self.usage)


def _openai(value: dict[str, Any], known: Usage) -> Usage:
    found = known
    usage = _mapping(value, "usage")
    if usage:
        details = _mapping(usage, "prompt_tokens_details")
        output = _mapping(usage, "completion_tokens_details")
        prompt = _count(usage, "prompt_tokens")
        found = replace(
            found,
            input_tokens=prompt,
            cached_tokens=min(prompt, _count(details, "cached_tokens")),
            output_tokens=_count(usage, "completion_tokens"),
            reasoning_tokens=_count(output, "reasoning_tokens"),
            draft_tokens=_count(output, "accepted_prediction_tokens")
            + _count(output, "rejected_prediction_tokens"),
            draft_accepted=_count(output, "accepted_prediction_tokens"),
            source="running" if _is_unfinished(value) else "final",
        )
    timings = _mapping(value, "timings")
    if timings:
        found = _with_timings(timings, found)
    return found


def _is_unfinished(value: dict[str, Any]) -> bool:
    """Whether this is a chunk with text and a count that goes on (``continuous_usage_stats``)."""
    choices = value.get("choices")
    return (
        isinstance(choices, list)
        and bool(choices)
        and value.get("object") in ("chat.completion.chunk", "text_completion")
        and all(
            isinstance(choice, dict) and choice.get("finish_reason") is None for choice in choices
        )
    )


def _with_timings(timings: dict[str, Any], known: Usage) -> Usage:
    """Add what llama-server measured; its counts are used where there are no others.

    ``prompt_n`` leaves out what was cached, ``usage.prompt_tokens`` does not.
    """
    cached = _count(timings, "cache_n")
    found = replace(
        known,
        cached_tokens=known.cached_tokens or cached,
        draft_tokens=_count(timings, "draft_n"),
        draft_accepted=_count(timings, "draft_n_accepted"),
        prompt_ms=_milliseconds(timings, "prompt_ms"),
        predicted_ms=_milliseconds(timings, "predicted_ms"),
    )
    if known.source in ("none", "timings"):
        found = replace(
            found,
            input_tokens=cached + _count(timings, "prompt_n"),
            cached_tokens=cached,
            output_tokens=_count(timings, "predicted_n"),
            source="timings",
        )
    return found


def _responses(value: dict[str, Any], known: Usage) -> Usage:
    # In a stream the object of the answer is within the event, and only the last events have it
    # complete: completed, incomplete and failed alike.
    usage = _mapping(_mapping(value, "response"), "usage") or _mapping(value, "usage")
    if not usage:
        return known
    prompt = _count(usage, "input_tokens")
    return replace(
        known,
        input_tokens=prompt,
        cached_tokens=min(prompt, _count(_mapping(usage, "input_tokens_details"), "cached_tokens")),
        output_tokens=_count(usage, "output_tokens"),
        reasoning_tokens=_count(_mapping(usage, "output_tokens_details"), "reasoning_tokens"),
        source="final",
    )


def _anthropic(value: dict[str, Any], known: Usage) -> Usage:
    """Read ``message_start``, ``message_delta`` or a whole message.

    A delta holds totals so far, of those counts that it names: they replace the earlier ones.
    """
    usage = _mapping(_mapping(value, "message"), "usage") or _mapping(value, "usage")
    if not usage:
        return known
    fresh = known.input_tokens - known.cached_tokens - known.cache_write_tokens
    fresh = _count(usage, "input_tokens", fresh)
    cached = _count(usage, "cache_read_input_tokens", known.cached_tokens)
    written = _count(usage, "cache_creation_input_tokens", known.cache_write_tokens)
    hour = known.cache_write_1h_tokens
    for place in (usage, _mapping(usage, "cache_creation")):
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
    usage = _mapping(value, "usageMetadata")
    if not usage:
        return known
    prompt = _count(usage, "promptTokenCount") + _count(usage, "toolUsePromptTokenCount")
    thoughts = _count(usage, "thoughtsTokenCount")
    return replace(
        known,
        input_tokens=prompt,
        cached_tokens=min(prompt, _count(usage, "cachedContentTokenCount")),
        output_tokens=_count(usage, "candidatesTokenCount") + thoughts,
        reasoning_tokens=thoughts,
        source="final",
    )


def _bedrock(value: dict[str, Any], known: Usage) -> Usage:
    """Read the ``metadata`` message, or a whole answer.

    Whether ``inputTokens`` has the cached ones in it is said in two ways by Amazon's documents;
    the total of each answer tells which is meant. In doubt it has not.
    """
    usage = _mapping(value, "usage")
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


_READERS: Final[Mapping[Api, Callable[[dict[str, Any], Usage], Usage]]] = {
    Api.OPENAI: _openai,
    Api.RESPONSES: _responses,
    Api.ANTHROPIC: _anthropic,
    Api.GEMINI: _gemini,
    Api.BEDROCK: _bedrock,
}

# More than any request can use: a larger count is nonsense.
_MOST_TOKENS: Final = 2**40


def _mapping(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _count(value: Mapping[str, Any], name: str, otherwise: int = 0) -> int:
    found = value.get(name)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= _MOST_TOKENS:
        return otherwise
    return found


def _milliseconds(value: Mapping[str, Any], name: str) -> float | None:
    found = value.get(name)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < 1e12:
        return None
    return float(found)
