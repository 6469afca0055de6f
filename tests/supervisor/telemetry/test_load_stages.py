"""When a model was in which phase of its start."""

from arriero.protocol.events import AnyEvent, ProgressMade, StateChanged
from arriero.protocol.values import Phase, Progress, State
from arriero.supervisor.telemetry.load_stages import LoadStages, Stage


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
        stages.take(event)

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
        stages.take(step(number, "loading", f"m{number}"))
        stages.take(step(number, "loading" if number % 2 else "starting"))
        if number % 3:
            stages.take(state(number + 0.5, "ready", f"m{number}"))

    assert len(stages.between("m", 0.0, 1e9)) == 65
    assert stages.between("m1", 0.0, 1e9) == []
    assert stages.between("m998", 0.0, 1e9) == [Stage("loading", 998.0, 998.5)]
    assert len(stages._open) <= 257
