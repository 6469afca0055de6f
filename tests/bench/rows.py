"""What a benchmark measures: its rows, and what was asked of them.

A row is one figure of each target. What was asked is of arriero with two workers, unless it says
otherwise: a ratio to a reference of the same run, or a figure of its own.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One promise.

    Attributes:
        relation: Which side of `limit` is good.
        limit: A ratio if `to` is given, otherwise a figure in the unit of the row.
        to: Reference: the name of a target, or of another row of the same target with `row:`.
        of: Whose figure.
    """

    relation: Literal["<=", ">="]
    limit: float
    to: str | None = None
    of: str = "arriero x2"

    def is_met(self, value: float) -> bool:
        """Whether `value` is on the good side."""
        return value >= self.limit if self.relation == ">=" else value <= self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure.

    Attributes:
        name: In ``--rows`` and in JSON.
        title: In tables.
        unit: Of the figure; empty for a ratio.
        digits: Behind the point.
        more_is_better: Whether a larger figure is the better one.
        asked: What was promised.
    """

    name: str
    title: str
    unit: str
    digits: int = 1
    more_is_better: bool = False
    asked: tuple[Asked, ...] = ()


def at_most(limit: float, to: str | None = None, of: str = "arriero x2") -> Asked:
    """Return the promise of no more than `limit`."""
    return Asked(relation="<=", limit=limit, to=to, of=of)


def at_least(limit: float, to: str | None = None, of: str = "arriero x2") -> Asked:
    """Return the promise of no less than `limit`."""
    return Asked(relation=">=", limit=limit, to=to, of=of)


NGINX = "nginx x2"
SWAP = "llama-swap"

ROWS = {
    row.name: row
    for row in (
        Row(
            name="requests",
            title="small POSTs, 64 connections",
            unit="/s",
            digits=0,
            more_is_better=True,
            asked=(at_least(0.40, NGINX),),
        ),
        Row(
            name="cpu-request",
            title="CPU per request, 64 connections",
            unit="us",
            asked=(at_most(4.0, NGINX),),
        ),
        Row(name="p50-64", title="p50 at 64 connections", unit="ms", digits=2),
        Row(name="p99-64", title="p99 at 64 connections", unit="ms", digits=2),
        Row(
            name="p50",
            title="p50 at 1 connection",
            unit="ms",
            digits=3,
            asked=(at_most(1.5, NGINX),),
        ),
        Row(
            name="p99",
            title="p99 at 1 connection",
            unit="ms",
            digits=3,
            asked=(at_most(0.8, SWAP),),
        ),
        Row(
            name="streams",
            title="streams of 200 chunks, 16 connections",
            unit="/s",
            digits=0,
            more_is_better=True,
            asked=(at_least(1.15, SWAP), at_least(1.0, NGINX)),
        ),
        Row(name="cpu-stream", title="CPU per stream", unit="us", asked=(at_most(1.2, NGINX),)),
        Row(
            name="cpu-chunk",
            title="CPU per chunk, one every 4 ms",
            unit="us",
            asked=(at_most(2.0, NGINX),),
        ),
        Row(
            name="noticed",
            title="a ready model noticed late, median",
            unit="ms",
            asked=(at_most(25.0),),
        ),
    )
}
