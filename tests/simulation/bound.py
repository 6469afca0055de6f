"""The share of requests that could be warm hits for somebody who knows the future.

An upper bound: "PFOO-L" of Berger, Beckmann and Harchol-Balter, "Practical Bounds on Optimal
Caching with Variable Object Sizes" (2018). Between two requests for a model it either stays in
memory, which takes its size for that long, or the second one is a miss. The cheapest of these
stays are taken until memory times time is used up, as if all hosts were one, whose parts could be
put together at will, and as if loads took no time. Further copies of a model take memory as the
requests for it need on average. Nobody reaches it.
"""

import math
from collections.abc import Sequence
from typing import Final

# Stays of about the same cost are counted together: steps of half a percent.
_STEP: Final = math.log(1.005)


class ClairvoyantBound:
    """Told of all requests, it says how many could have been hits."""

    def __init__(self, begins_at: float, models: int) -> None:
        self._last = [begins_at] * models
        self._asked_for = [0] * models
        self._counts: dict[int, int] = {}
        self._free = 0
        self._asked = 0

    def ask(self, model: int, size_gb: float, now: float) -> None:
        """Take note of a request."""
        self._asked += 1
        self._asked_for[model] += 1
        cost = (now - self._last[model]) * size_gb
        self._last[model] = now
        if cost <= 0.0:
            self._free += 1
            return
        at = math.floor(math.log(cost) / _STEP)
        self._counts[at] = self._counts.get(at, 0) + 1

    def share(
        self, budget: float, sizes_gb: Sequence[float], seconds: float, each_s: float
    ) -> float:
        """Return the share of hits.

        Args:
            budget: Memory times time, in GB times seconds.
            sizes_gb: Of the models.
            seconds: Since it began.
            each_s: Seconds that a request has a copy for itself: with eight slots, an eighth of
                what an answer takes.
        """
        for size_gb, asked in zip(sizes_gb, self._asked_for, strict=True):
            budget -= size_gb * max(0.0, asked * each_s - seconds)
        hits = float(self._free)
        for at in sorted(self._counts):
            each = math.exp(at * _STEP)  # rounded down: it stays a bound
            taken = min(self._counts[at], budget / each)
            hits += taken
            budget -= taken * each
            if budget <= 0.0:
                break
        return hits / self._asked if self._asked else 0.0
