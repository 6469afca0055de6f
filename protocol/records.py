"""Accounting of requests: prices, one record for each request, and what is asked of these.

A worker makes one `RequestRecord` at the end of every request, whatever the end was. Amounts of
money are US dollars as `Decimal`; in JSON they are strings, so that no reader rounds them.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Final, Literal, TypeAlias

from msgspec import UNSET, UnsetType

from .errors import LocalProtocolError
from .values import MessageValue, Phase

Outcome: TypeAlias = Literal[
    "ok",  # the whole answer went out, and the model's server was content with it
    "upstream_error",  # the model, or its server, failed or answered with an error
    "client_gone",  # the client closed its connection before it had the whole response
    "cancelled",  # ended on request
    "timeout",  # something took too long
    "rejected",  # refused before the model's server had seen it
]


RequestPhase: TypeAlias = Literal["queue", "load", "prompt", "answer"]
"""What a running request waits for: its turn, its model, the first token; or it is answered."""


class InflightRequest(MessageValue, frozen=True, kw_only=True):
    """A request that runs.

    Attributes:
        id: As in ``X-Request-Id``.
        t: Unix time at which it came.
        model: Id of its model, or as it was asked for.
        path: Without its query.
        method: Upper-case.
        peer: Address of its client.
        request_fields, response_fields: Of the heads, the first ones, without secrets.
        bytes_out: Of its answer, so far.
        phase: How far it is.
        output_tokens: Written so far, as far as that is known.
        ttft_ms: From its arrival to the first token; None before it.
    """

    id: str
    t: float
    model: str
    path: str
    method: str
    peer: str
    request_fields: dict[str, str]
    response_fields: dict[str, str]
    bytes_out: int
    phase: RequestPhase = "prompt"
    output_tokens: int = 0
    ttft_ms: float | None = None


FinishReason: TypeAlias = Literal["stop", "length", "tool", "content_filter", "other"]
"""Why a model stopped, in one language for all APIs."""

UsageSource: TypeAlias = Literal["final", "running", "timings", "estimated", "none"]
"""Where the counts come from: the end of the response; a count that was still rising;
llama-server's measurements; our own counting of what came; nowhere."""

UpstreamKind: TypeAlias = Literal[
    "llama-server", "vllm", "openai", "anthropic", "azure", "gemini", "bedrock", "unknown"
]
"""The upstream's program or service. Configured or probed, never guessed from a model's name."""


# Between these a product with any number of tokens is a number that can be written.
LEAST_USD: Final = Decimal("1e-18")
MAX_USD: Final = Decimal(1_000_000)


class Prices(MessageValue, frozen=True, kw_only=True):
    """Prices of one model, in US dollars per million tokens.

    None means "not known", never 0.

    Attributes:
        input: Tokens of the prompt.
        output: Generated tokens.
        cache_read: Tokens of the prompt that came from a cache; as `input` if not known.
        cache_write: Tokens that were written to a cache; as `input` if not known.
        cache_write_1h: The same for an hour; as `cache_write` if not known.
        reasoning: Generated tokens that are reasoning; as `output` if not known.
        markup: Everything is multiplied by this.
    """

    input: Decimal | None = None
    output: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None
    reasoning: Decimal | None = None
    markup: Decimal = Decimal(1)

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            price = getattr(self, name)
            if price is not None and not _makes_sense(price):
                raise LocalProtocolError(f"cannot take {price} as the price '{name}'")


def _makes_sense(price: Decimal) -> bool:
    return price.is_finite() and (price == 0 or LEAST_USD <= price <= MAX_USD)


class TraceIds(MessageValue, frozen=True, kw_only=True, omit_defaults=True):
    """What a trace of the W3C calls a request, in hexadecimal digits.

    Attributes:
        trace_id: Of the trace: 32.
        span_id: As its upstream knows it: 16.
        parent_id: As its client does: 16; empty if that has no trace.
    """

    trace_id: str
    span_id: str
    parent_id: str = ""


class LoadStage(MessageValue, frozen=True, kw_only=True):
    """For how long a request waited while its model was in one phase of a start.

    Attributes:
        phase: Which.
        from_ms: From the request's arrival to its beginning.
        took_ms: From there to its end.
    """

    phase: Phase
    from_ms: float
    took_ms: float


class RequestRecord(MessageValue, frozen=True):
    """The record of one request that has ended.

    Times that end in ``_ms`` are milliseconds.

    Attributes:
        request_id: The same as in ``X-Request-Id``.
        t: Unix time at which it came.
        path: Its path, without the query.
        asked: The model's name as the client wrote it; empty if it named none.
        model: The id of the model that it meant; empty if there is none.
        served_as: The model's name in the answer.
        upstream_kind: Of the server that responded.
        api: The client's API.
        stream: It wanted a stream.
        status: HTTP status that the client got, or would have got; 0 if it got none.
        outcome: How it ended.
        finish_reason: Why the model stopped.
        input_tokens: All of the prompt, with what was cached or written to a cache.
        cached_tokens: Of these: read from a cache.
        cache_write_tokens: Of these: written to a cache.
        output_tokens: All that was generated, with reasoning.
        reasoning_tokens: Of these: reasoning.
        draft_tokens: Tokens of a draft model.
        draft_accepted: Of these: right.
        usage_source: Of these counts.
        cost_usd: Its cost; None if a price is not known.
        duration_ms: From its arrival to its end.
        queue_ms: It waited for its turn.
        load_ms: It waited for its model to load.
        ttft_ms: From its arrival to the first token of the response.
        prompt_ms: The model read the prompt; as reported, else as seen from here.
        gen_ms: The model wrote the response; as reported, else as seen from here.
        prompt_per_s: Tokens of the prompt per second, without cached ones.
        output_per_s: Generated tokens per second.
        bytes_out: Bytes of the response's body that were sent.
        heartbeats: Keep-alives that were sent meanwhile.
        error_code: The error, as clients see it.
        swap: Number of the start of the process that answered; 0 if none here did.
        content_type: Media type of the response, as its server said it; empty if none answered.
        trace: Its trace, if that is exported.
        load_stages: Stages of the load for which it waited, in order; the supervisor adds them.
        key: Name of the key that was shown; empty without keys. See `plain_key_name`.
    """

    request_id: str
    t: float
    path: str
    asked: str
    model: str
    api: str
    stream: bool
    status: int
    outcome: Outcome
    duration_ms: float
    served_as: str | None = None
    upstream_kind: UpstreamKind = "unknown"
    finish_reason: FinishReason | None = None
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    draft_tokens: int = 0
    draft_accepted: int = 0
    usage_source: UsageSource = "none"
    cost_usd: Decimal | None = None
    queue_ms: float = 0.0
    load_ms: float = 0.0
    ttft_ms: float | None = None
    prompt_ms: float | None = None
    gen_ms: float | None = None
    prompt_per_s: float | None = None
    output_per_s: float | None = None
    bytes_out: int = 0
    heartbeats: int = 0
    error_code: str | None = None
    swap: int = 0
    content_type: str = ""
    trace: TraceIds | UnsetType = UNSET
    load_stages: tuple[LoadStage, ...] | UnsetType = UNSET
    key: str = ""


class Viewer(MessageValue, frozen=True, kw_only=True):
    """Somebody who may see some records only: his own, and those of models that he may use.

    Attributes:
        key: Name of his key.
        models: Ids of the models.
    """

    key: str
    models: tuple[str, ...]


class RecordFilter(MessageValue, frozen=True, kw_only=True, omit_defaults=True):
    """Which records are meant: those to which all of this applies.

    Attributes:
        models: Ids of models, one of which it is; none: any. Of what was refused before it had a
            model, the name that it asked for. Likewise:
        keys: Names of keys, as in `RequestRecord`.
        outcomes: How it ended.
        least_status, most_status: Its status.
        since, until: Unix times between which it came, both included.
        least_id, most_id: Its number in the store, both included.
        text: Is in its id.
        viewer: Who asks, and may not see all; None: whoever may.
    """

    models: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    least_status: int = 0
    most_status: int | None = None
    since: float | None = None
    until: float | None = None
    least_id: int | None = None
    most_id: int | None = None
    text: str = ""
    viewer: Viewer | None = None


ALL_RECORDS: Final = RecordFilter()


class NumberedRecord(MessageValue, frozen=True, kw_only=True):
    """A record and its number in the store.

    Attributes:
        id: Its number, which rises.
        record: The record.
        has_capture: Its request and response are kept as well.
    """

    id: int
    record: RequestRecord
    has_capture: bool = False


class UsageRow(MessageValue, frozen=True, kw_only=True):
    """What requests have used together: those of one model, key and day, or of several.

    Attributes:
        day: Of UTC, such as ``2026-11-29``; None: of several.
        model: Id of the model, which is empty for requests that had none; None: of several.
        key: As in `RequestRecord`; None: of several.
        requests: How many.
        failed: How many of them did not end well.
        input_tokens, cached_tokens, output_tokens, reasoning_tokens: See `RequestRecord`.
        cost_usd: Of those whose prices are known, to a billionth.
        unpriced: How many have no known cost.
    """

    day: str | None = None
    model: str | None = None
    key: str | None = None
    requests: int = 0
    failed: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    unpriced: int = 0


class RecordsSpan(MessageValue, frozen=True, kw_only=True):
    """What the requests of a span of time have come to.

    Attributes:
        t: Unix time at which it begins.
        requests: How many came in it.
        failed: How many of them did not end well.
        input_tokens, output_tokens: See `RequestRecord`.
        cost_usd: Of those whose prices are known, to a billionth.
        queue_ms, load_ms: For how long all of them together waited.
    """

    t: float
    requests: int
    failed: int
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal
    queue_ms: float
    load_ms: float


class SpeedHistogram(MessageValue, frozen=True, kw_only=True):
    """How a speed in tokens per second is distributed over requests.

    Attributes:
        bins: How many are in each of the equal parts from `least` to `most`.
        least, most: The slowest and the fastest one.
        bin_size: Width of a part; 0 if all are alike.
        p50, p95, p99: So many percent are not faster.
    """

    bins: tuple[int, ...]
    least: float
    most: float
    bin_size: float
    p50: float
    p95: float
    p99: float


class RawCapture(MessageValue, frozen=True, kw_only=True):
    """A request and the response to it, as a worker has them; see `KeptCapture`.

    Attributes:
        request_id, path: See `RequestRecord`.
        caller: Whose it is: stands for the client's key; empty without keys.
        request_fields: Of the head, without secrets.
        request_body: The beginning of it.
        response: Head and body as they were sent, the beginning of them.
        most_bytes: So much of each body is kept.
        is_cut: There was more of one of them.
    """

    request_id: str
    path: str
    caller: str
    request_fields: tuple[tuple[str, str], ...]
    request_body: bytes
    response: bytes
    most_bytes: int
    is_cut: bool


class KeptCapture(MessageValue, frozen=True, kw_only=True):
    """A request and the response to it, without secrets.

    Attributes:
        path: See `RequestRecord`.
        request_fields: Of the head, lower-case names.
        request_body: As it came, and went through filters; empty for a form.
        response_fields: Of the head.
        response_body: As it was sent, without the framing of HTTP; empty unless it is text.
        is_cut: There was more of one of the bodies than is kept.
    """

    path: str
    request_fields: tuple[tuple[str, str], ...] = ()
    request_body: bytes = b""
    response_fields: tuple[tuple[str, str], ...] = ()
    response_body: bytes = b""
    is_cut: bool = False


class CaptureEntry(MessageValue, frozen=True, kw_only=True):
    """A capture in a list.

    Attributes:
        id: Number of its record.
        size_bytes: What it takes in the store.
        record: The record.
    """

    id: int
    size_bytes: int
    record: RequestRecord


# --- records as CSV ------------------------------------------------------------------------------

# Not what has parts of its own.
CSV_HEAD: Final = tuple(
    name for name in RequestRecord.__struct_fields__ if name not in {"trace", "load_stages"}
)

# A spreadsheet takes a cell that begins so for a formula, whoever wrote it: clients choose ids and
# names. Source: OWASP, "CSV Injection".
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def csv_line(cells: Iterable[object]) -> str:
    """Return a line of CSV (RFC 4180), in which no text is a formula.

    Args:
        cells: Texts, numbers; None is empty.
    """
    return f"{','.join(map(_csv_cell, cells))}\r\n"


def csv_record(record: RequestRecord) -> str:
    """Return the line of one record, in the order of `CSV_HEAD`."""
    return csv_line(getattr(record, name) for name in CSV_HEAD)


def _csv_cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return f"{value:f}" if isinstance(value, Decimal) else str(value)
    if value.startswith(_FORMULA):
        value = f"'{value}"
    if any(mark in value for mark in '",\r\n'):
        value = '"{}"'.format(value.replace('"', '""'))
    return value
