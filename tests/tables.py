"""Tables of cases that one test goes through, where each would be a test of its own.

What pytest does around a test takes five milliseconds in four processes, and most cases of a table
take none. So when several processes run all tests, a parametrized test that needs nothing but its
case is one test; one process alone (``pytest FILE``, ``-n 0``) makes a test of each, with an id.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from types import FunctionType
from typing import TypeAlias

import pytest
from _pytest.mark.structures import ParameterSet

_Rows: TypeAlias = list[Mapping[str, object]]


def through_all(test: object) -> Callable[[], None] | None:
    """Return a test of all cases of `test`; None if it is no table, or its cases want more."""
    if not isinstance(test, FunctionType) or inspect.iscoroutinefunction(test):
        return None
    marks = getattr(test, "pytestmark", [])
    if not marks or hasattr(test, "hypothesis") or {mark.name for mark in marks} != {"parametrize"}:
        return None
    tables = [rows for mark in reversed(marks) if (rows := _rows(mark)) is not None]
    if len(tables) != len(marks) or not all(tables):
        return None
    names = [name for rows in tables for name in rows[0]]
    if sorted(names) != sorted(inspect.signature(test).parameters):
        return None

    def tested() -> None:
        failed = list(_failures(test, tables))
        if len(failed) == 1:
            raise failed[0]
        if failed:
            raise ExceptionGroup(f"{len(failed)} cases of the table failed", failed)

    tested.__doc__ = test.__doc__
    return tested


def _rows(mark: pytest.Mark) -> _Rows | None:
    """Return what a mark gives to each case; None if cases have marks of their own."""
    if len(mark.args) != 2 or mark.kwargs.keys() - {"ids"}:
        return None
    names, values = mark.args
    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    rows: _Rows = []
    for value in values:
        row = ParameterSet.extract_from(value, force_tuple=len(names) == 1)
        if row.marks:
            return None
        rows.append(dict(zip(names, row.values, strict=True)))
    return rows


def _failures(test: Callable[..., None], tables: list[_Rows]) -> Iterator[Exception]:
    for rows in product(*tables):
        given = {name: value for row in rows for name, value in row.items()}
        try:
            test(**given)
        except pytest.skip.Exception:
            continue
        except Exception as exc:  # noqa: BLE001  all are told
            exc.add_note(f"in the case {given!r}"[:2000])
            yield exc
