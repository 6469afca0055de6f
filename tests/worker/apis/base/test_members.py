"""Members of foreign JSON: of the expected type, or a default."""

from typing import Any

import pytest

from arriero.worker.apis.base.members import (
    MAX_COUNT,
    count_in,
    list_in,
    mapping_in,
    milliseconds_in,
    text_in,
)

ODD: list[Any] = [None, True, 0, 1.5, "", "x", [], [1], {}, {"a": 1}]


@pytest.mark.parametrize("value", ODD)
def test_other_types_give_the_default(value: Any) -> None:
    member = {"m": value}

    assert mapping_in(member, "m") == (value if isinstance(value, dict) else {})
    assert list_in(member, "m") == (value if isinstance(value, list) else [])
    assert text_in(member, "m") == ("x" if value == "x" else None)
    assert count_in(member, "m", 7) == (0 if type(value) is int else 7)
    assert milliseconds_in(member, "m") == (value if type(value) in (int, float) else None)


def test_absent_members_give_the_default() -> None:
    assert (mapping_in({}, "m"), list_in({}, "m"), text_in({}, "m")) == ({}, [], None)
    assert (count_in({}, "m"), count_in({}, "m", 3), milliseconds_in({}, "m")) == (0, 3, None)


@pytest.mark.parametrize(
    ("value", "count"), [(0, 0), (MAX_COUNT, MAX_COUNT), (MAX_COUNT + 1, 7), (-1, 7), (5.0, 7)]
)
def test_implausible_counts_are_none(value: float, count: int) -> None:
    assert count_in({"m": value}, "m", 7) == count


@pytest.mark.parametrize(
    ("value", "time_ms"),
    [(0, 0.0), (1.5, 1.5), (999_999_999_999, 999_999_999_999.0), (1e12, None), (-0.1, None),
     (float("nan"), None), (float("inf"), None)],
)  # fmt: skip
def test_implausible_times_are_none(value: float, time_ms: float | None) -> None:
    assert milliseconds_in({"m": value}, "m") == time_ms
