"""The waiters, whoever comes and goes: against a plain list."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from arriero.protocol.values import QueueEntry
from arriero.supervisor.scheduling.messages.events import Waiter
from arriero.supervisor.scheduling.states.model_state import QueuedWaiter
from arriero.supervisor.scheduling.states.wait_list import WaitList

OWNERS, MODELS = "xy", "ab"
WAITERS = st.builds(Waiter, st.sampled_from(OWNERS), st.integers(0, 3))


def waits(*written: str) -> WaitList:
    """Return a list of those written as owner, number and model: ``x1a``."""
    found = WaitList()
    for number, one in enumerate(written):
        found.add(QueuedWaiter(Waiter(one[0], int(one[1])), one[2], 0.0, number))
    return found


def of(found: WaitList, model: str) -> list[str]:
    return [f"{wait.waiter.owner}{wait.waiter.request}" for wait in found.of(model)]


def test_nobody_waits_at_first() -> None:
    found = WaitList()

    assert (len(found), list(found.models()), found.of("a")) == (0, [], [])
    assert not found.is_waited_for("a")
    assert Waiter("x", 1) not in found


def test_waiters_stay_in_order_of_arrival() -> None:
    found = waits("x1a", "y1b", "y2a", "x2a")

    assert of(found, "a") == ["x1", "y2", "x2"]
    assert dict(found.firsts())["a"].waiter == Waiter("x", 1)
    assert found.entries("ba") == (
        QueueEntry(model="b", waiting=1),
        QueueEntry(model="a", waiting=3),
    )


def test_a_model_nobody_waits_for_is_forgotten() -> None:
    found = waits("x1a", "x2b")

    found.remove(Waiter("x", 1))
    found.remove(Waiter("x", 1))  # it is gone already

    assert list(found.models()) == ["b"]


def test_an_owner_that_goes_takes_its_waiters() -> None:
    found = waits("x1a", "y1a", "x2b")

    found.remove_owner("x")

    assert (of(found, "a"), list(found.models()), len(found)) == (["y1"], ["a"], 1)


@given(st.lists(st.tuples(WAITERS, st.sampled_from([*MODELS, "leaves", "owner leaves"]))))
def test_it_is_a_list_in_all_but_speed(steps: Sequence[tuple[Waiter, str]]) -> None:
    found, plain = WaitList(), list[QueuedWaiter]()
    for number, (waiter, step) in enumerate(steps):
        if step == "leaves":
            found.remove(waiter)
            plain = [wait for wait in plain if wait.waiter != waiter]
        elif step == "owner leaves":
            found.remove_owner(waiter.owner)
            plain = [wait for wait in plain if wait.waiter.owner != waiter.owner]
        elif waiter not in found:
            wait = QueuedWaiter(waiter, step, 0.0, number)
            found.add(wait)
            plain.append(wait)

        assert len(found) == len(plain)
        for model in MODELS:
            those = [wait for wait in plain if wait.model == model]
            assert found.of(model) == those
            assert found.is_waited_for(model) is bool(those)
            assert not those or dict(found.firsts())[model] is those[0]


def test_who_has_ordered_a_model_is_no_request() -> None:
    found = waits("x1a")
    orders = [Waiter("script", number, takes_lease=False) for number in (1, 2)]
    for number, (waiter, model) in enumerate(zip(orders, "ab", strict=True)):
        found.add(QueuedWaiter(waiter, model, 0.0, number))

    assert found.entries("ab") == (
        QueueEntry(model="a", waiting=1),
        QueueEntry(model="b", waiting=0),
    )
    for waiter in orders:
        found.remove(waiter)
    assert found.entries(found.models()) == (QueueEntry(model="a", waiting=1),)
