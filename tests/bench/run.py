"""Measure arriero beside nginx and beside no proxy at all, in one run on one machine.

    python -m tests.bench.run [--quick] [--json FILE] [--targets direct,nginx,arriero]

Everything runs on the loopback of this machine and shares its cores: wrk, the upstream, and what
is between. So the ratios say more than the figures, and nginx is the yardstick. All targets stay
up during the whole run; they are measured in turns (round 1 of all, round 2 of all, ...), and what
is shown is the median of the rounds. Each is warmed up before its turn, and the warm-up checks that
its answer is what the upstream sent.

(a) requests/s    wrk, 1 thread, 64 connections, 4 s: a POST of 150 bytes to
                  ``/v1/chat/completions``, answered by an nginx with 320 bytes of JSON.
(b) p50, p99      wrk, 1 connection, 3 s, the same request.
(c) streams/s     wrk, 16 connections, 4 s: a POST answered by 200 server-sent events, each a chunk
                  of the transfer coding and a write of its own, 47 kB in all. Only whole
                  streams count.
(d) readiness     20 swaps: ``readiness.py`` says how.
(e) added latency (b) minus the (b) of no proxy, and of nginx.
(f) CPU           user + system time of the worker processes from /proc (the supervisor, the nginx
                  master and the upstreams not included): during (a), divided by the responses; and
                  while 16 connections read paced streams (a chunk every 4 ms, each its own write),
                  divided by the chunks.

nginx runs as an operator would put it before a model server: keep-alive to the upstream, no
buffering, no access log, as many workers as the arriero beside it.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from . import readiness, servers
from .load import SMALL_BODY, STREAM_BODY, BenchError, run_paced, run_wrk, warm_up
from .report import Row, Samples, added_latency, as_json, goals, row_of
from .servers import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long and how often."""

    rounds: int = 3
    load_s: float = 4.0
    single_s: float = 3.0
    paced_rounds: int = 3
    swaps: int = 20


QUICK = Plan(rounds=1, load_s=1.0, single_s=1.0, paced_rounds=1, swaps=4)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 when it was measured, 1 when it could not be, 2 when tools lack."""
    parser = argparse.ArgumentParser(description="Measure arriero beside nginx.")
    parser.add_argument("--quick", action="store_true", help="one short round: a look, no result")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all values to FILE")
    parser.add_argument(
        "--targets",
        default="direct,nginx,arriero",
        help="which of direct, nginx and arriero to measure (default: all)",
    )
    args = parser.parse_args(argv)
    wanted = args.targets.split(",")
    if lacking := lacking_packages():
        print(f"cannot run: apt-get install {' '.join(lacking)}", file=sys.stderr)
        return 2
    plan = QUICK if args.quick else Plan()
    # Like Ctrl-C: the blocks that end the servers are left in order.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with tempfile.TemporaryDirectory(prefix="arriero-bench-") as folder:
            samples, lateness_ms = measure(plan, wanted, Path(folder))
    except BenchError as exc:
        print(exc, file=sys.stderr)
        return 1
    show(samples, lateness_ms)
    if args.json:
        values = as_json(samples, lateness_ms, describe_machine())
        args.json.write_text(json.dumps(values, indent=2) + "\n")
    return 0


def lacking_packages() -> list[str]:
    """Return the Debian packages that have to be installed first."""
    found = {"wrk": shutil.which("wrk"), "nginx-light": servers.find_nginx()}
    return [package for package, path in found.items() if path is None]


def describe_machine() -> dict[str, object]:
    """Return what the figures depend on."""
    return {"cores": os.cpu_count(), "python": platform.python_version(), "os": platform.platform()}


def measure(
    plan: Plan, wanted: Sequence[str], folder: Path
) -> tuple[dict[str, Samples], list[float]]:
    """Start all targets, measure them in turns, and end them."""
    with ExitStack() as stack:
        direct = stack.enter_context(servers.direct(folder))
        targets = [direct] if "direct" in wanted else []
        for workers in (1, 2):
            if "nginx" in wanted:
                targets.append(stack.enter_context(servers.nginx(folder, direct, workers=workers)))
            if "arriero" in wanted:
                targets.append(stack.enter_context(servers.arriero(folder, workers=workers)))
        samples = {target.name: Samples() for target in targets}
        # One kind of load after the other, not all kinds per target: arriero would have to swap
        # between its two models at every turn.
        for step in (measure_small, measure_single, measure_streams):
            for _ in range(plan.rounds):
                for target in targets:
                    step(plan, target, samples[target.name], folder)
        for target in targets:
            measure_chunks(plan, target, samples[target.name])
    late = readiness.measure(folder / "swaps", swaps=plan.swaps) if "arriero" in wanted else []
    return samples, late


def measure_small(plan: Plan, target: Target, samples: Samples, folder: Path) -> None:
    """(a), and the first half of (f)."""
    warm_up(target.small, SMALL_BODY)
    before = target.cpu_s()
    load = run_wrk(target.small, SMALL_BODY, connections=64, seconds=plan.load_s, folder=folder)
    samples.small.append(load)
    if target.pid is not None:
        samples.cpu_request_us.append((target.cpu_s() - before) / load.requests * 1e6)


def measure_single(plan: Plan, target: Target, samples: Samples, folder: Path) -> None:
    """(b)."""
    warm_up(target.small, SMALL_BODY)
    samples.single.append(
        run_wrk(target.small, SMALL_BODY, connections=1, seconds=plan.single_s, folder=folder)
    )


def measure_streams(plan: Plan, target: Target, samples: Samples, folder: Path) -> None:
    """(c)."""
    warm_up(target.stream, STREAM_BODY)
    samples.stream.append(
        run_wrk(target.stream, STREAM_BODY, connections=16, seconds=plan.load_s, folder=folder)
    )


def measure_chunks(plan: Plan, target: Target, samples: Samples) -> None:
    """The second half of (f)."""
    if target.pid is None:
        return
    warm_up(target.stream, STREAM_BODY)
    before = target.cpu_s()
    chunks = run_paced(target.stream, connections=16, rounds=plan.paced_rounds)
    samples.cpu_chunk_us.append((target.cpu_s() - before) / chunks * 1e6)


def show(samples: dict[str, Samples], lateness_ms: list[float]) -> None:
    """Print the tables."""
    console = Console(width=100)
    rows = {name: row_of(one) for name, one in samples.items()}
    console.print(measured_table(rows))
    if added := added_latency(rows):
        table = Table("added latency", "against", "p50 ms", "p99 ms", title="(e)")
        for one in added:
            table.add_row(one.target, one.against, f"{one.p50_ms:+.3f}", f"{one.p99_ms:+.3f}")
        console.print(table)
    if lateness_ms:
        console.print(
            f"(d) readiness noticed late: median {median(lateness_ms):.1f} ms, "
            f"max {max(lateness_ms):.1f} ms over {len(lateness_ms)} swaps"
        )
    if compared := goals(rows, lateness_ms):
        table = Table("target", "measured", "wanted", "", title="targets")
        for goal in compared:
            table.add_row(
                goal.what,
                f"{goal.value:.2f}{goal.unit}",
                f"{goal.relation} {goal.limit:g}{goal.unit}",
                "met" if goal.met else "MISSED",
            )
        console.print(table)


def measured_table(rows: dict[str, Row]) -> Table:
    """(a), (b), (c) and (f)."""
    table = Table("", title="medians")
    heads = (
        "(a) req/s",
        "(b) p50 ms",
        "p99 ms",
        "(c) streams/s",
        "(f) µs/req",
        "µs/chunk",
        "errors",
    )
    for head in heads:
        table.add_column(head, justify="right")

    def shown(value: float | None, digits: int) -> str:
        return "" if value is None else f"{value:,.{digits}f}"

    for name, row in rows.items():
        table.add_row(
            name,
            shown(row.requests_per_s, 0),
            shown(row.p50_ms, 3),
            shown(row.p99_ms, 3),
            shown(row.streams_per_s, 0),
            shown(row.cpu_request_us, 1),
            shown(row.cpu_chunk_us, 1),
            str(row.errors),
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
