"""Two hundred models on eight devices: what a decision takes, and that the account is right."""

import pytest

from tests.supervisor.scheduling.simulation import Simulation


def test_a_decision_does_not_take_longer_with_ten_times_the_models() -> None:
    """It may take a little longer: more of them wait. Relative, so that no machine is too slow."""
    few = Simulation(models=20, devices=8).run(400, per_s=1.0)
    many = Simulation(models=200, devices=8).run(400, per_s=1.0)

    assert many.percentile_ms(0.5) < 10 * few.percentile_ms(0.5)
    assert max(many.most_reserved.values()) <= 1.0
    assert (len(many.waits_s) > 0, many.refused) == (True, 0)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_a_decision_does_not_take_longer_after_a_hundred_thousand() -> None:
    """At a rate that they cannot keep up with: dozens of models are waited for all the time."""
    few = Simulation(models=200, devices=8).run(10_000, per_s=2.0)
    outcome = Simulation(models=200, devices=8).run(100_000, per_s=2.0)

    assert outcome.percentile_ms(0.99) < 3 * few.percentile_ms(0.99)
    assert max(outcome.most_reserved.values()) <= 1.0
    assert outcome.refused == 0
