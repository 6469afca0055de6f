"""Queries about records, and what the supervisor is asked."""

import pytest

from arriero.protocol.control.requests import ActivityRequest, RowsRequest, UsageRequest
from arriero.protocol.records import RecordFilter
from arriero.worker.apis.management.activity_query import (
    RecordsAsker,
    activity_request,
    capture_id,
    rows_request,
    unknown_request,
    usage_request,
)
from arriero.worker.apis.management.queries import (
    ActivityQuery,
    QueryShape,
    RowsQuery,
    UsageQuery,
    read_query,
)
from arriero.worker.errors import BadRequest, UnknownRequest

MIDNIGHT = 1_795_910_400.0  # 2026-11-29T00:00:00Z


READER = RecordsAsker(lambda name: {"short": "org/m"}.get(name, name))


def asked(*given: tuple[str, str]) -> ActivityRequest:
    query = read_query(ActivityQuery, given)
    return activity_request(query, query.limit, READER)


def test_everything_can_be_said_and_nothing_has_to_be() -> None:
    assert asked(("unknown", "x")) == ActivityRequest()
    assert asked(
        ("limit", "7"), ("model", "short"), ("model", "b"), ("key", "k"), ("outcome", "timeout"),
        ("status", "4xx"), ("since", "12.5"), ("until", "2026-11-29"), ("before", "9"),
        ("limit", "8"),
    ) == ActivityRequest(
        limit=7,
        where=RecordFilter(
            models=("org/m", "b"), keys=("k",), outcomes=("timeout",), least_status=400,
            most_status=499, since=12.5, until=MIDNIGHT, most_id=8,
        ),
    )  # fmt: skip
    query = read_query(UsageQuery, [("by", "key,day"), ("since", "2026-02-30"), ("model", "short")])
    assert usage_request(query, READER) == UsageRequest(
        by=("day", "key"), since="2026-03-02", models=("org/m",)
    )
    assert usage_request(read_query(UsageQuery, [("by", "")]), READER).by == ()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0", 0.0),
        ("1795910400.25", MIDNIGHT + 0.25),
        ("2026-11-29T01:00:00Z", MIDNIGHT + 3600),
        ("2026-11-29T01:00", MIDNIGHT + 3600),
        ("2026-11-29T01:00:00.5+02:00", MIDNIGHT - 3599.5),
        ("2026-11-29T01:00:00 02:00", MIDNIGHT - 3600),
        ("2026-11-28T22:30:00-01:30", MIDNIGHT),
        ("2026-11-31T00:00:00Z", MIDNIGHT + 2 * 86400),
        ("9999-12-31T23:59:59-23:59", 253_402_387_139.0),
    ],
)
def test_times_are_read(text: str, found: float) -> None:
    assert asked(("since", text)).where.since == found


def test_the_table_has_whole_seconds() -> None:
    query = read_query(RowsQuery, [("start", "5.7"), ("end", "9.2"), ("order", "asc")])
    assert rows_request(query, READER) == RowsRequest(
        where=RecordFilter(since=5, until=9.999_999), descending=False
    )


@pytest.mark.parametrize(
    ("shape", "name", "text", "told"),
    [
        (ActivityQuery, "limit", "1001", "a number from 1 to 1000"),
        (ActivityQuery, "status", "4x", "a status such as 404, or 4xx"),
        (ActivityQuery, "status", "٤٠٤", "a status such as"),
        (ActivityQuery, "since", "yesterday", "a time such as 2026-11-29T18:00:00Z"),
        (ActivityQuery, "until", "2026-13-01", "a time such as"),
        (ActivityQuery, "until", "0000-01-01", "a time such as"),
        (ActivityQuery, "outcome", "fine", "one of cancelled, client_gone, ok"),
        (ActivityQuery, "before", "-1", "a number from 0"),
        (ActivityQuery, "before", "9" * 5000, "a number from 0"),
        (UsageQuery, "by", "day;model", "some of day,model,key"),
        (UsageQuery, "since", "1795910400", "a day of UTC such as 2026-11-29"),
        (RowsQuery, "sort", "id; DROP TABLE requests", "one of cached, drafted"),
        (RowsQuery, "limit", "1000", "a number from 1 to 999"),
        (RowsQuery, "page", "0", "a number from 1"),
    ],
)
def test_nonsense_is_refused_with_what_would_do(
    shape: type[QueryShape], name: str, text: str, told: str
) -> None:
    with pytest.raises(BadRequest, match=rf"'{name}' is {told}"):
        read_query(shape, [(name, text)])


def test_no_more_than_a_hundred_names_are_looked_for() -> None:
    assert len(asked(*[("model", "m")] * 100).where.models) == 100
    with pytest.raises(BadRequest, match="'model' is there 100 times at most"):
        asked(*[("model", "m")] * 101)


def test_a_capture_has_a_number() -> None:
    assert capture_id("12") == 12
    for text in ("", "x", "-1", "1.5", "٣", "9" * 19):
        with pytest.raises(UnknownRequest):
            capture_id(text)


def test_a_long_id_is_not_repeated_whole() -> None:
    assert "'r-1': only" in unknown_request("r-1").message
    assert len(unknown_request("r" * 50_000).message) < 400
