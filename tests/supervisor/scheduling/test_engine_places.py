"""A model that takes a limited number of requests: who gets a place, waits, or is refused."""

import pytest

from arriero.protocol.values import QueueEntry
from arriero.supervisor.scheduling.engine import Engine
from arriero.supervisor.scheduling.messages.events import (
    BecameReady,
    GrantLease,
    Left,
    OwnerLost,
    ProcessEnded,
    RefuseWaiter,
    Released,
    Spawned,
    Spec,
    Waiter,
    Wanted,
)
from tests.supervisor.scheduling.steps import CRASHED, OTHER, SCRIPT, W1, W2, W3, acts, make_ready


@pytest.fixture
def engine() -> Engine:
    """Of `a` two requests run at a time; `b` takes its place."""
    return Engine([Spec(model="a", most=2), Spec(model="b")])


def granted(engine: Engine, event: object, now: float) -> list[Waiter]:
    """Return who is granted by an event."""
    commands = engine.handle(event, now)  # type: ignore[arg-type]
    return [command.waiter for command in commands if isinstance(command, GrantLease)]


def test_one_beyond_the_limit_is_refused_with_its_position(engine: Engine) -> None:
    make_ready(engine, "a", W1, 0)
    assert granted(engine, Wanted(W2, "a"), 1) == [W2]

    (refusal,) = acts(engine.handle(Wanted(W3, "a"), 2))

    assert isinstance(refusal, RefuseWaiter)
    assert (refusal.error.code, refusal.error.position) == ("concurrency_limit", 1)
    assert "2 requests of it run" in refusal.error.message


def test_a_place_that_is_given_back_is_taken_again(engine: Engine) -> None:
    make_ready(engine, "a", W1, 0)
    engine.handle(Wanted(W2, "a"), 0)

    engine.handle(Left(W1), 1)

    assert granted(engine, Wanted(W3, "a"), 2) == [W3]


def test_waiting_for_a_load_takes_no_place(engine: Engine) -> None:
    crowd = [Waiter("w", number) for number in range(5)]
    for waiter in crowd:
        assert granted(engine, Wanted(waiter, "a"), 0) == []
    engine.handle(Spawned("a", 1, 100, "http://a"), 1)

    assert granted(engine, BecameReady("a", 1), 2) == crowd[:2]
    assert engine.view.queue() == (QueueEntry(model="a", waiting=3, is_full=True),)
    assert granted(engine, Left(crowd[0]), 3) == [crowd[2]]
    assert granted(engine, Left(crowd[3]), 3) == []  # its client has gone: it had no place
    assert granted(engine, Left(crowd[1]), 4) == [crowd[4]]


def test_a_newcomer_does_not_overtake_those_who_waited(engine: Engine) -> None:
    for waiter in (W1, W2, W3):
        engine.handle(Wanted(waiter, "a"), 0)
    engine.handle(Spawned("a", 1, 100, "http://a"), 1)
    engine.handle(BecameReady("a", 1), 2)

    (refusal,) = acts(engine.handle(Wanted(OTHER, "a"), 3))

    assert isinstance(refusal, RefuseWaiter)
    assert refusal.error.position == 2


def test_places_of_a_lost_worker_are_free(engine: Engine) -> None:
    make_ready(engine, "a", OTHER, 0)
    engine.handle(Wanted(W1, "a"), 0)
    engine.handle(OwnerLost("w"), 1)
    assert granted(engine, Wanted(W2, "a"), 2) == [W2]


def test_places_end_with_the_process(engine: Engine) -> None:
    make_ready(engine, "a", W1, 0)
    engine.handle(Wanted(W2, "a"), 0)
    engine.handle(ProcessEnded("a", 1, CRASHED), 1)

    engine.handle(Wanted(W3, "a"), 2000)
    swap = engine.view.swap("a")
    engine.handle(Spawned("a", swap, 100, "http://a"), 2000)
    engine.handle(Left(W1), 2000)  # late word of one that ran on the old process

    assert granted(engine, BecameReady("a", swap), 2000) == [W3]
    assert granted(engine, Wanted(OTHER, "a"), 2001) == [OTHER]


def test_a_script_needs_no_place(engine: Engine) -> None:
    make_ready(engine, "a", W1, 0)
    engine.handle(Wanted(W2, "a"), 0)
    assert granted(engine, Wanted(SCRIPT, "a"), 1) == [SCRIPT]


def test_those_who_wait_for_a_place_go_before_a_swap(engine: Engine) -> None:
    for waiter in (W1, W2, W3):
        engine.handle(Wanted(waiter, "a"), 0)
    engine.handle(Spawned("a", 1, 100, "http://a"), 1)
    engine.handle(BecameReady("a", 1), 2)
    engine.handle(Wanted(OTHER, "b"), 3)
    assert engine.view.state("a") == "ready"

    assert granted(engine, Left(W1), 4) == [W3]
    assert engine.view.state("a") == "draining"


def test_a_lease_that_comes_back_has_no_place_left(engine: Engine) -> None:
    grant = make_ready(engine, "a", W1, 0)
    engine.handle(Wanted(W2, "a"), 0)
    engine.handle(Released("w", "a", grant.lease), 1)
    assert granted(engine, Wanted(W3, "a"), 2) == [W3]
    assert granted(engine, Wanted(OTHER, "a"), 2) == [OTHER]


def test_explain_tells_of_a_full_model(engine: Engine) -> None:
    make_ready(engine, "a", W1, 0)
    assert engine.view.explain("a", 1).action == "serve"
    engine.handle(Wanted(W2, "a"), 1)

    reply = engine.view.explain("a", 2)

    assert reply.action == "wait"
    assert reply.why == "2 of it run, as many as its concurrencyLimit allows: it is refused"
