"""The order of a run: which targets, which steps, whose turn."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil

from . import machine
from .against import Code
from .errors import BenchError
from .plan import Plan, Step
from .results import Results
from .show.progress import Progress
from .steps import control, crowd, from_disk, memory, page, speed, starting, transfer
from .targets import servers
from .targets.servers import Target

# In this order, because arriero has to swap between the models of small requests and of streams.
STEPS: tuple[Step, ...] = (
    *speed.SMALL_STEPS,
    transfer.HTTP2,
    *speed.STREAM_STEPS,
    transfer.UPLOADS,
    memory.AFTER_LOAD,
    memory.AT_REST,
    *starting.STEPS,
    *from_disk.STEPS,
    *crowd.STEPS,
    *control.STEPS,
    *page.STEPS,
    transfer.BEHIND_TLS,
)


def choose_targets(
    kinds: Sequence[str], workers: Sequence[int], codes: Sequence[Code], results: Results
) -> list[Target]:
    """Return what was asked for and is installed, not started yet; notes what is not."""
    for program in ("nginx", "llama-swap"):
        if program in kinds and (words := machine.lacks(program)):
            results.remarks.append(f"no reference: {words}")
    found = [Target(name="direct", kind="direct")] if "direct" in kinds else []
    if "nginx" in kinds and not machine.lacks("nginx"):
        found += [Target(name=f"nginx x{count}", kind="nginx", workers=count) for count in workers]
    if "llama-swap" in kinds and not machine.lacks("llama-swap"):
        found.append(Target(name="llama-swap", kind="llama-swap"))
    if "arriero" in kinds:
        found += [
            Target(name=f"{code.label} x{count}", kind="arriero", workers=count, code=code)
            for count in workers
            for code in codes
        ]
    results.targets = [target.name for target in found]
    return found


def choose_steps(rows: Sequence[str], results: Results) -> list[Step]:
    """Return the steps that give these rows and have what they need; notes what they have not."""
    wanted = [step for step in STEPS if any(row in rows for row in step.rows)]
    found = []
    for step in wanted:
        lacking = [words for program in step.needs if (words := machine.lacks(program))]
        results.remarks += [f"left out: {', '.join(step.rows)}: {words}" for words in lacking]
        if not lacking:
            found.append(step)
    return found


@dataclass(slots=True, kw_only=True)
class Run:
    """One run: steps over targets.

    Attributes:
        plan: How long and how often.
        results: Where the figures go, and the remarks.
        folder: For temporary files.
        force: Do not wait until the machine is quiet.
        progress: What a person sees.
    """

    plan: Plan
    results: Results
    folder: Path
    force: bool
    progress: Progress
    _busiest: float = 0.0

    def take(self, steps: Sequence[Step], targets: Sequence[Target]) -> None:
        """Take the steps: first those with all targets up, then those that start their own.

        Raises:
            BenchError: A target cannot be started, or the machine is not quiet at first. What
                happens later is a remark, and costs the rows of its step only.
        """
        self._wait_for_silence(at_first=True)
        together = [step for step in steps if not step.own]
        if together:
            with ExitStack() as stack:
                self.progress.say("starting the targets")
                self._take_each(together, servers.start(stack, self.folder, targets))
        self._take_each([step for step in steps if step.own], targets)
        if self._busiest >= machine.QUIET:
            self.results.remarks.append(
                f"measured by force on a busy machine: load of others up to {self._busiest:.1f} "
                f"before a round, where {machine.QUIET} is the limit; the figures say little"
            )
        self.results.add_scaling()

    def _take_each(self, steps: Sequence[Step], targets: Sequence[Target]) -> None:
        for step in steps:
            mine = chosen_for(step, targets)
            try:
                for number in range(self.plan.rounds_of(step)):
                    self._wait_for_silence(at_first=False)
                    self._take_round(step, rotated(mine, number), number)
            except (BenchError, OSError, psutil.Error) as exc:
                self.results.remarks.append(f"cut short: {', '.join(step.rows)}: {exc}")

    def _take_round(self, step: Step, targets: Sequence[Target], number: int) -> None:
        for target in targets:
            self.progress.say(f"{step.name}, round {number + 1}: {target.name}")
            name = f"{step.name}-{number}-{target.name}"
            own = self.folder / name.replace(" ", "-").replace("/", "")
            own.mkdir()
            self.results.add(target.name, step.measure(self.plan, target, own))
        self.progress.count()

    def _wait_for_silence(self, *, at_first: bool) -> None:
        busy = machine.wait_for_silence(at_first=at_first, force=self.force, note=self.progress.say)
        self._busiest = max(self._busiest, busy)


def chosen_for(step: Step, targets: Sequence[Target]) -> list[Target]:
    """Return those of `targets` that `step` measures."""
    found = [target for target in targets if target.kind in step.kinds]
    if not step.most:
        return found
    most = max((target.workers for target in found), default=1)
    return [one for one in found if one.workers == most or one.kind == "llama-swap"]


def rotated(targets: Sequence[Target], number: int) -> list[Target]:
    """Return the order of the round with that number: each target is first in its turn."""
    turn = number % max(1, len(targets))
    return [*targets[turn:], *targets[:turn]]
