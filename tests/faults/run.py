"""Break every process in every situation, and write down what becomes of the clients.

    python -m tests.faults.run [--third [SEED]] [--seconds N] [--jobs N] [--resume] [CELL ...]

A cell is FAULT/TARGET/SITUATION, each of which may be *; without any, all are run, and
docs/reliability.md is written anew. --resume goes on where the last run was broken off. Exit
status: 0 all promises were kept, 1 some were not, or a cell could not be run.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path

import trio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.paths import ROOT

from .cell import Result, run_cell
from .matrix import ALL, Cell, select, third
from .report import Origin, as_markdown, line, verdict
from .rig import until_signalled

PAGE = ROOT / "docs" / "reliability.md"
RESULTS = ROOT / "build" / "faults" / "results.json"

# Seconds for one cell, all in; and for the whole matrix, after which no more cells are begun.
CELL_S = 400.0
WHOLE_S = 25 * 60.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cells; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("cells", nargs="*", metavar="CELL", help="such as sigkill/*/stream")
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    parser.add_argument("--third", nargs="?", const=today, metavar="SEED", help="a third of them")
    parser.add_argument("--seconds", type=float, default=WHOLE_S, help="begin no cell after that")
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1))
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the page to FILE")
    parser.add_argument("--resume", action="store_true", help="leave out what the last run has")
    parser.add_argument("--list", action="store_true", help="show the cells, and run none")
    args = parser.parse_args(argv)
    try:
        chosen = [cell for cell in select(args.cells or ["*"]) if not cell.senseless]
    except ValueError as exc:
        parser.error(str(exc))
    if args.third is not None:
        chosen = third(chosen, args.third)
        print(f"a third of the cells, with the seed {args.third}")
    if args.list:
        print("\n".join(map(str, chosen)))
        return 0
    results = read_results() if args.resume else {}
    rest = [cell for cell in chosen if cell not in results]
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        place = Path(folder)
        failures = trio.run(
            until_signalled, partial(run_all, rest, results, place, args.jobs, args.seconds)
        )
    if failures is None:
        return 130
    everything = chosen == [cell for cell in ALL if not cell.senseless]
    if out := args.out or (PAGE if everything else None):
        out.write_text(as_markdown(results, failures, origin(today)))
        print(f"written: {out}")
    print(verdict(list(results.values())))
    return int(bool(failures) or any(one.bad for one in results.values()))


def origin(date: str) -> Origin:
    """Return where the figures come from."""
    return Origin(
        date=date,
        versions={"arriero": version("arriero"), "Python": platform.python_version()},
        machine=f"{os.cpu_count()} cores with a load of {os.getloadavg()[2]:.0f}",
        command="make faults",
    )


def read_results() -> dict[Cell, Result]:
    """Return what the last run has found so far."""
    if not RESULTS.exists():
        return {}
    found = [Result.from_json(one) for one in json.loads(RESULTS.read_text())]
    return {one.cell: one for one in found}


def write_results(results: dict[Cell, Result]) -> None:
    """Keep what was found so far."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps([one.as_json() for one in results.values()]))


async def run_all(
    cells: Sequence[Cell],
    results: dict[Cell, Result],
    folder: Path,
    jobs: int,
    seconds: float,
) -> dict[Cell, str]:
    """Run cells beside each other, with a bar for people who wait.

    Args:
        cells: To be run.
        results: What is found is added.
        folder: For all of it.
        jobs: So many cells at a time.
        seconds: None is begun after that.

    Returns:
        Why cells were not run.
    """
    failures: dict[Cell, str] = {}
    console = Console(soft_wrap=True)
    deadline = trio.current_time() + seconds
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with ExitStack() as stack:
        bar = Progress(*columns, TimeElapsedColumn(), console=console, transient=True)
        if console.is_terminal:
            stack.enter_context(bar)
        task = bar.add_task("cells", total=len(cells))
        places = trio.CapacityLimiter(jobs)

        async def run(cell: Cell) -> None:
            async with places:
                if trio.current_time() > deadline:
                    failures[cell] = f"not begun within {seconds:.0f} s"
                    return
                for attempt in (1, 2):  # a situation may not come about on a busy machine
                    place = folder / f"{cell}-{attempt}".replace("/", "-")
                    if await tried(cell, place):
                        break
                bar.advance(task)

        async def tried(cell: Cell, place: Path) -> bool:
            """Run a cell once; False if it could not be."""
            try:
                with trio.fail_after(CELL_S):
                    results[cell] = await run_cell(cell, place)
                failures.pop(cell, None)
                write_results(results)
                console.print(line(results[cell]), highlight=False)
                for one in results[cell].ours:
                    console.print(f"    {one}", highlight=False, markup=False)
            except* Exception as group:  # noqa: BLE001  of one cell: the others go on
                failures[cell] = f"not run: {_first(group)}"
                console.print(f"{cell}: {failures[cell]}", highlight=False, markup=False)
            if cell not in results or results[cell].bad:
                console.print(f"    log: {keep_log(place)}", highlight=False)
            shutil.rmtree(place, ignore_errors=True)
            return cell in results

        async with trio.open_nursery() as nursery:
            for cell in cells:
                nursery.start_soon(run, cell)
    return failures


def keep_log(folder: Path) -> Path:
    """Move the log of a cell that has gone wrong to where it stays, and return that."""
    kept = ROOT / "build" / "faults" / f"{folder.name}.log"
    kept.parent.mkdir(parents=True, exist_ok=True)
    log = folder / "log" / "arriero.log"
    kept.write_bytes(log.read_bytes() if log.exists() else b"")
    return kept.relative_to(ROOT)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first exception in a group."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


if __name__ == "__main__":
    sys.exit(main())
