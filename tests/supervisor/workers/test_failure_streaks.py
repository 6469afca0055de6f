"""Which rows of failures make a model start again."""

import pytest
from msgspec.structs import replace

from arriero.protocol.records import Outcome, RequestRecord
from arriero.supervisor.workers.failure_streaks import FAILURES, FailureStreaks, StreakBroken
from tests.records import RECORD


def record(
    status: int, outcome: Outcome | None = None, code: str | None = None, *, stream: bool = False
) -> RequestRecord:
    return replace(
        RECORD,
        stream=stream,
        status=status,
        outcome=outcome or ("ok" if status < 400 else "upstream_error"),
        error_code=code or (None if status < 400 else f"http_{status}"),
    )


GOOD, BAD = record(200), record(500)


def verdicts(rows: FailureStreaks, *records: RequestRecord, swap: int = 1) -> list[StreakBroken]:
    return [found for one in records if (found := rows.take(one, swap)) is not None]


def test_a_row_of_failures_is_a_verdict_once() -> None:
    rows = FailureStreaks()
    assert verdicts(rows, *[BAD] * (FAILURES - 1)) == []
    assert verdicts(rows, BAD) == [StreakBroken(FAILURES, 0, was_well=False)]
    assert verdicts(rows, BAD) == []


def test_one_good_answer_ends_the_row() -> None:
    rows = FailureStreaks()
    assert verdicts(rows, *([BAD] * (FAILURES - 1) + [GOOD]) * 10) == []


def test_what_was_well_before_is_known() -> None:
    assert verdicts(FailureStreaks(), GOOD, *[BAD] * FAILURES) == [
        StreakBroken(FAILURES, 0, was_well=True)
    ]


def test_each_time_that_it_does_not_help_the_row_has_to_be_longer() -> None:
    rows = FailureStreaks()
    lengths = []
    for swap in range(1, 10):
        for number in range(1, 1000):
            if rows.take(BAD, swap) is not None:
                lengths.append(number)
                break
    assert lengths == [5, 10, 20, 40, 80, 160, 160, 160, 160]
    rows.take(GOOD, 10)
    assert verdicts(rows, *[BAD] * FAILURES, swap=10) == [StreakBroken(FAILURES, 0, was_well=True)]


@pytest.mark.parametrize(
    "other",
    [
        *(record(status) for status in (400, 401, 404, 429, 501, 503, 507)),
        record(500, code="model_load_failed"),
        record(502, code="upstream_disconnected"),
        record(504, "timeout", "upstream_timeout"),
        record(504, "timeout", "upstream_hung"),
        record(200, "upstream_error", "400", stream=True),
        record(200, "client_gone"),
    ],
)
def test_what_says_nothing_of_the_server_neither_counts_nor_ends_a_row(
    other: RequestRecord,
) -> None:
    assert verdicts(FailureStreaks(), *[other] * 100) == []
    rows = FailureStreaks()
    assert len(verdicts(rows, *[BAD, other] * FAILURES)) == 1


@pytest.mark.parametrize("code", ["500", "http_500", "http_502"])
def test_a_stream_that_was_begun_early_counts(code: str) -> None:
    late = record(200, "upstream_error", code, stream=True)
    assert len(verdicts(FailureStreaks(), *[late] * FAILURES)) == 1


def test_a_new_process_begins_a_new_row() -> None:
    rows = FailureStreaks()
    verdicts(rows, *[BAD] * (FAILURES - 1), swap=1)
    assert verdicts(rows, BAD, swap=2) == []
