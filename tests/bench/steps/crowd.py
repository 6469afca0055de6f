"""Thousands of clients that wait for one model: `waiters` measures, this makes rows of it."""

from pathlib import Path

from ..plan import Plan, Step
from ..targets.servers import Target
from ..waiters import measure, raise_descriptor_limit


def crowd(plan: Plan, target: Target, folder: Path) -> dict[str, float]:
    """All ask at once, and wait."""
    raise_descriptor_limit()
    figures: dict[str, float] = {}
    for count in plan.waiters:
        found = measure(
            folder / str(count),
            waiters=count,
            load_s=plan.wait_s,
            workers=target.workers,
            code=target.code,
        )
        figures |= {
            f"wait-{count}-stale": 1e3 * found.staleness_p99_s,
            f"wait-{count}-health": found.health_p99_ms,
            f"wait-{count}-memory": found.pss_each_kb,
            f"wait-{count}-served": found.served_after_s,
            "errors": figures.get("errors", 0.0) + found.lost,
        }
    return figures


STEPS = (
    Step(
        name="waiters",
        rows=tuple(
            f"wait-{count}-{what}"
            for count in Plan().waiters
            for what in ("stale", "health", "memory", "served")
        ),
        measure=crowd,
        kinds=("arriero",),
        sampled=True,
        own=True,
        most=True,
    ),
)
