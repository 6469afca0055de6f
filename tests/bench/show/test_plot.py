"""The picture and the page show what was measured."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from ..errors import BenchError
from ..results import Results
from .docs import BEGIN, END, PAGE, README, markdown, put_in, short_table
from .plot import svg

TARGETS = ["nginx x2", "arriero x2"]
SVG = "{http://www.w3.org/2000/svg}"


def results(row: str, *figures: float) -> Results:
    """Return one round of one row, for `TARGETS`."""
    found = Results(targets=list(TARGETS))
    for target, value in zip(TARGETS, figures, strict=False):
        found.add(target, {row: value})
    return found


def drawn(found: Results) -> ET.Element:
    return ET.fromstring(svg(found))


def test_bars_are_as_long_as_the_figures() -> None:
    picture = drawn(results("p50", 0.1, 0.2))

    nginx, arriero = (float(bar.attrib["width"]) for bar in picture.iter(f"{SVG}rect"))
    assert arriero == pytest.approx(2 * nginx, abs=0.2)


def test_what_was_asked_is_marked_in_the_unit_of_the_row() -> None:
    picture = drawn(results("p50", 0.1, 0.3))

    (mark,) = picture.iter(f"{SVG}path")
    bars = list(picture.iter(f"{SVG}rect"))
    at = float(mark.attrib["d"][1:].split()[0]) - float(bars[0].attrib["x"])
    assert at == pytest.approx(1.5 * float(bars[0].attrib["width"]), abs=0.2)


def test_what_was_asked_against_a_missing_reference_is_not_marked() -> None:
    assert not list(drawn(results("p99", 0.1, 0.3)).iter(f"{SVG}path"))


def test_a_figure_that_stands_alone_is_no_chart() -> None:
    assert not list(drawn(results("p50", 0.1)).iter(f"{SVG}rect"))


def test_figures_of_nothing_are_drawn() -> None:
    assert len(list(drawn(results("idle", 0.0, 0.0)).iter(f"{SVG}rect"))) == 2


def test_the_page_has_a_line_a_row() -> None:
    text = markdown(results("p50", 0.1, 0.3), {"cores": 2})

    assert (
        "| p50 at 1 connection, ms | 0.100 | 0.300 | 3.00 |  | <= 1.5 nginx x2 | missed |" in text
    )
    assert "cores 2" in text


def test_the_page_says_what_could_not_be_measured() -> None:
    found = results("p99", 0.1, 0.3)
    found.remarks.append("no reference: llama-swap is not installed")

    text = markdown(found, {})

    assert "| not measured |" in text
    assert "- no reference: llama-swap is not installed\n" in text


def test_only_what_was_measured_before_is_replaced() -> None:
    page = f"above\n{BEGIN}old\n{END}below\n"

    assert put_in(page, "new\n", "page.md") == f"above\n{BEGIN}new\n{END}below\n"


def test_a_page_without_its_place_is_left_alone() -> None:
    with pytest.raises(BenchError, match=r"page\.md: no <!-- measured"):
        put_in("no place", "new", "page.md")


@pytest.mark.parametrize("path", [PAGE, README], ids=lambda path: path.name)
def test_our_pages_have_their_place(path: Path) -> None:
    assert put_in(path.read_text(), "", path.name)


def test_the_readme_has_both_figures_and_their_ratio() -> None:
    assert "| p50 at 1 connection, ms | 0.100 | 0.300 | 3.00 |\n" in short_table(
        results("p50", 0.1, 0.3)
    )
