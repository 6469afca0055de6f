"""The cheapest set of models that makes room.

Some of many things of different sizes are to cover a need on several devices at the least cost:
that is known to be hard. So the search for it is bounded; where the bound is met, a good set (the
most room for the cost, then without those that were not needed after all) is looked for as well,
and the cheaper one of both is taken.
"""

import math
from collections.abc import Mapping, Sequence
from operator import lt
from typing import Final, NamedTuple, TypeAlias

from .sizes import Amounts

# Ways that the search goes down to their ends: a tenth of a millisecond's worth. With six models
# that could go it is never cut short.
_MAX_WAYS: Final = 64

# Beyond so many models that could go, only the cheapest ones are searched.
_MAX_EXACT: Final = 10

# Bytes on each of some devices.
_Bytes: TypeAlias = tuple[int, ...]


class Evictable(NamedTuple):
    """A model that could go.

    Attributes:
        cost: Of bringing it back.
        used_at: When it was last used: of equal ones the least recent goes.
        model: Its name.
        amounts: What it gives back.
    """

    cost: float
    used_at: float
    model: str
    amounts: Amounts


class _One(NamedTuple):
    """A candidate, by what it gives back where something is missing."""

    cost: float
    model: str
    gives: _Bytes


class _Found(NamedTuple):
    """Models that make room together."""

    cost: float
    models: tuple[str, ...]


def cheapest(lack: Mapping[str, int], candidates: Sequence[Evictable]) -> tuple[str, ...] | None:
    """Return the models that go; None if all of them together do not make room.

    Args:
        lack: Device -> bytes that are missing there, above 0.
        candidates: Those that could go.
    """
    pool = sorted(candidates)
    if len(lack) > 1 and any(len(lack.keys() & one.amounts.keys()) > 1 for one in pool):
        devices = tuple(lack)
        ones = [
            _One(one.cost, one.model, tuple(one.amounts.get(device, 0) for device in devices))
            for one in pool
        ]
        found = _cheapest(tuple(lack.values()), ones)
        return None if found is None else found.models
    models: tuple[str, ...] = ()
    for device, count in lack.items():  # what goes for one of them is no use to another
        ones = [
            _One(one.cost, one.model, (given,))
            for one in pool
            if (given := one.amounts.get(device))
        ]
        found = _cheapest((count,), ones)
        if found is None:
            return None
        models += found.models
    return models


def _cheapest(lack: _Bytes, pool: Sequence[_One]) -> _Found | None:
    """Return the cheapest set out of `pool`, which is sorted by cost."""
    found, is_best = _search(lack, pool[:_MAX_EXACT])
    if is_best and len(pool) <= _MAX_EXACT:
        return found
    good = _good_set(lack, pool)
    return good if found is None or (good is not None and good.cost < found.cost) else found


def _search(lack: _Bytes, pool: Sequence[_One]) -> tuple[_Found | None, bool]:
    """Return the cheapest set that was found, and whether there can be no cheaper one."""
    for one in pool[:2]:
        if not any(_less(lack, one.gives)):
            return _Found(one.cost, (one.model,)), True  # any two others cost as much
    left = (0,) * len(lack)
    rests = [left]  # what all from there on give together
    for one in reversed(pool):
        left = tuple([count + given for count, given in zip(left, one.gives, strict=True)])
        rests.append(left)
    rests.reverse()
    best: _Found | None = None
    most = math.inf
    ways: list[tuple[int, float, _Bytes, tuple[str, ...]]] = [(0, 0.0, lack, ())]
    for _ in range(_MAX_WAYS):
        if not ways:
            return best, True
        at, cost, left, models = ways.pop()
        while any(left):
            if any(map(lt, rests[at], left)):
                break
            price, model, gives = pool[at]
            if cost + price >= most:
                break  # all later ones cost as much
            at += 1
            rest = _less(left, gives)
            if rest != left:
                ways.append((at, cost, left, models))
                cost, left, models = cost + price, rest, (*models, model)
        else:
            best, most = _Found(cost, models), cost
    return best, not ways


def _good_set(lack: _Bytes, pool: Sequence[_One]) -> _Found | None:
    left, rest = lack, list(pool)
    chosen: list[_One] = []
    while any(left):
        best, best_ratio = None, 0.0
        for one in rest:
            covers = sum(
                min(given, count) / whole
                for given, count, whole in zip(one.gives, left, lack, strict=True)
            )
            if covers / (one.cost + 1e-9) > best_ratio:
                best, best_ratio = one, covers / (one.cost + 1e-9)
        if best is None:
            return None
        rest.remove(best)
        chosen.append(best)
        left = _less(left, best.gives)
    for one in sorted(chosen, reverse=True):  # the dearest first
        others = [other for other in chosen if other is not one]
        if not any(_less(lack, _sum(others, len(lack)))):
            chosen = others
    return _Found(sum(one.cost for one in chosen), tuple(one.model for one in chosen))


def _less(left: _Bytes, gives: _Bytes) -> _Bytes:
    return tuple(
        [count - given if count > given else 0 for count, given in zip(left, gives, strict=True)]
    )


def _sum(ones: Sequence[_One], devices: int) -> _Bytes:
    return tuple(sum(one.gives[at] for one in ones) for at in range(devices))
