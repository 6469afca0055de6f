"""Hypothesis strategies for rooms: who may run beside whom."""

from collections.abc import Callable, Collection
from functools import partial

from hypothesis import strategies as st

from arriero.supervisor.placement.matrix import compile_matrix
from arriero.supervisor.placement.policy import Group, Groups, OneAtATime, PlacementPolicy

MODELS = ("a", "b", "c", "d")

# A room for whatever models a configuration has.
Builder = Callable[[Collection[str]], PlacementPolicy]


def _grouped(
    sort: tuple[int, ...], kinds: tuple[tuple[bool, bool, bool], ...], models: Collection[str]
) -> PlacementPolicy:
    members: list[list[str]] = [[] for _ in kinds]
    for model, group in zip(MODELS, sort, strict=True):
        if model in models and group < len(kinds):
            members[group].append(model)
    groups = [
        Group(str(number), tuple(found), *kind)
        for number, (found, kind) in enumerate(zip(members, kinds, strict=True))
    ]
    return Groups(groups, models)


def _matrix(
    sets: list[set[str]], costs: dict[str, int], models: Collection[str]
) -> PlacementPolicy:
    known = [" & ".join(sorted(found)) for one in sets if (found := one.intersection(models))]
    if not known:
        return OneAtATime()
    costs = {model: cost for model, cost in costs.items() if model in models}
    return compile_matrix({}, costs, {f"s{n}": one for n, one in enumerate(known)}, models)


_KINDS = st.tuples(*[st.tuples(st.booleans(), st.booleans(), st.booleans())] * 2)
BUILDERS: st.SearchStrategy[Builder] = st.one_of(
    st.just(lambda models: OneAtATime()),
    st.builds(partial, st.just(_grouped), st.tuples(*[st.integers(0, 2)] * 4), _KINDS),
    st.builds(
        partial,
        st.just(_matrix),
        st.lists(st.sets(st.sampled_from(MODELS), min_size=1), max_size=4),
        st.dictionaries(st.sampled_from(MODELS), st.integers(1, 5)),
    ),
)


def policies(models: Collection[str]) -> st.SearchStrategy[PlacementPolicy]:
    """Rooms for these models."""
    return BUILDERS.map(lambda build: build(models))
