"""Models that run, but hang, fail or cannot finish."""

import pytest

from arriero.protocol.values import ErrorInfo
from arriero.supervisor.scheduling.deadlines import CUT_LIMIT_S
from arriero.supervisor.scheduling.engine import Engine
from arriero.supervisor.scheduling.messages.events import (
    Failing,
    Hung,
    ProcessEnded,
    Refused,
    Released,
    Reported,
    RevokeLease,
    Spawn,
    Spec,
    Stalled,
    Terminate,
    TimePassed,
    Wanted,
)
from arriero.supervisor.scheduling.messages.refusals import hung, stalled
from tests.supervisor.scheduling.steps import CRASHED, W1, W2, acts, make_ready

HUNG = hung("a", 60.0)


@pytest.fixture
def engine() -> Engine:
    return Engine([Spec(model="a", drain_limit_s=600), Spec(model="b")])


def failures(engine: Engine, model: str, now: float) -> float:
    (found,) = [status for status in engine.view.models(now, 0.0) if status.model == model]
    return found.retry_in_s


def test_a_model_that_hangs_is_killed_as_soon_as_its_clients_were_told(engine: Engine) -> None:
    grant = make_ready(engine, "a", W1, 0)

    told = acts(engine.handle(Hung("a", 1, HUNG, 10.0), 70))
    assert told == [RevokeLease("w", "a", grant.lease, when_idle=False, error=HUNG)]
    assert acts(engine.handle(Released("w", "a", grant.lease), 70.1)) == [Terminate("a", 1, 0.0)]


def test_a_worker_that_hangs_as_well_is_not_waited_for(engine: Engine) -> None:
    make_ready(engine, "a", W1, 0)
    engine.handle(Hung("a", 1, HUNG, 10.0), 70)
    assert engine.next_deadline(70) == 70 + CUT_LIMIT_S
    assert acts(engine.handle(TimePassed(), 71.9)) == []
    assert acts(engine.handle(TimePassed(), 72)) == [Terminate("a", 1, 0.0)]


def test_those_who_wait_for_it_get_the_next_one_after_a_pause(engine: Engine) -> None:
    grant = make_ready(engine, "a", W1, 0)
    engine.handle(Hung("a", 1, HUNG, 10.0), 70)
    assert acts(engine.handle(Wanted(W2, "a"), 70)) == []
    engine.handle(Released("w", "a", grant.lease), 70)
    assert acts(engine.handle(ProcessEnded("a", 1, CRASHED), 70.1)) == []
    (spawn,) = acts(engine.handle(TimePassed(), 70.5))
    assert isinstance(spawn, Spawn)
    assert spawn.model == "a"


def test_one_that_hangs_while_it_drains_makes_room_at_last(engine: Engine) -> None:
    grant = make_ready(engine, "a", W1, 0)
    engine.handle(Wanted(W2, "b"), 1)
    assert engine.view.state("a") == "draining"
    engine.handle(Hung("a", 1, HUNG, 10.0), 70)
    engine.handle(Released("w", "a", grant.lease), 70)
    (spawn,) = acts(engine.handle(ProcessEnded("a", 1, CRASHED), 71))
    assert isinstance(spawn, Spawn)
    assert spawn.model == "b"

    engine.handle(ProcessEnded("b", spawn.swap, CRASHED), 72)

    assert engine.view.running() == []  # what hung does not come back by itself


def test_a_model_that_hangs_again_and_again_waits_longer_each_time(engine: Engine) -> None:
    """What it stood still does not count as served."""
    pauses = []
    now = 0.0
    for number in range(4):
        grant = make_ready(engine, "a", W1, now)
        swap = engine.view.swap("a")
        now += 60
        engine.handle(Hung("a", swap, HUNG, 0.0), now)
        engine.handle(Released("w", "a", grant.lease), now)
        engine.handle(ProcessEnded("a", swap, CRASHED), now)
        pauses.append(failures(engine, "a", now))
        now += 100 + number
    assert pauses == [0.5, 1.0, 2.0, 4.0]


def test_one_that_was_well_for_long_begins_with_the_first_pause(engine: Engine) -> None:
    for now, well_s in ((0.0, 0.0), (200.0, 31.0)):
        grant = make_ready(engine, "a", W1, now)
        swap = engine.view.swap("a")
        engine.handle(Hung("a", swap, HUNG, well_s), now + 100)
        engine.handle(Released("w", "a", grant.lease), now + 100)
        engine.handle(ProcessEnded("a", swap, CRASHED), now + 100)
    assert failures(engine, "a", 300.0) == 0.5


@pytest.mark.parametrize("kind", [Hung, Failing])
def test_what_comes_late_about_an_older_process_changes_nothing(
    engine: Engine, kind: type[Hung | Failing]
) -> None:
    make_ready(engine, "a", W1, 0)
    assert engine.handle(kind("a", 99, HUNG, 0.0), 1) == []
    assert engine.view.state("a") == "ready"


def test_one_that_fails_finishes_what_runs_and_is_stopped_in_good_order(engine: Engine) -> None:
    grant = make_ready(engine, "a", W1, 0)
    error = ErrorInfo(code="model_unavailable", message="500 again and again", transient=True)
    assert acts(engine.handle(Failing("a", 1, error, 0.0), 5)) == [
        RevokeLease("w", "a", grant.lease, when_idle=False)
    ]
    assert acts(engine.handle(Released("w", "a", grant.lease), 9)) == [Terminate("a", 1, 10.0)]


def test_a_drain_without_progress_ends_the_requests_and_one_with_progress_does_not(
    engine: Engine,
) -> None:
    grant = make_ready(engine, "a", W1, 0)
    engine.handle(Wanted(W2, "b"), 1)
    for second in range(12, 700):
        assert acts(engine.handle(Stalled("a", 1, 5.0), second)) in (
            [],
            [RevokeLease("w", "a", grant.lease, when_idle=False)],
        )
    assert acts(engine.handle(Stalled("a", 1, 599.0), 1299)) == []

    told = acts(engine.handle(Stalled("a", 1, 600.0), 1300))

    error = stalled("a", 600)
    assert told == [RevokeLease("w", "a", grant.lease, when_idle=False, error=error)]
    assert acts(engine.handle(Released("w", "a", grant.lease), 1300.1)) == [Terminate("a", 1, 10.0)]


def test_what_stood_still_before_the_drain_gets_the_whole_limit(engine: Engine) -> None:
    make_ready(engine, "a", W1, 0)
    engine.handle(Stalled("a", 1, 1000.0), 1000)
    engine.handle(Wanted(W2, "b"), 1001)
    assert engine.view.state("a") == "draining"
    assert not [c for c in acts(engine.handle(Stalled("a", 1, 1590.0), 1590)) if c.error]  # type: ignore[union-attr]


def test_reports_say_whether_a_model_is_asked_and_whether_it_says_anything(engine: Engine) -> None:
    make_ready(engine, "a", W1, 0)
    assert engine.view.vitals("a") == (0, 0, 0)
    engine.handle(Reported("w", {"a": 1}), 1)
    assert engine.view.vitals("a") == (1, 0, 0)
    engine.handle(Reported("w", {"a": 1}, (), ("a",)), 2)
    assert engine.view.vitals("a") == (2, 1, 0)
    engine.handle(Reported("w", {}), 3)  # it ran before that
    engine.handle(Reported("w", {}), 4)
    assert engine.view.vitals("a") == (3, 1, 0)
    engine.handle(Refused("a"), 4)
    engine.handle(Refused("no such model"), 4)
    assert engine.view.vitals("a") == (3, 1, 1)
    assert engine.view.vitals("no such model") == (0, 0, 0)
    assert engine.view.up_since("a") == 0
    assert engine.view.up_since("b") is None
