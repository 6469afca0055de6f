"""`keep_alive` of a request: an upper bound for the ttl of its model."""

import math

import pytest

from arriero.supervisor.scheduling.engine import Engine
from arriero.supervisor.scheduling.leases import REPORT_LIMIT_S
from arriero.supervisor.scheduling.messages.events import (
    GrantLease,
    KeptAlive,
    Reported,
    RevokeLease,
    Spec,
    TimePassed,
    Wanted,
)
from tests.supervisor.scheduling.steps import OTHER, W1, acts, make_ready


@pytest.fixture
def engine() -> Engine:
    return Engine([Spec(model="a", ttl_s=60), Spec(model="b")])


def kept(grant: GrantLease, keep_s: float, in_flight: int = 0) -> KeptAlive:
    return KeptAlive(grant.waiter.owner, grant.model, grant.lease, keep_s, in_flight)


@pytest.mark.parametrize(
    ("model", "keep_s", "until"),
    [("a", 5.0, 15.0), ("a", 600.0, 70.0), ("b", 5.0, 15.0), ("b", math.inf, math.inf)],
)
def test_the_shorter_one_counts(engine: Engine, model: str, keep_s: float, until: float) -> None:
    grant = make_ready(engine, model, W1, 0)
    engine.handle(kept(grant, keep_s), 10)
    assert engine.next_deadline(10) == until


def test_nothing_to_keep_unloads_at_once(engine: Engine) -> None:
    grant = make_ready(engine, "b", W1, 0)
    assert acts(engine.handle(kept(grant, 0.0), 10)) == [
        RevokeLease("w", "b", grant.lease, when_idle=False)
    ]


def test_a_request_that_runs_still_is_not_cut(engine: Engine) -> None:
    grant = make_ready(engine, "b", W1, 0)
    assert acts(engine.handle(kept(grant, 0.0, in_flight=1), 10)) == []
    assert acts(engine.handle(Reported("w", {"b": 1}), 11)) == []


def test_another_request_makes_it_be_forgotten(engine: Engine) -> None:
    grant = make_ready(engine, "b", W1, 0)
    engine.handle(kept(grant, 5.0), 10)
    engine.handle(Reported("w", {}), 11)  # of what was reported before
    assert engine.next_deadline(11) == 15
    engine.handle(Reported("w", {"b": 1}, used=("b",)), 12)
    engine.handle(Reported("w", {}, used=("b",)), 13)
    assert acts(engine.handle(TimePassed(), 1000)) == []


def test_another_worker_has_time_to_report_what_runs(engine: Engine) -> None:
    grant = make_ready(engine, "b", W1, 0)
    engine.handle(Wanted(OTHER, "b"), 1)
    assert acts(engine.handle(kept(grant, 0.0), 10)) == []
    assert engine.next_deadline(10) == 10 + REPORT_LIMIT_S
    engine.handle(Reported("other", {"b": 1}), 11)  # it came after the other one
    engine.handle(Reported("other", {}, used=("b",)), 12)
    assert acts(engine.handle(TimePassed(), 1000)) == []


def test_a_lease_of_another_worker_counts_too(engine: Engine) -> None:
    grant = make_ready(engine, "b", W1, 0)
    engine.handle(Wanted(OTHER, "b"), 1)
    engine.handle(Reported("other", {"b": 1}), 2)
    assert acts(engine.handle(kept(grant, 0.0), 10)) == []


def test_an_old_lease_says_nothing(engine: Engine) -> None:
    grant = make_ready(engine, "b", W1, 0)
    stale = KeptAlive("w", "b", grant.lease + 1, 0.0, 0)
    assert acts(engine.handle(stale, 10)) == []
    assert acts(engine.handle(KeptAlive("w", "gone", 1, 0.0, 0), 10)) == []
    assert engine.next_deadline(10) == math.inf
