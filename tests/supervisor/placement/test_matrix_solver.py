"""The search in a graph: small ones by a table, any of them against all sets multiplied out."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor.placement.matrix_solver import Graph, search


@dataclass(frozen=True)
class OneOf:
    """An alternative."""

    parts: tuple["Tree", ...]


@dataclass(frozen=True)
class All:
    """A product."""

    parts: tuple["Tree", ...]


Tree: TypeAlias = str | OneOf | All
MODELS = "abcde"


def either(*parts: Tree) -> OneOf:
    return OneOf(parts)


def both(*parts: Tree) -> All:
    return All(parts)


def add(graph: Graph, tree: Tree) -> int:
    """Return the node of `tree`."""
    match tree:
        case str():
            return graph.leaf(tree)
        case OneOf(parts):
            return graph.alternative([add(graph, part) for part in parts])
        case All(parts):
            return graph.product([add(graph, part) for part in parts])


def found(
    roots: Sequence[Tree], weights: dict[str, int], wanted: str = ""
) -> tuple[int, str] | None:
    """Return which of `roots` was chosen, and what it holds of `weights`."""
    graph = Graph()
    nodes = [add(graph, root) for root in roots]
    best = search(graph, nodes, weights, wanted)
    return None if best is None else (nodes.index(best[0]), "".join(sorted(best[1])))


ALIKE = dict.fromkeys(MODELS, 1)


@pytest.mark.parametrize(
    ("roots", "weights", "wanted", "best"),
    [
        pytest.param([], ALIKE, "", None, id="no root"),
        pytest.param(["a"], ALIKE, "", (0, "a"), id="a leaf"),
        pytest.param(["a"], ALIKE, "b", None, id="no root has what is wanted"),
        pytest.param(["a"], {"b": 1}, "", (0, ""), id="nothing that counts"),
        pytest.param(["a", both("a", "b")], ALIKE, "a", (1, "ab"), id="the heavier root"),
        pytest.param([both("a", "b"), both("a", "c")], ALIKE, "a", (0, "ab"), id="the first root"),
        pytest.param([both("a", "c"), "b"], ALIKE, "b", (1, "b"), id="only roots with it"),
        pytest.param([either("a", "b")], ALIKE, "", (0, "a"), id="the first part"),
        pytest.param([either("a", "b")], {"a": 1, "b": 2}, "", (0, "b"), id="the heavier part"),
        pytest.param([both(either("a", "b"), either("b", "c"))], ALIKE, "", (0, "ab"),
                     id="the first of the heaviest products"),
        pytest.param([both(either("a", "b"), "b")], {"a": 1, "b": 3}, "", (0, "ab"),
                     id="held twice, counted once"),
        pytest.param([both(either("a", "b"), either("a", "c"))], {"a": 5, "b": 3, "c": 3}, "",
                     (0, "ac"), id="not the heaviest of each part"),
        pytest.param([either("e", both("a", "b"))], {"b": 1}, "", (0, "b"),
                     id="a part that weighs nothing is chosen only if it is first"),
        pytest.param([either(both("a", either("b", "c")), "d")], {"c": 1, "d": 1}, "", (0, "c"),
                     id="alternatives in products in alternatives"),
    ],
)  # fmt: skip
def test_the_first_of_the_heaviest_is_found(
    roots: list[Tree], weights: dict[str, int], wanted: str, best: tuple[int, str] | None
) -> None:
    assert found(roots, weights, wanted) == best


def test_a_model_has_one_leaf() -> None:
    graph = Graph()

    assert graph.leaf("a") == graph.leaf("a") != graph.leaf("b")


def multiplied_out(tree: Tree) -> list[frozenset[str]]:
    match tree:
        case str():
            return [frozenset(tree)]
        case OneOf(parts):
            return [one for part in parts for one in multiplied_out(part)]
        case All(parts):
            each = [multiplied_out(part) for part in parts]
            return [frozenset().union(*ones) for ones in itertools.product(*each)]


def parts(inner: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    some = st.lists(inner, min_size=1, max_size=3).map(tuple)
    return some.map(OneOf) | some.map(All)


TREES: st.SearchStrategy[Tree] = st.recursive(st.sampled_from(MODELS), parts, max_leaves=7)


@given(
    st.lists(TREES, max_size=3),
    st.dictionaries(st.sampled_from(MODELS), st.integers(1, 4)),
)
def test_any_graph_gives_what_multiplying_out_gives(
    roots: list[Tree], weights: dict[str, int]
) -> None:
    sets = [(number, one) for number, root in enumerate(roots) for one in multiplied_out(root)]
    best = max(sets, key=lambda it: sum(weights.get(model, 0) for model in it[1]), default=None)

    wanted = None if best is None else (best[0], "".join(sorted(best[1] & weights.keys())))
    assert found([All((root,)) for root in roots], weights) == wanted
