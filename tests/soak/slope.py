"""Does a figure grow? Deciding: a robust slope, and whether it is more than chance and habit.

The slope is that of Theil and Sen, the median of all slopes between two samples: a third of the
samples may be anything. That it is more than chance says the test of Mann and Kendall, whether
later samples are larger than earlier ones more often than not. What is left are habits: caches that
fill and stop. They are steep at first, so the second half has to rise, too, and by as much.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

# Standard deviations by which an order has to differ from a random one: once in a thousand runs of
# sixty figures it is chance.
_CERTAIN = 4.0

# Share of the slope of the first half that the second one has, if something leaks.
_STEADY = 0.5

# Samples, of which there is a pair for each two; more are thinned out, evenly.
_MOST = 200

_FEWEST = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """How a figure went.

    Attributes:
        first: Its median in the first quarter.
        last: In the last quarter.
        per_hour: The robust slope.
        grows: It is a leak.
    """

    first: float
    last: float
    per_hour: float
    grows: bool


def trend(samples: Sequence[tuple[float, float]], matters: float) -> Trend:
    """Return how a figure went.

    Args:
        samples: Second and value, in order, the warm-up not among them.
        matters: The least growth over all samples that is worth a word: the grain of the figure.
    """
    samples = samples[:: max(1, math.ceil(len(samples) / _MOST))]
    if len(samples) < _FEWEST:
        values = [value for _, value in samples] or [0.0]
        return Trend(first=values[0], last=values[-1], per_hour=0.0, grows=False)
    quarter, half = len(samples) // 4, len(samples) // 2
    slope = sen_slope(samples)
    growth = slope * (samples[-1][0] - samples[0][0])
    early, late = sen_slope(samples[:half]), sen_slope(samples[half:])
    return Trend(
        first=median(value for _, value in samples[:quarter]),
        last=median(value for _, value in samples[-quarter:]),
        per_hour=slope * 3600,
        grows=growth >= matters
        and order([value for _, value in samples]) > _CERTAIN
        and late >= _STEADY * early,
    )


def sen_slope(samples: Sequence[tuple[float, float]]) -> float:
    """Return the median of the slopes between any two samples, per second."""
    slopes = [(b - a) / (then - now) for (now, a), (then, b) in combinations(samples, 2)]
    return median(slopes)


def order(values: Sequence[float]) -> float:
    """Return by how many standard deviations more pairs rise than fall than do by chance.

    Equal values count for neither, and make the standard deviation smaller.
    """
    n = len(values)
    score = sum((b > a) - (b < a) for a, b in combinations(values, 2))
    ties = [values.count(value) for value in set(values)]
    variance = n * (n - 1) * (2 * n + 5) - sum(t * (t - 1) * (2 * t + 5) for t in ties)
    return (
        0.0
        if not variance or not score
        else (score - math.copysign(1, score)) / math.sqrt(variance / 18)
    )
