"""The page that `make faults` writes."""

import json
import math

from tests.paths import ROOT

from .cell import Result
from .endings import Ending
from .leftovers import grown
from .matrix import ALL, parse
from .report import Origin, as_markdown, seconds

ORIGIN = Origin(date="2026-01-01", versions={"b": "2", "a": "1"}, machine="2 cores", command="make")


def result(cell: str, good_s: float = 0.4, **counts: int) -> Result:
    endings = {ending: counts.get(ending.value, 0) for ending in Ending}
    return Result(cell=parse(cell), endings=endings, good_s=good_s)


def test_each_cell_that_makes_sense_has_a_row_and_the_others_a_reason() -> None:
    one, lost = parse("sigkill/worker/stream"), parse("sigkill/model/stream")

    text = as_markdown(
        {one: result(str(one), whole=10, cut=6)}, {lost: "not run: no model"}, ORIGIN
    )

    assert "2026-01-01, 2 cores, a 1, b 2." in text
    assert "| worker | stream | 10 | | 6 | | | | | < 1 | |\n" in text
    assert "| model | stream | | | | | | | | | not run: no model |\n" in text
    assert "1 cells, 16 clients: 10 whole, 0 error, 6 cut" in text
    rows = [line for line in text.splitlines() if line.startswith(("| supervisor", "| worker"))]
    assert len(rows) == sum(not c.senseless for c in ALL if c.target.value in "supervisor worker")
    assert "- no part for the model: its log goes to the supervisor through a pipe" in text


def test_a_result_is_written_and_read_again() -> None:
    one = result("no-fd/worker/stream", math.inf, whole=12, hang=4)
    assert Result.from_json(json.loads(json.dumps(one.as_json()))) == one


def test_times_are_as_coarse_as_they_are_true() -> None:
    assert [seconds(s) for s in (0.0, 0.99, 1.2, 15.4, math.inf)] == [
        "< 1",
        "< 1",
        "1",
        "15",
        "never",
    ]


def test_a_process_is_compared_with_itself_and_a_new_one_with_its_kind() -> None:
    before = {"supervisor": {1: 30}, "worker": {2: 18, 3: 20}}

    assert grown(before, {"supervisor": {1: 32}, "worker": {2: 20, 9: 22}}) == ""
    found = grown(before, {"supervisor": {7: 33}, "worker": {2: 21, 9: 22}})
    assert found == "supervisor: 3 descriptors more, worker: 3 descriptors more"


def test_the_page_in_the_docs_is_one_of_these() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text()
    assert page.startswith("# What breaks, and what does not\n\nWritten by `make faults`")
