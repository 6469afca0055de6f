# ruff: noqa: E501  one event, one line
from typing import Any

import pytest

from arriero.worker.apis.base.api import Api
from arriero.worker.apis.routes import BEDROCK, CHAT, GEMINI, MESSAGES, RESPONSES


@pytest.mark.parametrize(
    ("api", "line", "pieces"),
    [
        (CHAT, b'{"delta":{"content":"a"}}', 1),
        (CHAT, b'{"delta": {"content": "a"}}', 1),
        (CHAT, b'{"delta":{"content":""}}', 0),
        (CHAT, b'{"delta":{"role":"assistant","content":null}}', 0),
        (CHAT, b'{"delta":{"reasoning_content":"a","reasoning":"a"}}', 1),  # one token
        (CHAT, b'{"delta":{"tool_calls":[{"index":0,"function":{"arguments":""}}]}}', 1),
        (CHAT, b'{"delta":{"tool_calls":[]}}', 0),
        (CHAT, b'{"choices":[{"text":"a"}]}', 1),
        (CHAT, b'{"content":"a","stop":false}', 1),
        (CHAT, b'{"delta":{"content":""},"note":"\\"content\\":\\"a\\""}', 0),
        (CHAT, b'{"delta":{"content":"a"},"type":"content"}', 1),
        (CHAT, b'{"delta":{"content":"a\\"content\\""}}', 1),
        (MESSAGES, b'{"delta":{"type":"thinking_delta","thinking":"a"}}', 1),
        (MESSAGES, b'{"delta":{"type":"input_json_delta","partial_json":"{"}}', 1),
        (MESSAGES, b'{"delta":{"type":"signature_delta","signature":"a"}}', 0),
        (CHAT, b'{"choices":[{"delta":{"content":"a"}},{"delta":{"content":"b"}}]}', 2),
        (CHAT, b'{"delta":{"content":"a","tool_calls":[{"index":0}]}}', 1),
        (GEMINI, b'{"candidates":[{"content":{"parts":[{"text": "a"},{"text": "b"}]}}]}', 2),
        (GEMINI, b'{"parts":[{"functionCall":{"name":"f"}}]}', 1),
        (BEDROCK, b'{"delta":{"text":"a"}}', 1),
        (BEDROCK, b'{"delta":{"toolUse":{"input":"{"}}}', 1),
        (BEDROCK, b'{"role":"assistant"}', 0),
    ],
)
def test_a_piece_counts_as_a_token(api: Api, line: bytes, pieces: int) -> None:
    assert api.count_pieces(b"data: %b\n\n" % line) == pieces
    assert api.count_pieces(b"data: %b\r\n\r\n: x\r\n\r\n" % line * 3) == 3 * pieces


@pytest.mark.parametrize(
    ("api", "value", "finish"),
    [
        *((CHAT, {"choices": [{"finish_reason": word}]}, meant) for word, meant in [
            ("stop", "stop"), ("length", "length"), ("tool_calls", "tool"), ("function_call", "tool"),
            ("content_filter", "content_filter"), ("abort", "other"), (None, None), (3, None)]),
        (CHAT, {"choices": [{"finish_reason": "length"}, {"finish_reason": None}]}, "length"),
        *((CHAT, {"stop_type": word}, meant) for word, meant in [
            ("eos", "stop"), ("word", "stop"), ("limit", "length"), ("none", None)]),
        (RESPONSES, {"response": {"status": "completed", "output": [{"type": "message"}]}}, "stop"),
        (RESPONSES, {"status": "completed", "output": [{"type": "reasoning"}, {"type": "function_call"}]}, "tool"),
        (RESPONSES, {"response": {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}}, "content_filter"),
        (RESPONSES, {"response": {"status": "incomplete"}}, "other"),
        (RESPONSES, {"response": {"status": "failed"}}, "other"),
        (RESPONSES, {"response": {"status": "in_progress"}}, None),
        *((MESSAGES, {"delta": {"stop_reason": word}}, meant) for word, meant in [
            ("end_turn", "stop"), ("stop_sequence", "stop"), ("pause_turn", "stop"), ("max_tokens", "length"),
            ("model_context_window_exceeded", "length"), ("tool_use", "tool"), ("refusal", "content_filter"), (None, None)]),
        (MESSAGES, {"type": "message", "stop_reason": "tool_use"}, "tool"),
        *((GEMINI, {"candidates": [{"finishReason": word}]}, meant) for word, meant in [
            ("STOP", "stop"), ("MAX_TOKENS", "length"), ("SAFETY", "content_filter"), ("RECITATION", "content_filter"),
            ("SPII", "content_filter"), ("MALFORMED_FUNCTION_CALL", "other")]),
        (GEMINI, {"promptFeedback": {"blockReason": "OTHER"}}, "content_filter"),
        *((BEDROCK, {"stopReason": word}, meant) for word, meant in [
            ("end_turn", "stop"), ("tool_use", "tool"), ("max_tokens", "length"), ("stop_sequence", "stop"),
            ("guardrail_intervened", "content_filter"), ("content_filtered", "content_filter")]),
    ],
)  # fmt: skip
def test_finish_words_are_mapped(api: Api, value: dict[str, Any], finish: str | None) -> None:
    assert api.finish_reason(value) == finish


@pytest.mark.parametrize(
    ("api", "value", "model"),
    [
        (CHAT, {"model": "m"}, "m"),
        (RESPONSES, {"response": {"model": "m"}}, "m"),
        (MESSAGES, {"message": {"model": "m"}}, "m"),
        (GEMINI, {"modelVersion": "m", "model": "x"}, "m"),
        (CHAT, {"model": 3}, None),
        (CHAT, {"model": "m" * 900}, "m" * 300),
        (BEDROCK, {}, None),
    ],
)
def test_a_response_names_its_model(api: Api, value: dict[str, Any], model: str | None) -> None:
    assert api.model_name(value) == model


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}, "503"),
        ({"error": {"message": "no", "type": "server_error", "code": None}}, "server_error"),
        ({"type": "error", "error": {"type": "overloaded_error"}}, "overloaded_error"),
        ({"type": "error", "code": "upstream_timeout", "message": "x"}, "upstream_timeout"),
        (
            {"type": "response.failed", "response": {"error": {"code": "server_error"}}},
            "server_error",
        ),
        ({"error": {"status": "UNAVAILABLE"}}, "UNAVAILABLE"),
        ({"error": "out of memory"}, "upstream_error"),
        ({"error": None, "response": {"error": None}}, None),
        ({"choices": []}, None),
    ],
)
def test_an_error_within_a_response_is_known(value: dict[str, Any], code: str | None) -> None:
    assert CHAT.error_code(value) == code
