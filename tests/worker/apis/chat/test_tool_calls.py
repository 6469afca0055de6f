"""Calls of tools that come in pieces, as servers number them or do not."""

import json
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.apis.chat.tool_calls import ToolCall, ToolCalls

Told: TypeAlias = list[tuple[str, Any]]


def piece(
    arguments: object, index: int | None = 0, *, ident: str = "", name: object = ""
) -> dict[str, Any]:
    found: dict[str, Any] = {"function": {"arguments": arguments, "name": name}}
    return found | ({} if index is None else {"index": index}) | ({"id": ident} if ident else {})


def delta(*pieces: object) -> dict[str, Any]:
    return {"tool_calls": list(pieces)}


def as_told(calls: list[ToolCall]) -> Told:
    return [(call.name, json.loads(bytes(call.args))) for call in calls]


def told(*deltas: dict[str, Any]) -> tuple[Told, Told]:
    """Return the calls that are told meanwhile, and at the end."""
    calls = ToolCalls()
    meanwhile = [one for found in deltas for one in as_told(calls.take(found))]
    return meanwhile, as_told(calls.finish())


A: tuple[str, Any] = ("a", {"x": 1})
B: tuple[str, Any] = ("b", {})
A_WHOLE = piece('{"x":1}', ident="1", name="a")


@pytest.mark.parametrize(
    ("deltas", "meanwhile", "at_the_end"),
    [
        pytest.param([delta(A_WHOLE)], [], [A], id="the last one waits for the end"),
        pytest.param(
            [delta(piece('{"x"', name="a")), delta(piece(":1}"))], [], [A], id="in two pieces"
        ),
        pytest.param([delta(A_WHOLE), delta(piece("{}", 1, name="b"))], [A], [B], id="another"),
        pytest.param(
            [delta(A_WHOLE), delta(piece("{}", ident="2", name="b"))], [A], [B],
            id="all with one number",
        ),
        pytest.param(
            [delta(piece('{"x":1}', None, ident="1", name="a")),
             delta(piece("{}", None, ident="2", name="b"))], [A], [B],
            id="without numbers",
        ),
        pytest.param(
            [delta(piece('{"x"', name="a")), delta(piece("{}", 1, name="b")),
             delta(piece(":1}"))], [], [A, B],
            id="side by side",
        ),
        pytest.param([delta(A_WHOLE, piece("{}", 1, name="b"))], [A], [B], id="in one delta"),
        pytest.param([{"function_call": {"name": "a", "arguments": '{"x":1}'}}], [], [A],
                     id="as until 2023"),
        pytest.param([delta(piece("", name="b"))], [], [B], id="no arguments"),
        pytest.param([delta(piece('{"x":', name="a"))], [], [("a", {"_raw": '{"x":'})],
                     id="half an object"),
        pytest.param([delta(piece("[1]", name="a"))], [], [("a", {"_raw": "[1]"})],
                     id="no object"),
        pytest.param([delta(piece('{"x":\r\n1}', name="a"))], [], [A], id="in several lines"),
        pytest.param([delta(piece('{"x":1}')), delta(piece("", name="a"))], [], [A],
                     id="its name comes later"),
        pytest.param([delta(piece('{"x":1}', name=7))], [], [("", {"x": 1})], id="no name"),
        pytest.param([delta(7, None, {}, {"function": 7}), {}], [], [], id="nonsense"),
    ],
)  # fmt: skip
def test_a_call_is_told_whole(
    deltas: list[dict[str, Any]], meanwhile: Told, at_the_end: Told
) -> None:
    assert told(*deltas) == (meanwhile, at_the_end)


PIECES = st.builds(
    piece,
    st.sampled_from(["", "{", "}", '{"a":1}', "\n"]) | st.integers(),
    st.integers(0, 2) | st.none(),
    ident=st.sampled_from(["", "1", "2"]),
    name=st.sampled_from(["", "f"]) | st.none(),
)


@given(st.lists(st.lists(PIECES, max_size=3).map(lambda pieces: delta(*pieces)), max_size=5))
def test_each_call_is_told_once_in_one_line(deltas: list[dict[str, Any]]) -> None:
    calls = ToolCalls()
    found = [one for one_delta in deltas for one in calls.take(one_delta)] + calls.finish()

    assert calls.finish() == []
    assert len(found) <= sum(len(one["tool_calls"]) for one in deltas)
    assert all(b"\n" not in bytes(one.args) for one in found)
