"""Requests of clients: those that run, records of those that have ended, totals."""

from typing import Literal, TypeAlias

from ..records import (
    ALL_RECORDS,
    CaptureEntry,
    KeptCapture,
    NumberedRecord,
    RecordFilter,
    RecordsSpan,
    RequestRecord,
    SpeedHistogram,
    UsageRow,
    Viewer,
)
from .base import ControlReply, ControlRequest

SortColumn: TypeAlias = Literal[
    "id",
    "time",
    "model",
    "req_path",
    "resp_status_code",
    "resp_content_type",
    "cached",
    "prompt",
    "generated",
    "drafted",
    "prompt_speed",
    "gen_speed",
    "duration",
]
"""What the table of records can be sorted by, in llama-swap's words."""


UsageKey: TypeAlias = Literal["day", "model", "key"]
"""What totals can be told apart by."""


class CancelRequest(ControlRequest, frozen=True, kw_only=True, tag="cancel"):
    """End a running request of any caller.

    Attributes:
        request_id: Its id, as in ``X-Request-Id``.
    """

    request_id: str


class CancelReply(ControlReply, frozen=True, kw_only=True):
    """The request ends now, or had ended before."""

    request_id: str
    result: Literal["cancelled", "finished"]


class PreviewRequest(ControlRequest, frozen=True, kw_only=True, tag="preview"):
    """Say what would go upstream for a request of a client, with the configuration in force.

    Attributes:
        body: Of that request: JSON.
        path: Its path.
        headers: Fields of its head, names and values.
    """

    body: str
    path: str = "/v1/chat/completions"
    headers: tuple[tuple[str, str], ...] = ()


class PreviewReply(ControlReply, frozen=True, kw_only=True):
    """What would go upstream.

    Attributes:
        model: Id of the model that would answer; of a selector its first target.
        path: Path and query that it would be asked with.
        body: What it would be sent, but for what the kind of its server adds.
        changed: That is another body than the client's.
    """

    model: str
    path: str
    body: str
    changed: bool


class ActivityRequest(ControlRequest, frozen=True, kw_only=True, tag="activity"):
    """The records of the last requests.

    Attributes:
        limit: How many at the most, 1 to 1,000.
        request_id: Only the newest one with this id; None for all.
        where: Which of all records are meant.
    """

    limit: int = 100
    request_id: str | None = None
    where: RecordFilter = ALL_RECORDS


class ActivityReply(ControlReply, frozen=True, kw_only=True):
    """The records, oldest first.

    Attributes:
        records: Of requests that have ended.
        seq: Number of the last `usage` event that is contained in them, as in `LogsReply`; 0 when
            there was none.
        next: Give this as `most_id` for those before them; None if there are none.
    """

    records: tuple[RequestRecord, ...]
    seq: int = 0
    next: int | None = None


class RowsRequest(ControlRequest, frozen=True, kw_only=True, tag="rows"):
    """A page of the table of records.

    Attributes:
        where: Which of all records are meant.
        sort: The column by which they are sorted; see `SortColumn`.
        descending: The greatest first.
        page: Number of the page, from 1.
        limit: Records of a page, 1 to 1,000.
    """

    where: RecordFilter = ALL_RECORDS
    sort: SortColumn = "id"
    descending: bool = True
    page: int = 1
    limit: int = 25


class RowsReply(ControlReply, frozen=True, kw_only=True):
    """The page, in its order.

    Attributes:
        rows: Its records.
        total: How many there are on all pages.
    """

    rows: tuple[NumberedRecord, ...]
    total: int


class SpeedsRequest(ControlRequest, frozen=True, kw_only=True, tag="speeds"):
    """Totals of records, and how fast prompts and answers were.

    Attributes:
        where: Which of all records are meant.
    """

    where: RecordFilter = ALL_RECORDS


class SpeedsReply(ControlReply, frozen=True, kw_only=True):
    """Totals of records, and their speeds.

    Attributes:
        requests: How many records.
        input_tokens, output_tokens, cached_tokens: Of all of them.
        prompt: Speeds at which prompts were read, of the last 50,000; None if none is known.
        output: Speeds at which answers were written, likewise.
    """

    requests: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    prompt: SpeedHistogram | None = None
    output: SpeedHistogram | None = None


class UsageRequest(ControlRequest, frozen=True, kw_only=True, tag="usage"):
    """What requests have used: totals, which outlive the records that they were made from.

    Attributes:
        by: What has a row of its own.
        since, until: Days of UTC, such as ``2026-11-29``, both included; None: all.
        models: Ids of models; none: all.
        keys: Names of keys; none: all.
        viewer: See `RecordFilter`.
    """

    by: tuple[UsageKey, ...] = ("day", "model", "key")
    since: str | None = None
    until: str | None = None
    models: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    viewer: Viewer | None = None


class UsageReply(ControlReply, frozen=True, kw_only=True):
    """What requests have used.

    Attributes:
        rows: The newest day first, then by model and key.
        total: All rows together.
        is_cut: There are more rows, which are not in the total; ask for less.
    """

    rows: tuple[UsageRow, ...]
    total: UsageRow
    is_cut: bool = False


class HistoryRequest(ControlRequest, frozen=True, kw_only=True, tag="history"):
    """What requests have come to over time: totals for each span of `step_s`.

    Attributes:
        since, until: Unix times, the first included.
        step_s: Whole seconds; there are 1,000 spans at the most. Spans begin at multiples of it.
        where: Which records; its own times count as well.
    """

    since: float
    until: float
    step_s: int
    where: RecordFilter = ALL_RECORDS


class HistoryReply(ControlReply, frozen=True, kw_only=True):
    """Totals over time.

    Attributes:
        spans: Those in which requests came, the oldest first.
    """

    spans: tuple[RecordsSpan, ...]


class CapturesRequest(ControlRequest, frozen=True, kw_only=True, tag="captures"):
    """The last captures, without what was captured.

    Attributes:
        limit: How many at the most, 1 to 1,000.
        most_id: Only those up to this number; None for all.
        caller: Only those of this client, as in `RawCapture`; None for all.
        request_id: Only that of this request; None for all.
    """

    limit: int = 100
    most_id: int | None = None
    caller: str | None = None
    request_id: str | None = None


class CapturesReply(ControlReply, frozen=True, kw_only=True):
    """The captures, the newest first.

    Attributes:
        captures: Without what was captured.
        next: As in `ActivityReply`.
    """

    captures: tuple[CaptureEntry, ...]
    next: int | None = None


class CaptureRequest(ControlRequest, frozen=True, kw_only=True, tag="capture"):
    """What was captured of one request.

    Attributes:
        id: Number of its record.
        caller: As in `CapturesRequest`: that of another client is not there.
    """

    id: int
    caller: str | None = None


class CaptureReply(ControlReply, frozen=True, kw_only=True):
    """What was captured of one request.

    Attributes:
        id: Number of its record.
        capture: All of it; bodies are in Base64.
    """

    id: int
    capture: KeptCapture
