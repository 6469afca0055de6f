"""The order of a run: which targets, which steps, whose turn."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import psutil

from . import control, crowd, machine, memory, servers, speed, starting, transfer
from .against import Code
from .load import BenchError
from .plan import Plan, Step
from .progress import Progress
from .results import Results
from .servers import Target

# In this order: memory at rest is that before the first request, and arriero has to swap between
# the models of small requests and of streams.
STEPS: tuple[Step, ...] = (
    memory.AT_REST,
    *speed.SMALL_STEPS,
    transfer.HTTP2,
    *speed.STREAM_STEPS,
    transfer.UPLOADS,
    memory.AFTER_LOAD,
    *starting.STEPS,
    *crowd.STEPS,
    *control.STEPS,
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


def run(
    plan: Plan,
    steps: Sequence[Step],
    targets: Sequence[Target],
    results: Results,
    folder: Path,
    *,
    force: bool,
) -> None:
    """Take the steps: first those with all targets up, then those that start their own.

    Raises:
        BenchError: A target cannot be started, or the machine is not quiet at first. What happens
            later is a remark, and costs the rows of its step only.
    """
    busy: list[float] = []
    rounds = sum(plan.rounds_of(step) for step in steps)
    with Progress(rounds) as progress:
        busy.append(machine.wait_for_silence(at_first=True, force=force, note=progress.say))
        for own in (False, True):
            mine = [step for step in steps if step.own is own]
            if not mine:
                continue
            with ExitStack() as stack:
                if not own:
                    progress.say("starting the targets")
                    targets = servers.start(stack, folder, targets)
                for step in mine:
                    try:
                        _take(step, plan, targets, results, folder, progress, busy, force=force)
                    except (BenchError, OSError, psutil.Error) as exc:
                        progress.say(f"{step.name} failed")
                        results.remarks.append(f"cut short: {', '.join(step.rows)}: {exc}")
    if max(busy) >= machine.QUIET:
        results.remarks.append(
            f"measured by force on a busy machine: load of others up to {max(busy):.1f} before "
            f"a round, where {machine.QUIET} is the limit; the figures say little"
        )
    results.add_scaling()


def _take(
    step: Step,
    plan: Plan,
    targets: Sequence[Target],
    results: Results,
    folder: Path,
    progress: Progress,
    busy: list[float],
    *,
    force: bool,
) -> None:
    """Take one step: all its rounds, each over all targets, in an order that is rotated."""
    mine = [target for target in targets if target.kind in step.kinds]
    if step.most:
        most = max((target.workers for target in mine), default=1)
        mine = [target for target in mine if target.workers == most or target.kind == "llama-swap"]
    for number in range(plan.rounds_of(step)):
        busy.append(machine.wait_for_silence(at_first=False, force=force, note=progress.say))
        for target in rotated(mine, number):
            progress.say(f"{step.name}, round {number + 1}: {target.name}")
            own = folder / f"{step.name}-{number}-{target.name}".replace(" ", "-").replace("/", "")
            own.mkdir()
            results.add(target.name, step.measure(plan, target, own))
        progress.count()


def rotated(targets: Sequence[Target], number: int) -> list[Target]:
    """Return the order of the round with that number: each target is first in its turn."""
    turn = number % max(1, len(targets))
    return [*targets[turn:], *targets[:turn]]
