"""The last decisions are there for who comes later, and take a bounded place."""

from arriero.protocol.events import (
    MAX_DECISIONS,
    ConfigChanged,
    ProgressMade,
    StateChanged,
    WorkerChanged,
)
from arriero.protocol.values import Progress
from arriero.supervisor.control.recent_decisions import RecentDecisions


def test_only_decisions_are_kept_and_only_the_last() -> None:
    recent = RecentDecisions()
    made = Progress(model="a", swap=1, phase="loading", elapsed_s=1.0)
    recent.note(ProgressMade(model="a", progress=made), 100)
    recent.note(StateChanged(model="a", state="ready", swap=1), 100)
    recent.note(StateChanged(model="a", state="stopping", swap=1, reason="idle"), 100)
    recent.note(WorkerChanged(worker=1, pid=2, state="gone"), 100)
    assert [type(one) for one in recent.all()] == [StateChanged, WorkerChanged]

    for number in range(2 * MAX_DECISIONS):
        recent.note(ConfigChanged(generation=number), 100)
    assert [one.generation for one in recent.all() if isinstance(one, ConfigChanged)] == [
        *range(MAX_DECISIONS, 2 * MAX_DECISIONS)
    ]


def test_long_ones_take_the_place_of_many() -> None:
    recent = RecentDecisions()
    for number in range(9):
        recent.note(ConfigChanged(generation=number), 200_000)
    assert len(recent.all()) == 2
    recent.note(ConfigChanged(generation=9), 10**9)
    assert recent.all() == ()
