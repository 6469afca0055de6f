"""How fast, and for how much CPU: wrk on small requests and on streams, and paced streams.

CPU is user and system time of the workers, from /proc; the supervisor, the nginx master and the
upstreams are not in it.
"""

from pathlib import Path

from ..plan import Plan, Step
from ..targets.load import SMALL_BODY, STREAM_BODY, run_paced, run_wrk, warm_up
from ..targets.servers import Target

CONNECTIONS = 64
STREAM_CONNECTIONS = 16


def small_requests(plan: Plan, target: Target, folder: Path) -> dict[str, float]:
    """A POST of 150 bytes, answered with 320 bytes of JSON, on 64 connections."""
    warm_up(target.small, SMALL_BODY)
    before = target.cpu_s()
    load = run_wrk(
        target.small, SMALL_BODY, connections=CONNECTIONS, seconds=plan.load_s, folder=folder
    )
    found = {
        "requests": load.per_s,
        "p50-64": load.p50_ms,
        "p99-64": load.p99_ms,
        "errors": float(load.errors),
    }
    if target.pid is not None:
        found["cpu-request"] = (target.cpu_s() - before) / load.requests * 1e6
    return found


def single_requests(plan: Plan, target: Target, folder: Path) -> dict[str, float]:
    """The same request on one connection."""
    warm_up(target.small, SMALL_BODY)
    load = run_wrk(target.small, SMALL_BODY, connections=1, seconds=plan.single_s, folder=folder)
    return {"p50": load.p50_ms, "p99": load.p99_ms, "errors": float(load.errors)}


def streams(plan: Plan, target: Target, folder: Path) -> dict[str, float]:
    """Streams of 200 chunks as fast as they come, each chunk a write of its own, 47 kB in all."""
    per_s, cpu_us, errors = _streams(plan, target, folder, STREAM_BODY)
    return {"streams": per_s, "errors": errors} | ({"cpu-stream": cpu_us} if cpu_us else {})


def bulk_streams(plan: Plan, target: Target, folder: Path) -> dict[str, float]:
    """The same streams, all chunks in one write: the upstream costs nearly nothing."""
    body = f'{STREAM_BODY[:-1]},"bulk":true}}'
    per_s, cpu_us, errors = _streams(plan, target, folder, body)
    return {"bulk": per_s, "errors": errors} | ({"cpu-bulk": cpu_us} if cpu_us else {})


def _streams(plan: Plan, target: Target, folder: Path, body: str) -> tuple[float, float, float]:
    """Return streams per second, CPU of each, and errors."""
    warm_up(target.stream, STREAM_BODY)
    before = target.cpu_s()
    load = run_wrk(
        target.stream, body, connections=STREAM_CONNECTIONS, seconds=plan.load_s, folder=folder
    )
    return load.per_s, (target.cpu_s() - before) / load.requests * 1e6, float(load.errors)


def paced_chunks(plan: Plan, target: Target, folder: Path) -> dict[str, float]:
    """16 streams at once in the rhythm of a model, a chunk every 4 ms each."""
    warm_up(target.stream, STREAM_BODY)
    before = target.cpu_s()
    chunks = run_paced(target.stream, connections=STREAM_CONNECTIONS, rounds=plan.paced_rounds)
    return {"cpu-chunk": (target.cpu_s() - before) / chunks * 1e6}


PROXIES = ("nginx", "llama-swap", "arriero")

SMALL_STEPS = (
    Step(
        name="small requests",
        rows=("requests", "cpu-request", "p50-64", "p99-64", "scaling"),
        measure=small_requests,
        needs=("wrk",),
    ),
    Step(name="one connection", rows=("p50", "p99"), measure=single_requests, needs=("wrk",)),
)
STREAM_STEPS = (
    Step(name="streams", rows=("streams", "cpu-stream"), measure=streams, needs=("wrk",)),
    Step(name="streams in bulk", rows=("bulk", "cpu-bulk"), measure=bulk_streams, needs=("wrk",)),
    Step(name="paced chunks", rows=("cpu-chunk",), measure=paced_chunks, kinds=PROXIES),
)
