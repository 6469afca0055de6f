"""Questions about records, and their answers.

Each is one or a few statements that do the work within SQLite; what comes out is bounded.
"""
# ruff: noqa: S608  names of columns are our own, and all else is a parameter

import math
import re
import sqlite3
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Final, get_args

from arriero.protocol.control.base import Refusal
from arriero.protocol.control.messages import AnyReply
from arriero.protocol.control.requests import (
    ActivityReply,
    ActivityRequest,
    CaptureReply,
    CaptureRequest,
    CapturesReply,
    CapturesRequest,
    HistoryReply,
    HistoryRequest,
    RowsReply,
    RowsRequest,
    SpeedsReply,
    SpeedsRequest,
    UsageKey,
    UsageReply,
    UsageRequest,
)
from arriero.protocol.records import (
    CaptureEntry,
    NumberedRecord,
    RecordFilter,
    RecordsSpan,
    RequestRecord,
    SpeedHistogram,
    UsageRow,
)
from arriero.protocol.values import ErrorInfo

from .captures import unpacked
from .columns import COLUMNS, SUMS, Cell, cost_of, record_of
from .conditions import MAX_NAMES, SORTED_BY, condition_of, has_too_many_names

# Most records of one answer: with the longest texts that are kept of each (400 characters) it is a
# tenth of the longest message.
MAX_RECORDS: Final = 1000

# Most rows of totals in one answer.
MAX_TOTALS: Final = 10_000

# The greatest number that SQLite takes, and pages that anybody looks at.
_MAX_ID: Final = 2**63 - 1
_MAX_PAGE: Final = 10**9

# Most spans of time in one answer, and the latest moment that is asked for.
_MAX_SPANS: Final = 1000
_LAST_MOMENT: Final = 1e11

# The parts of a histogram; llama-swap's.
_LEAST_BINS: Final = 5
_MOST_BINS: Final = 20

# Speeds that are sorted, the newest ones: a quarter of a second.
_MOST_SPEEDS: Final = 50_000

_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_EPOCH: Final = date(1970, 1, 1)

_SELECT: Final = f"SELECT id, {','.join(COLUMNS)} FROM requests"
_SELECT_ROWS: Final = (
    f"SELECT id, EXISTS(SELECT 1 FROM captures AS c WHERE c.id = requests.id), "
    f"{','.join(COLUMNS)} FROM requests"
)

_GROUPS: Final = get_args(UsageKey)


def activity(
    database: sqlite3.Connection, asked: ActivityRequest, seq: int
) -> ActivityReply | Refusal:
    """Return the last records, the oldest first.

    Args:
        database: Where they are.
        asked: Which.
        seq: See `ActivityReply`.
    """
    if (refusal := _refusal(asked.limit, asked.where)) is not None:
        return refusal
    if asked.request_id is not None:
        condition = condition_of(asked.where, asked.request_id)
        limit = 1
    else:
        condition = condition_of(asked.where)
        limit = asked.limit
    rows = database.execute(
        f"{_SELECT} WHERE {condition.sql} ORDER BY id DESC LIMIT ?",
        (*condition.values, limit),
    ).fetchall()
    records = tuple(record for row in reversed(rows) if (record := record_of(row[1:])) is not None)
    more = rows[-1][0] - 1 if len(rows) == limit and asked.request_id is None else None
    return ActivityReply(records=records, seq=seq, next=more)


def all_records(database: sqlite3.Connection) -> list[RequestRecord]:
    """Return all records, the oldest first; for the few that were kept in memory."""
    found = database.execute(f"{_SELECT} ORDER BY id")
    return [record for row in found if (record := record_of(row[1:])) is not None]


def rows(database: sqlite3.Connection, asked: RowsRequest) -> RowsReply | Refusal:
    """Return a page of the table."""
    if (refusal := _refusal(asked.limit, asked.where)) is not None:
        return refusal
    if not 1 <= asked.page <= _MAX_PAGE:
        return _bad_request(f"cannot give page {str(asked.page)[:40]}: the first is 1")
    condition = condition_of(asked.where)
    order = "DESC" if asked.descending else "ASC"
    by = f"{SORTED_BY[asked.sort]} {order}, id {order}"
    (total,) = database.execute(
        f"SELECT COUNT(*) FROM requests WHERE {condition.sql}",
        condition.values,
    ).fetchone()
    found = database.execute(
        f"{_SELECT_ROWS} WHERE id IN (SELECT id FROM requests WHERE {condition.sql} "
        f"ORDER BY {by} LIMIT ? OFFSET ?) ORDER BY {by}",
        (*condition.values, asked.limit, (asked.page - 1) * asked.limit),
    )
    return RowsReply(
        rows=tuple(
            NumberedRecord(id=number, has_capture=bool(captured), record=record)
            for number, captured, *cells in found
            if (record := record_of(cells)) is not None
        ),
        total=total,
    )


def speeds(database: sqlite3.Connection, asked: SpeedsRequest) -> SpeedsReply | Refusal:
    """Return totals and speeds."""
    if (refusal := _refusal(1, asked.where)) is not None:
        return refusal
    condition = condition_of(asked.where)
    sums = database.execute(
        "SELECT COUNT(*), IFNULL(SUM(MIN(input_tokens, 1 << 40)), 0), "
        "IFNULL(SUM(MIN(output_tokens, 1 << 40)), 0), "
        f"IFNULL(SUM(MIN(cached_tokens, 1 << 40)), 0) FROM requests WHERE {condition.sql}",
        condition.values,
    ).fetchone()
    # What is looked at several times is a small table in memory.
    database.execute("DROP TABLE IF EXISTS temp.speeds")
    database.execute(
        "CREATE TEMP TABLE speeds AS SELECT prompt_per_s AS prompt, output_per_s AS output "
        f"FROM requests WHERE {condition.sql} ORDER BY id DESC LIMIT ?",
        (*condition.values, _MOST_SPEEDS),
    )
    try:
        return SpeedsReply(
            requests=sums[0],
            input_tokens=sums[1],
            output_tokens=sums[2],
            cached_tokens=sums[3],
            prompt=_histogram(database, "prompt"),
            output=_histogram(database, "output"),
        )
    finally:
        database.execute("DROP TABLE temp.speeds")


def _histogram(database: sqlite3.Connection, column: str) -> SpeedHistogram | None:
    """Return how the positive values of `column` are distributed; None if there are none."""
    database.execute(f"CREATE INDEX temp.by_{column} ON speeds({column}) WHERE {column} > 0")
    of = f"FROM temp.speeds INDEXED BY by_{column} WHERE {column} > 0"
    count, least, most = database.execute(
        f"SELECT COUNT(*), MIN({column}), MAX({column}) {of}"
    ).fetchone()
    if not count:
        return None
    size = 0.0
    edges: list[float] = []
    if most > least:
        parts = min(max(math.ceil(math.log2(count)) + 1, _LEAST_BINS), _MOST_BINS)
        size = (most - least) / parts
        edges = [least + size * number for number in range(1, parts)]
    below = [
        database.execute(f"SELECT COUNT(*) {of} AND {column} < ?", (edge,)).fetchone()[0]
        for edge in edges
    ]

    def at(place: int) -> float:
        (found,) = database.execute(
            f"SELECT {column} {of} ORDER BY {column} LIMIT 1 OFFSET ?", (place,)
        ).fetchone()
        return float(found)

    def percentile(share: float) -> float:
        """Return what is there in the order, or between two by their distance."""
        place = (int(count) - 1) * share
        under, over = at(int(place)), at(math.ceil(place))
        return under + (over - under) * (place - int(place))

    return SpeedHistogram(
        bins=tuple(end - begin for begin, end in pairwise([0, *below, count])),
        least=least,
        most=most,
        bin_size=size,
        p50=percentile(0.5),
        p95=percentile(0.95),
        p99=percentile(0.99),
    )


def usage(database: sqlite3.Connection, asked: UsageRequest) -> UsageReply | Refusal:
    """Return what was used."""
    where = RecordFilter(models=asked.models, keys=asked.keys, viewer=asked.viewer)
    if (refusal := _refusal(1, where)) is not None:
        return refusal
    names = condition_of(where, of_totals=True)
    parts, values = [names.sql], list(names.values)
    for sign, day in ((">=", asked.since), ("<=", asked.until)):
        if day is not None:
            number = _day_number(day)
            if number is None:
                return _bad_request(f"cannot read the day {day[:40]!r}: write 2026-11-29")
            parts.append(f"day {sign} ?")
            values.append(number)
    groups = [key for key in _GROUPS if key in asked.by]
    found = database.execute(
        f"SELECT {', '.join([*groups, *(f'SUM({name})' for name in SUMS)])} FROM usage "
        f"WHERE {' AND '.join(parts)} "
        + (f"GROUP BY {', '.join(groups)} " if groups else "HAVING COUNT(*) ")
        + (f"ORDER BY {', '.join(_order(groups))} " if groups else "")
        + "LIMIT ?",
        (*values, MAX_TOTALS + 1),
    ).fetchall()
    rows = tuple(_usage_row(groups, row) for row in found[:MAX_TOTALS])
    return UsageReply(rows=rows, total=total_of(rows), is_cut=len(found) > MAX_TOTALS)


def _order(groups: Sequence[str]) -> list[str]:
    return [f"{name} DESC" if name == "day" else name for name in groups]


def _usage_row(groups: Sequence[str], row: tuple[Cell, ...]) -> UsageRow:
    told = dict(zip((*groups, *SUMS), row, strict=True))

    def number(name: str) -> int:
        found = told[name]
        return int(found) if isinstance(found, int | float) else 0

    return UsageRow(
        day=_day_text(number("day")) if "day" in told else None,
        model=str(told["model"]) if "model" in told else None,
        key=str(told["key"]) if "key" in told else None,
        requests=number("requests"),
        failed=number("failed"),
        input_tokens=number("input_tokens"),
        cached_tokens=number("cached_tokens"),
        output_tokens=number("output_tokens"),
        reasoning_tokens=number("reasoning_tokens"),
        cost_usd=cost_of(told["nano_usd"]),
        unpriced=number("unpriced"),
    )


def total_of(rows: tuple[UsageRow, ...]) -> UsageRow:
    """Return all `rows` together."""
    return UsageRow(
        requests=sum(row.requests for row in rows),
        failed=sum(row.failed for row in rows),
        input_tokens=sum(row.input_tokens for row in rows),
        cached_tokens=sum(row.cached_tokens for row in rows),
        output_tokens=sum(row.output_tokens for row in rows),
        reasoning_tokens=sum(row.reasoning_tokens for row in rows),
        cost_usd=sum((row.cost_usd for row in rows), Decimal(0)).normalize() + 0,
        unpriced=sum(row.unpriced for row in rows),
    )


def _day_number(day: str) -> int | None:
    try:
        return (date.fromisoformat(day) - _EPOCH).days if _DAY.fullmatch(day) else None
    except ValueError:
        return None


def _day_text(number: int) -> str:
    try:
        return (_EPOCH + timedelta(days=number)).isoformat()
    except OverflowError:
        return ""


def history(database: sqlite3.Connection, asked: HistoryRequest) -> HistoryReply | Refusal:
    """Return what requests have come to over time."""
    if (refusal := _refusal(1, asked.where)) is not None:
        return refusal
    if not 0 <= asked.since <= asked.until <= _LAST_MOMENT:
        return _bad_request("cannot tell of such a time: it has to begin before it ends")
    if not (asked.until - asked.since) / _MAX_SPANS <= asked.step_s <= _LAST_MOMENT:
        return _bad_request(
            f"cannot tell of more than {_MAX_SPANS} spans at once: ask for longer ones"
        )
    step = max(1, asked.step_s)
    condition = condition_of(asked.where)
    counts = ("MIN(MAX(input_tokens, 0), 1 << 40)", "MIN(MAX(output_tokens, 0), 1 << 40)")
    found = database.execute(
        f"SELECT CAST(t / ? AS INTEGER) AS span, COUNT(*), SUM(outcome <> 'ok'), "
        f"{', '.join(f'SUM({count})' for count in counts)}, "
        f"TOTAL(ROUND(MIN(IFNULL(cost_usd, 0) * 1000000000, 1 << 50))), "
        f"TOTAL(queue_ms), TOTAL(load_ms) FROM requests "
        f"WHERE {condition.sql} AND t >= ? AND t < ? GROUP BY span ORDER BY span LIMIT ?",
        (step, *condition.values, asked.since, asked.until, _MAX_SPANS + 1),
    )
    return HistoryReply(
        spans=tuple(
            RecordsSpan(
                t=float(span * step),
                requests=requests,
                failed=failed or 0,
                input_tokens=taken or 0,
                output_tokens=given or 0,
                cost_usd=cost_of(nano_usd),
                queue_ms=queue_ms,
                load_ms=load_ms,
            )
            for span, requests, failed, taken, given, nano_usd, queue_ms, load_ms in found
        )
    )


def captures(database: sqlite3.Connection, asked: CapturesRequest) -> CapturesReply | Refusal:
    """Return which captures there are, the newest first."""
    where = RecordFilter(most_id=asked.most_id)
    if (refusal := _refusal(asked.limit, where)) is not None:
        return refusal
    found = database.execute(
        f"SELECT c.id, c.size, {','.join(f'r.{name}' for name in COLUMNS)} "
        "FROM captures AS c JOIN requests AS r ON r.id = c.id "
        "WHERE c.id <= ? AND (? IS NULL OR c.caller = ?) AND (? IS NULL OR r.request_id = ?) "
        "ORDER BY c.id DESC LIMIT ?",
        (
            _MAX_ID if asked.most_id is None else asked.most_id,
            asked.caller,
            asked.caller,
            asked.request_id,
            asked.request_id,
            asked.limit,
        ),
    ).fetchall()
    return CapturesReply(
        captures=tuple(
            CaptureEntry(id=number, size_bytes=size, record=record)
            for number, size, *cells in found
            if (record := record_of(cells)) is not None
        ),
        next=found[-1][0] - 1 if len(found) == asked.limit else None,
    )


def capture(database: sqlite3.Connection, asked: CaptureRequest) -> CaptureReply | Refusal:
    """Return what was captured of one request."""
    found = None
    if 0 <= asked.id <= _MAX_ID:
        found = database.execute(
            "SELECT data FROM captures WHERE id = ? AND (? IS NULL OR caller = ?)",
            (asked.id, asked.caller, asked.caller),
        ).fetchone()
    kept = None if found is None else unpacked(found[0])
    if kept is None:
        return refused("unknown_capture", f"there is no capture {str(asked.id)[:40]}")
    return CaptureReply(id=asked.id, capture=kept)


# --- refusals ------------------------------------------------------------------------------------


def within(
    answer: Callable[[sqlite3.Connection], AnyReply], database: sqlite3.Connection
) -> AnyReply:
    """Return an answer; a refusal if it would take too long.

    Raises:
        sqlite3.Error: The database cannot be read.
    """
    try:
        return answer(database)
    except sqlite3.Error as exc:
        if getattr(exc, "sqlite_errorcode", None) != sqlite3.SQLITE_INTERRUPT:
            raise
        return refused("query_too_long", "this takes too long: ask for less, or a shorter time")


def _refusal(limit: int, where: RecordFilter) -> Refusal | None:
    """Return why this is not asked; None if it can be."""
    if not 1 <= limit <= MAX_RECORDS:
        return _bad_request(f"cannot give {str(limit)[:40]} requests: ask for 1 to {MAX_RECORDS}")
    if has_too_many_names(where):
        return _bad_request(f"cannot look for more than {MAX_NAMES} names at once")
    numbers = (where.least_status, where.most_status, where.least_id, where.most_id)
    if any(abs(number or 0) > _MAX_ID for number in numbers):
        return _bad_request("cannot look for a number of more than 63 bits")
    return None


def _bad_request(message: str) -> Refusal:
    return refused("bad_request", message)


def refused(code: str, message: str) -> Refusal:
    """Return a refusal."""
    return Refusal(error=ErrorInfo(code=code, message=message))
