"""Measure arriero beside nginx, llama-swap and no proxy at all, in one run on one machine.

    python -m tests.bench.run [--quick] [--rows p99,streams] [--json FILE] [--plot FILE] [--docs]
    python -m tests.bench.run --against COMMIT

Everything runs on the loopback of this machine and shares its cores: wrk, the upstreams, and what
is between. So the ratios say more than the figures. All targets stay up during the whole run, in
one session of processes, and are measured in turns: each step goes over all of them, three times,
in an order that is rotated, and what is shown is the median. Before a step the machine has to be
quiet. Each target is warmed up before its turn, which checks that its answer is what the upstream
sent.

With ``--against COMMIT`` the references are the arriero of that commit, A B, B A, ..., and what is
shown is the ratio of each pair of rounds.

Rows and what was asked of them are in `rows`; `steps` says how they are measured, `targets` starts
what is measured, and `show` makes tables, JSON, the picture and the page of the documentation.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from tests.paths import ROOT

from . import interrupts, machine
from .against import OURS, checkout, code_of
from .errors import BenchError
from .plan import QUICK, Plan
from .results import Results
from .rounds import Run, choose_steps, choose_targets
from .rows import ROWS
from .show import docs
from .show.as_json import as_json
from .show.plot import svg
from .show.progress import Progress
from .show.tables import changes, measured
from .steps import speed

# What a change of the path of a request is judged by, unless other rows are asked for.
PATH_ROWS = [row for step in (*speed.SMALL_STEPS, *speed.STREAM_STEPS) for row in step.rows]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark.

    Returns:
        0 when it was measured, 1 when it could not be, 130 when it was interrupted: what was
        measured until then is shown.
    """
    args = parser().parse_args(argv)
    rows = chosen_rows(args)
    if unknown := [name for name in rows if name not in ROWS]:
        print(f"there is no row {unknown[0]!r}; there are {', '.join(ROWS)}", file=sys.stderr)
        return 1
    interrupts.install()
    results = Results()
    status = 0
    try:
        with tempfile.TemporaryDirectory(prefix="arriero-bench-") as folder:
            measure(args, rows, results, Path(folder))
    except BenchError as exc:
        print(exc, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; everything that was started has been ended", file=sys.stderr)
        results.remarks.append("interrupted: not all was measured")
        status = 130
    if results.values or results.remarks:
        show(results)
    if args.json:
        args.json.write_text(json.dumps(as_json(results, machine.describe()), indent=2) + "\n")
    if args.plot:
        args.plot.write_text(svg(results))
    if args.docs and not status:
        docs.write(results, machine.describe())
    return status


def chosen_rows(args: argparse.Namespace) -> list[str]:
    """Return the rows that were asked for, or are usual."""
    if args.rows is None:
        return PATH_ROWS if args.against else list(ROWS)
    return list(ROWS) if args.rows == "all" else str(args.rows).split(",")


def chosen_plan(args: argparse.Namespace) -> Plan:
    """Return how long and how often."""
    plan = QUICK if args.quick else Plan()
    if args.against:
        plan = replace(plan, each_step=True)
        if not args.quick:
            plan = replace(plan, rounds=5, swaps=6)
    return replace(plan, rounds=args.rounds) if args.rounds else plan


def measure(args: argparse.Namespace, rows: Sequence[str], results: Results, folder: Path) -> None:
    """Measure what was asked for.

    Raises:
        BenchError: It cannot begin.
    """
    codes = [OURS]
    if args.against:
        before = checkout(args.against, folder)
        codes = [before, code_of(ROOT, folder / "ours-path", label=OURS.label)]
        results.before = before.label
    kinds = args.targets or ("arriero" if args.against else "direct,nginx,llama-swap,arriero")
    workers = sorted({int(count) for count in args.workers.split(",")})
    targets = choose_targets(kinds.split(","), workers, codes, results)
    steps = choose_steps(rows, results)
    plan = chosen_plan(args)
    with Progress(sum(map(plan.rounds_of, steps))) as progress:
        Run(plan=plan, results=results, folder=folder, force=args.force, progress=progress).take(
            steps, targets
        )


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    found = argparse.ArgumentParser(description="Measure arriero beside nginx and llama-swap.")
    found.add_argument("--quick", action="store_true", help="one short round: a look, no result")
    found.add_argument("--rows", metavar="A,B", help=f"only these, or all: {', '.join(ROWS)}")
    found.add_argument("--rounds", type=int, metavar="N", help="of each step (3; with --against 5)")
    found.add_argument("--json", type=Path, metavar="FILE", help="write all values to FILE")
    found.add_argument("--plot", type=Path, metavar="FILE", help="draw all to FILE, as SVG")
    found.add_argument(
        "--docs", action="store_true", help="write docs/performance.md (its table) and .svg"
    )
    found.add_argument(
        "--against", metavar="COMMIT", help="compare with the arriero of this commit, in turns"
    )
    found.add_argument(
        "--targets", metavar="A,B", help="of direct, nginx, llama-swap and arriero (default: all)"
    )
    found.add_argument("--workers", default="1,2", metavar="N,M", help="of arriero and of nginx")
    found.add_argument("--force", action="store_true", help="measure on a busy machine as well")
    return found


def show(results: Results) -> None:
    """Print the tables; without a terminal they are as wide as they have to be."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=220)
    if results.before:
        console.print(changes(results))
    if not results.before or any(name.startswith("nginx") for name in results.targets):
        console.print(measured(results))
    for remark in results.remarks:
        console.print(remark, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
