"""The record of a request -> its spans. Pure.

One span for the request as its client sees it, and below that one for each part of it: the wait for
its turn, the load of its model (with the stages of that), and what its upstream did. The last one
has the id that the upstream was told, so that whatever it says of itself hangs below it, and the
first one hangs below the client's own.

A record has sums: who waited for a turn after the load has begun is shown with all of the waiting
before all of the load.

Sources: OpenTelemetry semantic conventions 1.37 and later, "Semantic conventions for generative
client AI spans" (status: development), and "Semantic conventions for HTTP spans".
"""

from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias
from urllib.parse import unquote

import msgspec
from msgspec import UnsetType

from arriero.protocol.records import Outcome, RequestRecord, UpstreamKind

SpanKind: TypeAlias = Literal["server", "client", "internal"]
Attributes: TypeAlias = dict[str, str | bool | int | float | tuple[str, ...]]

# Well-known values of `gen_ai.provider.name`; what the conventions do not know has its own name.
_PROVIDERS: Final[Mapping[UpstreamKind, str]] = {
    "azure": "azure.ai.openai",
    "gemini": "gcp.gemini",
    "bedrock": "aws.bedrock",
    "unknown": "_OTHER",
}

# Values of `gen_ai.operation.name`, by how paths end.
_OPERATIONS: Final = (
    ("/completions", "text_completion"),  # after that of chats
    ("/completion", "text_completion"),
    ("/infill", "text_completion"),
    ("/api/generate", "text_completion"),
    ("/embeddings", "embeddings"),
    ("/embed", "embeddings"),
    (":embedContent", "embeddings"),
    (":batchEmbedContents", "embeddings"),
    (":generateContent", "generate_content"),
    (":streamGenerateContent", "generate_content"),
)

# Ends that are no mistake of anybody.
_NO_ERRORS: Final[frozenset[Outcome]] = frozenset({"ok", "client_gone", "cancelled"})

# Seconds; 64 bits of nanoseconds last until 2554.
_LAST_S: Final = 1.8e10


class PlannedSpan(msgspec.Struct, frozen=True, kw_only=True):
    """One span, before any library has seen it.

    Attributes:
        trace_id, span_id: As numbers.
        parent_id: 0 without a parent.
        start_ns, end_ns: Unix times.
        error: Why it failed; None if it did not.
    """

    name: str
    kind: SpanKind
    trace_id: int
    span_id: int
    parent_id: int
    start_ns: int
    end_ns: int
    attributes: Attributes
    error: str | None = None


def spans_of(record: RequestRecord, new_id: Callable[[], int]) -> list[PlannedSpan]:
    """Return the spans of a request, the outermost first; none if its trace is not exported.

    Args:
        record: What became of it.
        new_id: Gives the id of a span: any number of 64 bits but 0.
    """
    ids = record.trace
    if isinstance(ids, UnsetType):
        return []
    trace_id = int(ids.trace_id, 16)
    began = _ns(record.t)
    waited = _ns(record.t + record.queue_ms / 1000)
    granted = _ns(record.t + (record.queue_ms + record.load_ms) / 1000)
    ended = max(_ns(record.t + record.duration_ms / 1000), granted)
    whole_id = new_id()
    error = None if record.outcome in _NO_ERRORS else record.error_code or record.outcome
    route = _route(record)

    def part(
        name: str, start_ns: int, end_ns: int, attributes: Attributes, parent_id: int = whole_id
    ) -> PlannedSpan:
        return PlannedSpan(
            name=name,
            kind="internal",
            trace_id=trace_id,
            span_id=new_id(),
            parent_id=parent_id,
            start_ns=start_ns,
            end_ns=end_ns,
            attributes=attributes,
        )

    found = [
        PlannedSpan(
            name=route,
            kind="server",
            trace_id=trace_id,
            span_id=whole_id,
            parent_id=int(ids.parent_id or "0", 16),
            start_ns=began,
            end_ns=ended,
            attributes=_of_request(record, route) | _of_error(error),
            error=error,
        )
    ]
    of_model: Attributes = {"gen_ai.request.model": record.model, "arriero.swap": record.swap}
    waits = []
    if waited > began:
        waits.append(part("queue", began, waited, of_model))
    if granted > waited:
        waits.append(part("load", waited, granted, of_model))
    found += waits
    for stage in record.load_stages or ():
        stage_began = record.t + stage.from_ms / 1000
        stage_ended = stage_began + stage.took_ms / 1000
        middle = _ns((stage_began + stage_ended) / 2)
        for wait in waits:
            if wait.start_ns <= middle < wait.end_ns:
                begin = max(_ns(stage_began), wait.start_ns)
                end = min(_ns(stage_ended), wait.end_ns)
                found.append(part(stage.phase, begin, end, {}, wait.span_id))
    if _has_asked(record):
        model = record.model or record.asked
        operation = _operation(record.path)
        found.append(
            PlannedSpan(
                name=f"{operation} {model}",
                kind="client",
                trace_id=trace_id,
                span_id=int(ids.span_id, 16),
                parent_id=whole_id,
                start_ns=granted,
                end_ns=ended,
                attributes=_of_answer(record, operation, model) | _of_error(error),
                error=error,
            )
        )
    return found


def _ns(unix_s: float) -> int:
    """Return a Unix time as OTLP has it: no other number can be told, whatever a clock shows."""
    return int(min(max(unix_s, 0.0), _LAST_S) * 1e9)


def _route(record: RequestRecord) -> str:
    """Return the path without the model's name: of these there are only so many."""
    path = unquote(record.path)
    return path.replace(record.asked, "{model}") if f"/{record.asked}" in path else path


def _has_asked(record: RequestRecord) -> bool:
    """Whether an upstream was asked at all."""
    return bool(record.swap) or record.upstream_kind != "unknown" or record.ttft_ms is not None


def _operation(path: str) -> str:
    if not path.endswith("chat/completions"):
        for end, operation in _OPERATIONS:
            if path.endswith(end):
                return operation
    return "chat"


def _of_request(record: RequestRecord, route: str) -> Attributes:
    found: Attributes = {
        "http.route": route,
        "url.path": record.path,
        "arriero.request_id": record.request_id,
        "arriero.outcome": record.outcome,
        "arriero.bytes_out": record.bytes_out,
    }
    if record.status:
        found["http.response.status_code"] = record.status
    if record.asked:
        found["arriero.asked"] = record.asked
    return found


def _of_error(error: str | None) -> Attributes:
    return {} if error is None else {"error.type": error}


def _of_answer(record: RequestRecord, operation: str, model: str) -> Attributes:
    found: Attributes = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": _PROVIDERS.get(record.upstream_kind, record.upstream_kind),
        "gen_ai.request.model": model,
        "gen_ai.request.stream": record.stream,
        "arriero.swap": record.swap,
        "arriero.outcome": record.outcome,
    }
    if record.served_as:
        found["gen_ai.response.model"] = record.served_as
    if record.finish_reason:
        found["gen_ai.response.finish_reasons"] = (record.finish_reason,)
    if record.ttft_ms is not None:
        waited_ms = record.queue_ms + record.load_ms
        first_s = max(0.0, record.ttft_ms - waited_ms) / 1000
        found["gen_ai.response.time_to_first_chunk"] = first_s
    if record.usage_source != "none":
        found["gen_ai.usage.input_tokens"] = record.input_tokens
        found["gen_ai.usage.output_tokens"] = record.output_tokens
        found["gen_ai.usage.cache_read.input_tokens"] = record.cached_tokens
        found["gen_ai.usage.cache_creation.input_tokens"] = record.cache_write_tokens
        found["gen_ai.usage.reasoning.output_tokens"] = record.reasoning_tokens
        found["arriero.usage_source"] = record.usage_source
    if record.cost_usd is not None:
        found["arriero.cost_usd"] = float(record.cost_usd)
    return found
