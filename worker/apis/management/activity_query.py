"""Queries -> what the supervisor is asked of records. Pure."""

import math
import re
from collections.abc import Callable
from datetime import date
from typing import Final, NamedTuple, get_args

from arriero.protocol.control.requests import (
    ActivityRequest,
    CapturesRequest,
    HistoryRequest,
    RowsRequest,
    SpeedsRequest,
    UsageKey,
    UsageRequest,
)
from arriero.protocol.records import RecordFilter, Viewer

from ...errors import UnknownRequest
from .queries import CapturesQuery, ExportQuery, HistoryQuery, RowsQuery, StatsQuery, UsageQuery


class RecordsAsker(NamedTuple):
    """Who asks for records.

    Attributes:
        id_of: Gives the id of the model that a name stands for; of an unknown one the name itself.
        viewer: What he may see; None: all.
        owner: Whose captures he may see; None: anybody's.
    """

    id_of: Callable[[str], str]
    viewer: Viewer | None = None
    owner: str | None = None


_KEYS: Final[tuple[UsageKey, ...]] = get_args(UsageKey)
_NUMBER: Final = re.compile(r"\d{1,18}", re.ASCII)
_SHOWN: Final = 60

# Characters of the id of a request that an error repeats: none that we give or take is longer.
_LONGEST_ID: Final = 256

# Time and zone; a plus is a blank in a query, unless it is escaped.
_CLOCK: Final = re.compile(r"([\d:.]+)(?:Z|([ +-])([\d:]+))?", re.ASCII)

_DAY_S: Final = 86400

# Spans of time that are told where nobody says how long they are; and at the most. The last
# moment of which they are told. Source of these: `HistoryRequest`.
_USUAL_SPANS: Final = 48
_MOST_SPANS: Final = 1000
_LAST_MOMENT: Final = 1e11
_EPOCH: Final = date(1970, 1, 1).toordinal()


def activity_request(query: ExportQuery, limit: int, reader: RecordsAsker) -> ActivityRequest:
    """Return what is asked for a list of requests, of which `limit` are wanted now."""
    return ActivityRequest(limit=limit, where=_records_meant(query, reader))


def history_request(query: HistoryQuery, now: float, reader: RecordsAsker) -> HistoryRequest:
    """Return what is asked for totals over time: none, where the time ends before it begins."""
    until = _told_of(_moment(query.until), now)
    since = _told_of(_moment(query.since), until - _DAY_S)
    until = max(since, until)
    step = query.step or max(1, math.ceil((until - since) / _USUAL_SPANS))
    step = max(step, math.ceil((until - since) / _MOST_SPANS))
    where = _records_meant(query, reader)
    return HistoryRequest(since=since, until=until, step_s=step, where=where)


def _told_of(moment: float | None, usual: float) -> float:
    """Return `moment`, or `usual` without one, as near as totals are told of it."""
    return min(max(0.0, usual if moment is None else moment), _LAST_MOMENT)


def _records_meant(query: ExportQuery, reader: RecordsAsker) -> RecordFilter:
    least, most = _statuses(query.status)
    return RecordFilter(
        models=tuple(map(reader.id_of, query.model)),
        keys=query.key,
        outcomes=query.outcome,
        least_status=least,
        most_status=most,
        since=_moment(query.since),
        until=_moment(query.until),
        most_id=_before(query.before),
        text=query.id,
        viewer=reader.viewer,
    )


def rows_request(query: RowsQuery, reader: RecordsAsker) -> RowsRequest:
    """Return what is asked for a page of the table."""
    since, until = _moment(query.start), _moment(query.end)
    where = RecordFilter(
        models=tuple(map(reader.id_of, query.model)),
        # times of that table are whole seconds, and both ends belong to it
        since=None if since is None else math.floor(since),
        until=None if until is None else math.floor(until) + 0.999_999,
        least_id=query.min_id,
        most_id=query.max_id,
        viewer=reader.viewer,
    )
    return RowsRequest(
        where=where,
        sort=query.sort,
        descending=query.order == "desc",
        page=query.page,
        limit=query.limit,
    )


def speeds_request(query: StatsQuery, reader: RecordsAsker) -> SpeedsRequest:
    """Return what is asked for totals and speeds."""
    return SpeedsRequest(
        where=RecordFilter(models=tuple(map(reader.id_of, query.model)), viewer=reader.viewer)
    )


def usage_request(query: UsageQuery, reader: RecordsAsker) -> UsageRequest:
    """Return what is asked for totals by day, model and key."""
    named = query.by.split(",")
    return UsageRequest(
        by=tuple(key for key in _KEYS if key in named),
        since=_day(query.since),
        until=_day(query.until),
        models=tuple(map(reader.id_of, query.model)),
        keys=query.key,
        viewer=reader.viewer,
    )


def captures_request(query: CapturesQuery, reader: RecordsAsker) -> CapturesRequest:
    """Return what is asked for a list of captures."""
    return CapturesRequest(
        limit=query.limit,
        most_id=_before(query.before),
        caller=reader.owner,
        request_id=query.request,
    )


def unknown_request(request_id: str) -> UnknownRequest:
    """Return the error that nobody knows of a request; of a long id it tells the beginning."""
    shown = request_id[:_LONGEST_ID]
    return UnknownRequest(f"cannot find a request '{shown}': only the last ones are kept")


def capture_id(text: str) -> int:
    """Return the number of a capture.

    Raises:
        UnknownRequest: It is none.
    """
    if _NUMBER.fullmatch(text) is None:
        raise UnknownRequest(f"cannot find a capture {text[:_SHOWN]!r}: they have numbers")
    return int(text)


def _before(number: int | None) -> int | None:
    return None if number is None else number - 1


def _statuses(text: str | None) -> tuple[int, int | None]:
    if text is None:
        return 0, None
    if text.endswith("xx"):
        return int(text[0]) * 100, int(text[0]) * 100 + 99
    return int(text), int(text)


def _ordinal(day: str) -> int:
    """Return the number of a day; one that its month does not have is of the next month."""
    return date(int(day[:4]), int(day[5:7]), 1).toordinal() + int(day[8:10]) - 1


def _day(text: str | None) -> str | None:
    return None if text is None else date.fromordinal(_ordinal(text)).isoformat()


def _moment(text: str | None) -> float | None:
    """Return a `Moment` as Unix time. Without a zone it is one of UTC."""
    if text is None:
        return None
    day, _, clock = text.partition("T")
    if "-" not in day:
        return float(text)
    found = float((_ordinal(day) - _EPOCH) * _DAY_S)
    if not clock:
        return found
    parts = _CLOCK.fullmatch(clock)
    if parts is None:  # which a `Moment` is not
        return found
    time, sign, zone = parts.groups()
    found += _seconds(time)
    return found if sign is None else found - _seconds(zone) * (-1 if sign == "-" else 1)


def _seconds(clock: str) -> float:
    units = (3600, 60, 1)
    return sum(float(part) * unit for part, unit in zip(clock.split(":"), units, strict=False))
