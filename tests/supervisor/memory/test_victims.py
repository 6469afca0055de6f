"""The cheapest set that makes room."""

from collections.abc import Mapping
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor.memory.victims import Evictable, cheapest


def one(model: str, cost: float, used_at: float = 0.0, **amounts: int) -> Evictable:
    return Evictable(cost, used_at, model, amounts)


@pytest.mark.parametrize(
    ("lack", "candidates", "goes"),
    [
        ({}, [one("a", 1, gpu0=5)], ""),
        ({"gpu0": 3}, [one("a", 1, gpu0=5)], "a"),
        ({"gpu0": 6}, [one("a", 1, gpu0=5)], None),
        ({"gpu0": 3}, [one("a", 1, gpu1=5)], None),
        # the cheaper one
        ({"gpu0": 3}, [one("a", 9, gpu0=5), one("b", 2, gpu0=5)], "b"),
        # of equal ones the least recently used
        ({"gpu0": 3}, [one("a", 2, 20, gpu0=5), one("b", 2, 10, gpu0=5)], "b"),
        # one that is large enough, rather than two
        ({"gpu0": 6}, [one("a", 2, gpu0=3), one("b", 2, gpu0=3), one("c", 3, gpu0=6)], "c"),
        # two cheap ones, rather than one that is dear
        ({"gpu0": 6}, [one("a", 2, gpu0=3), one("b", 2, gpu0=3), one("c", 9, gpu0=6)], "ab"),
        # nobody for nothing: what was taken first is not needed after all
        ({"gpu0": 6}, [one("a", 1, gpu0=1), one("b", 4, gpu0=6)], "b"),
        # one on both devices, rather than one on each
        (
            {"gpu0": 2, "gpu1": 2},
            [one("a", 2, gpu0=2), one("b", 2, gpu1=2), one("c", 3, gpu0=2, gpu1=2)],
            "c",
        ),
        # what leaves already costs nothing
        ({"gpu0": 3}, [one("a", 0, gpu0=4), one("b", 1, gpu0=4)], "a"),
    ],
)
def test_who_goes(lack: Mapping[str, int], candidates: list[Evictable], goes: str | None) -> None:
    found = cheapest(lack, candidates)
    assert (None if found is None else "".join(sorted(found))) == goes


SIZES = st.fixed_dictionaries({}, optional={"gpu0": st.integers(1, 9), "ram": st.integers(1, 9)})
CANDIDATES = st.lists(st.tuples(st.integers(0, 20), SIZES), max_size=6).map(
    lambda found: [Evictable(cost, 0.0, f"m{n}", sizes) for n, (cost, sizes) in enumerate(found)]
)
LACKS = st.dictionaries(st.sampled_from(("gpu0", "ram")), st.integers(1, 12), min_size=1)


def covers(lack: Mapping[str, int], chosen: tuple[Evictable, ...]) -> bool:
    return all(sum(c.amounts.get(d, 0) for c in chosen) >= count for d, count in lack.items())


@given(LACKS, CANDIDATES)
def test_it_is_the_cheapest_set_there_is(
    lack: Mapping[str, int], candidates: list[Evictable]
) -> None:
    """With six candidates the search is never cut short."""
    sets = [
        chosen
        for size in range(len(candidates) + 1)
        for chosen in combinations(candidates, size)
        if covers(lack, chosen)
    ]

    found = cheapest(lack, candidates)

    if found is None:
        assert sets == []
    else:
        chosen = tuple(c for c in candidates if c.model in found)
        assert covers(lack, chosen)
        assert sum(c.cost for c in chosen) == min(sum(c.cost for c in one) for one in sets)
