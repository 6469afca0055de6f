# ruff: noqa: E501  one answer, one line
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.accounting.usage import (
    bounded,
    estimated,
    prompt_estimate,
    read_cached_field,
    read_usage,
)
from arriero.worker.apis.base.api import Api
from arriero.worker.apis.base.usage import Usage
from arriero.worker.apis.routes import APIS, BEDROCK, CHAT, GEMINI, MESSAGES, RESPONSES

CHUNK = {"object": "chat.completion.chunk"}
TIMINGS = {
    "cache_n": 5,
    "prompt_n": 3,
    "prompt_ms": 10.5,
    "predicted_n": 7,
    "predicted_ms": 70.0,
    "draft_n": 4,
    "draft_n_accepted": 2,
}


def read(api: Api, *events: Any) -> Usage:
    known = Usage()
    for event in events:
        known = read_usage(api, event, known)
    return bounded(known)


@pytest.mark.parametrize(
    ("api", "events", "usage"),
    [
        (CHAT, [{"usage": {"prompt_tokens": 8, "completion_tokens": 7, "total_tokens": 15}}], Usage(input_tokens=8, output_tokens=7, source="final")),
        (CHAT, [{"usage": {"prompt_tokens": 8, "completion_tokens": 7}}], Usage(input_tokens=8, output_tokens=7, source="final")),  # without a total
        (CHAT, [{"usage": {"prompt_tokens": 8, "total_tokens": 8}}], Usage(input_tokens=8, source="final")),  # embeddings
        (
            CHAT,
            [{"usage": {"prompt_tokens": 8, "prompt_tokens_details": {"cached_tokens": 6}, "completion_tokens": 7, "completion_tokens_details": {"reasoning_tokens": 4}}}],
            Usage(input_tokens=8, cached_tokens=6, output_tokens=7, reasoning_tokens=4, source="final"),
        ),
        (CHAT, [CHUNK | {"usage": {"prompt_tokens": 1}}, CHUNK | {"usage": None}, CHUNK | {"usage": {"prompt_tokens": 2}}], Usage(input_tokens=2, source="final")),  # the last one counts
        (CHAT, [CHUNK | {"choices": [{"finish_reason": None}], "usage": {"prompt_tokens": 8, "completion_tokens": 1}}], Usage(input_tokens=8, output_tokens=1, source="running")),
        (CHAT, [CHUNK | {"choices": [{"delta": {}}]}], Usage()),
        (CHAT, [{"timings": TIMINGS}], Usage(input_tokens=8, cached_tokens=5, output_tokens=7, draft_tokens=4, draft_accepted=2, prompt_ms=10.5, predicted_ms=70.0, source="timings")),
        (
            CHAT,
            [{"usage": {"prompt_tokens": 8, "completion_tokens": 7}, "timings": TIMINGS}],
            Usage(input_tokens=8, cached_tokens=5, output_tokens=7, draft_tokens=4, draft_accepted=2, prompt_ms=10.5, predicted_ms=70.0, source="final"),
        ),
        # two events of one answer: what the second one does not tell stays
        (
            CHAT,
            [{"timings": TIMINGS}, CHUNK | {"choices": [], "usage": {"prompt_tokens": 8, "completion_tokens": 7}}],
            Usage(input_tokens=8, cached_tokens=5, output_tokens=7, draft_tokens=4, draft_accepted=2, prompt_ms=10.5, predicted_ms=70.0, source="final"),
        ),
        # counts that rise: vLLM's continuous_usage_stats, llama-server's timings_per_token
        (
            CHAT,
            [CHUNK | {"choices": [{"finish_reason": None}], "usage": {"prompt_tokens": 8, "completion_tokens": n}} for n in (1, 2)]
            + [CHUNK | {"choices": [], "usage": {"prompt_tokens": 8, "completion_tokens": 3}}],
            Usage(input_tokens=8, output_tokens=3, source="final"),
        ),
        (CHAT, [CHUNK | {"choices": [{"finish_reason": None}], "timings": {"prompt_n": 8, "predicted_n": 2}}], Usage(input_tokens=8, output_tokens=2, source="running")),
        (CHAT, [CHUNK | {"choices": [{"finish_reason": None}], "timings": {"prompt_n": 8, "predicted_n": 2}}, CHUNK | {"choices": [{"finish_reason": "stop"}], "timings": {"prompt_n": 8, "predicted_n": 5}}], Usage(input_tokens=8, output_tokens=5, source="timings")),
        # llama-server of the prompt, before there is an answer
        (CHAT, [CHUNK | {"choices": [{"finish_reason": None}], "prompt_progress": {"total": 209, "cache": 64, "processed": 128}}], Usage(input_tokens=209, cached_tokens=64, source="running")),
        (CHAT, [{"content": " a", "stop": False, "tokens_predicted": 1, "tokens_evaluated": 160}], Usage(input_tokens=160, source="running")),
        (CHAT, [{"content": "", "stop": True, "timings": TIMINGS, "tokens_evaluated": 8}], Usage(input_tokens=8, cached_tokens=5, output_tokens=7, draft_tokens=4, draft_accepted=2, prompt_ms=10.5, predicted_ms=70.0, source="timings")),
        (CHAT, [[{"timings": {"prompt_n": 1}}, {"timings": {"prompt_n": 2, "predicted_n": 3}}]], Usage(input_tokens=2, output_tokens=3, source="timings")),  # /infill
        (CHAT, [{"content": "a", "stop": False, "timings": {"prompt_n": 8, "predicted_n": 2}}], Usage(input_tokens=8, output_tokens=2, source="running")),
        # nothing takes the last word back
        (CHAT, [{"usage": {"prompt_tokens": 8, "completion_tokens": 7}}, {"timings": {"cache_n": 5, "prompt_n": 9}}, {"tokens_evaluated": 5}], Usage(input_tokens=8, cached_tokens=5, output_tokens=7, source="final")),
        # vLLM's measurements
        (
            CHAT,
            [{"usage": {"prompt_tokens": 42, "completion_tokens": 100}, "metrics": {"time_to_first_token_ms": 85.2, "mean_itl_ms": 9.5, "speculative_decoding": {"num_draft_tokens": 30, "num_accepted_draft_tokens": 20}}}],
            Usage(input_tokens=42, output_tokens=100, draft_tokens=30, draft_accepted=20, prompt_ms=85.2, predicted_ms=950.0, source="final"),
        ),
        (  # what llama-server says of drafts stays
            CHAT,
            [{"timings": TIMINGS, "metrics": {"mean_itl_ms": 2, "speculative_decoding": None}}],
            Usage(input_tokens=8, cached_tokens=5, output_tokens=7, draft_tokens=4, draft_accepted=2, predicted_ms=14.0, source="timings"),
        ),
        (CHAT, [{"usage": {"prompt_tokens": 42, "completion_tokens": 1}, "metrics": {"time_to_first_token_ms": 0, "mean_itl_ms": None, "speculative_decoding": {"num_draft_tokens": 30}}}], Usage(input_tokens=42, output_tokens=1, source="final")),
        (CHAT, [{"usage": {"prompt_tokens": 9, "completion_tokens": 9, "completion_tokens_details": {"accepted_prediction_tokens": 4, "rejected_prediction_tokens": 1}}}], Usage(input_tokens=9, output_tokens=9, draft_tokens=5, draft_accepted=4, source="final")),
        (
            RESPONSES,
            [{"type": "response.completed", "response": {"usage": {"input_tokens": 8, "output_tokens": 7}}, "timings": TIMINGS}],
            Usage(input_tokens=8, cached_tokens=5, output_tokens=7, draft_tokens=4, draft_accepted=2, prompt_ms=10.5, predicted_ms=70.0, source="final"),
        ),
        (
            RESPONSES,
            [{"type": "response.completed", "response": {"usage": {"input_tokens": 8, "output_tokens": 2}, "metrics": {"time_to_first_token_ms": 5, "mean_itl_ms": 2}}}],
            Usage(input_tokens=8, output_tokens=2, prompt_ms=5.0, predicted_ms=4.0, source="final"),
        ),
        (
            RESPONSES,
            [{"type": "response.created", "response": {"usage": None}}, {"type": "response.completed", "response": {"usage": {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 2}}}}],
            Usage(input_tokens=9, cached_tokens=4, output_tokens=5, reasoning_tokens=2, source="final"),
        ),
        (RESPONSES, [{"type": "response.incomplete", "response": {"usage": {"input_tokens": 9, "output_tokens": 5}}}], Usage(input_tokens=9, output_tokens=5, source="final")),
        (RESPONSES, [{"type": "response.failed", "response": {"usage": {"input_tokens": 9}}}], Usage(input_tokens=9, source="final")),
        (RESPONSES, [{"object": "response", "usage": {"input_tokens": 9}}], Usage(input_tokens=9, source="final")),
        (
            MESSAGES,
            [{"type": "message_start", "message": {"usage": {"input_tokens": 3, "cache_read_input_tokens": 2022, "output_tokens": 1}}}, {"type": "message_delta", "usage": {"output_tokens": 10}}],
            Usage(input_tokens=2025, cached_tokens=2022, output_tokens=10, source="final"),
        ),
        (MESSAGES, [{"type": "message_delta", "usage": {"output_tokens": 4}}, {"type": "message_delta", "usage": {"output_tokens": 10, "input_tokens": 6}}], Usage(input_tokens=6, output_tokens=10, source="final")),  # totals, not steps
        (MESSAGES, [{"type": "message_start", "message": {"usage": {"input_tokens": 3}}}], Usage(input_tokens=3, source="running")),
        (
            MESSAGES,
            [{"type": "message", "usage": {"input_tokens": 3, "cache_creation_input_tokens": 30, "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}, "output_tokens": 1}}],
            Usage(input_tokens=33, cache_write_tokens=30, cache_write_1h_tokens=20, output_tokens=1, source="final"),
        ),
        (MESSAGES, [{"usage": {"input_tokens": 1, "ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}}], Usage(input_tokens=31, cache_write_tokens=30, cache_write_1h_tokens=20, source="final")),
        (MESSAGES, [{"type": "ping"}, {"type": "content_block_delta"}], Usage()),
        (
            GEMINI,
            [{"usageMetadata": {"promptTokenCount": 1}}, {"usageMetadata": {"promptTokenCount": 10, "cachedContentTokenCount": 6, "toolUsePromptTokenCount": 2, "candidatesTokenCount": 5, "thoughtsTokenCount": 3}}],
            Usage(input_tokens=12, cached_tokens=6, output_tokens=8, reasoning_tokens=3, source="final"),
        ),
        (GEMINI, [{"candidates": [{"content": {}}], "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5}}], Usage(input_tokens=10, output_tokens=5, source="running")),
        (GEMINI, [{"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 10}}], Usage(input_tokens=10, source="final")),
        (BEDROCK, [{"usage": {"inputTokens": 100, "outputTokens": 10, "totalTokens": 110, "cacheReadInputTokens": 40, "cacheWriteInputTokens": 20}}], Usage(input_tokens=100, cached_tokens=40, cache_write_tokens=20, output_tokens=10, source="final")),  # included
        (BEDROCK, [{"usage": {"inputTokens": 40, "outputTokens": 10, "totalTokens": 110, "cacheReadInputTokens": 40, "cacheWriteInputTokens": 20}}], Usage(input_tokens=100, cached_tokens=40, cache_write_tokens=20, output_tokens=10, source="final")),  # not included
        (BEDROCK, [{"usage": {"inputTokens": 40, "outputTokens": 10, "cacheWriteInputTokens": 20, "cacheDetails": [{"ttl": "5m", "cacheWriteInputTokens": 5}, {"ttl": "1h", "cacheWriteInputTokens": 15}]}}], Usage(input_tokens=60, cache_write_tokens=20, cache_write_1h_tokens=15, output_tokens=10, source="final")),
    ],
)  # fmt: skip
def test_every_api_is_counted_in_its_own_way(api: Api, events: list[Any], usage: Usage) -> None:
    assert read(api, *events) == usage


def test_usage_and_timings_of_one_reply_agree() -> None:
    both = {"usage": {"prompt_tokens": 8, "completion_tokens": 7}, "timings": TIMINGS}
    told, measured = read(CHAT, both), read(CHAT, {"timings": TIMINGS})
    assert (told.input_tokens, told.output_tokens) == (measured.input_tokens, measured.output_tokens)  # fmt: skip


@pytest.mark.parametrize(
    ("known", "deltas", "usage"),
    [
        ([], 0, Usage()),
        ([], 10, Usage(output_tokens=10, source="estimated")),
        ([{"prompt_progress": {"total": 9, "cache": 2}}], 10, Usage(input_tokens=9, cached_tokens=2, output_tokens=10, source="estimated")),
        ([{"usage": {"prompt_tokens": 8, "completion_tokens": 7}}], 10, Usage(input_tokens=8, output_tokens=7, source="final")),
        ([{"timings": {"prompt_n": 8, "predicted_n": 7}}], 10, Usage(input_tokens=8, output_tokens=7, source="timings")),
        ([CHUNK | {"choices": [{"finish_reason": None}], "usage": {"prompt_tokens": 8, "completion_tokens": 12}}], 10, Usage(input_tokens=8, output_tokens=12, source="running")),
    ],
)  # fmt: skip
def test_an_answer_that_was_cut_off_is_estimated(
    known: list[Any], deltas: int, usage: Usage
) -> None:
    assert estimated(read(CHAT, *known), deltas) == usage


def test_a_prompt_that_was_read_for_nothing_counts() -> None:
    told = [{"prompt_progress": {"total": 9, "cache": 2}}]
    final = [{"usage": {"prompt_tokens": 8, "completion_tokens": 7}}]
    for known, deltas, source, prompt, written in (
        ([], 0, "estimated", 50, 0),
        ([], 3, "estimated", 50, 3),
        (told, 0, "estimated", 9, 0),  # its upstream knows better
        (final, 3, "final", 8, 7),
    ):
        usage = estimated(read(CHAT, *known), deltas, 50)
        found = (usage.source, usage.input_tokens, usage.output_tokens)
        assert found == (source, prompt, written)


def test_a_prompt_is_counted_without_its_images() -> None:
    text = b"The quick brown fox jumps over the lazy dog. " * 1000
    image = b"iVBORw0KGgo" * 100_000
    assert prompt_estimate(text) == len(text) // 4
    assert prompt_estimate(b"What is this? " + image) == 8
    assert prompt_estimate("\u4f60\u597d\u4e16\u754c".encode() * 1000) == 3000  # no blanks at all
    assert prompt_estimate(text * 100) == len(text) * 100 // 4  # by its first megabyte
    assert prompt_estimate(b"") == 1


def test_what_anthropic_said_at_the_start_is_no_count_of_the_answer() -> None:
    known = read(MESSAGES, {"type": "message_start", "message": {"usage": {"input_tokens": 3, "output_tokens": 1}}})  # fmt: skip
    assert estimated(known, 10) == Usage(input_tokens=3, output_tokens=10, source="estimated")


@pytest.mark.parametrize(
    ("name", "value", "details", "cached"),
    [
        (b"fireworks-cached-prompt-tokens", b"6", {}, 6),
        (b"fireworks-cached-prompt-tokens", b"6", {"cached_tokens": 4}, 4),  # the body is nearer
        (b"fireworks-cached-prompt-tokens", b"600", {}, 8),
        (b"fireworks-cached-prompt-tokens", b"-6", {}, 0),
        (b"fireworks-cached-prompt-tokens", b"9" * 5000, {}, 0),
        (b"fireworks-prompt-tokens", b"6", {}, 0),
    ],
)
def test_fireworks_tells_of_its_cache_in_the_head(
    name: bytes, value: bytes, details: dict[str, int], cached: int
) -> None:
    told = {"usage": {"prompt_tokens": 8, "prompt_tokens_details": details}}
    known = read_usage(CHAT, told, Usage())
    assert bounded(known, read_cached_field(name, value) or 0) == Usage(
        input_tokens=8, cached_tokens=cached, source="final"
    )


_KEYS = st.sampled_from(
    ["usage", "timings", "message", "response", "type", "message_start", "usageMetadata", "choices", "object", "cacheDetails", "ttl", "input_tokens", "output_tokens", "prompt_tokens", "completion_tokens", "cache_creation", "prompt_n", "cache_n", "totalTokens", "inputTokens", "cacheReadInputTokens", "promptTokenCount", "cachedContentTokenCount", "cache_read_input_tokens"]
)  # fmt: skip
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just("1h"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=15,
)


@given(st.sampled_from(APIS), st.lists(_JSON, max_size=4))
def test_whatever_an_upstream_says_the_counts_make_sense(api: Api, events: list[Any]) -> None:
    usage = read(api, *events)
    assert usage.cached_tokens + usage.cache_write_tokens <= usage.input_tokens
    assert usage.cache_write_1h_tokens <= usage.cache_write_tokens
    assert usage.reasoning_tokens <= usage.output_tokens
    assert usage.draft_accepted <= usage.draft_tokens
    assert min(usage.input_tokens, usage.output_tokens, usage.cached_tokens) >= 0
    assert min(usage.cache_write_tokens, usage.reasoning_tokens, usage.draft_accepted) >= 0
