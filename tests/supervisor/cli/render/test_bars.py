"""Which progress bars there are, and what each says."""

from collections.abc import Sequence
from functools import reduce

import pytest

from arriero.protocol.events import AnyEvent, ConfigChanged, ProgressMade, StateChanged
from arriero.protocol.values import ErrorInfo, Phase, Progress, State
from arriero.supervisor.cli.render.bars import Bar, Bars, bars_after


def bars(events: Sequence[AnyEvent]) -> Bars:
    return reduce(bars_after, events, dict[str, Bar]())


def made(
    phase: Phase, *, swap: int = 1, fraction: float | None = None, eta_s: float | None = None
) -> ProgressMade:
    other = "a" if phase in {"draining", "stopping"} else None
    step = Progress(
        model="b",
        swap=swap,
        phase=phase,
        other=other,
        fraction=fraction,
        eta_s=eta_s,
        elapsed_s=1.0,
    )
    return ProgressMade(model="b", progress=step)


def went(state: State, *, swap: int = 1, error: str | None = None) -> StateChanged:
    info = ErrorInfo(code="model_load_failed", message=error) if error else None
    return StateChanged(model="b", state=state, swap=swap, error=info)


@pytest.mark.parametrize(
    ("events", "bar"),
    [
        pytest.param(
            [made("draining", swap=0)], Bar(model="b", swap=0, caption="draining a"), id="1"
        ),
        pytest.param([went("starting")], Bar(model="b", swap=1, caption="starting"), id="starts"),
        pytest.param(
            [made("stopping", swap=0), went("starting")],
            Bar(model="b", swap=1, caption="starting"),
            id="its turn came",
        ),
        pytest.param(
            [made("loading", fraction=0.4, eta_s=3.0)],
            Bar(model="b", swap=1, caption="loading", fraction=0.4, eta_s=3.0),
            id="joined late",
        ),
        pytest.param(
            [made("loading", fraction=0.4), made("loading", fraction=0.3)],
            Bar(model="b", swap=1, caption="loading", fraction=0.4),
            id="never falls",
        ),
        pytest.param(
            [made("loading", fraction=0.4), made("warming")],
            Bar(model="b", swap=1, caption="warming", fraction=0.4),
            id="unknown again",
        ),
        pytest.param(
            [made("loading", fraction=0.4), made("starting", swap=2)],
            Bar(model="b", swap=2, caption="starting"),
            id="another start begins at nothing",
        ),
        pytest.param(
            [made("loading", fraction=0.4), went("ready")],
            Bar(model="b", swap=1, caption="ready", fraction=1.0, over=True),
            id="ready",
        ),
        pytest.param(
            [made("loading", fraction=0.4), went("ready"), made("loading", fraction=0.5)],
            Bar(model="b", swap=1, caption="ready", fraction=1.0, over=True),
            id="late",
        ),
        pytest.param(
            [made("loading", fraction=0.4), went("stopped", error="it\ndied")],
            Bar(model="b", swap=1, caption=r"failed: it\x0adied", fraction=0.4, over=True),
            id="failed",
        ),
        pytest.param(
            [made("loading", fraction=0.4), went("stopped", error="died"), made("waiting")],
            Bar(model="b", swap=1, caption="waiting"),
            id="is tried again",
        ),
    ],
)
def test_a_bar_tells_how_far_the_start_is(events: list[AnyEvent], bar: Bar) -> None:
    assert bars(events) == {"b": bar}


@pytest.mark.parametrize(
    "events",
    [
        [went("ready")],
        [went("stopped", error="it died")],
        [made("loading", fraction=0.4), went("stopped")],
        [ConfigChanged(generation=1)],
    ],
)
def test_what_nobody_waits_for_has_no_bar(events: list[AnyEvent]) -> None:
    assert bars(events) == {}


def test_the_time_that_is_left_is_said_while_it_is_known_and_matters() -> None:
    assert Bar(model="b", swap=1, caption="loading", eta_s=3.0).eta == "3.0 s left"
    assert Bar(model="b", swap=1, caption="loading").eta == ""
    assert Bar(model="b", swap=1, caption="failed", eta_s=3.0, over=True).eta == ""
