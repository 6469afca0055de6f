"""OpenAI's Responses: routes, the end of a stream, usage, finish reasons.

Source: OpenAI's API reference.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from msgspec.structs import replace

from arriero.protocol.records import FinishReason, UpstreamKind

from ...errors import RelayError
from ...http.route_declaration import RouteDeclaration, asks, unversioned
from ...streams.stream_end import end_of_named
from ..base.api import Api, piece_members
from ..base.dialect import Dialect, Mode, StreamContext
from ..base.members import count_in, list_in, mapping_in, text_in
from ..base.usage import Usage, with_measures
from ..chat.dialect import error_body
from .dialect import ResponsesDialect

# Items of a response that the client has to act upon.
_CALLS: Final = ("function_call", "custom_tool_call", "local_shell_call")


class ResponsesApi(Api):
    """Responses."""

    family = "responses"
    routes = (
        *unversioned(asks("/v1/responses", "Make a response.")),
        RouteDeclaration(
            path="/v1/responses/{response}",
            summary="A response that its server keeps: read it, or delete it.",
            methods=("GET", "DELETE"),
            access="infer",
            named_in="query",
            starts=False,
        ),
        RouteDeclaration(
            path="/v1/responses/{response}/cancel",
            summary="End a response that is made in the background.",
            access="infer",
            named_in="query",
            starts=False,
        ),
        RouteDeclaration(
            path="/v1/responses/{response}/input_items",
            summary="What a response that its server keeps was made from.",
            methods=("GET",),
            access="infer",
            named_in="query",
            starts=False,
        ),
    )
    target = stream_target = "/v1/responses"
    stream_end = end_of_named(rb"response\.(?:completed|incomplete|failed)")
    modes: ClassVar[frozenset[Mode]] = frozenset({"comment", "heartbeat", "reasoning"})
    hints = (
        b'"usage"',
        b'"response.completed"',
        b'"response.incomplete"',
        b'"response.failed"',
        b'"error"',
    )
    pieces = piece_members(b'"delta"')
    finish_words: ClassVar[Mapping[str, FinishReason]] = {
        "completed": "stop",
        "tool": "tool",  # our own word: it ends like any other response
        "max_output_tokens": "length",
        "content_filter": "content_filter",
    }

    def is_spoken_in(self, body: Mapping[str, Any], kind: UpstreamKind) -> bool:
        """Whether there is an input in the place of messages."""
        return "input" in body and "messages" not in body

    def dialect(self, context: StreamContext) -> Dialect:
        """Return lifecycle events, and an item of reasoning."""
        return ResponsesDialect(
            context.mode,
            model=context.model,
            ident=context.ident,
            created=context.created,
            body=context.body,
        )

    def error_body(self, error: RelayError) -> bytes:
        """Return OpenAI's error object."""
        return error_body(error)

    def read_usage(self, value: dict[str, Any], known: Usage) -> Usage:
        """Read one of the last events, or a whole response.

        In a stream the object of the response is within the event, and only the last events have it
        complete: completed, incomplete and failed alike.
        """
        response = mapping_in(value, "response")
        usage = mapping_in(response, "usage") or mapping_in(value, "usage")
        if not usage:
            return known
        details = mapping_in(usage, "output_tokens_details")
        found = replace(
            known,
            input_tokens=count_in(usage, "input_tokens"),
            cached_tokens=count_in(mapping_in(usage, "input_tokens_details"), "cached_tokens"),
            output_tokens=count_in(usage, "output_tokens"),
            reasoning_tokens=count_in(details, "reasoning_tokens"),
            source="final",
        )
        # llama-server has its timings beside the response, vLLM its metrics within
        return with_measures(response, with_measures(value, found))

    def finish_word(self, value: dict[str, Any]) -> str | None:
        """Return the status, or the reason why it is incomplete."""
        response = mapping_in(value, "response") or value
        status = text_in(response, "status")
        if status == "incomplete":
            return text_in(mapping_in(response, "incomplete_details"), "reason") or status
        if status == "completed":
            items = list_in(response, "output")
            called = any(isinstance(it, dict) and it.get("type") in _CALLS for it in items)
            return "tool" if called else status
        return status if status in ("failed", "cancelled") else None
