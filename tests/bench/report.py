"""From measured values to what is shown: medians, ratios to nginx, and whether a target is met."""

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal

from .load import Load


@dataclass(slots=True)
class Samples:
    """All that was measured of one target, a value per round."""

    small: list[Load] = field(default_factory=list)  # 64 connections
    single: list[Load] = field(default_factory=list)  # 1 connection
    stream: list[Load] = field(default_factory=list)  # 16 connections
    cpu_request_us: list[float] = field(default_factory=list)
    cpu_chunk_us: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The medians of one target over its rounds; None where nothing was measured."""

    requests_per_s: float | None
    p50_ms: float | None
    p99_ms: float | None
    streams_per_s: float | None
    cpu_request_us: float | None
    cpu_chunk_us: float | None
    errors: int


def row_of(samples: Samples) -> Row:
    """Return the medians of `samples`."""

    def middle(values: list[float]) -> float | None:
        return median(values) if values else None

    return Row(
        requests_per_s=middle([one.per_s for one in samples.small]),
        p50_ms=middle([one.p50_ms for one in samples.single]),
        p99_ms=middle([one.p99_ms for one in samples.single]),
        streams_per_s=middle([one.per_s for one in samples.stream]),
        cpu_request_us=middle(samples.cpu_request_us),
        cpu_chunk_us=middle(samples.cpu_chunk_us),
        errors=sum(one.errors for one in samples.small + samples.single + samples.stream),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One line of the comparison.

    Attributes:
        what: In words.
        value: The measured ratio or time.
        relation: Which side of `limit` is good.
        limit: What was promised.
        unit: Of both.
    """

    what: str
    value: float
    relation: Literal["<=", ">="]
    limit: float
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether the promise is kept."""
        return self.value >= self.limit if self.relation == ">=" else self.value <= self.limit


def goals(rows: dict[str, Row], lateness_ms: list[float]) -> list[Goal]:
    """Compare arriero with the nginx of as many workers, as far as both were measured."""
    found = []
    ours, theirs = rows.get("arriero x2"), rows.get("nginx x2")
    if ours and theirs:
        if ours.requests_per_s and theirs.requests_per_s:
            ratio = ours.requests_per_s / theirs.requests_per_s
            found.append(
                Goal(
                    what="requests/s to nginx, two workers", value=ratio, relation=">=", limit=0.25
                )
            )
        if ours.p50_ms and theirs.p50_ms:
            ratio = ours.p50_ms / theirs.p50_ms
            found.append(
                Goal(what="p50 at 1 connection to nginx", value=ratio, relation="<=", limit=2.0)
            )
        if ours.streams_per_s and theirs.streams_per_s:
            ratio = ours.streams_per_s / theirs.streams_per_s
            found.append(
                Goal(what="streams/s to nginx, two workers", value=ratio, relation=">=", limit=1.0)
            )
    if lateness_ms:
        found.append(
            Goal(
                what="readiness noticed late, median",
                value=median(lateness_ms),
                relation="<=",
                limit=25.0,
                unit=" ms",
            )
        )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What `target` adds to the time of one request, in milliseconds, against another way."""

    target: str
    against: str
    p50_ms: float
    p99_ms: float


def added_latency(rows: dict[str, Row]) -> list[Added]:
    """Compare each arriero with no proxy at all and with the nginx of as many workers."""
    found = []
    for name, row in rows.items():
        for against in ("direct", name.replace("arriero", "nginx")):
            other = rows.get(against)
            if not name.startswith("arriero") or other is None:
                continue
            if row.p50_ms is None or other.p50_ms is None:
                continue
            assert row.p99_ms is not None
            assert other.p99_ms is not None
            found.append(
                Added(
                    target=name,
                    against=against,
                    p50_ms=row.p50_ms - other.p50_ms,
                    p99_ms=row.p99_ms - other.p99_ms,
                )
            )
    return found


def as_json(
    samples: dict[str, Samples], lateness_ms: list[float], machine: dict[str, Any]
) -> dict[str, Any]:
    """Return everything, medians and single values, for a file."""
    rows = {name: row_of(one) for name, one in samples.items()}
    return {
        "machine": machine,
        "medians": {name: asdict(row) for name, row in rows.items()},
        "goals": [asdict(goal) | {"met": goal.met} for goal in goals(rows, lateness_ms)],
        "added_latency": [asdict(one) for one in added_latency(rows)],
        "readiness_lateness_ms": lateness_ms,
        "samples": {name: asdict(one) for name, one in samples.items()},
    }
