import pytest

from arriero.protocol.events import ProgressMade, StateChanged, status_after
from arriero.protocol.values import ErrorInfo, ModelStatus, Progress, State

LOADING = Progress(model="qwen", swap=3, phase="loading", elapsed_s=1.0, fraction=0.5)
STATUS = ModelStatus(
    model="qwen",
    state="starting",
    since=1.0,
    swap=3,
    pid=7,
    in_flight=2,
    progress=LOADING,
    memory={"gpu0": 5},
    idle_since=1.0,
    unloads_at=2.0,
    pin="always",
)


@pytest.mark.parametrize(
    ("state", "keeps_progress", "keeps_requests"),
    [
        ("starting", True, False),
        ("ready", False, True),
        ("draining", True, True),
        ("stopping", True, False),
        ("asleep", False, False),
        ("stopped", False, False),
    ],
)
def test_a_state_ends_what_belongs_to_others(
    state: State, keeps_progress: bool, keeps_requests: bool
) -> None:
    after = status_after(StateChanged(model="qwen", state=state, swap=4, t=9.0), STATUS)

    assert (after.state, after.since, after.swap, after.pid) == (state, 9.0, 4, None)
    assert after.progress == (LOADING if keeps_progress else None)
    assert after.in_flight == (2 if keeps_requests else 0)
    assert (after.idle_since, after.unloads_at) == (None, None)
    assert (after.memory, after.pin) == ({"gpu0": 5}, "always")  # it says nothing of these


def test_what_an_event_tells_is_taken_over() -> None:
    error = ErrorInfo(code="model_load_failed", message="it ended")
    event = StateChanged(model="qwen", state="stopped", swap=4, error=error, memory={"gpu0": 9})

    after = status_after(event, STATUS)

    assert (after.error, after.memory) == (error, {"gpu0": 9})
    assert status_after(ProgressMade(model="qwen", progress=LOADING), after).progress == LOADING
