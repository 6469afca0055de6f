"""Time in which this process stood still counts for nobody."""

import pytest

from arriero.protocol.wakefulness import GAP_S, LOOK_S, Wakefulness


def awake_until(wakefulness: Wakefulness, until: float) -> None:
    while wakefulness.looked_at < until:
        assert wakefulness.look(min(wakefulness.looked_at + LOOK_S, until)) == 0.0


@pytest.mark.parametrize("frozen_s", [GAP_S + 0.001, 12.0, 30.0, 120.0, 86_400.0])
def test_who_seemed_silent_has_the_whole_time_again(frozen_s: float) -> None:
    wakefulness = Wakefulness(100.0)
    awake_until(wakefulness, 109.0)
    assert wakefulness.silent_s(100.0, 109.0) == 9.0

    thaw = 109.0 + frozen_s
    assert wakefulness.silent_s(100.0, thaw) == 0.0
    awake_until(wakefulness, thaw + 10.0)
    assert wakefulness.silent_s(100.0, thaw + 10.0) == 10.0
    assert wakefulness.silent_s(thaw + 4.0, thaw + 10.0) == 6.0


@pytest.mark.parametrize("frozen_s", [GAP_S + 0.001, 12.0, 30.0, 120.0])
def test_the_clock_of_limits_stands_still_as_well(frozen_s: float) -> None:
    wakefulness = Wakefulness(0.0)
    awake_until(wakefulness, 50.0)
    assert wakefulness.awake_s(50.0) == 50.0
    assert wakefulness.awake_s(50.0 + frozen_s) == pytest.approx(50.0)
    awake_until(wakefulness, 60.0 + frozen_s)
    assert wakefulness.awake_s(60.0 + frozen_s) == pytest.approx(60.0)


def test_a_busy_moment_is_no_sleep() -> None:
    wakefulness = Wakefulness(0.0)
    for second in range(0, 100, 2):
        assert wakefulness.look(float(second)) == 0.0
    assert wakefulness.slept_s == 0.0
    assert wakefulness.silent_s(0.0, 98.0) == 98.0


def test_the_clock_never_goes_back() -> None:
    wakefulness = Wakefulness(0.0)
    told = [wakefulness.awake_s(now) for now in (0.5, 1.0, 31.0, 31.2, 200.0, 201.0, 203.5)]
    assert told == sorted(told)
