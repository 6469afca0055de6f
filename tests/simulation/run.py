"""A thousand machines, a hundred thousand models, and what the choice among them makes of it.

    python -m tests.simulation.run [--hosts 1000] [--seconds 600] [--json FILE] ...

Every number of the plan is an option (tests/simulation/plan.py says what each means). Takes about
a minute of real time for each minute of virtual time at the full size.
"""

import argparse
import gc
import json
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from .cluster import Cluster, Outcome
from .fronts import POLICIES
from .plan import Plan


def figures(plan: Plan, outcome: Outcome) -> dict[str, float]:
    """Return the figures of a run, by name; each name ends with its unit."""
    hours = (plan.seconds - plan.warm_up_s) / 3600
    failures = max(1, outcome.failures)
    return {
        "requests": outcome.requests,
        "decision_p50_us": 1e6 * outcome.decisions.at(0.5),
        "decision_p99_us": 1e6 * outcome.decisions.at(0.99),
        "decision_p999_us": 1e6 * outcome.decisions.at(0.999),
        "warm_percent": 100 * outcome.warm_share,
        "bound_percent": 100 * outcome.bound,
        "of_bound_percent": 100 * outcome.warm_share / outcome.bound if outcome.bound else 0.0,
        "same_host_percent": 100 * outcome.at_home / max(1, outcome.later_turns),
        "queued_in_vain_percent": 100 * outcome.queued_in_vain / max(1, outcome.requests),
        "loads_per_host_per_h": outcome.loads / hours / plan.hosts,
        "first_loads_percent": 100 * outcome.first_loads / max(1, outcome.loads),
        "to_and_fro_percent": 100 * outcome.to_and_fro / max(1, outcome.loads),
        "wait_p50_s": outcome.waits.at(0.5),
        "wait_p99_s": outcome.waits.at(0.99),
        "wait_p999_s": outcome.waits.at(0.999),
        "cold_wait_p50_s": outcome.cold_waits.at(0.5),
        "cold_wait_p99_s": outcome.cold_waits.at(0.99),
        "failures": outcome.failures,
        "failure_copies": outcome.lost_copies / failures,
        "failure_broken": outcome.broken / failures,
        "failure_rerouted": outcome.rerouted.count / failures,
        "rerouted_wait_p50_s": outcome.rerouted.at(0.5),
        "rerouted_wait_p99_s": outcome.rerouted.at(0.99),
        "open_at_the_end": outcome.open,
        "open_longest_s": outcome.open_s,
        "nowhere": outcome.nowhere,
        "took_s": outcome.seconds,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    for option in fields(Plan):
        name = f"--{option.name.replace('_', '-')}"
        if option.name == "policy":
            parser.add_argument(name, choices=POLICIES, default=option.default)
        else:
            parser.add_argument(name, type=type(option.default), default=option.default)
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures, for programs")
    args = vars(parser.parse_args(argv))
    to = args.pop("json")
    plan = replace(Plan(), **args)
    columns = (TextColumn("{task.description}"), BarColumn(40), TimeElapsedColumn())
    bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
    bar.disable = not sys.stderr.isatty()
    with bar:
        task = bar.add_task("simulating", total=plan.seconds)
        cluster = Cluster(plan)
        gc.freeze()  # the catalogue is no garbage, and need not be looked through
        found = figures(plan, cluster.run(lambda second: bar.update(task, completed=second)))
    table = Table("figure", "", box=None)
    table.columns[1].justify = "right"
    for name, value in found.items():
        table.add_row(name.replace("_", " "), f"{value:,.0f}" if value >= 1000 else f"{value:.4g}")
    Console().print(table)
    if to is not None:
        text = {"plan": {it.name: getattr(plan, it.name) for it in fields(plan)}, "figures": found}
        to.write_text(json.dumps(text, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
