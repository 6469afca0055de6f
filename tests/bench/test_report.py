"""What is shown follows from what was measured."""

import pytest

from .load import Load
from .report import Added, Row, Samples, added_latency, goals, row_of


def row(requests: float, p50: float, streams: float) -> Row:
    return Row(
        requests_per_s=requests,
        p50_ms=p50,
        p99_ms=2 * p50,
        streams_per_s=streams,
        cpu_request_us=None,
        cpu_chunk_us=None,
        errors=0,
    )


def load(per_s: float, errors: int = 0) -> Load:
    return Load(requests=1, per_s=per_s, p50_ms=per_s / 10, p99_ms=per_s, errors=errors)


def test_a_row_is_the_median_of_the_rounds_and_the_sum_of_their_errors() -> None:
    samples = Samples(
        small=[load(3), load(9, errors=1), load(4)],
        single=[load(1), load(2), load(9)],
        stream=[load(7, errors=2)],
        cpu_request_us=[50.0, 60.0],
    )

    assert row_of(samples) == Row(
        requests_per_s=4,
        p50_ms=0.2,
        p99_ms=2,
        streams_per_s=7,
        cpu_request_us=55.0,
        cpu_chunk_us=None,
        errors=3,
    )


@pytest.mark.parametrize(
    ("ours", "lateness_ms", "met"),
    [
        (row(2500, 0.2, 100), [25.0], [True, True, True, True]),
        (row(2499, 0.201, 99), [1.0, 25.1, 26.0], [False, False, False, False]),
    ],
)
def test_each_promise_is_met_at_its_limit_and_missed_beyond_it(
    ours: Row, lateness_ms: list[float], met: list[bool]
) -> None:
    rows = {"nginx x2": row(10_000, 0.1, 100), "arriero x2": ours}

    assert [goal.met for goal in goals(rows, lateness_ms)] == met


def test_what_was_not_measured_is_not_compared() -> None:
    assert goals({"direct": row(1, 1, 1), "arriero x2": row(1, 1, 1)}, []) == []


def test_added_latency_is_against_nothing_and_against_as_many_nginx_workers() -> None:
    rows = {
        "direct": row(1, 0.25, 1),
        "nginx x1": row(1, 0.5, 1),
        "nginx x2": row(1, 9.0, 1),
        "arriero x1": row(1, 1.0, 1),
    }

    assert added_latency(rows) == [
        Added(target="arriero x1", against="direct", p50_ms=0.75, p99_ms=1.5),
        Added(target="arriero x1", against="nginx x1", p50_ms=0.5, p99_ms=1.0),
    ]
