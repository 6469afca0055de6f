"""Amazon Bedrock's Converse, for peers only; its streams are binary.

Source: Amazon Bedrock API reference, "Converse", "ConverseStream" and "Common errors".
"""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec
from msgspec.structs import replace

from arriero.protocol.records import FinishReason, UpstreamKind

from ..errors import RelayError
from ..http.cors import Field
from ..http.route_declaration import JSON, RouteDeclaration
from ..streams.aws_event_stream import event_message, exception_message
from ..streams.stream_end import StreamEnd
from .base.api import Api, NamedPath, piece_members
from .base.dialect import Dialect, SilentDialect, StreamContext
from .base.members import count_in, list_in, mapping_in, text_in
from .base.usage import Usage

# Told by a header, in which 7 stands for text and two bytes for its length: JSON, which may follow
# in the payload, has no such bytes.
_END: Final = re.compile(
    rb":event-type\x07\x00\x0bmessageStop|:message-type\x07(?:\x00\x09exception|\x00\x05error)"
)

# The service's exceptions by HTTP status.
_EXCEPTIONS: Final[Mapping[int, str]] = {
    400: "ValidationException",
    401: "AccessDeniedException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    413: "ValidationException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
    504: "ModelTimeoutException",
}


class BedrockDialect(SilentDialect):
    """The end of a stream."""

    def failure(self, error: RelayError, sent_so_far: bytes = b"") -> bytes:
        """Return an exception; nothing that is open needs an end."""
        return exception_message(error.message)

    def interrupted(self, sent_so_far: bytes, usage: Usage, *, asked_usage: bool = False) -> bytes:
        """Return the message that ends the response."""
        if _END.search(sent_so_far):
            return b""
        return event_message("messageStop", {"stopReason": "end_turn"})


class BedrockApi(Api):
    """Conversations."""

    family = "bedrock"
    routes = (
        RouteDeclaration(
            path="/model/{model...}/converse",
            summary="Go on with a conversation.",
            access="infer",
            named_in="path",
            request=JSON,
        ),
        RouteDeclaration(
            path="/model/{model...}/converse-stream",
            summary="Go on with a conversation, as a stream.",
            access="infer",
            named_in="path",
            request=JSON,
            response="application/vnd.amazon.eventstream",
        ),
    )
    named_path = NamedPath(
        re.compile(rb"(/model/)(.+)(/converse(-stream)?)", re.DOTALL), b"-stream"
    )
    target = "/model/{}/converse"
    stream_target = "/model/{}/converse-stream"
    stream_end = StreamEnd(_END.search)
    hints = (b'"usage"', b'"stopReason"')
    pieces = piece_members(b'"text"', b'"input"')
    finish_words: ClassVar[Mapping[str, FinishReason]] = {
        "end_turn": "stop",
        "stop_sequence": "stop",
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "tool_use": "tool",
        "guardrail_intervened": "content_filter",
        "content_filtered": "content_filter",
    }

    def is_spoken_in(self, body: Mapping[str, Any], kind: UpstreamKind) -> bool:
        """Whether messages go to Bedrock."""
        return "messages" in body and kind == "bedrock"

    def dialect(self, context: StreamContext) -> Dialect:
        """Return the end of a stream."""
        return BedrockDialect()

    def error_body(self, error: RelayError) -> bytes:
        """Return the object that the service sends."""
        return msgspec.json.encode({"message": error.message})

    def error_fields(self, error: RelayError) -> tuple[Field, ...]:
        """Return the field with the name of the exception."""
        name = _EXCEPTIONS.get(error.status)
        if name is None:
            name = "ValidationException" if 400 <= error.status < 500 else "InternalServerException"
        return ((b"x-amzn-ErrorType", name.encode()),)

    def read_usage(self, value: dict[str, Any], known: Usage) -> Usage:
        """Read the ``metadata`` message, or a whole response.

        Whether ``inputTokens`` has the cached ones in it is said in two ways by Amazon's documents;
        the total of each response tells which is meant. In doubt it has not.
        """
        usage = mapping_in(value, "usage")
        if not usage:
            return known
        fresh = count_in(usage, "inputTokens")
        output = count_in(usage, "outputTokens")
        cached = count_in(usage, "cacheReadInputTokens")
        written = count_in(usage, "cacheWriteInputTokens")
        total = count_in(usage, "totalTokens", -1)
        is_included = total >= 0 and total - output == fresh and cached + written <= fresh
        hour = sum(
            count_in(entry, "cacheWriteInputTokens")
            for entry in list_in(usage, "cacheDetails")
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

    def finish_word(self, value: dict[str, Any]) -> str | None:
        """Return the stop reason."""
        return text_in(value, "stopReason")
