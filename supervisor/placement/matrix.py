"""The matrix: sets of models that may run together, and eviction costs.

`compile_matrix` finds every mistake in what was written; a `Matrix` cannot be wrong.

For a model that is to be started, that set is chosen which holds it and spares most of what runs:
the sum of the evict costs of what is not in the set is the least. Of equal ones the earlier set is
taken. The order is that of the definitions, but that a set comes after those which it refers to;
within an expression it is from left to right. What is in no set runs alone.

Source of the rules: llama-swap, whose files are to work unchanged.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from ..errors import SupervisorError
from ..text.did_you_mean import did_you_mean
from .matrix_parser import (
    Expression,
    Name,
    SetName,
    Together,
    Token,
    Tree,
    read_expression,
    walk,
)
from .matrix_solver import Graph, search
from .policy import PlacementPolicy

_VARIABLE: Final = re.compile(r"[A-Za-z0-9.-]{1,32}")
# A search for a similar name goes through all names; more of them are of no help.
_MAX_HINTS: Final = 20
# Sets of a circle that are shown.
_SHOWN: Final = 8
# The most recent questions come again with the next event.
_REMEMBERED: Final = 1000


class MatrixProblem(msgspec.Struct, frozen=True):
    """One mistake.

    Attributes:
        section: Of the matrix; empty for the whole.
        name: The key in `section`; empty for the section as a whole.
        column: In the expression, from 1, over all its lines; 0 where it is not in one.
        message: The mistake and the remedy, with the column.
    """

    section: Literal["vars", "evict_costs", "sets", ""]
    name: str
    column: int
    message: str


class MatrixError(SupervisorError):
    """A matrix cannot be used. `problems` holds every mistake in it."""

    def __init__(self, problems: Iterable[MatrixProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            "; ".join(f"{found.section}.{found.name}: {found.message}" for found in self.problems)
        )


class Choice(msgspec.Struct, frozen=True):
    """The set that is chosen for a model, and the models it evicts.

    Attributes:
        set_name: The set that was chosen; None if the model runs already, or is in no set.
        stops: The running models that have to end.
        cost: Of stopping them.
    """

    set_name: str | None
    stops: frozenset[str]
    cost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix(PlacementPolicy):
    """Sets of models that may run together. Built by `compile_matrix`.

    Two are equal if they were written alike. The order of the sets counts: it decides ties.

    Attributes:
        variables: Short name -> model, as written.
        evict_costs: Short name or model -> cost, as written.
        sets: Name -> expression, as written.
    """

    variables: Mapping[str, str]
    evict_costs: Mapping[str, int]
    sets: Mapping[str, str]
    _order: tuple[str, ...] = field(repr=False)
    _costs: Mapping[str, int] = field(compare=False, repr=False)  # by model
    _graph: Graph = field(compare=False, repr=False)
    _roots: Mapping[int, str] = field(compare=False, repr=False)  # node -> set, in order of choice
    _choices: dict[tuple[str, frozenset[str]], Choice] = field(
        compare=False, repr=False, default_factory=dict
    )

    def evicted_by(self, target: str, running: Iterable[str]) -> frozenset[str]:
        """Return those of `running` that end before `target` is started."""
        return self.choose(target, running).stops

    def choose(self, target: str, running: Iterable[str]) -> Choice:
        """Return the set that spares most of `running`, and its evictions."""
        there = frozenset(running)
        choice = self._choices.get((target, there))
        if choice is None:
            if len(self._choices) >= _REMEMBERED:
                self._choices.clear()
            choice = self._choices[target, there] = self._choose(target, there)
        return choice

    def can_run_together(self, models: Iterable[str]) -> bool:
        """Return whether one set holds all `models`.

        A single model can always run.
        """
        models = frozenset(models)
        if len(models) <= 1:
            return True
        found = search(self._graph, self._roots, dict.fromkeys(models, 1), models)
        return found is not None and found[1] == models

    def _choose(self, target: str, there: frozenset[str]) -> Choice:
        if target in there:
            return Choice(None, frozenset(), 0)
        weights = {model: self._cost(model) for model in there}
        weights[target] = 1 + sum(weights.values())
        found = search(self._graph, self._roots, weights, (target,))
        if found is None:
            return Choice(None, there, self._cost(*there))
        root, held = found
        stops = there - held
        return Choice(self._roots[root], stops, self._cost(*stops))

    def _cost(self, *models: str) -> int:
        return sum(self._costs.get(model, 1) for model in models)


def compile_matrix(
    variables: Mapping[str, str],
    evict_costs: Mapping[str, int],
    sets: Mapping[str, str],
    models: Collection[str],
) -> Matrix:
    """Return the matrix of the given settings.

    Args:
        variables: Short name -> id of a model. A short name wins over a model of that name.
        evict_costs: Short name or id of a model -> cost of stopping it; 1 for the others.
        sets: Name -> expression, in the order of definition.
        models: Ids of all models.

    Raises:
        MatrixError: With all mistakes.
    """
    compiler = _Compiler(variables, models)
    compiler.check_variables()
    costs = compiler.resolve_costs(evict_costs)
    expressions = {name: read_expression(text) for name, text in sets.items()}
    compiler.check_sets(expressions)
    order = compiler.in_order(expressions)
    if compiler.problems:
        raise MatrixError(compiler.problems)
    graph = Graph()
    return Matrix(
        variables=MappingProxyType(dict(variables)),
        evict_costs=MappingProxyType(dict(evict_costs)),
        sets=MappingProxyType(dict(sets)),
        _order=tuple(sets),
        _costs=MappingProxyType(costs),
        _graph=graph,
        _roots=MappingProxyType(_build(graph, order, expressions, variables)),
    )


class _Compiler:
    """Collects mistakes."""

    def __init__(self, variables: Mapping[str, str], models: Collection[str]) -> None:
        self._variables = variables
        self._models = frozenset(models)
        self._names = (*variables, *models)
        self._hints = 0
        self.problems: list[MatrixProblem] = []

    def check_variables(self) -> None:
        for name, model in self._variables.items():
            if not _VARIABLE.fullmatch(name):
                self._note(
                    "vars", name, f"{name[:80]!r} cannot be used: take 1 to 32 of A-Z a-z 0-9 - ."
                )
            if model not in self._models:
                hint = self._hint(model, self._models)
                self._note("vars", name, f"there is no model {model[:80]!r}{hint}")

    def resolve_costs(self, evict_costs: Mapping[str, int]) -> dict[str, int]:
        """Return the costs by model."""
        costs: dict[str, int] = {}
        names: dict[str, str] = {}
        for name, cost in evict_costs.items():
            model = self._resolve(name)
            if cost < 1:
                self._note("evict_costs", name, f"{cost} is too small; write 1 or more")
            if model is None:
                self._note("evict_costs", name, self._no_model(name))
            elif costs.setdefault(model, cost) != cost:
                self._note(
                    "evict_costs",
                    name,
                    f"{names[model]!r} is the same model, and costs {costs[model]}; remove one",
                )
            else:
                names[model] = name
        return costs

    def check_sets(self, expressions: Mapping[str, Expression]) -> None:
        if not expressions:
            self._note("sets", "", "there are no sets; write at least one, such as all: a & b")
        for name, expression in expressions.items():
            for mistake in expression.mistakes:
                self._note("sets", name, mistake.message, mistake.column)
            for token in expression.names:
                message = self._check_name(token, expressions)
                if message:
                    self._note("sets", name, message, token.column)

    def _check_name(self, token: Token, sets: Collection[str]) -> str | None:
        name, is_model = token.text, self._resolve(token.text) is not None
        if token.kind == "set" and name not in sets:
            if is_model:
                return f"there is no set {name[:80]!r}; write the model without '+'"
            return f"there is no set {name[:80]!r}{self._hint(name, sets)}"
        if token.kind == "name" and not is_model:
            if name in sets:
                return f"{name[:80]!r} is a set; write +{name[:80]}"
            return self._no_model(name)
        return None

    def in_order(self, expressions: Mapping[str, Expression]) -> list[str]:
        """Return the sets in order, but after those they refer to."""
        order: list[str] = []
        done: set[str] = set()
        path: list[tuple[str, Iterator[Token]]] = []
        depth: dict[str, int] = {}  # of the sets in `path`
        in_circles: set[str] = set()

        def enter(name: str) -> None:
            depth[name] = len(path)
            path.append((name, iter(expressions[name].names)))

        for start in expressions:
            if start not in done:
                enter(start)
            while path:
                name, tokens = path[-1]
                token = next(tokens, None)
                if token is None:
                    path.pop()
                    del depth[name]
                    done.add(name)
                    order.append(name)
                elif token.kind != "set" or token.text not in expressions or token.text in done:
                    pass
                elif token.text in depth:
                    if name not in in_circles:  # one is enough for each set
                        in_circles.add(name)
                        start_at = depth[token.text]
                        circle = path[start_at : start_at + _SHOWN]
                        self._note_circle(name, token, [one for one, _ in circle])
                else:
                    enter(token.text)
        return order

    def _note_circle(self, name: str, token: Token, circle: list[str]) -> None:
        via = " -> ".join(f"+{one[:80]}" for one in circle)
        more = " -> ..." if len(circle) == _SHOWN else ""
        self._note(
            "sets",
            name,
            f"+{token.text[:80]} leads back here ({via}{more} -> +{token.text[:80]}); "
            "a set cannot be a part of itself",
            token.column,
        )

    def _resolve(self, name: str) -> str | None:
        return self._variables.get(name) or (name if name in self._models else None)

    def _no_model(self, name: str) -> str:
        return f"there is no model or short name {name[:80]!r}{self._hint(name, self._names)}"

    def _hint(self, name: str, known: Iterable[str]) -> str:
        self._hints += 1
        return did_you_mean(name, known) if self._hints <= _MAX_HINTS else ""

    def _note(
        self,
        section: Literal["vars", "evict_costs", "sets"],
        name: str,
        message: str,
        column: int = 0,
    ) -> None:
        if column:
            message = f"column {column} of the expression: {message}"
        self.problems.append(MatrixProblem(section, name, column, message))


def _build(
    graph: Graph,
    order: Iterable[str],
    expressions: Mapping[str, Expression],
    variables: Mapping[str, str],
) -> dict[int, str]:
    """Put the expressions into `graph`; return the node of each set, in the given order."""
    nodes: dict[str, int] = {}
    for name in order:
        tree = expressions[name].tree
        assert tree is not None  # or there were mistakes
        nodes[name] = _add(graph, tree, nodes, variables)
    # Two sets may be one node, such as `b: +a`. The earlier one is the one that is chosen.
    roots: dict[int, str] = {}
    for name, node in nodes.items():
        roots.setdefault(node, name)
    return roots


def _add(graph: Graph, tree: Tree, sets: Mapping[str, int], variables: Mapping[str, str]) -> int:
    done: list[int] = []  # nodes that nothing was made of yet
    for part in walk(tree):
        match part:
            case Name(name):
                done.append(graph.leaf(variables.get(name, name)))
            case SetName(name):
                done.append(sets[name])
            case _:
                parts = done[-len(part.parts) :]
                del done[-len(part.parts) :]
                add = graph.product if isinstance(part, Together) else graph.alternative
                done.append(add(parts))
    return done[0]
