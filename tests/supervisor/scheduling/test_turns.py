from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor.placement.matrix import compile_matrix
from arriero.supervisor.placement.policy import Group, Groups, OneAtATime, PlacementPolicy
from arriero.supervisor.scheduling.room.turns import plan
from tests.supervisor.placement.policies import MODELS, policies

ONE = OneAtATime()
# Swapping, and stopping the others; the others may come beside it, though.
SHY = Groups([Group("main", ("a", "b")), Group("shy", ("c", "d"), exclusive=False)], "abcd")
TWO_PAIRS = Groups([Group(ab, tuple(ab), exclusive=False) for ab in ("ab", "cd")], "abcd")
TOGETHER = Groups([Group("together", ("a", "b", "c"), swap=False)], "abcd")
ANY_TWO = compile_matrix({}, {}, {"s": "a & b | b & c | a & c | c & d"}, "abcd")
CHOOSY = compile_matrix({}, {}, {"s": "a & c & d | b & c"}, "abcd")
FREE, NOT = True, False


@pytest.mark.parametrize(
    ("policy", "staying", "wanted", "turns"),
    [
        pytest.param(ONE, "a", "bc", [("a", FREE), ("b", NOT)], id="one after the other"),
        pytest.param(ONE, "a", "ba", [("a", FREE), ("b", NOT)], id="first it has to go"),
        pytest.param(ONE, "a", "ab", [("", FREE), ("a", NOT)], id="what is wanted stays"),
        pytest.param(TOGETHER, "", "abc", [("", FREE)] * 3, id="side by side"),
        pytest.param(TOGETHER, "d", "abc", [("d", FREE), ("", FREE), ("", FREE)], id="one makes"),
        pytest.param(TOGETHER, "a", "db", [("a", FREE), ("d", NOT)], id="no more beside a guest"),
        pytest.param(TWO_PAIRS, "a", "bcd", [("a", FREE), ("", FREE), ("c", NOT)], id="ahead"),
        pytest.param(SHY, "a", "c", [("", FREE)], id="a shy one leaves an exclusive one alone"),
        pytest.param(SHY, "", "ca", [("", FREE), ("c", NOT)], id="an exclusive one has to wait"),
        pytest.param(SHY, "", "ac", [("", FREE), ("", NOT)], id="or it would be stopped at once"),
        pytest.param(
            CHOOSY, "d", "cb", [("", FREE), ("d", FREE)], id="who goes is in nobody's way"
        ),
        pytest.param(ANY_TWO, "", "abc", [("", FREE), ("", FREE), ("a", NOT)], id="not all three"),
        pytest.param(
            ANY_TWO, "d", "abc", [("d", FREE), ("", FREE), ("a", NOT)], id="nor for a while"
        ),
    ],
)
def test_the_plan_says_who_goes_for_whom_and_who_need_not_wait(
    policy: PlacementPolicy, staying: str, wanted: str, turns: Sequence[tuple[str, bool]]
) -> None:
    found = plan(policy, staying, wanted)
    assert [(turn.model, "".join(sorted(turn.goes)), turn.is_free) for turn in found] == [
        (model, goes, is_free) for model, (goes, is_free) in zip(wanted, turns, strict=True)
    ]


@given(
    policies(MODELS),
    st.sets(st.sampled_from(MODELS)),
    st.lists(st.sampled_from(MODELS), unique=True),
)
def test_a_free_turn_takes_nothing_from_an_earlier_one(
    policy: PlacementPolicy, staying: set[str], wanted: list[str]
) -> None:
    turns = plan(policy, staying, wanted)

    assert [turn.model for turn in turns] == wanted
    assert all(turn.is_free for turn in turns[:1])
    for at, turn in enumerate(turns):
        assert not policy.evicted_by(turn.model, turn.before - turn.goes)
        if turn.is_free and turn.model not in staying:
            assert turn.goes <= staying - set(wanted[:at])
            earlier = plan(policy, (staying - turn.goes) | {turn.model}, wanted[:at])
            for now, then in zip(turns, earlier, strict=False):
                assert then.goes <= now.goes
