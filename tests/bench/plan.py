"""How long and how often, and what every measurement is given."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .servers import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Lengths and numbers.

    Attributes:
        rounds: How often each target is measured in each way; the median is shown.
        each_step: Take so many rounds also of steps of which one would be enough.
        load_s: Seconds of a run of wrk with many connections.
        single_s: Seconds of a run of wrk with one connection.
        paced_rounds: Paced streams one after the other, on each of 16 connections.
        swaps: Swaps to see how late readiness is noticed.
    """

    rounds: int = 3
    each_step: bool = False
    load_s: float = 4.0
    single_s: float = 3.0
    paced_rounds: int = 3
    swaps: int = 20

    def rounds_of(self, step: "Step") -> int:
        """How often to take `step`."""
        return 1 if step.once and not self.each_step else self.rounds


QUICK = Plan(rounds=1, load_s=1.0, single_s=1.0, paced_rounds=1, swaps=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One way to measure a target, which gives the figures of one or more rows.

    Attributes:
        name: What is shown while it runs.
        rows: The names of these rows.
        measure: Plan, target and a new folder -> row -> figure; ``errors`` may be among them.
        kinds: Of which kinds of targets.
        needs: Programs without which it is left out.
        once: One round is enough, because it takes many samples or they are alike.
    """

    name: str
    rows: tuple[str, ...]
    measure: Callable[[Plan, Target, Path], dict[str, float]]
    kinds: tuple[str, ...] = ("direct", "nginx", "llama-swap", "arriero")
    needs: tuple[str, ...] = ()
    once: bool = False
