"""The cheapest set of models that makes room.

Some of many things of different sizes are to cover a need on several devices at the least cost:
that is known to be hard. So a good set is found first (the most room for the cost, then without
those that were not needed after all), and a bounded search looks for a cheaper one.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from .sizes import Amounts

# Sets that the search looks at: a tenth of a millisecond's worth. With six models that could go it
# is never cut short.
_MAX_STEPS: Final = 64

# Beyond so many models that could go, the good set is taken as it is.
_MAX_EXACT: Final = 10


class Candidate(NamedTuple):
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


def cheapest(lack: Mapping[str, int], candidates: Sequence[Candidate]) -> tuple[str, ...] | None:
    """Return the models that go; None if all of them together do not make room.

    Args:
        lack: Device -> bytes that are missing there, above 0.
        candidates: Those that could go.
    """
    if not lack:
        return ()
    useful = [one for one in candidates if any(one.amounts.get(device) for device in lack)]
    useful.sort()
    good = _good_set(lack, useful)
    if good is None:
        return None
    if len(good) > 1 or good[0] is not useful[0]:  # the cheapest one alone cannot be bettered
        good = _cheaper(lack, useful[:_MAX_EXACT], good)
    return tuple(one.model for one in good)


def _good_set(lack: Mapping[str, int], useful: Sequence[Candidate]) -> list[Candidate] | None:
    left = dict(lack)
    pool = list(useful)
    chosen: list[Candidate] = []
    while left:
        best, best_ratio = None, -1.0
        for one in pool:
            covers = sum(
                min(one.amounts.get(device, 0), count) / lack[device]
                for device, count in left.items()
            )
            if covers:
                ratio = covers / (one.cost + 1e-9)
                if ratio > best_ratio:
                    best, best_ratio = one, ratio
        if best is None:
            return None
        pool.remove(best)
        chosen.append(best)
        left = _less(left, best.amounts)
    for one in sorted(chosen, reverse=True):  # the dearest first
        rest = [other for other in chosen if other is not one]
        if _covers(lack, rest):
            chosen = rest
    return chosen


def _less(lack: Mapping[str, int], amounts: Amounts) -> dict[str, int]:
    return {
        device: count - amounts.get(device, 0)
        for device, count in lack.items()
        if count > amounts.get(device, 0)
    }


def _covers(lack: Mapping[str, int], chosen: Sequence[Candidate]) -> bool:
    return all(
        sum(one.amounts.get(device, 0) for one in chosen) >= count for device, count in lack.items()
    )


def _cheaper(
    lack: Mapping[str, int], pool: Sequence[Candidate], good: list[Candidate]
) -> list[Candidate]:
    """Return a cheaper set than `good` out of `pool`, which is sorted by cost; else `good`."""
    best, best_cost = good, sum(one.cost for one in good)
    stack: list[tuple[int, float, Mapping[str, int], tuple[Candidate, ...]]] = [(0, 0.0, lack, ())]
    for _ in range(_MAX_STEPS):
        if not stack:
            break
        at, cost, left, chosen = stack.pop()
        if not left:
            best, best_cost = list(chosen), cost
            continue
        if at == len(pool) or cost + pool[at].cost >= best_cost:
            continue  # all later ones cost as much
        one = pool[at]
        stack.append((at + 1, cost, left, chosen))
        rest = _less(left, one.amounts)
        if rest != left:
            stack.append((at + 1, cost + one.cost, rest, (*chosen, one)))
    return best
