"""What leaks is told from what does not."""

import random
from collections.abc import Callable

import pytest

from .slope import order, sen_slope, trend

RNG = random.Random(9)


def samples(value: Callable[[int], float], count: int = 60) -> list[tuple[float, float]]:
    return [(float(second), value(second)) for second in range(count)]


def noise(size: float) -> float:
    return RNG.uniform(-size, size)


@pytest.mark.parametrize(
    ("what", "value", "grows"),
    [
        ("nothing happens", lambda s: 20, False),
        ("it comes and goes", lambda s: 20 + RNG.randrange(12), False),
        ("one descriptor a second leaks", lambda s: 20 + s, True),
        ("one in ten seconds leaks", lambda s: 20 + s // 10, True),
        ("a leak below the coming and going", lambda s: 20 + s / 5 + RNG.randrange(8), True),
        ("it goes", lambda s: 80 - s, False),
        ("one step", lambda s: 20 if s < 30 else 21, False),
        ("a cache that fills", lambda s: 100 * (1 - 0.9**s), False),
        ("a peak in the middle", lambda s: 500 if s == 30 else 20, False),
        ("a peak at the end", lambda s: 500 if s > 56 else 20, False),
        ("a leak with peaks", lambda s: 500 if s % 10 == 0 else 20 + s, True),
    ],
)
def test_a_leak_is_found_and_nothing_else(
    what: str, value: Callable[[int], float], grows: bool
) -> None:
    assert trend(samples(value), matters=2).grows is grows, what


def test_growth_below_the_grain_is_none() -> None:
    assert not trend(samples(lambda s: 1000 + s / 10), matters=50).grows
    assert trend(samples(lambda s: 1000 + s / 10), matters=5).grows


def test_too_few_samples_say_nothing() -> None:
    assert not trend(samples(lambda s: s, count=5), matters=1).grows
    assert not trend([], matters=1).grows


def test_many_samples_are_thinned_out_and_the_slope_stays() -> None:
    found = trend(samples(lambda s: s * 0.01, count=5000), matters=1)
    assert found.grows
    assert found.per_hour == pytest.approx(36)


def test_the_slope_is_that_of_most_pairs() -> None:
    assert sen_slope([(0, 0), (1, 2), (2, 4), (3, 6), (4, 1000)]) == 2
    assert sen_slope([(0, 5), (1, 5), (2, 5)]) == 0


def test_random_orders_are_within_a_few_standard_deviations() -> None:
    found = [order([noise(1) for _ in range(60)]) for _ in range(200)]
    assert max(map(abs, found)) < 4
    assert order(list(range(60))) > 10
    assert order([1.0] * 60) == 0
