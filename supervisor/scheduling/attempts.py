"""Attempts to make a model serve: their numbers, and how far each one is said to be."""

from collections.abc import Sequence

from arriero.protocol.events import ProgressMade
from arriero.protocol.values import Phase, Progress

from .messages.events import Announce
from .messages.pending_commands import PendingCommands
from .states.model_state import ModelState


class Attempts:
    """Begins attempts, and announces how they stand.

    Attributes:
        turning: Models at rest whose turn was announced.
    """

    def __init__(self, out: PendingCommands) -> None:
        self.turning: dict[str, ModelState] = {}
        self._out = out

    def begin(self, entry: ModelState, now: float) -> None:
        """Number the attempt, once; the number stays until the process ends."""
        self.turning[entry.spec.model] = entry
        if entry.progress is None:
            entry.begin_attempt(self._out.number(), now)

    def leave_rest(self, model: str) -> None:
        """Note that `model` is not at rest any more, or is gone."""
        self.turning.pop(model, None)

    def take_back(self, model: str) -> None:
        """Take back the beginning of an attempt: nobody waits any more."""
        self.turning.pop(model).progress = None

    def tell(
        self,
        entry: ModelState,
        phase: Phase,
        now: float,
        *,
        other: str | None = None,
        requests: int | None = None,
        eta_s: float | None = None,
        detail: str = "",
    ) -> None:
        """Announce the phase of an attempt, if it is new."""
        progress = entry.get_to(
            phase, now, other=other, requests=requests, eta_s=eta_s, detail=detail
        )
        if progress is not None:
            self._announce(progress)

    def tell_who_is_in_the_way(
        self, target: ModelState, in_the_way: Sequence[ModelState], now: float
    ) -> None:
        """Announce for whom an attempt waits: first for those that have requests."""
        draining = [entry for entry in in_the_way if entry.state != "stopping"]
        first = (draining or in_the_way)[0]
        if draining:
            running = sum(first.in_flight.values())
            self.tell(target, "draining", now, other=first.spec.model, requests=running)
        else:
            self.tell(target, "stopping", now, other=first.spec.model)

    def follow(self, entry: ModelState, progress: Progress) -> None:
        """Announce what a process reports of its start."""
        if entry.swap == progress.swap and entry.state == "starting":
            entry.is_placing = entry.is_placing or progress.phase == "placing"
            self._announce(entry.follow_progress(progress))

    def _announce(self, progress: Progress) -> None:
        self._out.add(Announce(ProgressMade(model=progress.model, progress=progress)))
