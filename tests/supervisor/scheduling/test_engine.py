"""The engine as a script: what happens, and the whole of what it answers."""

import math
from collections.abc import Iterable

import pytest

from arriero.protocol.events import ProgressMade, QueueChanged, StateChanged
from arriero.protocol.values import ErrorInfo, Progress
from arriero.supervisor.placement.policy import OneAtATime
from arriero.supervisor.scheduling.engine import Engine
from arriero.supervisor.scheduling.messages.events import (
    Announce,
    BecameReady,
    GrantLease,
    Left,
    OwnerLost,
    ProcessEnded,
    Progressed,
    Reconfigured,
    RefuseWaiter,
    Released,
    Reported,
    RevokeLease,
    ShuttingDown,
    Spawn,
    Spawned,
    Spec,
    Terminate,
    TimePassed,
    UnloadRequested,
    VoidLease,
    Waiter,
    Wanted,
)
from arriero.supervisor.scheduling.states.rules import Rules
from tests.supervisor.scheduling.steps import CRASHED, OTHER, SCRIPT, W1, W2, W3, acts, make_ready


@pytest.fixture
def engine() -> Engine:
    return Engine([Spec(model="a"), Spec(model="b"), Spec(model="c", ttl_s=60)])


def test_a_model_is_stopped_since_the_engine_began() -> None:
    (status,) = Engine([Spec(model="a")], now=1000.0).view.models(1003.0, 5003.0)
    assert status.since == 5000.0


def test_the_first_request_starts_its_model_and_gets_a_lease(engine: Engine) -> None:
    assert acts(engine.handle(Wanted(W1, "a"), 0)) == [Spawn("a", 1)]
    assert acts(engine.handle(Spawned("a", 1, 100, "http://a"), 1)) == []
    assert acts(engine.handle(BecameReady("a", 1), 3)) == [GrantLease(W1, "a", 2, "http://a", 3)]
    assert engine.view.running() == ["a"]
    assert engine.view.leases_of("w") == ("a",)


def test_loads_that_others_would_wait_for_are_known() -> None:
    engine = Engine([Spec(model=name, start_s=9.0) for name in "abc"])

    def loads_s() -> float:
        found = engine.view.demand("c")
        assert found is not None
        return found.loads_s

    assert loads_s() == 0.0
    engine.handle(Wanted(W1, "a"), 0)
    engine.handle(Wanted(W2, "b"), 0)
    assert loads_s() == 18.0
    engine.handle(Spawned("a", 1, 100, "http://a"), 1)
    engine.handle(BecameReady("a", 1), 2)
    assert loads_s() == 9.0


def test_waiters_of_a_starting_model_share_one_start(engine: Engine) -> None:
    engine.handle(Wanted(W1, "a"), 0)
    assert acts(engine.handle(Wanted(W2, "a"), 1)) == []
    assert acts(engine.handle(Wanted(OTHER, "a"), 2)) == []
    engine.handle(Spawned("a", 1, 100, "http://a"), 2)

    assert acts(engine.handle(BecameReady("a", 1), 3)) == [
        GrantLease(W1, "a", 2, "http://a", 3),
        GrantLease(W2, "a", 2, "http://a", 2),
        GrantLease(OTHER, "a", 3, "http://a", 1),
    ]


def test_saying_want_twice_starts_once_and_grants_once(engine: Engine) -> None:
    engine.handle(Wanted(W1, "a"), 0)
    assert engine.handle(Wanted(W1, "a"), 1) == []


def test_another_model_drains_then_stops_then_starts(engine: Engine) -> None:
    grant = make_ready(engine, "a", W1, 0)
    assert acts(engine.handle(Wanted(W2, "b"), 1)) == [
        RevokeLease("w", "a", grant.lease, when_idle=True)
    ]
    assert engine.view.state("a") == "draining"
    assert acts(engine.handle(Released("w", "a", grant.lease), 2)) == [Terminate("a", 1, 10.0)]
    (spawn,) = acts(engine.handle(ProcessEnded("a", 1, CRASHED), 3))
    assert spawn == Spawn("b", engine.view.swap("b"))
    engine.handle(Spawned("b", engine.view.swap("b"), 101, "http://b"), 3)
    (granted,) = acts(engine.handle(BecameReady("b", engine.view.swap("b")), 5))
    assert isinstance(granted, GrantLease)
    assert (granted.waiter, granted.endpoint, granted.waited_s) == (W2, "http://b", 4)


def test_the_wanted_model_hears_who_is_in_its_way(engine: Engine) -> None:
    grant = make_ready(engine, "a", W1, 0)
    wanted = engine.handle(Wanted(W2, "b"), 1)
    released = engine.handle(Released("w", "a", grant.lease), 2)

    said = [
        (command.event.progress.phase, command.event.progress.other)
        for command in (*wanted, *released)
        if isinstance(command, Announce) and isinstance(command.event, ProgressMade)
    ]
    assert said == [("draining", "a"), ("stopping", "a")]


def test_the_wanted_model_hears_how_many_requests_are_in_its_way(engine: Engine) -> None:
    make_ready(engine, "a", W1, 0)
    told = []
    for event, now in (
        (Reported("w", {"a": 2}), 0),
        (Wanted(W2, "b"), 1),
        (Reported("w", {"a": 2}), 2),
        (Reported("w", {"a": 1}), 3),
    ):
        told += [
            (now, command.event.progress.phase, command.event.progress.requests)
            for command in engine.handle(event, now)
            if isinstance(command, Announce) and isinstance(command.event, ProgressMade)
        ]
    assert told == [(1, "draining", 2), (3, "draining", 1)]


def test_a_busy_model_admits_on_its_leases_for_max_wait_and_no_longer(engine: Engine) -> None:
    grant = make_ready(engine, "a", W1, 0)
    engine.handle(Wanted(W2, "b"), 1)

    assert engine.next_deadline(1) == 11
    assert acts(engine.handle(TimePassed(), 10.9)) == []
    assert acts(engine.handle(TimePassed(), 11)) == [
        RevokeLease("w", "a", grant.lease, when_idle=False)
    ]
    assert acts(engine.handle(TimePassed(), 1000)) == []  # running requests are never cut


def test_a_newcomer_does_not_overtake_whoever_waits_for_another_model(engine: Engine) -> None:
    make_ready(engine, "a", W1, 0)
    engine.handle(Wanted(W2, "b"), 1)

    assert acts(engine.handle(Wanted(OTHER, "a"), 2)) == []
    assert [entry.model for entry in engine.view.queue()] == ["b", "a"]


def test_all_who_waited_for_a_start_are_served_by_it(engine: Engine) -> None:
    engine.handle(Wanted(W1, "a"), 0)
    engine.handle(Wanted(W2, "b"), 1)
    engine.handle(Wanted(W3, "a"), 2)
    engine.handle(Spawned("a", 1, 100, "http://a"), 3)

    done = acts(engine.handle(BecameReady("a", 1), 3))

    assert [command.waiter for command in done if isinstance(command, GrantLease)] == [W1, W3]
    assert [command for command in done if isinstance(command, RevokeLease)] == [
        RevokeLease("w", "a", 2, when_idle=True)
    ]


def test_a_model_that_starts_for_somebody_is_not_stopped_for_another(engine: Engine) -> None:
    engine.handle(Wanted(W1, "a"), 0)
    assert acts(engine.handle(Wanted(W2, "b"), 1)) == []


def test_a_model_that_starts_for_nobody_any_more_makes_room(engine: Engine) -> None:
    engine.handle(Wanted(W1, "a"), 0)
    engine.handle(Wanted(W2, "b"), 1)
    assert acts(engine.handle(Left(W1), 2)) == [Terminate("a", 1, 10.0)]


def test_a_start_goes_on_when_its_only_waiter_leaves_and_nobody_else_waits(engine: Engine) -> None:
    engine.handle(Wanted(W1, "a"), 0)
    assert acts(engine.handle(Left(W1), 1)) == []
    assert engine.view.state("a") == "starting"


def test_the_resident_model_stays_when_the_one_who_wanted_another_leaves(engine: Engine) -> None:
    grant = make_ready(engine, "a", W1, 0)
    engine.handle(Wanted(W2, "b"), 1)
    assert acts(engine.handle(Left(W2), 2)) == []
    assert engine.view.state("a") == "ready"

    # The recalled lease may be on its way back: a new grant has another number, and outlives it.
    (again,) = acts(engine.handle(Wanted(W3, "a"), 3))
    assert isinstance(again, GrantLease)
    assert again.lease != grant.lease
    engine.handle(Released("w", "a", grant.lease), 4)
    assert engine.view.leases_of("w") == ("a",)


def test_a_lost_worker_frees_its_leases_and_its_places(engine: Engine) -> None:
    make_ready(engine, "a", W1, 0)
    engine.handle(Wanted(OTHER, "b"), 1)
    engine.handle(Wanted(W2, "c"), 1)

    assert acts(engine.handle(OwnerLost("w"), 2)) == [Terminate("a", 1, 10.0)]
    assert [entry.model for entry in engine.view.queue()] == ["b"]


def test_a_failed_start_is_told_to_all_who_wait_and_costs_a_pause(engine: Engine) -> None:
    error = ErrorInfo(code="model_load_failed", message="exited at once")
    engine.handle(Wanted(W1, "a"), 0)
    engine.handle(Wanted(OTHER, "a"), 0)

    assert acts(engine.handle(ProcessEnded("a", 1, error), 1)) == [
        RefuseWaiter(W1, "a", error),
        RefuseWaiter(OTHER, "a", error),
    ]
    assert acts(engine.handle(Wanted(W2, "a"), 1)) == []
    assert engine.next_deadline(1) == 1.5
    (spawn,) = acts(engine.handle(TimePassed(), 1.5))
    assert isinstance(spawn, Spawn)


def test_what_plainly_cannot_start_takes_nothing_away() -> None:
    missing = ErrorInfo(code="model_load_failed", message="there is no such program")
    engine = Engine(
        [Spec(model="a"), Spec(model="b")], obstacle=lambda model: missing if model == "b" else None
    )
    make_ready(engine, "a", W1, 0)

    assert acts(engine.handle(Wanted(W2, "b"), 1)) == [RefuseWaiter(W2, "b", missing)]
    assert engine.view.state("a") == "ready"
    assert engine.view.queue() == ()
    assert engine.view.models(1, 0)[1].error == missing
    assert acts(engine.handle(Wanted(W3, "b"), 1.1)) == []  # in its pause
    assert acts(engine.handle(TimePassed(), 1.5)) == [RefuseWaiter(W3, "b", missing)]


def test_pauses_grow_while_a_model_keeps_failing(engine: Engine) -> None:
    now = 0.0
    pauses = []
    for number in range(1, 9):
        engine.handle(Wanted(Waiter("w", number), "a"), now)
        engine.handle(TimePassed(), now)
        engine.handle(ProcessEnded("a", engine.view.swap("a"), CRASHED), now)
        engine.handle(Wanted(Waiter("w", 100 + number), "a"), now)
        pauses.append(engine.next_deadline(now) - now)
        engine.handle(Left(Waiter("w", 100 + number)), now)
        now += pauses[-1]

    assert pauses == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30])


def test_a_crash_loop_takes_nothing_from_a_ready_model(engine: Engine) -> None:
    engine.handle(Wanted(W1, "b"), 0)
    engine.handle(ProcessEnded("b", 1, CRASHED), 0)
    make_ready(engine, "a", W2, 0.1)

    assert acts(engine.handle(Wanted(W3, "b"), 0.2)) == []
    assert engine.view.state("a") == "ready"
    assert [type(c) for c in acts(engine.handle(Wanted(OTHER, "a"), 0.3))] == [GrantLease]
    assert [type(c) for c in acts(engine.handle(TimePassed(), 0.5))] == [RevokeLease, RevokeLease]


def test_a_crash_voids_the_leases_and_the_next_request_starts_again(engine: Engine) -> None:
    grant = make_ready(engine, "a", W1, 0)
    assert acts(engine.handle(ProcessEnded("a", 1, CRASHED), 100)) == [
        VoidLease("w", "a", grant.lease)
    ]
    assert engine.view.models(100, 0)[0].error == CRASHED
    engine.handle(Wanted(W2, "a"), 100)
    assert engine.next_deadline(100) == 100.5


def test_a_start_that_takes_too_long_is_stopped_and_told(engine: Engine) -> None:
    engine.handle(Wanted(W1, "a"), 0)
    assert engine.next_deadline(0) == 120

    stop, refusal = acts(engine.handle(TimePassed(), 120))

    assert stop == Terminate("a", 1, 10.0)
    assert isinstance(refusal, RefuseWaiter)
    assert refusal.error.code == "model_load_timeout"


def test_a_start_without_a_machine_has_no_limit(engine: Engine) -> None:
    engine.handle(Wanted(W1, "a"), 0)
    engine.handle(Progressed(Progress(model="a", swap=1, phase="placing", elapsed_s=0.0)), 1)
    assert engine.next_deadline(1) == math.inf
    assert acts(engine.handle(TimePassed(), 3600)) == []

    engine.handle(Spawned("a", 1, 100, "http://elsewhere", "elsewhere"), 3600)
    assert engine.view.models(3600, 0)[0].host == "elsewhere"
    assert engine.next_deadline(3600) == 3720
    stop, _ = acts(engine.handle(TimePassed(), 3720))
    assert stop == Terminate("a", 1, 10.0)
    engine.handle(ProcessEnded("a", 1, CRASHED), 3721)
    assert engine.view.models(3721, 0)[0].host == "local"


def test_an_idle_model_is_unloaded_after_its_ttl(engine: Engine) -> None:
    grant = make_ready(engine, "c", W1, 0)
    engine.handle(Reported("w", {"c": 1}), 10)
    assert engine.next_deadline(50) > 1e9  # busy: no deadline
    engine.handle(Reported("w", {}, used=("c",)), 70)
    assert engine.next_deadline(70) == 130

    assert acts(engine.handle(TimePassed(), 130)) == [
        RevokeLease("w", "c", grant.lease, when_idle=False)
    ]
    assert acts(engine.handle(Released("w", "c", grant.lease), 131)) == [Terminate("c", 1, 10.0)]


def test_a_model_that_nobody_used_yet_stays_for_its_whole_ttl(engine: Engine) -> None:
    engine.handle(Wanted(W1, "c"), 0)
    engine.handle(Left(W1), 1)
    engine.handle(Spawned("c", 1, 100, "http://c"), 30)
    engine.handle(BecameReady("c", 1), 40)
    assert engine.next_deadline(40) == 100


def test_unloading_lets_running_requests_finish(engine: Engine) -> None:
    grant = make_ready(engine, "a", W1, 0)
    assert acts(engine.handle(UnloadRequested("a"), 1)) == [
        RevokeLease("w", "a", grant.lease, when_idle=False)
    ]
    assert acts(engine.handle(Released("w", "a", grant.lease), 2)) == [Terminate("a", 1, 10.0)]


def test_unloading_at_once_does_not_wait(engine: Engine) -> None:
    make_ready(engine, "a", W1, 0)
    assert acts(engine.handle(UnloadRequested("a", at_once=True), 1)) == [Terminate("a", 1, 0.0)]


def test_unloading_ends_a_start_and_tells_its_waiters(engine: Engine) -> None:
    engine.handle(Wanted(W1, "a"), 0)
    refusal, stop = acts(engine.handle(UnloadRequested("a"), 1))
    assert isinstance(refusal, RefuseWaiter)
    assert (refusal.error.code, refusal.error.transient) == ("model_unavailable", True)
    assert stop == Terminate("a", 1, 10.0)


def test_a_late_answer_of_an_older_start_changes_nothing(engine: Engine) -> None:
    engine.handle(Wanted(W1, "a"), 0)
    engine.handle(UnloadRequested("a"), 1)
    engine.handle(Wanted(W2, "a"), 1)
    engine.handle(ProcessEnded("a", 1, CRASHED), 2)
    assert engine.view.swap("a") == 2

    assert acts(engine.handle(BecameReady("a", 1), 3)) == []
    assert acts(engine.handle(ProcessEnded("a", 1, CRASHED), 3)) == []
    assert engine.view.state("a") == "starting"


def test_a_script_gets_the_model_without_a_lease(engine: Engine) -> None:
    grant = make_ready(engine, "a", SCRIPT, 0)
    assert grant.lease == 0
    assert [type(c) for c in acts(engine.handle(Wanted(W1, "b"), 1))] == [Terminate]


def test_stopping_refuses_newcomers_and_drains(engine: Engine) -> None:
    grant = make_ready(engine, "a", W1, 0)
    assert acts(engine.handle(ShuttingDown(), 1)) == [
        RevokeLease("w", "a", grant.lease, when_idle=False)
    ]
    (refusal,) = acts(engine.handle(Wanted(W2, "a"), 2))
    assert isinstance(refusal, RefuseWaiter)


def test_progress_never_falls_and_is_never_full(engine: Engine) -> None:
    engine.handle(Wanted(W1, "a"), 0)
    told = []
    for fraction in (0.1, 0.5, 0.3, None, 1.0):
        progress = Progress(model="a", swap=1, phase="loading", elapsed_s=1, fraction=fraction)
        for command in engine.handle(Progressed(progress), 1):
            assert isinstance(command, Announce)
            assert isinstance(command.event, ProgressMade)
            told.append(command.event.progress.fraction)

    assert told == [0.1, 0.5, 0.5, 0.5, 0.99]


def test_what_happens_is_announced(engine: Engine) -> None:
    said = [
        command.event
        for command in engine.handle(Wanted(W1, "a"), 0)
        if isinstance(command, Announce)
    ]
    assert [type(event) for event in said] == [StateChanged, QueueChanged]


def test_explain_says_what_would_happen_and_changes_nothing(engine: Engine) -> None:
    assert engine.view.explain("a", 0).action == "start"
    make_ready(engine, "a", W1, 0)
    assert engine.view.explain("a", 0).action == "serve"
    told = engine.view.explain("b", 0)
    assert (told.action, told.stops) == ("swap", ("a",))
    engine.handle(Wanted(W2, "b"), 1)
    assert engine.view.explain("a", 1).action == "wait"
    assert engine.view.explain("c", 1).ahead == ("b",)


def test_the_rule_for_a_contested_model_can_be_set() -> None:
    engine = Engine([Spec(model="a"), Spec(model="b")], rules=Rules(max_wait_s=0.0))
    grant = make_ready(engine, "a", W1, 0)
    revocations = acts(engine.handle(Wanted(W2, "b"), 1)) + acts(engine.handle(TimePassed(), 1))
    assert revocations[-1] == RevokeLease("w", "a", grant.lease, when_idle=False)


# --- another configuration ----------------------------------------------------------------------

A, B = Spec(model="a", launch="1"), Spec(model="b", launch="1")
A2 = Spec(model="a", launch="2")


@pytest.fixture
def launched() -> Engine:
    """Models a and b, of which a is ready."""
    engine = Engine([A, B])
    make_ready(engine, "a", W1, 0)
    return engine


def stands(engine: Engine, now: float = 0.0) -> dict[str, str]:
    """How each model stands, in a word or two."""
    return {
        status.model: " ".join(
            [status.state, *["stale"] * status.stale, *["removed"] * status.removed]
        )
        for status in engine.view.models(now, 0)
    }


@pytest.mark.parametrize(
    "spec",
    [A, Spec(model="a", launch="1", stop_grace_s=3), Spec(model="a", launch="1", ttl_s=60)],
)
def test_what_is_not_about_the_start_leaves_a_process_alone(launched: Engine, spec: Spec) -> None:
    event = Reconfigured((B, Spec(model="new"), spec), drain=True)

    assert launched.handle(event, 1) == []
    assert stands(launched) == {"b": "stopped", "new": "stopped", "a": "ready"}
    assert launched.view.leases_of("w") == ("a",)
    assert [type(c) for c in acts(launched.handle(Wanted(W2, "a"), 1))] == [GrantLease]


def test_another_ttl_acts_at_once(launched: Engine) -> None:
    launched.handle(Reported("w", {}, used=("a",)), 100)
    launched.handle(Reconfigured((Spec(model="a", launch="1", ttl_s=60), B)), 130)

    assert launched.next_deadline(130) == 160


def test_another_stop_grace_acts_at_once(launched: Engine) -> None:
    launched.handle(Reconfigured((Spec(model="a", launch="1", stop_grace_s=3), B)), 1)
    launched.handle(OwnerLost("w"), 2)
    assert acts(launched.handle(Wanted(SCRIPT, "b"), 3)) == [Terminate("a", 1, 3)]


def test_another_command_is_for_the_next_start(launched: Engine) -> None:
    assert launched.handle(Reconfigured((A2, B)), 1) == []
    assert stands(launched) == {"a": "ready stale", "b": "stopped"}
    assert launched.view.stale() == ("a",)

    launched.handle(ProcessEnded("a", 1, CRASHED), 2)
    assert stands(launched)["a"] == "stopped"
    launched.handle(Wanted(W2, "a"), 3)
    assert stands(launched)["a"] == "starting"


def test_the_old_command_is_not_stale_when_it_comes_back(launched: Engine) -> None:
    launched.handle(Reconfigured((A2, B)), 1)
    assert launched.handle(Reconfigured((A, B), drain=True), 2) == []
    assert stands(launched)["a"] == "ready"


def test_draining_ends_an_older_command_after_its_requests(launched: Engine) -> None:
    launched.handle(Reconfigured((A2, B)), 1)

    drained = acts(launched.handle(Reconfigured((A2, B), drain=True), 2))
    assert drained == [RevokeLease("w", "a", 2, when_idle=False)]
    assert acts(launched.handle(Wanted(W2, "a"), 3)) == []  # waits for the new command
    assert acts(launched.handle(Released("w", "a", 2), 4)) == [Terminate("a", 1, 10.0)]
    assert acts(launched.handle(ProcessEnded("a", 1, CRASHED), 5)) == [
        Spawn("a", launched.view.swap("a"))
    ]
    assert stands(launched)["a"] == "starting"


def test_draining_a_start_keeps_its_waiters_for_the_new_command() -> None:
    engine = Engine([A])
    engine.handle(Wanted(W1, "a"), 0)

    assert acts(engine.handle(Reconfigured((A2,), drain=True), 1)) == [Terminate("a", 1, 10.0)]
    assert acts(engine.handle(ProcessEnded("a", 1, CRASHED), 2)) == [
        Spawn("a", engine.view.swap("a"))
    ]


def test_another_command_gets_its_chance_without_the_pause_of_the_old_one() -> None:
    engine = Engine([A])
    engine.handle(Wanted(W1, "a"), 0)
    engine.handle(ProcessEnded("a", 1, CRASHED), 0)
    assert acts(engine.handle(Wanted(W2, "a"), 0.1)) == []

    assert [type(c) for c in acts(engine.handle(Reconfigured((A2,)), 0.2))] == [Spawn]
    assert engine.view.models(0.2, 0)[0].error is None


def test_a_removed_model_refuses_drains_stops_and_is_gone(launched: Engine) -> None:
    assert acts(launched.handle(Reconfigured((B,)), 1)) == [
        RevokeLease("w", "a", 2, when_idle=False)
    ]
    assert stands(launched) == {"b": "stopped", "a": "draining removed"}

    (refusal,) = acts(launched.handle(Wanted(W2, "a"), 2))
    assert isinstance(refusal, RefuseWaiter)
    assert (refusal.error.code, refusal.error.transient) == ("unknown_model", False)
    assert "removed" in refusal.error.message

    assert acts(launched.handle(Released("w", "a", 2), 3)) == [Terminate("a", 1, 10.0)]
    assert launched.handle(ProcessEnded("a", 1, CRASHED), 4) != []  # its end is announced
    assert stands(launched) == {"b": "stopped"}
    assert not launched.view.knows("a")
    assert launched.view.has_ended("a", 1)


def test_those_who_wait_for_a_removed_model_are_told(launched: Engine) -> None:
    launched.handle(Wanted(W2, "b"), 1)
    assert launched.view.state("a") == "draining"

    (refusal,) = acts(launched.handle(Reconfigured((A,)), 2))

    assert isinstance(refusal, RefuseWaiter)
    assert (refusal.waiter, refusal.error.code) == (W2, "unknown_model")
    assert stands(launched) == {"a": "ready"}  # nobody needs its place any more


def test_a_removed_model_that_starts_is_stopped() -> None:
    engine = Engine([A, B])
    engine.handle(Wanted(W1, "a"), 0)
    refusal, stop = acts(engine.handle(Reconfigured((B,)), 1))
    assert isinstance(refusal, RefuseWaiter)
    assert stop == Terminate("a", 1, 10.0)


def test_a_removed_model_whose_turn_has_come_is_forgotten() -> None:
    engine = Engine([A, B])
    engine.handle(Wanted(W1, "a"), 0)
    engine.handle(ProcessEnded("a", 1, CRASHED), 0)
    engine.handle(Wanted(W2, "a"), 0.1)  # in its pause
    engine.handle(Reconfigured((B,)), 0.2)
    assert engine.next_deadline(0.2) > 1e9


def test_a_model_that_is_back_before_it_was_gone_stays(launched: Engine) -> None:
    launched.handle(Reconfigured((B,)), 1)
    assert acts(launched.handle(Reconfigured((A, B)), 2)) == []
    assert stands(launched) == {"a": "ready", "b": "stopped"}

    (again,) = acts(launched.handle(Wanted(W2, "a"), 3))
    assert isinstance(again, GrantLease)
    assert again.lease != 2  # that one may be on its way back


def test_a_model_that_is_back_too_late_starts_again(launched: Engine) -> None:
    launched.handle(Reconfigured((B,)), 1)
    launched.handle(Released("w", "a", 2), 2)
    launched.handle(Reconfigured((A, B)), 3)
    launched.handle(Wanted(W2, "a"), 3)

    assert stands(launched)["a"] == "stopping"
    assert acts(launched.handle(ProcessEnded("a", 1, CRASHED), 4)) == [
        Spawn("a", launched.view.swap("a"))
    ]


def test_what_comes_late_from_a_worker_about_a_model_that_is_gone_changes_nothing(
    launched: Engine,
) -> None:
    launched.handle(Reconfigured((B,)), 1)
    launched.handle(ProcessEnded("a", 1, CRASHED), 2)

    assert launched.handle(Released("w", "a", 2), 3) == []
    assert [type(c) for c in acts(launched.handle(Wanted(W2, "a"), 3))] == [RefuseWaiter]


def test_a_supervisor_that_ends_takes_no_configuration_any_more(launched: Engine) -> None:
    launched.handle(ShuttingDown(), 1)
    assert launched.handle(Reconfigured((B,)), 2) == []
    assert stands(launched) == {"a": "draining", "b": "stopped"}


def test_another_configuration_may_make_room_differently(launched: Engine) -> None:
    class Enough(OneAtATime):
        def evicted_by(self, target: str, running: Iterable[str]) -> frozenset[str]:
            return frozenset()

    launched.handle(Reconfigured((A, B), policy=Enough()), 1)
    assert [type(c) for c in acts(launched.handle(Wanted(W2, "b"), 2))] == [Spawn]
