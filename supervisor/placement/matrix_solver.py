"""The best choice in a graph of alternatives and products.

The products are never multiplied out.

A node of the graph stands for a list of sets of models, in order: an alternative for
the lists of its parts one after the other, a product for every union of one set of each part, the
first part varying slowest. Looked for is the first of the heaviest sets, where only a few models
weigh anything: those that run, and the one that is asked for.

For each node there is a list of *states*: what a set holds of the models that count. Two things
keep the lists short. Only what can be reached from those models upwards is looked at. And what
matters of a state to the rest of the graph is only what may be held a second time elsewhere in the
same product; of the states that agree in that, the first of the heaviest stands for all. So a
product of parts that have nothing in common costs no more than the sum of them.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

# The problem contains the choice of sets that cover most (the "maximum coverage problem"), so no
# way is known that is fast for every input. 512 states are all there can be while no more than nine
# of the models that count are in several parts of one product: up to there the answer is exact.
# Beyond that the heaviest states are kept. The answer is then a set of the matrix still, and one
# that holds the model asked for, but a cheaper one may have been missed.
MAX_STATES: Final = 512
# Pairs of states in one search: a quarter of a second's worth, and far more than is met in a
# configuration that somebody wrote. After that few states are kept.
MAX_WORK: Final = 300_000
_FEW_STATES: Final = 8

# Models as bits -> their weight. In the order of the sets they stand for.
_States: TypeAlias = Sequence[tuple[int, int]]


class Graph(msgspec.Struct):
    """Nodes with numbers; the parts of a node have lower numbers than the node itself.

    Attributes:
        leaves: Model -> its node.
        products: The nodes that are products; the others with parts are alternatives.
        parents: For each node: what it is a part of, and at which place there.
    """

    leaves: dict[str, int] = msgspec.field(default_factory=dict)
    products: set[int] = msgspec.field(default_factory=set)
    parents: list[list[tuple[int, int]]] = msgspec.field(default_factory=list)

    def leaf(self, model: str) -> int:
        """Return the node of `model`; there is one for all its mentions."""
        if model not in self.leaves:
            self.leaves[model] = self._new(())
        return self.leaves[model]

    def alternative(self, parts: Sequence[int]) -> int:
        """Add a node for one of `parts`."""
        return self._new(parts)

    def product(self, parts: Sequence[int]) -> int:
        """Add a node for all `parts` together."""
        node = self._new(parts)
        self.products.add(node)
        return node

    def _new(self, parts: Sequence[int]) -> int:
        node = len(self.parents)
        self.parents.append([])
        for place, part in enumerate(parts):
            self.parents[part].append((node, place))
        return node


def search(
    graph: Graph, roots: Iterable[int], weights: Mapping[str, int], wanted: Iterable[str]
) -> tuple[int, frozenset[str]] | None:
    """Return the first of the heaviest sets: root and members.

    The members are those that have `weights`.

    Args:
        graph: It is not changed.
        roots: Nodes of which one is chosen, in order.
        weights: Model -> what it is worth to have it, above 0. The others are worth nothing.
        wanted: The chosen root has to have these somewhere. That the set holds them, too, is not
            promised: give them a weight that nothing else comes up to.

    Returns:
        None if no root has all `wanted`.
    """
    return _Search(graph, weights).run(roots, wanted)


class _Search:
    """One search. Bits stand for the models in `weights`."""

    def __init__(self, graph: Graph, weights: Mapping[str, int]) -> None:
        self._graph = graph
        self._weights = weights
        self._models = [model for model in weights if model in graph.leaves]
        self._bits = {model: 1 << place for place, model in enumerate(self._models)}
        self._weight_of: dict[int, int] = {0: 0}
        # Node -> the models that it has somewhere below; of those nodes that have any.
        self._support = {graph.leaves[model]: bit for model, bit in self._bits.items()}
        # Node -> its parts that have any, with their places.
        self._parts: dict[int, list[tuple[int, int]]] = {}
        self._states: dict[int, _States] = {}
        self._work = 0

    def run(self, roots: Iterable[int], wanted: Iterable[str]) -> tuple[int, frozenset[str]] | None:
        needed = 0
        for model in wanted:
            if model not in self._bits:
                return None
            needed |= self._bits[model]
        self._climb()
        chosen = [root for root in roots if needed & ~self._support.get(root, 0) == 0]
        visible = self._descend(chosen)
        for node in sorted(visible):
            self._states[node] = self._states_of(node, visible[node])
        best: tuple[int, int, int] | None = None
        for root in chosen:
            bits, weight = max(self._states[root], key=_weight)  # the first one of several
            if best is None or weight > best[2]:
                best = root, bits, weight
        if best is None:
            return None
        return best[0], frozenset(model for model in self._models if self._bits[model] & best[1])

    def _climb(self) -> None:
        """Find the nodes that hold any of the models, leaves first."""
        waiting = list(self._support)
        while waiting:
            node = waiting.pop()
            for parent, place in self._graph.parents[node]:
                if parent not in self._parts:
                    self._parts[parent] = []
                    waiting.append(parent)
                self._parts[parent].append((place, node))
        for node in sorted(self._parts):
            self._parts[node].sort()
            self._support[node] = 0
            for _, part in self._parts[node]:
                self._support[node] |= self._support[part]

    def _descend(self, roots: Iterable[int]) -> dict[int, int]:
        """Return the nodes that matter to `roots`, with their shares.

        That is: the models that it has and that another part of a product has as well, of which
        both are parts, whether directly or further down.
        """
        visible = dict.fromkeys(roots, 0)
        for node in sorted(self._parts, reverse=True):
            if node not in visible:
                continue
            shared, seen = visible[node], 0
            if node in self._graph.products:
                for _, part in self._parts[node]:
                    shared |= seen & self._support[part]
                    seen |= self._support[part]
            for _, part in self._parts[node]:
                visible[part] = visible.get(part, 0) | (shared & self._support[part])
        return visible

    def _states_of(self, node: int, visible: int) -> _States:
        if node not in self._parts:
            bits = self._support.get(node, 0)
            return ((bits, self._weigh(bits)),)
        if node in self._graph.products:
            return self._product(node, visible)
        return self._alternative(node, visible)

    def _alternative(self, node: int, visible: int) -> _States:
        best: dict[int, tuple[int, int]] = {}
        # A part that has none of the models counts only as the first one: what comes before it
        # would be chosen in its place.
        if self._parts[node][0][0] > 0:
            _offer(best, 0, 0, 0)
        for _, part in self._parts[node]:
            for bits, weight in self._states[part]:
                _offer(best, bits & visible, bits, weight)
        return self._shortened(best)

    def _product(self, node: int, visible: int) -> _States:
        parts = [part for _, part in self._parts[node]]
        later = [visible]  # what still matters after each part, from the last one back
        for part in reversed(parts[1:]):
            later.append(later[-1] | self._support[part])
        states: _States = ((0, 0),)
        for part in parts:
            matters = later.pop()
            best: dict[int, tuple[int, int]] = {}
            self._work += len(states) * len(self._states[part])
            for one, one_weight in states:
                for other, other_weight in self._states[part]:
                    weight = one_weight + other_weight
                    if both := one & other:
                        weight -= self._weigh(both)
                    _offer(best, (one | other) & matters, one | other, weight)
            states = self._shortened(best)
        return states

    def _shortened(self, best: dict[int, tuple[int, int]]) -> _States:
        states = list(best.values())
        most = MAX_STATES if self._work < MAX_WORK else _FEW_STATES
        if len(states) <= most:
            return states
        kept = heapq.nlargest(most, range(len(states)), key=lambda place: states[place][1])
        return [states[place] for place in sorted(kept)]

    def _weigh(self, bits: int) -> int:
        weight = self._weight_of.get(bits)
        if weight is None:
            weight = sum(self._weights[model] for model in self._models if self._bits[model] & bits)
            self._weight_of[bits] = weight
        return weight


def _offer(best: dict[int, tuple[int, int]], key: int, bits: int, weight: int) -> None:
    """Keep the first of the heaviest for `key`.

    The dictionary stays in the order of the sets.
    """
    known = best.get(key)
    if known is None:
        best[key] = bits, weight
    elif weight > known[1]:
        del best[key]
        best[key] = bits, weight


def _weight(state: tuple[int, int]) -> int:
    return state[1]
