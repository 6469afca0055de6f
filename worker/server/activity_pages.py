"""Pages about what has run: lists, totals, exports, captures. The supervisor has all of it."""

import math
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias, TypeVar

import msgspec
import trio
from msgspec import UNSET
from msgspec.structs import replace

from arriero.protocol.control.base import ControlReply, ControlRequest
from arriero.protocol.control.requests import (
    ActivityReply,
    ActivityRequest,
    CaptureReply,
    CaptureRequest,
    CapturesReply,
    HistoryReply,
    RowsReply,
    SpeedsReply,
    UsageReply,
)
from arriero.protocol.records import (
    CSV_HEAD,
    CaptureEntry,
    NumberedRecord,
    RecordFilter,
    RecordsSpan,
    RequestRecord,
    SpeedHistogram,
    UsageRow,
    csv_line,
    csv_record,
)

from ..apis.management import activity_query as queries
from ..apis.management.activity_query import RecordsAsker, unknown_request
from ..apis.management.answers import (
    ActivityList,
    ActivityPage,
    ActivityRow,
    ActivityStats,
    CapturedExchange,
    CaptureInfo,
    CaptureList,
    HistoryList,
    HistorySpan,
    RowTokens,
    SpeedBins,
    UsageEntry,
    UsageList,
)
from ..apis.management.queries import (
    ActivityQuery,
    CapturesQuery,
    ExportQuery,
    HistoryQuery,
    RowsQuery,
    StatsQuery,
    UsageQuery,
)
from ..errors import Unavailable
from ..relay.context import AsksSupervisor

ExportForm: TypeAlias = Literal["csv", "jsonl"]

_ReplyT = TypeVar("_ReplyT", bound=ControlReply)

# Seconds for an answer; longer than the supervisor itself waits for its store.
_ASK_S: Final = 15.0

# Records of one piece of an export: half a megabyte at most, as a rule a tenth of that.
_PIECE: Final = 500

# Exports of a worker at a time, and seconds for one: each takes the store a few milliseconds for
# every piece that is read.
_MOST_EXPORTS: Final = 4
_EXPORT_S: Final = 3600.0


class ExportCount:
    """How many exports are under way in this worker."""

    def __init__(self) -> None:
        self.count = 0


class ActivityPages:
    """Answers what somebody asks of requests that have ended.

    Args:
        ask: Asks the supervisor.
        exports: Counts exports.
        reader: Who asks.
    """

    def __init__(self, ask: AsksSupervisor, exports: ExportCount, reader: RecordsAsker) -> None:
        self._ask_supervisor = ask
        self._exports = exports
        self._reader = reader

    async def listed(self, query: ActivityQuery) -> ActivityList:
        """Return the last requests.

        Raises:
            RelayError: It is refused, or nobody can be asked.
        """
        asked = queries.activity_request(query, query.limit, self._reader)
        reply = await self._ask(asked, ActivityReply)
        return ActivityList(
            requests=reply.records[::-1], next=UNSET if reply.next is None else reply.next + 1
        )

    async def one(self, request_id: str) -> RequestRecord:
        """Return what became of one request.

        Raises:
            RelayError: It is not known, or nobody can be asked.
        """
        where = RecordFilter(viewer=self._reader.viewer)
        asked = ActivityRequest(request_id=request_id, limit=1, where=where)
        reply = await self._ask(asked, ActivityReply)
        if not reply.records:
            raise unknown_request(request_id)
        return reply.records[0]

    async def exported(self, query: ExportQuery, form: ExportForm) -> AsyncGenerator[bytes, None]:
        """Return all requests that are meant, piece by piece, the newest first.

        Args:
            query: Which.
            form: `csv` or `jsonl`.

        Raises:
            RelayError: As for `listed`; the pieces raise it as well.
        """
        if self._exports.count >= _MOST_EXPORTS:
            raise Unavailable(
                f"cannot export now: {_MOST_EXPORTS} others do", code="too_many_exports"
            )
        limit = query.limit
        asked = queries.activity_request(query, _PIECE, self._reader)
        first = await self._ask(_piece(asked, asked.where.most_id, limit), ActivityReply)
        return self._pieces(asked, limit, first, form)

    async def _pieces(
        self, asked: ActivityRequest, limit: int | None, reply: ActivityReply, form: ExportForm
    ) -> AsyncGenerator[bytes, None]:
        until = trio.current_time() + _EXPORT_S
        write = _csv if form == "csv" else _json_line
        self._exports.count += 1
        try:
            if form == "csv":
                yield csv_line(CSV_HEAD).encode()
            while True:
                if limit is not None:
                    limit -= len(reply.records)
                if reply.records:
                    yield b"".join(map(write, reversed(reply.records)))
                if reply.next is None or limit == 0:
                    return
                if trio.current_time() > until:
                    raise Unavailable("cannot go on with the export: it takes too long")
                reply = await self._ask(_piece(asked, reply.next, limit), ActivityReply)
        finally:
            self._exports.count -= 1

    async def usage(self, query: UsageQuery) -> UsageList:
        """Return what was used.

        Raises:
            RelayError: As for `listed`.
        """
        reply = await self._ask(queries.usage_request(query, self._reader), UsageReply)
        return UsageList(
            rows=tuple(map(_usage_entry, reply.rows)),
            total=_usage_entry(reply.total),
            is_cut=reply.is_cut,
        )

    async def history(self, query: HistoryQuery, now: float) -> HistoryList:
        """Return what requests have come to over time.

        Args:
            query: Which, and when.
            now: Unix time.

        Raises:
            RelayError: As for `listed`.
        """
        asked = queries.history_request(query, now, self._reader)
        reply = await self._ask(asked, HistoryReply)
        return HistoryList(
            since=asked.since,
            until=asked.until,
            step_s=asked.step_s,
            spans=tuple(map(_history_span, reply.spans)),
        )

    # --- in llama-swap's words -----------------------------------------------------------------

    async def rows(self, query: RowsQuery) -> ActivityPage:
        """Return a page of the table.

        Raises:
            RelayError: As for `listed`.
        """
        asked = queries.rows_request(query, self._reader)
        reply = await self._ask(asked, RowsReply)
        return ActivityPage(
            data=tuple(map(_row, reply.rows)),
            page=asked.page,
            limit=asked.limit,
            total=reply.total,
            total_pages=math.ceil(reply.total / asked.limit),
        )

    async def stats(self, query: StatsQuery) -> ActivityStats:
        """Return totals and speeds.

        Raises:
            RelayError: As for `listed`.
        """
        reply = await self._ask(queries.speeds_request(query, self._reader), SpeedsReply)
        return ActivityStats(
            total_requests=reply.requests,
            total_input_tokens=reply.input_tokens,
            total_output_tokens=reply.output_tokens,
            total_cache_tokens=reply.cached_tokens,
            prompt_histogram=_speed_bins(reply.prompt),
            gen_histogram=_speed_bins(reply.output),
        )

    async def captures(self, query: CapturesQuery) -> CaptureList:
        """Return which captures there are.

        Raises:
            RelayError: As for `listed`.
        """
        reply = await self._ask(queries.captures_request(query, self._reader), CapturesReply)
        return CaptureList(
            data=tuple(map(_capture_info, reply.captures)),
            next=UNSET if reply.next is None else reply.next + 1,
        )

    async def capture(self, number: str) -> CapturedExchange:
        """Return one capture.

        Raises:
            RelayError: It is no number, there is no such capture, or nobody can be asked.
        """
        asked = CaptureRequest(id=queries.capture_id(number), caller=self._reader.owner)
        reply = await self._ask(asked, CaptureReply)
        kept = reply.capture
        return CapturedExchange(
            id=reply.id,
            req_path=kept.path,
            req_headers=_first_values(kept.request_fields),
            req_body=kept.request_body,
            resp_headers=_first_values(kept.response_fields),
            resp_body=kept.response_body,
            is_cut=kept.is_cut,
        )

    # --- both ----------------------------------------------------------------------------------

    async def _ask(self, request: ControlRequest, kind: type[_ReplyT]) -> _ReplyT:
        return await self._ask_supervisor(request, kind, within_s=_ASK_S)


def _piece(asked: ActivityRequest, most_id: int | None, limit: int | None) -> ActivityRequest:
    return replace(
        asked,
        limit=_PIECE if limit is None else min(limit, _PIECE),
        where=replace(asked.where, most_id=most_id),
    )


def _csv(record: RequestRecord) -> bytes:
    return csv_record(record).encode()


def _json_line(record: RequestRecord) -> bytes:
    return msgspec.json.encode(record) + b"\n"


def _usage_entry(row: UsageRow) -> UsageEntry:
    return UsageEntry(
        day=UNSET if row.day is None else row.day,
        model=UNSET if row.model is None else row.model,
        key=UNSET if row.key is None else row.key,
        requests=row.requests,
        failed=row.failed,
        input_tokens=row.input_tokens,
        cached_tokens=row.cached_tokens,
        output_tokens=row.output_tokens,
        reasoning_tokens=row.reasoning_tokens,
        cost_usd=f"{row.cost_usd:f}",
        unpriced=row.unpriced,
    )


def _history_span(span: RecordsSpan) -> HistorySpan:
    return HistorySpan(
        t=span.t,
        requests=span.requests,
        failed=span.failed,
        input_tokens=span.input_tokens,
        output_tokens=span.output_tokens,
        cost_usd=f"{span.cost_usd:f}",
        queue_ms=round(span.queue_ms, 1),
        load_ms=round(span.load_ms, 1),
    )


def _row(found: NumberedRecord) -> ActivityRow:
    record = found.record
    known = record.usage_source != "none"
    said = {
        "request_id": record.request_id,
        "outcome": record.outcome,
        "key": record.key,
        "asked": "" if record.asked == record.model else record.asked,
    }
    return ActivityRow(
        id=found.id,
        timestamp=_timestamp(record.t),
        model=record.model,
        req_path=record.path,
        resp_content_type=record.content_type,
        resp_status_code=record.status,
        tokens=RowTokens(
            cache_tokens=record.cached_tokens,
            draft_tokens=record.draft_tokens or (-1 if known else 0),
            draft_acc_tokens=record.draft_accepted if record.draft_tokens else -1 if known else 0,
            input_tokens=record.input_tokens,
            output_tokens=record.output_tokens,
            prompt_per_second=record.prompt_per_s or (-1.0 if known else 0.0),
            tokens_per_second=record.output_per_s or (-1.0 if known else 0.0),
        ),
        duration_ms=round(record.duration_ms),
        has_capture=found.has_capture,
        error_msg=UNSET if record.outcome == "ok" else record.error_code or record.outcome,
        metadata={name: text for name, text in said.items() if text},
    )


def _speed_bins(found: SpeedHistogram | None) -> SpeedBins | None:
    if found is None:
        return None
    return SpeedBins(
        bins=found.bins,
        min=found.least,
        max=found.most,
        bin_size=found.bin_size,
        p50=found.p50,
        p95=found.p95,
        p99=found.p99,
    )


def _capture_info(entry: CaptureEntry) -> CaptureInfo:
    record = entry.record
    return CaptureInfo(
        id=entry.id,
        timestamp=_timestamp(record.t),
        request_id=record.request_id,
        model=record.model,
        req_path=record.path,
        resp_status_code=record.status,
        size_bytes=entry.size_bytes,
    )


def _timestamp(unix_time: float) -> str:
    try:
        return datetime.fromtimestamp(int(unix_time), UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError):
        return ""


def _first_values(fields: tuple[tuple[str, str], ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in fields:
        found.setdefault(name, value)
    return found
