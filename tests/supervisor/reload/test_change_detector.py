"""Decides on made-up views: when a change of the files is told."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor.reload.change_detector import LIMIT_S, QUIET_S, Mark, Signature, View, Watch

FILE, FOLDER = Path("c.yaml"), Path("conf.d")


def mark(version: int, path: str = "c.yaml") -> Mark:
    return Mark(path, f"/{path}", version, 10, 1, 1)


def file(version: int | None) -> View:
    return {FILE: None if version is None else (mark(version),)}


def told(first: View, *views: View, every_s: float = 0.5) -> list[int]:
    """Return the numbers, from 1, of the looks at which a change was told."""
    watch = Watch(first)
    return [n for n, view in enumerate(views, 1) if watch.see(view, n * every_s)]


@pytest.mark.parametrize(
    ("versions", "looks"),
    [
        ([1, 1, 1, 1], []),  # nothing happened
        ([1, 2, 2, 2], [2]),  # one change, once it stands
        ([1, 2, 1, 1], []),  # taken back
        ([1, 2, 3, 3, 3], [3]),  # a later edit puts it off
        ([1, 2, 2, 1, 1], [2, 4]),  # the old text again is a change, too
        ([1, None, None], []),  # gone
        ([1, None, 2, 2], [3]),  # gone, and back with another text
        ([1, None, 1, 1], [3]),  # gone, and back as it was
        ([None, None, 1, 1], [3]),  # missing from the beginning
        ([1, 2, None, 2, 2], [4]),  # gone before it was told
        ([1, 2, None, None], []),  # what is gone is not told
    ],
)
def test_a_file_is_told_once_it_differs_and_stands(
    versions: list[int | None], looks: list[int]
) -> None:
    views = [file(version) for version in versions]

    assert told(*views) == looks


def test_ten_edits_in_a_second_are_one_change() -> None:
    edits = [file(version) for version in range(2, 12)]

    assert told(file(1), *edits, *[file(11)] * 20, every_s=0.1) == [15]


def test_edits_without_an_end_are_told_at_the_limit() -> None:
    edits = [file(version) for version in range(2, 30)]

    assert told(file(1), *edits) == [11, 22]  # 5 s after the first, and after the one that follows


def test_a_missing_folder_does_not_hold_up_a_file() -> None:
    first = {FILE: (mark(1),), FOLDER: (mark(1, "a.yaml"),)}
    later: View = {FILE: (mark(2),), FOLDER: None}

    assert told(first, later, later, later) == [2]


def test_changes_of_a_file_and_of_a_folder_are_told_together() -> None:
    first = {FILE: (mark(1),), FOLDER: (mark(1, "a.yaml"),)}
    half = {FILE: (mark(2),), FOLDER: (mark(1, "a.yaml"),)}
    whole = {FILE: (mark(2),), FOLDER: (mark(2, "a.yaml"),)}

    assert told(first, half, whole, whole, whole) == [3]


SIGNATURES: st.SearchStrategy[Signature] = st.one_of(
    st.none(), st.integers(1, 3).map(lambda version: (mark(version),))
)
VIEWS = st.fixed_dictionaries({FILE: SIGNATURES, FOLDER: SIGNATURES})
LOOKS = st.lists(st.tuples(st.floats(0.01, 3.0), VIEWS), max_size=40)


@given(VIEWS, LOOKS)
def test_what_stands_still_and_differs_is_always_told(
    first: dict[Path, Signature], looks: list[tuple[float, dict[Path, Signature]]]
) -> None:
    """However the files went to and fro: at the end the last state is known to the listener."""
    watch = Watch(first)
    reported, now = dict(first), 0.0
    last: dict[Path, Signature] = first
    for pause, last in looks:
        now += pause
        if watch.see(last, now):
            reported = dict(last)
    for pause in (QUIET_S, QUIET_S, LIMIT_S):
        now += pause
        if watch.see(last, now):
            reported = dict(last)

    assert all(reported[source] == last[source] for source in last if last[source] is not None)
    assert not watch.see(last, now + LIMIT_S)


@given(VIEWS, LOOKS)
def test_a_change_is_told_only_if_a_source_that_is_there_came_or_changed(
    first: dict[Path, Signature], looks: list[tuple[float, dict[Path, Signature]]]
) -> None:
    watch = Watch(first)
    now, since_told = 0.0, [first]
    for pause, view in looks:
        now += pause
        since_told.append(view)
        if watch.see(view, now):
            assert any(
                view[source] is not None
                and any(seen[source] != view[source] for seen in since_told)
                for source in view
            )
            since_told = [view]
