import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor.placement.policy import (
    DEFAULT_GROUP,
    Group,
    Groups,
    OneAtATime,
    PlacementPolicy,
    left_running,
)

MODELS = ("a", "b", "c", "d", "e")
SWAPPING = Group("swapping", ("a", "b"))
TOGETHER = Group("together", ("c", "d"), swap=False)


@pytest.mark.parametrize(
    ("groups", "target", "running", "stops"),
    [
        pytest.param((SWAPPING,), "a", "b", "b", id="a sibling goes"),
        pytest.param((TOGETHER,), "c", "d", "", id="siblings stay without swap"),
        pytest.param((SWAPPING, TOGETHER), "a", "cd", "cd", id="an exclusive one stops others"),
        pytest.param(
            (SWAPPING, Group("keep", ("c",), persistent=True)), "a", "c", "", id="persistent stays"
        ),
        pytest.param(
            (Group("p", ("c", "d"), persistent=True),), "c", "d", "d", id="but not for a sibling"
        ),
        pytest.param(
            (SWAPPING, Group("shy", ("c",), exclusive=False)),
            "c",
            "a",
            "",
            id="one that is not exclusive does not stop an exclusive one",
        ),
        pytest.param(
            (SWAPPING, Group("shy", ("c",), exclusive=False)),
            "a",
            "c",
            "c",
            id="the other way round it does",
        ),
        pytest.param(
            (Group("x", ("a",), exclusive=False), Group("y", ("b",), exclusive=False)),
            "a",
            "b",
            "",
            id="two that are not exclusive run side by side",
        ),
        pytest.param(
            (Group("shy", ("a", "b"), exclusive=False),), "a", "bc", "b", id="it swaps within"
        ),
        pytest.param((), "a", "bc", "bc", id="no groups: one at a time"),
        pytest.param((SWAPPING,), "d", "ace", "ace", id="the rest is one group"),
        pytest.param((TOGETHER,), "c", "cde", "", id="nobody goes for one that runs"),
        pytest.param((), "a", "a", "", id="not even itself"),
        pytest.param((TOGETHER,), "a", "z", "z", id="one that was removed is in no group"),
    ],
)
def test_groups_say_who_has_to_go(
    groups: tuple[Group, ...], target: str, running: str, stops: str
) -> None:
    assert Groups(groups, MODELS).evicted_by(target, running) == frozenset(stops)


def test_a_group_that_is_called_like_the_group_of_the_rest_is_replaced_by_it() -> None:
    by_hand = Group(DEFAULT_GROUP, ("a", "b"), swap=False, exclusive=False, persistent=True)
    policy = Groups((by_hand, TOGETHER), MODELS)

    assert policy.evicted_by("a", "bc") == {"b", "c"}
    assert policy.evicted_by("e", "a") == {"a"}
    assert policy.evicted_by("c", "a") == {"a"}


@pytest.mark.parametrize(
    ("models", "can"),
    [("", True), ("a", True), ("aa", True), ("cd", True), ("ab", False), ("ac", False)],
)
def test_models_can_run_together_if_they_share_a_group_without_swap(models: str, can: bool) -> None:
    assert Groups((SWAPPING, TOGETHER), MODELS).can_run_together(models) is can


def test_models_of_two_groups_are_not_promised_to_run_together() -> None:
    shy = [Group(name, (name,), swap=False, exclusive=False) for name in "ab"]

    assert not Groups(shy, MODELS).can_run_together("ab")


def test_one_at_a_time_stops_all_that_run_unless_the_model_runs_itself() -> None:
    assert OneAtATime().evicted_by("a", "bc") == {"b", "c"}
    assert OneAtATime().evicted_by("a", "ab") == frozenset()
    assert OneAtATime().can_run_together("aa")
    assert not OneAtATime().can_run_together("ab")


@st.composite
def policies(draw: st.DrawFn) -> PlacementPolicy:
    sort = draw(st.lists(st.integers(0, 3), min_size=len(MODELS), max_size=len(MODELS)))
    groups = [
        Group(
            str(number),
            tuple(model for model, at in zip(MODELS, sort, strict=True) if at == number),
            *draw(st.tuples(st.booleans(), st.booleans(), st.booleans())),
        )
        for number in range(3)
    ]
    return Groups(groups, MODELS)


@given(policies(), st.sets(st.sampled_from(MODELS)))
def test_models_that_can_run_together_stop_nobody_in_any_order(
    policy: PlacementPolicy, models: set[str]
) -> None:
    if not policy.can_run_together(models):
        return
    for order in itertools.permutations(models):
        for at, target in enumerate(order):
            assert policy.evicted_by(target, order[:at]) == frozenset()


@given(policies(), st.sampled_from(MODELS), st.sets(st.sampled_from(MODELS)))
def test_in_groups_each_model_goes_or_stays_whatever_else_runs(
    policy: PlacementPolicy, target: str, running: set[str]
) -> None:
    one_by_one = {
        model for model in running if target not in running and policy.evicted_by(target, model)
    }

    assert policy.evicted_by(target, running) == one_by_one


@pytest.mark.parametrize(
    ("models", "policy", "left"),
    [
        pytest.param("", OneAtATime(), "", id="none"),
        pytest.param("abc", OneAtATime(), "c", id="each stops the one before"),
        pytest.param("cd", Groups((TOGETHER,), MODELS), "cd", id="some stop nothing"),
        pytest.param("cda", Groups((TOGETHER,), MODELS), "a", id="the last one stops two"),
        pytest.param("acbd", Groups((SWAPPING, TOGETHER), MODELS), "d", id="in the order given"),
        pytest.param("aa", OneAtATime(), "a", id="twice the same"),
    ],
)
def test_what_runs_in_the_end_depends_on_the_order_of_starts(
    models: str, policy: PlacementPolicy, left: str
) -> None:
    assert left_running(models, policy) == tuple(left)
