"""Models and leases of an earlier supervisor: nothing is taken away before it is known."""

import msgspec
import pytest

from arriero.protocol.lease import HeldLease
from arriero.supervisor.scheduling.engine import Engine
from arriero.supervisor.scheduling.messages.events import (
    Adopted,
    BecameReady,
    GrantLease,
    HoldRequested,
    LeasesHeld,
    Left,
    OwnerLost,
    ProcessEnded,
    RefuseWaiter,
    Released,
    RevokeLease,
    Spawn,
    Spec,
    Terminate,
    TimePassed,
    UnloadRequested,
    VoidLease,
    Waiter,
    Wanted,
)
from arriero.supervisor.scheduling.orders import StandingOrders
from tests.supervisor.scheduling.steps import CRASHED, SCRIPT, acts

NEW = Waiter("new", 1)


def held(model: str, lease: int, endpoint: str, *places: int) -> HeldLease:
    return HeldLease(model=model, lease=lease, endpoint=endpoint, places=places)


def adopted(model: str = "a", *owners: str, launch: str = "") -> Adopted:
    return Adopted(
        model=model,
        swap=7,
        pid=100,
        endpoint=f"http://{model}",
        kind="llama-server",
        launch=launch,
        owners=owners,
    )


@pytest.fixture
def engine() -> Engine:
    return Engine([Spec(model="a", ttl_s=60), Spec(model="b")])


def test_an_adopted_model_serves_without_a_start(engine: Engine) -> None:
    assert acts(engine.handle(adopted(), 0)) == []
    assert engine.view.state("a") == "ready"
    assert acts(engine.handle(Wanted(NEW, "a"), 1)) == [
        GrantLease(NEW, "a", 8, "http://a", 0.0, "llama-server")
    ]


def test_numbers_go_on_after_those_before(engine: Engine) -> None:
    engine.handle(adopted("a", "w"), 0)
    engine.handle(LeasesHeld("w", (held("a", 40, "http://a"),)), 0)
    engine.handle(Wanted(SCRIPT, "b"), 1)
    (spawn,) = [c for c in engine.handle(Released("w", "a", 40), 2) if isinstance(c, Terminate)]
    assert spawn.swap == 7
    commands = acts(engine.handle(ProcessEnded("a", 7, CRASHED), 3))
    assert [c.swap for c in commands if isinstance(c, Spawn)] == [41]


def test_nothing_is_stopped_before_leases_are_known(engine: Engine) -> None:
    engine.handle(adopted("a", "w", "v"), 0)

    assert not any(isinstance(c, Terminate) for c in engine.handle(Wanted(SCRIPT, "b"), 1))
    assert engine.view.state("a") == "draining"
    # one of them holds a lease, and is asked for it
    assert acts(engine.handle(LeasesHeld("w", (held("a", 5, "http://a"),)), 2)) == [
        RevokeLease("w", "a", 5, when_idle=True)
    ]
    assert acts(engine.handle(LeasesHeld("v", ()), 3)) == []
    assert acts(engine.handle(Released("w", "a", 5), 4)) == [Terminate("a", 7, 10.0)]


def test_who_is_gone_before_a_word_held_nothing(engine: Engine) -> None:
    engine.handle(adopted("a", "w"), 0)
    engine.handle(Wanted(SCRIPT, "b"), 1)

    assert acts(engine.handle(OwnerLost("w"), 2)) == [Terminate("a", 7, 10.0)]


@pytest.mark.parametrize(
    "lease", [("b", 5, "http://b"), ("a", 5, "http://elsewhere"), ("x", 5, "")]
)
def test_a_lease_on_what_is_gone_is_void(engine: Engine, lease: tuple[str, int, str]) -> None:
    engine.handle(adopted("a", "w"), 0)

    assert acts(engine.handle(LeasesHeld("w", (held(*lease),)), 1)) == [VoidLease("w", lease[0], 5)]
    assert engine.view.leases_of("w") == ()


def test_a_request_before_the_word_gets_another_lease(engine: Engine) -> None:
    engine.handle(adopted("a", "w"), 0)
    (grant,) = acts(engine.handle(Wanted(Waiter("w", 1), "a"), 1))
    assert isinstance(grant, GrantLease)
    assert grant.lease > 0

    # the worker has forgotten the old one by the time it reads this
    told = LeasesHeld("w", (held("a", 5, "http://a"),))
    assert acts(engine.handle(told, 2)) == [VoidLease("w", "a", 5)]
    assert engine.view.leases_of("w") == ("a",)


def test_one_started_otherwise_finishes_and_goes(engine: Engine) -> None:
    engine.handle(adopted("a", "w", launch="old"), 0)
    assert engine.view.state("a") == "draining"
    engine.handle(LeasesHeld("w", (held("a", 5, "http://a"),)), 1)

    assert acts(engine.handle(Released("w", "a", 5), 2)) == [Terminate("a", 7, 10.0)]


def test_its_idle_time_begins_with_the_adoption(engine: Engine) -> None:
    engine.handle(adopted(), 1000)
    assert engine.next_deadline(1000) == 1060


def test_a_model_is_adopted_once(engine: Engine) -> None:
    engine.handle(adopted(), 0)
    assert engine.handle(adopted(), 1) == []


@pytest.fixture
def limited() -> Engine:
    """Two requests run at a time on `a`, and two did when its supervisor was killed."""
    engine = Engine([Spec(model="a", most=2), Spec(model="b")])
    engine.handle(adopted("a", "w", "v"), 0)
    return engine


def test_places_that_are_taken_stay_taken(limited: Engine) -> None:
    # before all have told nobody is let in, and nobody refused
    assert acts(limited.handle(Wanted(NEW, "a"), 1)) == []
    waits = {"a": (9,)}  # at a supervisor that let it wait: a model that loads has no limit
    assert acts(limited.handle(LeasesHeld("w", (held("a", 5, "http://a", 3, 4),), waits), 2)) == []
    (refused,) = acts(limited.handle(LeasesHeld("v", ()), 2))
    assert isinstance(refused, RefuseWaiter)
    assert (refused.waiter, refused.error.code) == (NEW, "concurrency_limit")

    late = Waiter("v", 1)
    (refused,) = acts(limited.handle(Wanted(late, "a"), 3))
    assert isinstance(refused, RefuseWaiter)
    assert (refused.waiter, refused.error.code) == (late, "concurrency_limit")
    (granted,) = acts(limited.handle(Left(Waiter("w", 3)), 4))
    assert isinstance(granted, GrantLease)
    assert granted.waiter == Waiter("w", 9)


def test_who_waited_is_served_as_soon_as_all_is_told(limited: Engine) -> None:
    limited.handle(Wanted(NEW, "a"), 1)
    limited.handle(LeasesHeld("w", (held("a", 5, "http://a", 3),)), 2)

    (granted,) = acts(limited.handle(OwnerLost("v"), 3))

    assert isinstance(granted, GrantLease)


def test_what_is_not_in_the_configuration_finishes(engine: Engine) -> None:
    engine.handle(adopted("gone", "w"), 0)
    assert engine.view.state("gone") == "draining"
    engine.handle(LeasesHeld("w", (held("gone", 5, "http://gone"),)), 1)

    assert acts(engine.handle(Released("w", "gone", 5), 2)) == [Terminate("gone", 7, 10.0)]
    engine.handle(ProcessEnded("gone", 7, CRASHED), 3)
    assert not engine.view.knows("gone")


def test_orders_are_known_until_they_are_over(engine: Engine) -> None:
    assert engine.view.orders() == StandingOrders()
    engine.handle(adopted("a", "w"), 0)
    engine.handle(UnloadRequested("a"), 1)
    engine.handle(HoldRequested(None, 60), 2)
    assert engine.view.orders() == StandingOrders((7,), (("", 62),))

    engine.handle(OwnerLost("w"), 3)
    engine.handle(ProcessEnded("a", 7, CRASHED), 62)
    assert engine.view.orders() == StandingOrders()


def test_an_order_to_unload_outlives_its_supervisor(engine: Engine) -> None:
    engine.handle(msgspec.structs.replace(adopted("a", "w"), unloading=True), 0)
    assert engine.view.standing("a") == "stopping"
    assert acts(engine.handle(Wanted(NEW, "a"), 1)) == []


def starting(
    model: str = "a", *owners: str, age_s: float = 30.0, went: tuple[str, ...] = ()
) -> Adopted:
    return msgspec.structs.replace(
        adopted(model, *owners), serves=False, age_s=age_s, went=went, kind="unknown"
    )


def test_what_starts_goes_on_starting(engine: Engine) -> None:
    assert acts(engine.handle(starting("a", "w"), 1000)) == []
    assert engine.view.state("a") == "starting"
    engine.handle(LeasesHeld("w", (), {"a": (4,)}), 1001)
    (granted,) = acts(engine.handle(BecameReady("a", 7), 1002))
    assert isinstance(granted, GrantLease)
    assert granted.waiter == Waiter("w", 4)


def test_its_time_to_start_is_not_begun_anew(engine: Engine) -> None:
    engine.handle(starting(age_s=100), 1000)
    assert acts(engine.handle(TimePassed(), 1019)) == []
    assert acts(engine.handle(TimePassed(), 1020)) == [Terminate("a", 7, 10.0)]


def test_a_start_is_not_given_up_before_all_is_told(engine: Engine) -> None:
    engine.handle(starting("a", "w", "v"), 0)
    assert acts(engine.handle(LeasesHeld("w", (), {"b": (1,)}), 1)) == []
    assert acts(engine.handle(LeasesHeld("v", (), {"a": (1,)}), 2)) == []
    assert engine.view.state("a") == "starting"


def test_a_start_that_nobody_waits_for_makes_room(engine: Engine) -> None:
    engine.handle(starting("a", "w"), 0)
    assert acts(engine.handle(LeasesHeld("w", (), {"b": (1,)}), 1)) == [Terminate("a", 7, 10.0)]


def test_what_was_stopped_for_it_comes_back_if_it_fails(engine: Engine) -> None:
    engine.handle(starting("a", went=("b",)), 0)
    commands = acts(engine.handle(ProcessEnded("a", 7, CRASHED), 1))
    assert [c.model for c in commands if isinstance(c, Spawn)] == ["b"]


def test_a_start_with_another_command_is_stopped(engine: Engine) -> None:
    started = msgspec.structs.replace(starting("a", "w"), launch="old")
    assert acts(engine.handle(started, 0)) == [Terminate("a", 7, 10.0)]


def test_who_waited_for_a_place_waits_on(limited: Engine) -> None:
    limited.handle(LeasesHeld("v", ()), 1)
    told = LeasesHeld("w", (held("a", 5, "http://a", 3, 4),), {"a": (9,)})
    assert acts(limited.handle(told, 2)) == []
    assert acts(limited.handle(Wanted(Waiter("w", 9), "a"), 3)) == []  # it says so again
    (granted,) = acts(limited.handle(Left(Waiter("w", 3)), 4))
    assert isinstance(granted, GrantLease)
    assert granted.waiter == Waiter("w", 9)
