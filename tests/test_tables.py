"""Tables that are one test fail as each of their cases would."""

import pytest

from tests.tables import through_all


@pytest.mark.parametrize(("number", "word"), [(1, "a"), pytest.param(2, "b", id="second")])
@pytest.mark.parametrize("more", [0, 10])
def table(number: int, word: str, more: int) -> None:
    assert (number, more) != (2, 10), word


def test_the_case_that_fails_is_named() -> None:
    tested = through_all(table)
    assert tested is not None
    with pytest.raises(AssertionError) as caught:
        tested()
    assert caught.value.__notes__ == ["in the case {'number': 2, 'word': 'b', 'more': 10}"]


@pytest.mark.parametrize("number", [1, 2, 3])
def fails(number: int) -> None:
    assert number == 2


def test_all_that_fail_are_told() -> None:
    tested = through_all(fails)
    assert tested is not None
    with pytest.raises(ExceptionGroup) as caught:
        tested()
    notes = [exc.__notes__ for exc in caught.value.exceptions]
    assert notes == [["in the case {'number': 1}"], ["in the case {'number': 3}"]]


@pytest.mark.parametrize("number", [1])
def wants_more(number: int, tmp_path: object) -> None: ...


@pytest.mark.parametrize("number", [pytest.param(1, marks=pytest.mark.nightly)])
def is_marked(number: int) -> None: ...


@pytest.mark.parametrize("number", [1])
async def waits(number: int) -> None: ...


def test_what_wants_more_stays_as_it_is() -> None:
    assert [through_all(one) for one in (wants_more, is_marked, waits, object())] == [None] * 4
