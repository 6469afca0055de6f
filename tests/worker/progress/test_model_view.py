from typing import Any

import pytest

from arriero.protocol.events import (
    ConfigChanged,
    Heartbeat,
    ProgressMade,
    QueueChanged,
    StateChanged,
)
from arriero.protocol.values import ModelStatus, Progress, QueueEntry, Snapshot
from arriero.worker.progress.model_view import ModelStanding, ModelView, ProgressView


def step(phase: Any, **changes: Any) -> Progress:
    return Progress(model="m", swap=1, phase=phase, elapsed_s=1.0, **changes)


def made(seq: int, progress: Progress) -> ProgressMade:
    return ProgressMade(epoch="e", seq=seq, model="m", progress=progress)


@pytest.fixture
def view() -> ProgressView:
    fresh = ProgressView()
    status = ModelStatus(model="m", state="stopped", since=0.0)
    fresh.restart(Snapshot(epoch="e", seq=4, t=0.0, models=(status,)))
    return fresh


def test_a_snapshot_is_a_start_for_those_who_join_late() -> None:
    view = ProgressView()
    status = ModelStatus(
        model="m", state="starting", since=0.0, progress=step("loading", fraction=0.5)
    )
    view.restart(Snapshot(epoch="e", seq=4, t=0.0, models=(status,)))

    assert view.look("m") == ModelView("loading", fraction=0.5)


def test_a_snapshot_that_events_have_overtaken_changes_nothing(view: ProgressView) -> None:
    view.take(made(5, step("loading", fraction=0.5)))
    status = ModelStatus(model="m", state="stopped", since=0.0)

    view.restart(Snapshot(epoch="e", seq=4, t=0.0, models=(status,)))

    assert view.look("m") == ModelView("loading", fraction=0.5)
    assert view.take(made(6, step("loading", fraction=0.6)))
    view.restart(Snapshot(epoch="another", seq=1, t=0.0, models=(status,)))
    assert view.look("m") == ModelView("queued", ahead=0)


@pytest.mark.parametrize(
    ("progress", "said"),
    [
        (step("waiting"), ModelView("queued", has_reason=True)),
        (step("draining", other="x"), ModelView("draining", other="x")),
        (step("draining", other="x", requests=2), ModelView("draining", other="x", requests=2)),
        (step("stopping", other="x"), ModelView("stopping", other="x")),
        (step("starting"), ModelView("loading")),
        (step("loading", fraction=0.3), ModelView("loading", fraction=0.3)),
        (step("loading", eta_s=9.5), ModelView("loading", eta_s=9.5)),
        (step("warming", fraction=0.9), ModelView("warming", fraction=0.9)),
        (step("restoring"), ModelView("restoring")),
        (step("waking"), ModelView("waking")),
        (step("placing"), ModelView("placing")),
    ],
)
def test_each_phase_has_its_word(view: ProgressView, progress: Progress, said: ModelView) -> None:
    assert view.take(made(5, progress))
    assert view.look("m") == said


def test_the_place_in_the_queue_counts_the_models_before(view: ProgressView) -> None:
    queue = tuple(QueueEntry(model=name, waiting=1) for name in ("a", "b", "m"))
    view.take(QueueChanged(epoch="e", seq=5, queue=queue))

    assert view.look("m") == ModelView("queued", ahead=2)
    assert view.look("unheard of") == ModelView("queued", ahead=0)


def test_an_event_that_was_missed_is_noticed_and_old_ones_are_left(view: ProgressView) -> None:
    assert view.take(made(4, step("loading")))  # contained in the snapshot
    assert view.look("m") == ModelView("queued")
    assert not view.take(made(6, step("loading")))
    assert not view.take(Heartbeat(epoch="e", seq=5))
    assert not view.take(Heartbeat(epoch="another", seq=4))
    assert view.take(Heartbeat(epoch="e", seq=4))


def test_progress_ends_with_ready_and_with_stopped(view: ProgressView) -> None:
    for seq, state, stage in ((6, "ready", "ready"), (8, "stopped", "queued")):
        view.take(made(seq - 1, step("loading")))
        view.take(
            StateChanged(epoch="e", seq=seq, model="m", state=state, swap=1, endpoint="http://x")  # type: ignore[arg-type]
        )
        assert view.look("m") == ModelView(stage)  # type: ignore[arg-type]
        assert view.standing("m") == ModelStanding(state, "http://x")  # type: ignore[arg-type]


def test_who_watches_is_woken_by_what_concerns_him(view: ProgressView) -> None:
    woken: list[str] = []
    wake = {name: (lambda name=name: woken.append(name)) for name in ("m", "x")}
    for name, call in wake.items():
        view.watch(name, call)

    view.take(made(5, step("loading")))
    assert woken == ["m"]
    view.take(QueueChanged(epoch="e", seq=6, queue=()))
    assert woken == ["m", "m", "x"]
    view.unwatch("m", wake["m"])
    view.unwatch("m", wake["m"])
    view.take(made(7, step("warming")))
    assert woken == ["m", "m", "x"]


def test_the_configuration_in_force_is_known(view: ProgressView) -> None:
    view.take(ConfigChanged(epoch="e", seq=5, generation=7))

    assert view.config_generation == 7


def test_a_full_model_is_no_ready_one(view: ProgressView) -> None:
    view.take(made(5, step("warming")))
    ready = StateChanged(epoch="e", seq=6, model="m", state="ready", swap=1)
    assert view.take(ready)
    assert view.look("m") == ModelView("ready")

    full = (QueueEntry(model="m", waiting=3, is_full=True),)
    assert view.take(QueueChanged(epoch="e", seq=7, queue=full))
    assert view.look("m") == ModelView("queued", has_reason=True)
