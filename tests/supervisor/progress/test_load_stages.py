"""When a model was in which phase of its start."""

from arriero.protocol.events import AnyEvent, ProgressMade, StateChanged
from arriero.protocol.records import LoadStage
from arriero.protocol.values import Phase, Progress, State
from arriero.supervisor.progress.load_stages import LoadStages, Stage
from tests.records import record


def step(t: float, phase: Phase, model: str = "m") -> AnyEvent:
    progress = Progress(model=model, swap=1, phase=phase, elapsed_s=0.0)
    return ProgressMade(model=model, progress=progress, t=t)


def state(t: float, name: State, model: str = "m") -> AnyEvent:
    return StateChanged(model=model, state=name, swap=1, t=t)


def test_a_stage_lasts_until_the_next_one() -> None:
    stages = LoadStages()
    for event in (
        step(1.0, "starting"),
        state(1.0, "starting"),
        step(2.0, "loading"),
        step(2.5, "loading"),
        step(3.0, "warming"),
        state(4.0, "ready"),
        step(9.0, "starting", "other"),
    ):
        stages.take(event, event.t)

    assert stages.between("m", 0.0, 10.0) == [
        Stage("starting", 1.0, 2.0),
        Stage("loading", 2.0, 3.0),
        Stage("warming", 3.0, 4.0),
    ]
    assert stages.between("m", 2.5, 3.5) == [
        Stage("loading", 2.5, 3.0),
        Stage("warming", 3.0, 3.5),
    ]
    assert stages.between("m", 5.0, 6.0) == stages.between("nobody", 0.0, 10.0) == []
    assert stages.between("other", 0.0, 10.0) == [Stage("starting", 9.0, 10.0)]  # goes on


def test_what_is_remembered_has_a_bound() -> None:
    stages = LoadStages()
    for number in range(1000):
        stages.take(step(number, "loading", f"m{number}"), number)
        stages.take(step(number, "loading" if number % 2 else "starting"), number)
        if number % 3:
            stages.take(state(number + 0.5, "ready", f"m{number}"), number + 0.5)

    assert len(stages.between("m", 0.0, 1e9)) == 65
    assert stages.between("m1", 0.0, 1e9) == []
    assert stages.between("m998", 0.0, 1e9) == [Stage("loading", 998.0, 998.5)]
    assert len(stages._open) <= 257


def test_a_request_that_waited_has_the_stages_of_its_load() -> None:
    stages = LoadStages()
    for event in (step(1.0, "starting"), step(2.0, "loading"), state(4.0, "ready")):
        stages.take(event, event.t)
    waited = record(model="m", t=1.5, queue_ms=250.0, load_ms=2000.0)

    assert stages.completed(waited).load_stages == (
        LoadStage(phase="starting", from_ms=0.0, took_ms=500.0),
        LoadStage(phase="loading", from_ms=500.0, took_ms=1750.0),  # it gave up, or was let in
    )
    for other in (
        record(model="m", t=1.5, queue_ms=2000.0),
        record(model="other", t=1.5, load_ms=2000.0),
        record(model="m", t=9.0, load_ms=2000.0),
    ):
        assert stages.completed(other) is other

    for number in range(100):
        stages.take(step(10.0 + number, "loading" if number % 2 else "starting"), 10.0 + number)
    many = stages.completed(record(model="m", t=10.0, load_ms=200_000.0)).load_stages
    assert isinstance(many, tuple)
    assert len(many) == 16
