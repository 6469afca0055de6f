"""What is shown follows from what was measured."""

import io

import pytest
from rich.console import Console
from rich.table import Table

from .results import Change, Results, change, says
from .rows import ROWS, Asked, at_least, at_most
from .show.as_json import as_json
from .show.tables import changes, measured


def text_of(table: Table) -> str:
    """Return the table as written to a file."""
    console = Console(file=io.StringIO(), width=200)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def results(**figures: float) -> Results:
    """Return one round of one row, ``p50``: target (with _ for a space) -> figure."""
    found = Results()
    for target, value in figures.items():
        name = target.replace("_", " ")
        found.targets.append(name)
        found.add(name, {"p50": value})
    return found


def test_a_figure_is_the_median_of_the_rounds_and_errors_are_summed_up() -> None:
    found = Results()
    for value in (3.0, 9.0, 4.0):
        found.add("direct", {"p50": value, "errors": 1.0})

    assert found.median("direct", "p50") == 4.0
    assert found.errors == {"direct": 3}


def test_what_was_not_measured_has_no_figure_and_no_ratio() -> None:
    found = results(arriero_x2=1.0)

    assert found.median("direct", "p50") is None
    assert found.median("arriero x2", "p99") is None
    assert found.ratio("p50", "arriero x2", "direct") is None


@pytest.mark.parametrize(
    ("asked", "value", "met"),
    [
        (at_most(1.5, "nginx x2"), 1.5, True),
        (at_most(1.4, "nginx x2"), 1.5, False),
        (at_least(1.5, "nginx x2"), 1.5, True),
        (at_least(1.6, "nginx x2"), 1.5, False),
        (at_most(3.0), 3.0, True),
        (at_most(2.9), 3.0, False),
        (at_most(0.2, "llama-swap"), None, None),
    ],
)
def test_a_promise_is_kept_at_its_limit_and_missed_beyond_it(
    asked: Asked, value: float | None, met: bool | None
) -> None:
    found = results(nginx_x2=2.0, arriero_x2=3.0)

    assert found.verdict(ROWS["p50"], asked) == (value, met)


def test_a_promise_may_be_about_another_row() -> None:
    found = Results()
    found.add("arriero x2", {"memory": 100.0, "memory-after": 109.0})
    (asked,) = ROWS["memory-after"].asked

    assert found.verdict(ROWS["memory-after"], asked) == (1.09, True)


def test_scaling_is_two_workers_by_one_round_by_round() -> None:
    found = Results()
    for one, two in ((10.0, 15.0), (10.0, 20.0)):
        found.add("arriero x1", {"requests": one})
        found.add("arriero x2", {"requests": two})

    found.add_scaling()

    assert found.values["arriero x2"]["scaling"] == [1.5, 2.0]
    assert "scaling" not in found.values["arriero x1"]


def test_a_change_is_the_median_of_the_ratios_of_the_rounds() -> None:
    assert change([10.0, 20.0, 10.0], [5.0, 20.0, 8.0]) == Change(
        before=10.0, after=8.0, ratio=0.8, low=0.5, high=1.0, rounds=3
    )


def test_a_round_that_only_one_side_has_is_no_pair() -> None:
    assert change([], [1.0]) is None
    found = change([1.0, 1.0], [2.0])
    assert found is not None
    assert found.rounds == 1


@pytest.mark.parametrize(
    ("after", "more_is_better", "word"),
    [
        ([1.1, 1.2, 1.3], True, "better"),
        ([1.1, 1.2, 1.3], False, "WORSE"),
        ([0.8, 0.9, 0.7], False, "better"),
        ([0.9, 1.2, 1.3], False, "same"),
        ([1.01, 1.011, 1.012], False, "same"),
        ([2.0, 2.0], False, "too few rounds"),
    ],
)
def test_a_change_counts_when_all_rounds_agree(
    after: list[float], more_is_better: bool, word: str
) -> None:
    found = change([1.0] * len(after), after)

    assert found is not None
    assert says(found, more_is_better=more_is_better) == word


def test_the_table_has_ratios_and_verdicts_of_what_was_measured() -> None:
    text = text_of(measured(results(nginx_x2=0.2, arriero_x2=0.25)))

    assert "p50 at 1 connection" in text
    assert "1.25" in text
    assert "<= 1.5 nginx x2: met" in text
    assert "p99 at 1 connection" not in text


def test_the_table_says_by_how_much_a_promise_is_missed() -> None:
    text = text_of(measured(results(nginx_x2=0.2, arriero_x2=0.5)))

    assert "<= 1.5 nginx x2: missed (2.50)" in text


def test_the_table_says_what_could_not_be_judged() -> None:
    text = text_of(measured(results(arriero_x2=0.5)))

    assert "<= 1.5 nginx x2: not measured" in text


def test_the_table_of_changes_has_a_line_per_row_and_number_of_workers() -> None:
    found = results(abc_x1=0.2, arriero_x1=0.3, abc_x2=0.2, arriero_x2=0.1)

    found.before = "abc"

    lines = text_of(changes(found)).splitlines()

    ratios = [line.split("│")[5].strip() for line in lines if "p50" in line]
    assert ratios == ["1.500", "0.500"]


def test_the_json_has_medians_values_and_verdicts() -> None:
    found = as_json(results(nginx_x2=0.2, arriero_x2=0.5), {"cores": 2})

    assert found["medians"] == {"nginx x2": {"p50": 0.2}, "arriero x2": {"p50": 0.5}}
    assert found["values"] == {"nginx x2": {"p50": [0.2]}, "arriero x2": {"p50": [0.5]}}
    asked = found["asked"]
    assert isinstance(asked, list)
    assert [(one["row"], one["met"]) for one in asked if one["met"] is not None] == [("p50", False)]


def test_the_json_has_the_ratios_of_two_versions() -> None:
    found = results(abc_x1=0.2, arriero_x1=0.3)
    found.before = "abc"

    compared = as_json(found, {})["changes"]

    assert compared == [
        {"row": "p50", "workers": 1}
        | {"before": 0.2, "after": 0.3, "ratio": pytest.approx(1.5)}
        | {"low": pytest.approx(1.5), "high": pytest.approx(1.5), "rounds": 1}
    ]
