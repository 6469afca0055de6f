"""One long day of a whole arriero, and a table of what has grown.

    python -m tests.soak.run [--seconds N] [--seed N]

Exit status: 0 nothing has grown and nothing went wrong, 1 something has, which is said.
"""

import argparse
import random
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import trio
from rich.console import Console
from rich.table import Table

from tests.faults.rig import until_signalled

from .day import Findings, live_through


def main(argv: Sequence[str] | None = None) -> int:
    """Live through the day; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=1800.0, help="of the day")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    args = parser.parse_args(argv)
    print(f"{args.seconds:.0f} s, with the seed {args.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        day = partial(live_through, args.seconds, Path(folder) / "rig", args.seed)
        findings = trio.run(until_signalled, day)
        if findings is None:
            return 130
        show(findings)
        if findings.problems:
            with tempfile.NamedTemporaryFile(prefix="soak-", suffix=".log", delete=False) as kept:
                kept.write((Path(folder) / "rig" / "log" / "arriero.log").read_bytes())
            print(f"the log of that day: {kept.name}")
    return int(bool(findings.problems))


def show(findings: Findings) -> None:
    """Print what was found."""
    console = Console(width=100)
    table = Table("", "figure", "after the warm-up", "at the end", "an hour", "")
    for column in table.columns[2:5]:
        column.justify = "right"
    for (who, what), one in findings.trends.items():
        word = "GROWS" if one.grows else "flat"
        table.add_row(
            who, what, f"{one.first:,.0f}", f"{one.last:,.0f}", f"{one.per_hour:+,.1f}", word
        )
    console.print(table)
    done = ", ".join(f"{name} {count}" for name, count in sorted(findings.done.items()))
    console.print(f"{sum(findings.done.values())} activities ({done}); {findings.kills} kills")
    for problem in findings.problems:
        console.print(f"PROBLEM {problem}", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
