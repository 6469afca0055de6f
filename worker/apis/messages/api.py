"""Anthropic's Messages: routes, the end of a stream, usage, stop reasons.

Source: Anthropic's API reference.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
from msgspec.structs import replace

from arriero.protocol.read_json import JsonReader
from arriero.protocol.records import FinishReason, UpstreamKind

from ...errors import RelayError
from ...http.route_declaration import asks, unversioned
from ...streams.stream_end import end_of_named
from ..base.api import Api, piece_members
from ..base.dialect import Dialect, Mode, StreamContext
from ..base.members import count_in, mapping_in, text_in
from ..base.usage import Usage
from .dialect import MessagesDialect, error_object


class _Thinking(msgspec.Struct):
    type: str | None = None


class _ThinkingMember(msgspec.Struct):
    thinking: _Thinking | None = None


_thinking_member = JsonReader(_ThinkingMember)


class AnthropicApi(Api):
    """The common part of Anthropic's APIs; streams excepted."""

    family = "anthropic"
    hints = (b'"usage"', b'"stop_reason"', b'"error"')
    pieces = piece_members(b'"text"', b'"thinking"', b'"partial_json"')
    finish_words: ClassVar[Mapping[str, FinishReason]] = {
        "end_turn": "stop",
        "stop_sequence": "stop",
        "pause_turn": "stop",
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "tool_use": "tool",
        "refusal": "content_filter",
    }

    def dialect(self, context: StreamContext) -> Dialect:
        """Return pings, or a block of thinking."""
        merges = context.mode == "reasoning"
        return MessagesDialect(merges=merges, model=context.model, ident=context.ident)

    def error_body(self, error: RelayError) -> bytes:
        """Return Anthropic's error object."""
        return msgspec.json.encode(error_object(error))

    def read_usage(self, value: dict[str, Any], known: Usage) -> Usage:
        """Read ``message_start``, ``message_delta`` or a whole message.

        A delta holds totals so far, of those counts that it names: they replace the earlier ones.
        """
        usage = mapping_in(mapping_in(value, "message"), "usage") or mapping_in(value, "usage")
        if not usage:
            return known
        fresh = known.input_tokens - known.cached_tokens - known.cache_write_tokens
        fresh = count_in(usage, "input_tokens", fresh)
        cached = count_in(usage, "cache_read_input_tokens", known.cached_tokens)
        written = count_in(usage, "cache_creation_input_tokens", known.cache_write_tokens)
        hour = known.cache_write_1h_tokens
        for place in (usage, mapping_in(usage, "cache_creation")):
            hour = count_in(place, "ephemeral_1h_input_tokens", hour)
            short = count_in(place, "ephemeral_5m_input_tokens", -1)
            if short >= 0 and "cache_creation_input_tokens" not in usage:
                written = short + hour
        return replace(
            known,
            input_tokens=fresh + cached + written,
            cached_tokens=cached,
            cache_write_tokens=written,
            cache_write_1h_tokens=min(hour, written),
            output_tokens=count_in(usage, "output_tokens", known.output_tokens),
            source="running" if value.get("type") == "message_start" else "final",
        )

    def finish_word(self, value: dict[str, Any]) -> str | None:
        """Return the stop reason of a ``message_delta`` or message."""
        return text_in(mapping_in(value, "delta"), "stop_reason") or text_in(value, "stop_reason")


class MessagesApi(AnthropicApi):
    """Messages."""

    routes = unversioned(asks("/v1/messages", "Go on with a conversation."))
    error_prefixes = (b"/v1/messages/",)
    target = stream_target = "/v1/messages"
    stream_end = end_of_named(rb"message_stop")
    modes: ClassVar[frozenset[Mode]] = frozenset({"comment", "heartbeat", "reasoning"})

    def is_spoken_in(self, body: Mapping[str, Any], kind: UpstreamKind) -> bool:
        """Whether messages go to Anthropic, or have ``system`` beside them."""
        return "messages" in body and (kind == "anthropic" or "system" in body)

    def wants_thinking(self, body: bytes) -> bool:
        """Whether a request wants blocks of thinking (`enabled`, `adaptive`)."""
        found = _thinking_member.find(body)  # None: of a shape that only the upstream can judge
        thinking = found.thinking if found is not None else None
        return thinking is not None and thinking.type not in (None, "disabled")


class CountTokensApi(AnthropicApi):
    """Counting the tokens of a request; never a stream."""

    routes = unversioned(asks("/v1/messages/count_tokens", "Count the tokens of a conversation."))
