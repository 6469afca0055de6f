"""What was stopped for a model that then cannot be started comes back by itself."""

import pytest

from arriero.protocol.events import ProgressMade
from arriero.protocol.values import ErrorInfo, Progress
from arriero.supervisor.placement.policy import Group, Groups
from arriero.supervisor.scheduling.engine import Engine
from arriero.supervisor.scheduling.messages.events import (
    Announce,
    BecameReady,
    Event,
    GrantLease,
    Left,
    ProcessEnded,
    Progressed,
    Reconfigured,
    RefuseWaiter,
    Released,
    Spawn,
    Spawned,
    Spec,
    Terminate,
    TimePassed,
    UnloadRequested,
    Waiter,
    Wanted,
)
from tests.supervisor.scheduling.steps import CRASHED, OTHER, W1, W2, W3, acts, make_ready

BROKEN = ErrorInfo(code="model_load_failed", message="model b failed to load: no such file")


def specs(**more: object) -> list[Spec]:
    return [Spec(model="a"), Spec(model="b", **more), Spec(model="c")]  # type: ignore[arg-type]


@pytest.fixture
def engine() -> Engine:
    return Engine(specs())


def take_the_place_of_a(engine: Engine, waiter: Waiter = W2, model: str = "b") -> int:
    """a was ready, is stopped for `model`, and that is being started; return its swap."""
    grant = make_ready(engine, "a", W1, 0)
    engine.handle(Wanted(waiter, model), 1)
    engine.handle(Released("w", "a", grant.lease), 2)
    (spawn,) = acts(engine.handle(ProcessEnded("a", engine.view.swap("a"), CRASHED), 3))
    assert isinstance(spawn, Spawn)
    return spawn.swap


def comes_up(engine: Engine, model: str, now: float) -> None:
    engine.handle(Spawned(model, engine.view.swap(model), 7, f"http://{model}"), now)
    engine.handle(BecameReady(model, engine.view.swap(model)), now)


def test_what_was_stopped_for_a_start_that_failed_comes_back_unasked(engine: Engine) -> None:
    swap = take_the_place_of_a(engine)

    done = engine.handle(ProcessEnded("b", swap, BROKEN), 4)

    why = "restoring a: b could not be started"
    assert acts(done) == [RefuseWaiter(W2, "b", BROKEN), Spawn("a", engine.view.swap("a"), why)]
    comes_up(engine, "a", 6)
    assert engine.view.state("a") == "ready"
    assert engine.view.explain("a", 6).action == "serve"


def test_it_is_told_why_it_starts(engine: Engine) -> None:
    swap = take_the_place_of_a(engine)
    engine.handle(ProcessEnded("b", swap, BROKEN), 4)
    (status,) = [status for status in engine.view.models(4, 0) if status.model == "a"]
    assert status.state == "starting"
    assert engine.view.explain("a", 4).why == "restoring a: b could not be started"

    assert status.progress is not None
    assert status.progress.detail == "restoring a: b could not be started"
    loading = Progress(model="a", swap=status.swap, phase="loading", elapsed_s=1.0)
    (said,) = engine.handle(Progressed(loading), 5)
    assert isinstance(said, Announce)
    assert isinstance(said.event, ProgressMade)
    assert said.event.progress.detail == "restoring a: b could not be started"


def test_a_start_that_took_too_long_gives_its_place_back_when_it_is_gone(engine: Engine) -> None:
    swap = take_the_place_of_a(engine)
    assert Terminate("b", swap, 10.0) in acts(engine.handle(TimePassed(), 123.1))
    assert engine.view.state("a") == "stopped"

    (spawn,) = acts(engine.handle(ProcessEnded("b", swap, CRASHED), 124))

    assert isinstance(spawn, Spawn)
    assert spawn.model == "a"


def test_who_asks_for_it_meanwhile_joins_that_start(engine: Engine) -> None:
    engine.handle(ProcessEnded("b", take_the_place_of_a(engine), BROKEN), 4)
    assert acts(engine.handle(Wanted(W3, "a"), 5)) == []
    engine.handle(Spawned("a", engine.view.swap("a"), 7, "http://a"), 6)

    (grant,) = acts(engine.handle(BecameReady("a", engine.view.swap("a")), 6))

    assert isinstance(grant, GrantLease)
    assert grant.waiter == W3


def test_nothing_comes_back_where_that_is_not_wanted() -> None:
    engine = Engine(specs(restores=False))
    swap = take_the_place_of_a(engine)
    assert acts(engine.handle(ProcessEnded("b", swap, BROKEN), 4)) == [
        RefuseWaiter(W2, "b", BROKEN)
    ]
    assert engine.view.running() == []


def test_whoever_waits_for_another_model_goes_first(engine: Engine) -> None:
    swap = take_the_place_of_a(engine)
    engine.handle(Wanted(W3, "c"), 3)

    done = acts(engine.handle(ProcessEnded("b", swap, BROKEN), 4))

    assert done == [RefuseWaiter(W2, "b", BROKEN), Spawn("c", engine.view.swap("c"))]
    comes_up(engine, "c", 5)
    engine.handle(ProcessEnded("c", engine.view.swap("c"), CRASHED), 6)
    assert engine.view.running() == []  # that was too long ago


@pytest.mark.parametrize(
    "meanwhile",
    [
        UnloadRequested("a"),
        Reconfigured((Spec(model="b"), Spec(model="c"))),
    ],
)
def test_what_was_meant_to_go_stays_away(engine: Engine, meanwhile: Event) -> None:
    swap = take_the_place_of_a(engine)
    engine.handle(meanwhile, 3.5)
    assert acts(engine.handle(ProcessEnded("b", swap, BROKEN), 4)) == [
        RefuseWaiter(W2, "b", BROKEN)
    ]


def test_what_is_unloaded_while_it_ends_stays_away(engine: Engine) -> None:
    grant = make_ready(engine, "a", W1, 0)
    engine.handle(Wanted(W2, "b"), 1)
    engine.handle(Released("w", "a", grant.lease), 2)
    engine.handle(UnloadRequested("a"), 2.5)
    engine.handle(ProcessEnded("a", engine.view.swap("a"), CRASHED), 3)
    assert acts(engine.handle(ProcessEnded("b", engine.view.swap("b"), BROKEN), 4)) == [
        RefuseWaiter(W2, "b", BROKEN)
    ]


def test_what_ended_by_its_ttl_stays_away() -> None:
    engine = Engine([Spec(model="a", ttl_s=60), Spec(model="b")])
    grant = make_ready(engine, "a", W1, 0)
    engine.handle(TimePassed(), 60)
    engine.handle(Wanted(W2, "b"), 61)
    engine.handle(Released("w", "a", grant.lease), 62)
    engine.handle(ProcessEnded("a", engine.view.swap("a"), CRASHED), 63)
    engine.handle(ProcessEnded("b", engine.view.swap("b"), BROKEN), 64)
    assert engine.view.running() == []


def test_what_crashed_while_it_drained_stays_away(engine: Engine) -> None:
    make_ready(engine, "a", W1, 0)
    engine.handle(Wanted(W2, "b"), 1)
    engine.handle(ProcessEnded("a", engine.view.swap("a"), CRASHED), 2)
    engine.handle(ProcessEnded("b", engine.view.swap("b"), BROKEN), 4)
    assert engine.view.running() == []


def test_a_start_that_nobody_wanted_any_more_gives_nothing_back_much_later(engine: Engine) -> None:
    grant = make_ready(engine, "a", W1, 0)
    engine.handle(Wanted(W2, "b"), 1)
    engine.handle(Released("w", "a", grant.lease), 2)
    engine.handle(Left(W2), 2.5)
    engine.handle(ProcessEnded("a", engine.view.swap("a"), CRASHED), 3)
    engine.handle(Wanted(W2, "b"), 1000)
    engine.handle(ProcessEnded("b", engine.view.swap("b"), BROKEN), 1001)
    assert engine.view.running() == []


def test_a_restored_model_that_cannot_be_started_either_brings_nothing_back(
    engine: Engine,
) -> None:
    engine.handle(ProcessEnded("b", take_the_place_of_a(engine), BROKEN), 4)
    assert acts(engine.handle(ProcessEnded("a", engine.view.swap("a"), BROKEN), 5)) == []
    assert engine.view.running() == []


def test_a_crash_loop_takes_nothing_during_its_pause_and_gives_back_after_each_try(
    engine: Engine,
) -> None:
    swap = take_the_place_of_a(engine)
    engine.handle(ProcessEnded("b", swap, BROKEN), 4)
    comes_up(engine, "a", 4.1)
    engine.handle(Wanted(W2, "b"), 4.2)
    assert engine.view.state("a") == "ready"  # b has its pause
    engine.handle(TimePassed(), 4.5)
    engine.handle(ProcessEnded("a", engine.view.swap("a"), CRASHED), 5)
    assert engine.view.state("b") == "starting"

    engine.handle(ProcessEnded("b", engine.view.swap("b"), BROKEN), 6)

    assert engine.view.state("a") == "starting"


def test_a_restored_start_gives_way_and_comes_back_again(engine: Engine) -> None:
    engine.handle(ProcessEnded("b", take_the_place_of_a(engine), BROKEN), 4)
    engine.handle(Wanted(W2, "b"), 4.1)
    assert acts(engine.handle(TimePassed(), 4.5)) == [Terminate("a", engine.view.swap("a"), 10.0)]
    engine.handle(ProcessEnded("a", engine.view.swap("a"), CRASHED), 5)
    engine.handle(ProcessEnded("b", engine.view.swap("b"), BROKEN), 6)
    assert engine.view.state("a") == "starting"


def test_the_one_that_was_ready_comes_back_not_the_one_that_was_on_its_way(engine: Engine) -> None:
    take_the_place_of_a(engine)
    engine.handle(Left(W2), 3.5)
    engine.handle(Wanted(W3, "c"), 4)
    engine.handle(ProcessEnded("b", engine.view.swap("b"), CRASHED), 5)
    assert engine.view.state("c") == "starting"

    engine.handle(ProcessEnded("c", engine.view.swap("c"), BROKEN), 6)

    assert engine.view.running() == ["a"]


def test_all_that_went_come_back_if_they_fit() -> None:
    small = Group(name="small", members=("a", "b"), swap=False, exclusive=False)
    policy = Groups([small, Group(name="large", members=("c",))], "abcd")
    engine = Engine([Spec(model=name) for name in "abcd"], policy=policy)
    first = make_ready(engine, "a", W1, 0)
    second = make_ready(engine, "b", OTHER, 0)
    engine.handle(Wanted(W2, "c"), 1)
    engine.handle(Released("w", "a", first.lease), 2)
    engine.handle(Released("other", "b", second.lease), 2)
    engine.handle(ProcessEnded("a", engine.view.swap("a"), CRASHED), 3)
    engine.handle(ProcessEnded("b", engine.view.swap("b"), CRASHED), 3)
    assert engine.view.running() == ["c"]

    engine.handle(ProcessEnded("c", engine.view.swap("c"), BROKEN), 4)

    assert sorted(engine.view.running()) == ["a", "b"]
