from itertools import product
from typing import get_args

import pytest

from arriero.protocol.values import State
from arriero.supervisor.errors import IllegalStep
from arriero.supervisor.scheduling.states.lifecycle import TRANSITIONS, Step, after, as_mermaid
from tests.paths import ROOT

ILLEGAL = [pair for pair in product(get_args(State), Step) if pair not in TRANSITIONS]


@pytest.mark.parametrize(("state", "step"), ILLEGAL)
def test_a_step_that_the_table_lacks_is_refused(state: State, step: Step) -> None:
    with pytest.raises(IllegalStep, match=r"^cannot"):
        after(state, step)


def test_a_model_starts_serves_drains_and_stops() -> None:
    state: State = "stopped"
    seen = []
    for step in (Step.START, Step.UP, Step.DRAIN, Step.STOP, Step.END):
        state = after(state, step)
        seen.append(state)

    assert seen == ["starting", "ready", "draining", "stopping", "stopped"]


def test_every_state_but_stopped_can_end() -> None:
    assert {old for old, step in TRANSITIONS if step is Step.END} == {*get_args(State)} - {
        "stopped"
    }


def test_the_readme_shows_the_transition_table() -> None:
    assert as_mermaid() in (ROOT / "README.md").read_text()
