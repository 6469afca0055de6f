"""What `arriero explain` says: a row for each thing that a request may meet."""

from dataclasses import dataclass
from typing import Literal

import pytest

from arriero.protocol.control.models import ExplainReply
from arriero.protocol.values import State
from arriero.supervisor.placement.matrix import compile_matrix
from arriero.supervisor.placement.policy import Group, Groups, OneAtATime, PlacementPolicy
from arriero.supervisor.scheduling.messages.events import Spec
from arriero.supervisor.scheduling.room.explain import explanation, reason
from arriero.supervisor.scheduling.room.turns import Turn
from arriero.supervisor.scheduling.states.model_state import ModelState

Action = Literal["serve", "join", "start", "swap", "wait"]
NOW = 100.0
NOBODY: frozenset[str] = frozenset()
FREE = Turn("a", NOBODY, NOBODY, is_free=True)
ONE_AT_A_TIME = "one model runs at a time"


@dataclass(frozen=True)
class Case:
    """A request for `a`, what else is so, and what it is told."""

    slot: ModelState
    action: Action
    why: str
    turns: tuple[Turn, ...] = (FREE,)
    live: str = ""
    is_contested: bool = False
    stops: tuple[str, ...] = ()
    ahead: tuple[str, ...] = ()


def a(
    state: State = "stopped", *, not_before: float = 0.0, unloading: bool = False, remark: str = ""
) -> ModelState:
    return ModelState(
        Spec(model="a"), state, not_before=not_before, unloading=unloading, remark=remark
    )


def turn(model: str, before: str = "", goes: str = "", *, is_free: bool = False) -> Turn:
    return Turn(model, frozenset(before), frozenset(goes), is_free)


CASES = {
    "ready": Case(a("ready"), "serve", "it is ready", live="a"),
    "draining": Case(a("draining"), "serve", "it is ready", live="a"),
    "ready but contested": Case(
        a("ready"),
        "wait",
        "it has to make room first, and is started again after that",
        turns=(turn("b"), turn("a")),
        live="a",
        is_contested=True,
        ahead=("b",),
    ),
    "draining for good": Case(
        a("draining", unloading=True),
        "wait",
        "it has to make room first, and is started again after that",
        live="a",
    ),
    "stopping": Case(
        a("stopping"),
        "wait",
        "it has to make room first, and is started again after that",
        live="a",
    ),
    "starting": Case(a("starting"), "join", "it is being started already", live="a"),
    "restoring": Case(
        a("starting", remark="restoring a: b could not be started"),
        "join",
        "restoring a: b could not be started",
        live="a",
    ),
    "failed a moment ago": Case(
        a(not_before=NOW + 2.5), "wait", "it failed, and is not started again for 2.5 s"
    ),
    "the pause is over": Case(a(not_before=NOW), "start", "nothing is in its way"),
    "behind others": Case(
        a(),
        "wait",
        "other models get their turn first",
        turns=(turn("b", is_free=True), turn("c"), turn("a")),
        ahead=("b", "c"),
    ),
    "swap": Case(
        a(),
        "swap",
        f"b, c would finish what runs, and stop: {ONE_AT_A_TIME}",
        turns=(turn("a", "bc", "cb", is_free=True),),
        live="bc",
        stops=("b", "c"),
    ),
    "what is in the way ends already": Case(
        a(), "wait", "it can start when what ends now is gone: b", live="b"
    ),
    "alone": Case(a(), "start", "nothing is in its way"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_request_is_told_what_it_meets(case: Case) -> None:
    told = explanation(
        case.slot,
        case.turns,
        NOW,
        policy=OneAtATime(),
        live=set(case.live),
        is_contested=case.is_contested,
    )

    assert told == ExplainReply(
        model="a",
        state=case.slot.state,
        action=case.action,
        stops=case.stops,
        ahead=case.ahead,
        why=case.why,
    )


MATRIX = compile_matrix({}, {"b": 3}, {"ab": "a & b", "bc": "b & c"}, "abcde")
PAIR, SOLO = Group("pair", ("a", "b"), swap=False), Group("solo", ("c", "d"))


@pytest.mark.parametrize(
    ("policy", "target", "running", "why"),
    [
        (OneAtATime(), "a", "b", ONE_AT_A_TIME),
        (Groups((), "abcde"), "a", "b", ONE_AT_A_TIME),
        (MATRIX, "c", "ab", "of the sets that have it, bc costs least (1)"),
        (MATRIX, "e", "ab", "it is in no set of the matrix, and runs alone"),
        (Groups((PAIR,), "abcde"), "a", "c", "group pair stops other groups"),
        (Groups((PAIR,), "abcde"), "c", "a", "models in no group stop other groups"),
        (Groups((PAIR,), "abcde"), "c", "d", "of models in no group one runs at a time"),
        (
            Groups((SOLO, PAIR), "abcde"),
            "c",
            "ad",
            "of group solo one runs at a time, and group solo stops other groups",
        ),
    ],
)  # fmt: skip
def test_the_rule_is_named_that_makes_models_go(
    policy: PlacementPolicy, target: str, running: str, why: str
) -> None:
    assert reason(policy, target, running) == why
