"""The engine where models run side by side, and where some come first."""

from collections.abc import Mapping

import pytest

from arriero.protocol.events import ProgressMade
from arriero.protocol.values import ErrorInfo
from arriero.supervisor.placement.matrix import Matrix, compile_matrix
from arriero.supervisor.placement.policy import Group, Groups, OneAtATime, PlacementPolicy
from arriero.supervisor.scheduling.engine import Engine
from arriero.supervisor.scheduling.messages.events import (
    Announce,
    Command,
    GrantLease,
    Left,
    ProcessEnded,
    Reconfigured,
    RefuseWaiter,
    Released,
    RevokeLease,
    Spawn,
    Spec,
    Terminate,
    UnloadRequested,
    Waiter,
    Wanted,
)
from tests.supervisor.scheduling.steps import CRASHED, OTHER, W1, W2, W3, acts, make_ready


def engine_of(policy: PlacementPolicy, models: str, **priority: int) -> Engine:
    return Engine([Spec(model=m, priority=priority.get(m, 0)) for m in models], policy=policy)


def groups(*written: Group, models: str = "abcde") -> Groups:
    return Groups(written, models)


def matrix(models: str, *sets: str, costs: Mapping[str, int] | None = None) -> Matrix:
    return compile_matrix({}, costs or {}, {f"s{n}": one for n, one in enumerate(sets)}, models)


def run(engine: Engine, models: str) -> None:
    """Make `models` ready, each with a lease of a worker of its own."""
    for model in models:
        make_ready(engine, model, Waiter(f"w-{model}", 1), 0)


def lease_of(engine: Engine, model: str) -> int:
    (lease,) = engine._table.all[model].leases.values()
    return lease


def given_back(engine: Engine, model: str, now: float) -> list[Command]:
    return acts(engine.handle(Released(f"w-{model}", model, lease_of(engine, model)), now))


def gone(engine: Engine, model: str, now: float) -> list[Command]:
    return acts(engine.handle(ProcessEnded(model, engine.view.swap(model), CRASHED), now))


def told(commands: list[Command], model: str) -> list[tuple[str, str | None]]:
    """What those who wait for `model` hear."""
    events = [command.event for command in commands if isinstance(command, Announce)]
    progress = [e.progress for e in events if isinstance(e, ProgressMade) and e.model == model]
    return [(one.phase, one.other) for one in progress]


def states(engine: Engine) -> dict[str, str]:
    return {one.model: one.state for one in engine.view.models(0, 0) if one.state != "stopped"}


TOGETHER = Group("together", ("a", "b", "c"), swap=False)
PAIRS = (Group("ab", ("a", "b"), exclusive=False), Group("cd", ("c", "d"), exclusive=False))
SHY = Group("shy", ("x", "y"), swap=False, exclusive=False)


def test_models_that_fit_start_at_the_same_time_and_serve_at_the_same_time() -> None:
    engine = engine_of(groups(TOGETHER), "abcde")
    starts = [acts(engine.handle(Wanted(Waiter(m, 1), m), 0)) for m in "abc"]
    assert [type(command) for done in starts for command in done] == [Spawn] * 3

    engine = engine_of(groups(TOGETHER), "abcde")
    run(engine, "abc")
    assert states(engine) == dict.fromkeys("abc", "ready")
    assert [type(c) for c in acts(engine.handle(Wanted(OTHER, "a"), 1))] == [GrantLease]


def test_a_model_for_which_several_have_to_go_starts_when_the_last_one_is_gone() -> None:
    engine = engine_of(groups(TOGETHER), "abcde")
    run(engine, "ab")

    revoked = acts(engine.handle(Wanted(W1, "e"), 1))
    assert [c.model for c in revoked if isinstance(c, RevokeLease)] == ["a", "b"]
    assert given_back(engine, "b", 2) == [Terminate("b", engine.view.swap("b"), 10.0)]
    assert gone(engine, "b", 3) == []
    given_back(engine, "a", 4)
    assert gone(engine, "a", 5) == [Spawn("e", engine.view.swap("e"))]


def test_a_model_that_is_not_exclusive_starts_beside_an_exclusive_one_which_makes_it_go() -> None:
    engine = engine_of(groups(SHY), "axy")
    run(engine, "ax")
    assert states(engine) == {"a": "ready", "x": "ready"}
    assert [type(c) for c in acts(engine.handle(Wanted(W1, "a"), 1))] == [GrantLease]

    gone(engine, "a", 2)
    engine.handle(Wanted(W2, "a"), 10)
    assert states(engine) == {"x": "draining"}


def test_a_later_turn_goes_ahead_if_it_takes_nothing_from_an_earlier_one() -> None:
    engine = engine_of(groups(*PAIRS), "abcde")
    run(engine, "a")
    engine.handle(Wanted(W1, "b"), 1)

    assert [type(c) for c in acts(engine.handle(Wanted(W2, "d"), 2))] == [Spawn]
    assert states(engine) == {"a": "draining", "d": "starting"}


def test_a_turn_that_has_to_wait_takes_nothing_yet_and_is_not_overtaken() -> None:
    engine = engine_of(groups(*PAIRS), "abcde")
    run(engine, "ac")
    engine.handle(Wanted(W1, "b"), 1)
    assert acts(engine.handle(Wanted(W2, "e"), 2)) == []  # b, for which a drains, is before it
    assert states(engine) == {"a": "draining", "c": "ready"}

    assert acts(engine.handle(Wanted(W3, "c"), 3)) == []  # e needs its place
    assert [entry.model for entry in engine.view.queue()] == ["b", "e", "c"]
    assert [type(c) for c in acts(engine.handle(Left(W2), 4))] == [GrantLease]


def test_of_three_models_of_which_any_two_fit_the_cheaper_one_goes() -> None:
    policy = matrix("abc", "a & b | b & c | a & c", costs={"a": 2})
    engine = engine_of(policy, "abc")
    run(engine, "ab")

    engine.handle(Wanted(W1, "c"), 1)

    assert states(engine) == {"a": "ready", "b": "draining"}
    assert [type(c) for c in acts(engine.handle(Wanted(W2, "a"), 2))] == [GrantLease]
    assert acts(engine.handle(Wanted(W3, "b"), 2)) == []


def test_nobody_is_stopped_in_the_place_of_one_that_ends_already() -> None:
    engine = engine_of(matrix("mvz", "m & z", "m & v", "v & z"), "mvz")
    run(engine, "vz")
    engine.handle(UnloadRequested("z"), 1)

    said = engine.handle(Wanted(W1, "m"), 2)

    assert (acts(said), told(said, "m")) == ([], [("draining", "z")])
    assert engine.view.explain("m", 2).why == "it can start when what ends now is gone: z"
    given_back(engine, "z", 3)
    assert gone(engine, "z", 4) == [Spawn("m", engine.view.swap("m"))]
    assert states(engine) == {"m": "starting", "v": "ready"}


def test_those_who_wait_hear_of_a_model_that_is_in_their_way_not_of_another_that_ends() -> None:
    engine = engine_of(groups(*PAIRS), "abcde")
    run(engine, "ac")
    engine.handle(UnloadRequested("a"), 1)

    assert told(engine.handle(Wanted(W1, "d"), 2), "d") == [("draining", "c")]


def test_what_ends_and_is_wanted_again_takes_nothing_before_it_can_start() -> None:
    engine = engine_of(groups(SHY), "axy")
    run(engine, "ax")
    engine.handle(UnloadRequested("a"), 1)
    assert engine.view.explain("a", 1).action == "wait"
    engine.handle(Wanted(W1, "a"), 2)

    assert [type(c) for c in acts(engine.handle(Wanted(OTHER, "x"), 3))] == [GrantLease]
    given_back(engine, "a", 4)
    assert states(engine) == {"a": "stopping", "x": "ready"}
    gone(engine, "a", 5)
    assert states(engine) == {"x": "draining"}


def test_what_cannot_start_holds_up_nobody_who_waited_for_its_turn_to_pass() -> None:
    broken = ErrorInfo(code="model_load_failed", message="there is no such program")
    missing: list[str] = []
    engine = Engine(
        [Spec(model="a"), Spec(model="b")], obstacle=lambda m: broken if m in missing else None
    )
    engine.handle(Wanted(W1, "b"), 0)
    engine.handle(ProcessEnded("b", 1, CRASHED), 0)
    run(engine, "a")
    engine.handle(Wanted(W3, "b"), 0.2)
    missing.append("b")

    refusal, grant = acts(engine.handle(Wanted(OTHER, "a"), 0.5))

    assert refusal == RefuseWaiter(W3, "b", broken)
    assert isinstance(grant, GrantLease)


# --- another room -------------------------------------------------------------------------------


def specs(models: str) -> tuple[Spec, ...]:
    return tuple(Spec(model=model) for model in models)


def test_a_model_that_drained_for_one_that_fits_now_stays() -> None:
    engine = engine_of(OneAtATime(), "abc")
    run(engine, "a")
    engine.handle(Wanted(W1, "b"), 1)

    done = acts(engine.handle(Reconfigured(specs("abc"), policy=groups(TOGETHER)), 2))

    assert done == [Spawn("b", engine.view.swap("b"))]
    assert states(engine) == {"a": "ready", "b": "starting"}


def test_models_that_do_not_fit_any_more_run_on_until_somebody_needs_the_place() -> None:
    engine = engine_of(groups(TOGETHER), "abc")
    run(engine, "ab")

    assert engine.handle(Reconfigured(specs("abc"), policy=OneAtATime()), 1) == []
    for model in "ab":
        assert [type(c) for c in acts(engine.handle(Wanted(Waiter("n", 1), model), 2))] == [
            GrantLease
        ]
    engine.handle(Wanted(W1, "c"), 3)
    assert states(engine) == {"a": "draining", "b": "draining"}


@pytest.mark.parametrize(
    "policy", [matrix("bc", "b & c"), groups(Group("g", ("b", "c"), swap=False), models="bc")]
)
def test_a_model_that_was_removed_is_beside_nobody_while_it_ends(policy: PlacementPolicy) -> None:
    engine = engine_of(groups(TOGETHER), "abc")
    run(engine, "ab")
    engine.handle(Reconfigured(specs("bc"), policy=policy), 1)

    assert acts(engine.handle(Wanted(W1, "c"), 2)) == []
    assert states(engine) == {"b": "ready", "a": "draining"}
    given_back(engine, "a", 3)
    assert gone(engine, "a", 4) == [Spawn("c", engine.view.swap("c"))]


# --- priority -----------------------------------------------------------------------------------


def test_a_higher_priority_gets_its_turn_first() -> None:
    engine = engine_of(OneAtATime(), "abc", c=5)
    run(engine, "a")
    engine.handle(Wanted(W1, "b"), 1)

    said = engine.handle(Wanted(W2, "c"), 2)

    assert told(said, "b") == [("waiting", None)]
    assert [entry.model for entry in engine.view.queue()] == ["c", "b"]
    assert engine.view.explain("b", 2).ahead == ("c",)
    given_back(engine, "a", 3)
    assert gone(engine, "a", 4) == [Spawn("c", engine.view.swap("c"))]


@pytest.mark.parametrize(("priority", "is_granted"), [(1, True), (0, False), (-1, False)])
def test_only_a_higher_priority_overtakes_whoever_waits_for_the_place(
    priority: int, is_granted: bool
) -> None:
    engine = engine_of(OneAtATime(), "ab", a=priority)
    run(engine, "a")
    engine.handle(Wanted(W1, "b"), 1)
    assert engine.view.explain("a", 2).action == ("serve" if is_granted else "wait")

    done = acts(engine.handle(Wanted(OTHER, "a"), 2))

    assert any(isinstance(command, GrantLease) for command in done) is is_granted
    assert engine.view.state("a") == "draining"  # it makes room all the same


def test_a_start_for_somebody_is_not_given_up_for_a_higher_priority() -> None:
    engine = engine_of(OneAtATime(), "ab", b=5)
    engine.handle(Wanted(W1, "a"), 0)
    assert acts(engine.handle(Wanted(W2, "b"), 1)) == []
    assert states(engine) == {"a": "starting"}


def test_another_priority_acts_on_those_who_wait() -> None:
    engine = engine_of(OneAtATime(), "abc")
    run(engine, "a")
    engine.handle(Wanted(W1, "b"), 1)
    engine.handle(Wanted(W2, "c"), 2)

    engine.handle(Reconfigured((*specs("ab"), Spec(model="c", priority=1))), 3)

    assert [entry.model for entry in engine.view.queue()] == ["c", "b"]


# --- explain ------------------------------------------------------------------------------------

MATRIX = matrix("abcde", "a & b", "b & c", costs={"b": 3})


@pytest.mark.parametrize(
    ("policy", "running", "target", "why"),
    [
        pytest.param(OneAtATime(), "a", "b", "a would finish what runs, and stop: "
            "one model runs at a time", id="one at a time"),
        pytest.param(groups(), "a", "b", "a would finish what runs, and stop: "
            "one model runs at a time", id="no groups"),
        pytest.param(groups(TOGETHER), "ab", "e", "a, b would finish what runs, and stop: "
            "models in no group stop other groups", id="default group"),
        pytest.param(groups(TOGETHER), "d", "e", "d would finish what runs, and stop: "
            "of models in no group one runs at a time", id="within the default group"),
        pytest.param(groups(TOGETHER), "e", "a", "e would finish what runs, and stop: "
            "group together stops other groups", id="exclusive"),
        pytest.param(groups(Group("g", ("a", "b")), Group("h", ("c",), exclusive=False)), "ac", "b",
            "a, c would finish what runs, and stop: of group g one runs at a time, "
            "and group g stops other groups", id="both"),
        pytest.param(MATRIX, "ab", "c", "a would finish what runs, and stop: "
            "of the sets that have it, s1 costs least (1)", id="matrix"),
        pytest.param(MATRIX, "ab", "e", "a, b would finish what runs, and stop: "
            "it is in no set of the matrix, and runs alone", id="in no set"),
        pytest.param(groups(TOGETHER), "a", "b", "nothing is in its way", id="room"),
    ],
)  # fmt: skip
def test_explain_says_which_rule_makes_models_go(
    policy: PlacementPolicy, running: str, target: str, why: str
) -> None:
    engine = engine_of(policy, "abcde")
    run(engine, running)
    assert engine.view.explain(target, 1).why == why


def test_explain_knows_who_goes_ahead() -> None:
    engine = engine_of(groups(*PAIRS), "abcde")
    run(engine, "a")
    engine.handle(Wanted(W1, "b"), 1)

    free, held = engine.view.explain("d", 2), engine.view.explain("e", 2)

    assert (free.action, free.ahead) == ("start", ())
    assert (held.action, held.ahead, held.stops) == ("wait", ("b",), ())
