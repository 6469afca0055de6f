"""Progress bars as values."""

from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec
from msgspec.structs import replace

from arriero.protocol.events import AnyEvent, ProgressMade, StateChanged
from arriero.protocol.values import Progress

from ...text.printable import clean
from .text import duration, phase


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """The way of one model to ready.

    Attributes:
        model: Its id, harmless to a terminal.
        swap: Number of the start that this is about.
        caption: The current phase, or the end.
        fraction: Share that is done; None while that is not known. 1.0 means ready.
        eta_s: Seconds until ready, or None while that is not known.
        over: It is ready, or has failed.
    """

    model: str
    swap: int
    caption: str
    fraction: float | None = None
    eta_s: float | None = None
    over: bool = False

    @property
    def eta(self) -> str:
        """Seconds until ready, as text; empty if unknown."""
        return "" if self.eta_s is None or self.over else f"{duration(self.eta_s)} left"


Bars: TypeAlias = Mapping[str, Bar]

_BEFORE_A_START: Final = frozenset({"waiting", "draining", "stopping"})


def bars_after(bars: Bars, event: AnyEvent) -> Bars:
    """Return the bars after `event`.

    One for each model that is starting or has just ended to.

    A bar never falls within one start, and an event of a start after it was over changes
    nothing.
    """
    match event:
        case ProgressMade(model=model, progress=progress):
            return _with(bars, model, _moved(bars.get(model), progress))
        case StateChanged(model=model, state="starting", swap=swap):
            old = bars.get(model)
            if old is not None and old.swap == swap:
                return bars
            return _with(bars, model, Bar(model=clean(model), swap=swap, caption="starting"))
        case StateChanged(model=model, state="ready", swap=swap):
            old = bars.get(model)
            if old is None:
                return bars  # nobody saw it start: there is nothing to finish
            return _with(
                bars, model, replace(old, swap=swap, caption="ready", fraction=1.0, over=True)
            )
        case StateChanged(model=model, state="stopped", error=error) if model in bars:
            if error is None:
                return {name: bar for name, bar in bars.items() if name != model}
            failed = f"failed: {clean(error.message)}"
            return _with(bars, model, replace(bars[model], caption=failed, over=True))
        case _:
            return bars


def _with(bars: Bars, model: str, bar: Bar) -> Bars:
    return {**bars, model: bar}


def _moved(old: Bar | None, progress: Progress) -> Bar:
    new = Bar(
        model=clean(progress.model),
        swap=progress.swap,
        caption=phase(progress),
        fraction=progress.fraction,
        eta_s=progress.eta_s,
    )
    # Before a start has its own number, its progress carries that of the start before.
    if old is None or progress.swap != old.swap or (old.over and progress.phase in _BEFORE_A_START):
        return new
    if old.over:
        return old
    if old.fraction is not None and (new.fraction is None or new.fraction < old.fraction):
        return replace(new, fraction=old.fraction)
    return new
