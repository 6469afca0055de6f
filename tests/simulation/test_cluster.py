"""Many machines in virtual time: what a choice takes, and what comes of it."""

from dataclasses import replace

import pytest

from tests.simulation.bound import ClairvoyantBound
from tests.simulation.cluster import Cluster
from tests.simulation.plan import Plan

SMALL = Plan(
    hosts=20,
    models=400,
    per_s=200.0,
    think_s=5.0,
    memory_gb=96.0,
    seconds=9.0,
    warm_up_s=3.0,
    fronts=4,
)


def test_few_requests_wait_and_conversations_stay() -> None:
    """They do not stay with whoever is said to have the least to do."""
    found = Cluster(SMALL).run()
    least = Cluster(replace(SMALL, policy="least")).run()

    assert found.bound * 0.85 < found.warm_share <= found.bound <= 1.0
    assert found.at_home > 0.8 * found.later_turns > 100
    assert least.at_home < 0.7 * least.later_turns
    assert (found.nowhere, found.waits.at(0.5)) == (0, 0.0)


def test_hosts_that_fail_cost_their_answers_only() -> None:
    found = Cluster(replace(SMALL, fails_per_h=150.0, down_s=4.0, memory_gb=192.0)).run()

    assert found.failures > 1
    assert found.broken + found.rerouted.count > 0
    assert found.nowhere < 0.01 * found.requests
    assert found.open_s < 8.0
    assert found.rerouted.at(1.0) < 15.0


def test_a_choice_does_not_take_longer_with_ten_times_the_hosts() -> None:
    """Relative, so that no machine is too slow."""
    few = replace(SMALL, hosts=20, models=20, seconds=3.0, warm_up_s=0.0)
    many = Cluster(replace(few, hosts=200, models=1000)).run()

    assert many.decisions.at(0.5) < 5 * Cluster(few).run().decisions.at(0.5)


def test_the_clairvoyant_bound() -> None:
    """Two models in turns, a second from request to request, from the beginning on."""
    bound = ClairvoyantBound(0.0, models=2)
    for second in range(1, 101):
        bound.ask(second % 2, 1.0, float(second))

    for budget_gb, share in ((2.0, 1.0), (1.0, 0.5), (0.5, 0.25), (0.0, 0.0)):
        found = bound.share(100 * budget_gb, [1.0, 1.0], 100.0, 0.0)
        assert found == pytest.approx(share, abs=0.02)
    assert bound.share(200.0, [1.0, 1.0], 100.0, 4.0) < 0.5  # each needs a copy to itself


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_a_thousand_machines() -> None:
    found = Cluster(Plan(seconds=30.0, warm_up_s=15.0)).run()

    assert found.requests > 130_000
    assert found.decisions.at(0.99) < 0.002
    assert found.warm_share > 0.95 * found.bound
    assert found.waits.at(0.5) == 0.0
    assert found.nowhere == 0
