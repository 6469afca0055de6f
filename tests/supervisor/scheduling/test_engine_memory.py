"""The engine where memory decides."""

from collections.abc import Mapping
from typing import Any

import pytest

from arriero.protocol.events import ModelEvicted, ProgressMade
from arriero.supervisor.memory.devices import Budget, DeviceReading
from arriero.supervisor.memory.policy import ByMemory
from arriero.supervisor.memory.sizes import UNKNOWN, ModelSize
from arriero.supervisor.placement.policy import Group, Groups
from arriero.supervisor.scheduling.engine import Engine
from arriero.supervisor.scheduling.messages.events import (
    Announce,
    BecameReady,
    Command,
    DevicesRead,
    EstimateSize,
    GrantLease,
    HoldRequested,
    Left,
    PinRequested,
    ProcessEnded,
    RaiseSize,
    Reconfigured,
    RefuseWaiter,
    Released,
    ReleaseRequested,
    Reported,
    RevokeLease,
    Sized,
    Spawn,
    Spawned,
    Spec,
    Terminate,
    TimePassed,
    UnloadRequested,
    Waiter,
    Wanted,
)
from arriero.supervisor.scheduling.room.sizing import SIZING_LIMIT_S
from arriero.supervisor.scheduling.states.backoff import Backoff
from tests.supervisor.scheduling.steps import CRASHED, OTHER, W1, W2, acts, make_ready

GIB = 1024**3
DECLARED = "declared"


def sized(gpu0: float = 0, ram: float = 0, source: Any = DECLARED) -> ModelSize:
    amounts = {"gpu0": int(gpu0 * GIB), "ram": int(ram * GIB)}
    return ModelSize({name: count for name, count in amounts.items() if count}, source)


def spec(model: str, size: float | ModelSize | None, **more: Any) -> Spec:
    """A model that needs so much of gpu0."""
    known = sized(size) if isinstance(size, int | float) else size
    return Spec(model=model, size=known, start_s=more.pop("start_s", 2.0), **more)


def policy(**totals: float) -> ByMemory:
    budgets = {name: Budget(int(total * GIB)) for name, total in totals.items()}
    return ByMemory(budgets=budgets, finds=True)


def engine_of(*specs: Spec, placement: ByMemory | None = None) -> Engine:
    return Engine(specs, policy=placement or policy(gpu0=10))


def run(engine: Engine, models: str, at: float = 0) -> None:
    """Make `models` ready; nothing runs on them."""
    for model in models:
        grant = make_ready(engine, model, Waiter(f"w-{model}", 1), at)
        engine.handle(Released(f"w-{model}", model, grant.lease), at)


def states(engine: Engine) -> dict[str, str]:
    return {one.model: one.state for one in engine.view.models(0, 0) if one.state != "stopped"}


def gone(engine: Engine, model: str, now: float, out_of: tuple[str, ...] = ()) -> list[Command]:
    return engine.handle(ProcessEnded(model, engine.view.swap(model), CRASHED, out_of), now)


def ready(engine: Engine, model: str, now: float) -> list[Command]:
    engine.handle(Spawned(model, engine.view.swap(model), 1, f"http://{model}"), now)
    return engine.handle(BecameReady(model, engine.view.swap(model)), now)


def details(commands: list[Command]) -> list[str]:
    events = [command.event for command in commands if isinstance(command, Announce)]
    return [e.progress.detail for e in events if isinstance(e, ProgressMade) and e.progress.detail]


def evictions(commands: list[Command]) -> list[str]:
    events = [command.event for command in commands if isinstance(command, Announce)]
    return [event.text for event in events if isinstance(event, ModelEvicted)]


# --- room ---------------------------------------------------------------------------------------


def test_as_many_models_stay_as_fit() -> None:
    engine = engine_of(*(spec(m, 3) for m in "abcd"))
    run(engine, "abc")

    assert states(engine) == dict.fromkeys("abc", "ready")
    assert [one.reserved // GIB for one in engine.view.devices(0)] == [9]


def test_the_least_recently_used_goes_and_one_record_says_why() -> None:
    engine = engine_of(*(spec(m, 3) for m in "abcd"))
    run(engine, "a")
    run(engine, "b", at=10)
    run(engine, "c", at=20)

    told = engine.handle(Wanted(W1, "d"), 332)

    assert [c for c in acts(told) if isinstance(c, Terminate)] == [
        Terminate("a", engine.view.swap("a"), 10.0)
    ]
    assert evictions(told) == ["evicted a: idle 332 s, 3.0 GiB; d needed 3.0 GiB of 1.0 GiB free"]
    assert acts(gone(engine, "a", 333)) == [Spawn("d", engine.view.swap("d"))]
    assert states(engine) == {"b": "ready", "c": "ready", "d": "starting"}


def test_a_model_that_is_quick_to_bring_back_goes_first() -> None:
    engine = engine_of(spec("a", 5, start_s=60), spec("b", 5, start_s=2), spec("c", 5))
    run(engine, "ab")

    engine.handle(Wanted(W1, "c"), 100)

    assert states(engine) == {"a": "ready", "b": "stopping"}


def test_a_model_whose_lease_came_back_is_idle() -> None:
    engine = engine_of(spec("a", 5), spec("b", 5), spec("c", 5))
    make_ready(engine, "b", Waiter("w-b", 1), 0)
    grant = make_ready(engine, "a", Waiter("w-a", 1), 0)
    for model in "ab":
        engine.handle(Reported(f"w-{model}", {model: 1}), 5 if model == "a" else 4)
    assert engine.view.explain("c", 5).stops == ("b",)

    engine.handle(Released("w-a", "a", grant.lease), 5.1)

    assert engine.view.explain("c", 5.2).stops == ("a",)


def test_a_model_that_is_used_often_stays() -> None:
    engine = engine_of(spec("a", 5), spec("b", 5), spec("c", 5))
    run(engine, "ab")
    engine.handle(Wanted(W1, "a"), 1)
    for second in range(20):
        engine.handle(Reported("w", {"a": 1}), 2 + second)
    engine.handle(Reported("w", {}), 25)
    make_b = engine.handle(Wanted(OTHER, "b"), 30)  # used last, and only once
    assert isinstance(acts(make_b)[0], GrantLease)
    engine.handle(Reported("other", {}, used=("b",)), 31)

    engine.handle(Wanted(W2, "c"), 40)

    assert states(engine) == {"a": "ready", "b": "draining"}


def test_one_large_model_goes_in_the_place_of_two_small_ones() -> None:
    engine = engine_of(*(spec(m, 3) for m in "ab"), spec("c", 4), spec("d", 4))
    run(engine, "abc")

    engine.handle(Wanted(W1, "d"), 1)

    assert states(engine) == {"a": "ready", "b": "ready", "c": "stopping"}


def test_a_busy_model_is_spared_as_long_as_idle_ones_make_room() -> None:
    engine = engine_of(*(spec(m, 3) for m in "abcd"))
    run(engine, "bc")
    make_ready(engine, "a", Waiter("w", 1), 0)
    engine.handle(Reported("w", {"a": 1}), 1)

    engine.handle(Wanted(Waiter("x", 1), "d"), 2)
    assert states(engine)["a"] == "ready"


def test_busy_models_alone_are_drained_not_cut() -> None:
    engine = engine_of(spec("a", 6), spec("b", 6))
    make_ready(engine, "a", Waiter("w", 1), 0)
    engine.handle(Reported("w", {"a": 1}), 1)

    (revoke,) = acts(engine.handle(Wanted(OTHER, "b"), 2))

    assert isinstance(revoke, RevokeLease)
    assert revoke.when_idle
    assert states(engine) == {"a": "draining"}


def test_a_second_device_has_its_own_account() -> None:
    both = policy(gpu0=10, gpu1=10)
    one, two = ({f"gpu{n}": 8 * GIB} for n in (0, 1))
    specs = [
        spec("a", ModelSize(one, "declared")),
        spec("b", ModelSize(two, "declared")),
        spec("c", ModelSize(one, "declared")),
    ]
    engine = engine_of(*specs, placement=both)
    run(engine, "ab")

    engine.handle(Wanted(W1, "c"), 1)

    assert states(engine) == {"a": "stopping", "b": "ready"}


def test_a_model_on_a_device_that_is_not_there_is_not_limited() -> None:
    engine = engine_of(spec("a", ModelSize({"gpu7": 99 * GIB}, "declared")), spec("b", 9))
    run(engine, "ab")
    assert states(engine) == {"a": "ready", "b": "ready"}


def test_what_fits_is_started_beside_a_busy_one() -> None:
    """Nobody is asked to go, or to give anything back; unless groups keep them apart."""
    engine = engine_of(spec("a", 3), spec("b", 3))
    make_ready(engine, "a", W1, 0)
    assert acts(engine.handle(Wanted(W2, "b"), 1)) == [Spawn("b", engine.view.swap("b"))]
    assert engine.view.awaiting_room() == ()

    pair = Groups((Group("pair", ("a", "b")),), "ab")
    apart = ByMemory(budgets={"gpu0": Budget(10 * GIB)}, finds=True, inner=pair)
    engine = engine_of(spec("a", 3), spec("b", 3), placement=apart)
    grant = make_ready(engine, "a", W1, 0)
    (revoked,) = acts(engine.handle(Wanted(W2, "b"), 1))
    assert isinstance(revoked, RevokeLease)
    assert (engine.view.awaiting_room(), engine.view.starting()) == (("b",), ())
    engine.handle(Released("w", "a", grant.lease), 2)
    assert engine.view.awaiting_room() == ("b",)
    assert acts(gone(engine, "a", 3)) == [Spawn("b", engine.view.swap("b"))]
    assert (engine.view.awaiting_room(), engine.view.starting()) == ((), ("b",))


def test_who_waits_no_more_awaits_no_room() -> None:
    engine = engine_of(spec("a", 6), spec("b", 6))
    make_ready(engine, "a", W1, 0)
    engine.handle(Wanted(W2, "b"), 1)
    assert engine.view.awaiting_room() == ("b",)
    engine.handle(Left(W2), 2)
    assert engine.view.awaiting_room() == ()


def test_the_outlook_tells_use_and_who_is_there_for_good() -> None:
    engine = engine_of(spec("a", 3, pin="manual"), spec("b", 3), spec("c", 3))
    run(engine, "ab")
    engine.handle(Wanted(W1, "b"), 1)
    engine.handle(Reported("w", {"b": 1}), 2)
    found = {one.model: (one.use > 0, one.runs, one.stays) for one in engine.view.outlooks(3)}
    assert found == {
        "a": (False, True, True),
        "b": (True, True, False),
        "c": (False, False, False),
    }


def test_a_model_is_pinned_by_an_order_until_another_one() -> None:
    engine = engine_of(spec("a", 6, ttl_s=5.0), spec("b", 6))
    run(engine, "a")
    engine.handle(PinRequested("a", True), 1)
    assert acts(engine.handle(Wanted(W1, "b"), 10)) == []  # nor is it idle for too long
    assert engine.view.orders().pins == ("a",)
    [status, _] = engine.view.models(10, 0.0)
    assert (status.pin, status.pin_ordered, status.unloads_at) == ("manual", True, None)

    engine.handle(PinRequested("a", False), 11)
    gone(engine, "a", 12)
    assert states(engine) == {"b": "starting"}
    assert engine.view.orders().pins == ()


def test_groups_act_on_top_of_memory() -> None:
    inner = Groups((Group("pair", ("a", "b")), Group("side", ("c",), exclusive=False)), "abc")
    on_top = ByMemory(budgets={"gpu0": Budget(10 * GIB)}, finds=True, inner=inner)
    engine = engine_of(spec("a", 1), spec("b", 1), spec("c", 1), placement=on_top)
    run(engine, "ac")
    assert states(engine) == {"a": "ready", "c": "ready"}

    engine.handle(Wanted(W1, "b"), 1)
    assert states(engine)["a"] == "stopping"


# --- what a size is worth -----------------------------------------------------------------------


def test_what_is_not_known_runs_alone_until_it_was_seen() -> None:
    engine = engine_of(spec("a", UNKNOWN), spec("b", 2))
    run(engine, "b")
    engine.handle(Wanted(W1, "a"), 1)
    assert states(engine) == {"b": "stopping"}
    gone(engine, "b", 2)
    ready(engine, "a", 3)
    assert "it is not known how much it needs" in engine.view.explain("a", 4).models[0].why
    assert engine.view.explain("b", 4).action == "swap"

    engine.handle(Sized("a", sized(3, source="learned"), engine.view.swap("a"), serves=True), 5)

    assert engine.view.explain("b", 6).action == "start"


def test_an_estimate_is_asked_for_once_and_not_waited_for_longer_than_its_limit() -> None:
    engine = engine_of(spec("a", None), spec("b", 2))
    run(engine, "b")
    assert acts(engine.handle(Wanted(W1, "a"), 1)) == [EstimateSize("a")]
    assert acts(engine.handle(Wanted(W2, "a"), 2)) == []
    assert engine.next_deadline(2) == 1 + SIZING_LIMIT_S

    engine.handle(TimePassed(), 1 + SIZING_LIMIT_S)
    assert states(engine) == {"b": "stopping"}  # it is unknown, and runs alone


def test_an_estimate_lets_it_start() -> None:
    engine = engine_of(spec("a", None), spec("b", 2))
    run(engine, "b")
    engine.handle(Wanted(W1, "a"), 1)

    done = engine.handle(Sized("a", sized(4, source="estimated")), 1.1)

    assert acts(done) == [Spawn("a", engine.view.swap("a"))]


def test_a_model_that_grows_while_it_serves_takes_more_but_stops_nobody() -> None:
    engine = engine_of(spec("a", sized(2, source="learned")), spec("b", 5), spec("c", 3))
    run(engine, "ab")

    grown = engine.handle(
        Sized("a", sized(4, source="learned"), engine.view.swap("a"), serves=True), 9
    )

    assert acts(grown) == []
    assert [one.free // GIB for one in engine.view.devices(9)] == [1]
    assert engine.view.explain("c", 9).action == "swap"


def test_a_declared_size_is_raised_by_what_is_seen_not_lowered() -> None:
    engine = engine_of(spec("a", 4), spec("b", 5))
    run(engine, "a")
    for seen, reserved in ((3, 4), (6, 6)):
        engine.handle(
            Sized("a", sized(seen, source="learned"), engine.view.swap("a"), serves=True), 1
        )
        assert [one.reserved // GIB for one in engine.view.devices(1)] == [reserved]


# --- out of memory ------------------------------------------------------------------------------


def test_a_start_that_runs_out_of_memory_is_tried_once_more_with_room() -> None:
    engine = engine_of(spec("a", 4), spec("b", sized(4, source="estimated")))
    run(engine, "a")
    engine.handle(Wanted(W1, "b"), 1)
    assert states(engine) == {"a": "ready", "b": "starting"}

    told = acts(gone(engine, "b", 2, out_of=("gpu",)))

    raised = [command for command in told if isinstance(command, RaiseSize)]
    assert [one.amounts["gpu0"] > 6 * GIB for one in raised] == [True]
    assert states(engine) == {"a": "stopping"}
    assert acts(gone(engine, "a", 3)) == [Spawn("b", engine.view.swap("b"))]
    refused = acts(gone(engine, "b", 4, out_of=("gpu",)))
    assert [type(command) for command in refused[:1]] == [RefuseWaiter]  # once is enough


def test_a_start_that_was_alone_is_not_tried_again() -> None:
    engine = engine_of(spec("a", 4))
    engine.handle(Wanted(W1, "a"), 0)

    told = acts(gone(engine, "a", 1, out_of=("gpu",)))

    assert [type(command) for command in told] == [RefuseWaiter]


def test_a_crash_is_for_want_of_memory_if_a_device_has_no_more() -> None:
    """Another program took two: so six are left beside `a` as it was seen, and `b` has seven."""
    for foreign, is_short in ((0, False), (2, True)):
        engine = engine_of(spec("a", 2), spec("b", sized(5, source="estimated")))
        run(engine, "a")
        engine.handle(Wanted(W1, "b"), 1)
        engine.handle(Sized("b", sized(7, source="learned"), engine.view.swap("b")), 2)
        engine.handle(read(9 + foreign, foreign, 2), 2)

        end = ProcessEnded("b", engine.view.swap("b"), CRASHED, crashed=True)
        told = [type(command) for command in acts(engine.handle(end, 3))]

        assert told[:1] == [RaiseSize if is_short else RefuseWaiter]


# --- what others use ----------------------------------------------------------------------------


def read(used: float, foreign: float, at: float) -> DevicesRead:
    found = {"gpu0": DeviceReading(10 * GIB, int(used * GIB))}
    return DevicesRead(found, {"gpu0": int(foreign * GIB)}, at)


def test_memory_of_other_programs_cannot_be_had() -> None:
    engine = engine_of(spec("a", 4), spec("b", 5))
    engine.handle(read(3, 3, 0), 0)
    run(engine, "a")

    engine.handle(Wanted(W1, "b"), 1)
    assert states(engine) == {"a": "stopping"}


def test_a_stop_gives_back_only_when_the_device_shows_it() -> None:
    engine = engine_of(spec("a", 6), spec("b", 6))
    engine.handle(read(1, 1, 0), 0)
    run(engine, "a")
    engine.handle(Wanted(W1, "b"), 1)
    assert acts(gone(engine, "a", 2)) == []

    late = engine.handle(read(7, 7, 2.1), 2.1)  # the driver still has it
    assert acts(late) == []
    assert engine.view.explain("b", 2.2).why == "it can start when the memory of a has come back"
    back = engine.handle(read(1, 1, 2.2), 2.2)
    assert acts(back) == [Spawn("b", engine.view.swap("b"))]


def test_a_look_that_began_before_the_end_does_not_count() -> None:
    engine = engine_of(spec("a", 6), spec("b", 6))
    engine.handle(read(1, 1, 0), 0)
    run(engine, "a")
    engine.handle(Wanted(W1, "b"), 1)
    gone(engine, "a", 2)

    assert acts(engine.handle(read(7, 1, 1.9), 2.1)) == []


def test_what_never_comes_back_is_somebody_elses_in_the_end() -> None:
    engine = engine_of(spec("a", 6), spec("b", 6))
    engine.handle(read(1, 1, 0), 0)
    run(engine, "a")
    engine.handle(Wanted(W1, "b"), 1)
    gone(engine, "a", 2)
    engine.handle(read(7, 7, 3), 3)
    deadline = engine.next_deadline(3)
    assert deadline == 2 + 5

    assert acts(engine.handle(TimePassed(), deadline)) == []
    assert engine.view.explain("b", 8).why == (
        "it needs 6.0 GiB of gpu0, and 3.0 GiB can be had; other programs use 7.0 GiB; "
        "requests wait"
    )


# --- what cannot have room ----------------------------------------------------------------------


def test_a_pinned_model_does_not_go_and_its_place_is_waited_for() -> None:
    engine = engine_of(spec("a", 6, pin="manual"), spec("b", 6))
    run(engine, "a")

    told = engine.handle(Wanted(W1, "b"), 1)

    why = "it needs 6.0 GiB of gpu0, and 4.0 GiB can be had beside a (pinned: manual)"
    assert (acts(told), details(told)) == ([], [why])
    assert engine.view.explain("b", 2).why == f"{why}; requests wait"
    assert states(engine) == {"a": "ready"}
    engine.handle(UnloadRequested("a"), 3)
    assert [type(c) for c in acts(gone(engine, "a", 4))] == [Spawn]


def test_who_is_blocked_takes_nothing_from_those_behind_it() -> None:
    engine = engine_of(spec("a", 6, pin="manual"), spec("b", 6), spec("c", 2))
    run(engine, "a")
    engine.handle(Wanted(W1, "b"), 1)

    assert acts(engine.handle(Wanted(W2, "c"), 2)) == [Spawn("c", engine.view.swap("c"))]


def test_the_record_of_an_eviction_names_who_was_kept() -> None:
    engine = engine_of(spec("a", 3), spec("b", 5), spec("c", 4, pin="always"))
    engine.handle(TimePassed(), 0)
    ready(engine, "c", 0)
    run(engine, "a")

    told = engine.handle(Wanted(W1, "b"), 10)

    assert evictions(told) == [
        "evicted a: idle 10 s, 3.0 GiB; b needed 5.0 GiB of 3.0 GiB free; c kept: pinned: always"
    ]


def test_a_blocked_model_is_refused_if_so_wished() -> None:
    engine = engine_of(spec("a", 6, pin="manual"), spec("b", 6, on_blocked="refuse"))
    run(engine, "a")

    (refusal,) = acts(engine.handle(Wanted(W1, "b"), 1))

    assert isinstance(refusal, RefuseWaiter)
    assert refusal.error.transient
    assert "beside a (pinned: manual)" in refusal.error.message


def test_a_blocked_model_is_served_by_another_one_if_so_wished() -> None:
    engine = engine_of(
        spec("a", 6, pin="manual"),
        spec("b", 6, on_blocked="use", instead="small"),
        spec("small", 1),
    )
    run(engine, "a")

    assert acts(engine.handle(Wanted(W1, "b"), 1)) == [Spawn("small", engine.view.swap("small"))]
    (grant,) = acts(ready(engine, "small", 2))
    assert isinstance(grant, GrantLease)
    assert (grant.waiter, grant.model) == (W1, "small")


def test_a_model_larger_than_its_device_is_refused_for_good() -> None:
    engine = engine_of(spec("a", 16))

    (refusal,) = acts(engine.handle(Wanted(W1, "a"), 0))

    assert isinstance(refusal, RefuseWaiter)
    assert not refusal.error.transient
    assert refusal.error.message.endswith(
        "it needs 16.0 GiB of gpu0, which has 10.0 GiB for models"
    )


def test_a_model_pinned_always_is_there_from_the_start_and_comes_back() -> None:
    engine = engine_of(spec("a", 6, pin="always", ttl_s=5.0), spec("b", 2))

    assert acts(engine.handle(TimePassed(), 0)) == [
        Spawn("a", engine.view.swap("a"), "it is pinned: always")
    ]
    ready(engine, "a", 1)
    assert acts(engine.handle(TimePassed(), 100)) == []  # no ttl
    gone(engine, "a", 200)
    again_at = engine.next_deadline(200)  # when its pause is over, though nobody waits
    assert again_at == 200 + Backoff().pause_s(1)
    assert [type(c) for c in acts(engine.handle(TimePassed(), again_at))] == [Spawn]


def test_a_model_pinned_always_is_estimated_first() -> None:
    engine = engine_of(spec("a", None, pin="always"))
    assert acts(engine.handle(TimePassed(), 0)) == [EstimateSize("a")]
    assert engine.next_deadline(0) == SIZING_LIMIT_S

    done = acts(engine.handle(Sized("a", sized(4, source="estimated")), 1))
    assert [type(command) for command in done] == [Spawn]


def test_a_model_pinned_always_that_was_unloaded_stays_away() -> None:
    engine = engine_of(spec("a", 6, pin="always"))
    engine.handle(TimePassed(), 0)
    ready(engine, "a", 1)
    engine.handle(UnloadRequested("a"), 2)
    gone(engine, "a", 3)

    assert acts(engine.handle(TimePassed(), 10)) == []
    assert [type(c) for c in acts(engine.handle(Wanted(W1, "a"), 11))] == [Spawn]


# --- holding ------------------------------------------------------------------------------------


def test_a_held_device_is_drained_and_stays_free_until_it_is_released() -> None:
    engine = engine_of(spec("a", 6), spec("b", sized(ram=1)), placement=policy(gpu0=10, ram=10))
    run(engine, "ab")

    engine.handle(HoldRequested("gpu0"), 1)
    assert states(engine) == {"a": "stopping", "b": "ready"}
    gone(engine, "a", 2)
    told = engine.handle(Wanted(W1, "a"), 3)
    assert (acts(told), details(told)) == (
        [], ["gpu0 is held; `arriero release gpu0` gives it free"]
    )  # fmt: skip
    assert acts(engine.handle(ReleaseRequested("gpu0"), 4)) == [Spawn("a", engine.view.swap("a"))]


def test_a_hold_ends_when_its_time_has_come() -> None:
    engine = engine_of(spec("a", 6))
    engine.handle(HoldRequested("gpu0", for_s=60), 0)
    engine.handle(Wanted(W1, "a"), 1)
    assert engine.next_deadline(1) == 60
    assert engine.view.devices(10)[0].held_s == 50

    assert acts(engine.handle(TimePassed(), 60)) == [Spawn("a", engine.view.swap("a"))]


def test_without_memory_everything_is_held() -> None:
    engine = Engine([Spec(model="a"), Spec(model="b")])
    run(engine, "a")
    engine.handle(HoldRequested(None, for_s=60), 1)
    gone(engine, "a", 2)
    assert acts(engine.handle(Wanted(W1, "b"), 3)) == []
    assert engine.view.explain("b", 3).why.startswith("this machine is held")

    assert [type(c) for c in acts(engine.handle(TimePassed(), 61))] == [Spawn]


# --- another configuration ----------------------------------------------------------------------


def test_a_smaller_budget_stops_nobody_until_somebody_needs_the_place() -> None:
    specs = tuple(spec(m, 3) for m in "abc")
    engine = engine_of(*specs)
    run(engine, "abc")

    assert acts(engine.handle(Reconfigured(specs, policy=policy(gpu0=4)), 1)) == []
    assert states(engine) == dict.fromkeys("abc", "ready")


def test_memory_can_be_switched_on_while_models_run() -> None:
    specs = tuple(spec(m, 3) for m in "ab")
    engine = Engine(specs)
    run(engine, "a")

    engine.handle(Reconfigured(specs, policy=policy(gpu0=10)), 1)

    assert [one.reserved // GIB for one in engine.view.devices(1)] == [3]
    assert engine.view.explain("b", 1).action == "start"


@pytest.mark.parametrize("order", ["abc", "acb", "bac", "bca", "cab", "cba"])
def test_what_fits_together_is_all_there_in_whatever_order_it_came(order: str) -> None:
    sizes: Mapping[str, float] = {"a": 2, "b": 3, "c": 5}
    engine = engine_of(*(spec(m, size) for m, size in sizes.items()))
    run(engine, order)
    assert states(engine) == dict.fromkeys("abc", "ready")
