"""What a benchmark measures: its rows, and what was asked of them.

A row is one figure of each target. What was asked is of arriero with two workers, unless it says
otherwise: a ratio to a reference of the same run, or a figure of its own.
"""

from dataclasses import dataclass
from typing import Literal

# Of whom something is asked, unless it says otherwise.
USUAL = "arriero x2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One promise.

    Attributes:
        relation: Which side of `limit` is good.
        limit: A ratio if `to` is given, otherwise a figure in the unit of the row.
        to: Reference: the name of a target, or `row:` and that of another row of the same target.
        of: Whose figure.
    """

    relation: Literal["<=", ">="]
    limit: float
    to: str | None = None
    of: str = USUAL

    def words(self, unit: str) -> str:
        """What was asked, of a row with that unit."""
        of = "" if self.of == USUAL else f" ({self.of})"
        if self.to is None:
            return f"{self.relation} {self.limit:g} {unit}".rstrip() + of
        to = f"row {self.to[4:]}" if self.to.startswith("row:") else self.to
        return f"{self.relation} {self.limit:g} {to}{of}"

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


def at_most(limit: float, to: str | None = None, of: str = USUAL) -> Asked:
    """Return the promise of no more than `limit`."""
    return Asked(relation="<=", limit=limit, to=to, of=of)


def at_least(limit: float, to: str | None = None, of: str = USUAL) -> Asked:
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
            name="bulk",
            title="the same streams in one write each",
            unit="/s",
            digits=0,
            more_is_better=True,
        ),
        Row(name="cpu-bulk", title="CPU per stream in one write", unit="us"),
        Row(
            name="memory",
            title="memory at rest, PSS",
            unit="MB",
            asked=(at_most(75.0), at_most(50.0, of="arriero x1")),
        ),
        Row(
            name="memory-after",
            title="memory after load, PSS",
            unit="MB",
            asked=(at_most(1.1, "row:memory"),),
        ),
        Row(name="memory-idle", title="the same once idle", unit="MB"),
        Row(
            name="spawn",
            title="request to process that runs",
            unit="ms",
            asked=(at_most(6.0),),
        ),
        Row(
            name="ready-byte",
            title="ready to first byte",
            unit="ms",
            asked=(at_most(10.0),),
        ),
        Row(name="noticed", title="ready to event, 20 swaps", unit="ms", asked=(at_most(25.0),)),
        Row(
            name="start",
            title="start to first answer",
            unit="s",
            digits=2,
            asked=(at_most(0.5),),
        ),
        Row(
            name="swap",
            title="swap by bare start, real models",
            unit="",
            digits=2,
            asked=(at_most(1.0),),
        ),
        *(
            Row(name=name, title=title, unit="", digits=2, asked=(at_most(limit),))
            for name, title, limit in (
                ("start-cold", "start from disk by bare start", 1.05),
                ("start-warm", "start from the page cache by bare start", 1.05),
                ("drain-cold", "swap after a running request, from disk, by hand", 1.0),
                ("drain-warm", "the same from the page cache", 1.0),
                ("kept-start", "start of a kept model by start from disk", 0.7),
            )
        ),
        *(
            row
            for count in (1000, 5000)
            for row in (
                Row(
                    name=f"wait-{count}-stale",
                    title=f"{count:,} waiters: progress shown late, p99",
                    unit="ms",
                    digits=0,
                ),
                Row(
                    name=f"wait-{count}-health",
                    title=f"{count:,} waiters: /health meanwhile, p99",
                    unit="ms",
                    digits=0,
                ),
                Row(
                    name=f"wait-{count}-memory",
                    title=f"{count:,} waiters: memory of each, PSS",
                    unit="kB",
                ),
                Row(
                    name=f"wait-{count}-served",
                    title=f"{count:,} waiters: ready to all served",
                    unit="s",
                    digits=2,
                ),
            )
        ),
        Row(
            name="scaling",
            title="requests with two workers by those with one",
            unit="",
            digits=2,
            more_is_better=True,
        ),
        Row(name="fan-out", title="event to the last of 50 subscribers", unit="ms", digits=2),
        Row(name="cpu-fan-out", title="supervisor's CPU for that", unit="us"),
        Row(name="control", title="control socket, round trip", unit="us", digits=0),
        Row(name="idle", title="200 idle models: CPU", unit="ms/s", digits=2),
        Row(
            name="page-events",
            title="page: events that come to it, 200 models on a busy machine",
            unit="/s",
            digits=0,
            more_is_better=True,
            asked=(at_least(50.0),),
        ),
        Row(
            name="page-cpu",
            title="page: CPU for it, all processes of the browser",
            unit="ms/s",
            digits=0,
            asked=(at_most(100.0),),
        ),
        Row(name="page-cpu-plain", title="the same by a page of plain text", unit="", digits=2),
        Row(
            name="page-renderer",
            title="page: CPU for it, the page's process",
            unit="ms/s",
            digits=0,
        ),
        Row(name="page-late", title="page: event to screen", unit="ms", digits=0),
        Row(
            name="page-late-most",
            title="the same, the longest",
            unit="ms",
            digits=0,
            asked=(at_most(200.0),),
        ),
        Row(name="page-late-plain", title="the same by a page of plain text", unit="", digits=2),
        Row(name="page-step", title="page: step of a load to screen", unit="ms", digits=0),
        Row(
            name="page-step-99",
            title="the same, p99",
            unit="ms",
            digits=0,
            asked=(at_most(200.0),),
        ),
        Row(name="page-paint", title="page: first paint", unit="ms", digits=0),
        Row(name="page-paint-plain", title="the same by an empty page", unit="", digits=2),
        Row(
            name="http2",
            title="small POSTs over HTTP/2",
            unit="/s",
            digits=0,
            more_is_better=True,
        ),
        Row(name="cpu-http2", title="CPU per request over HTTP/2", unit="us"),
        Row(
            name="tls",
            title="small POSTs to a peer with TLS",
            unit="/s",
            digits=0,
            more_is_better=True,
        ),
        Row(name="cpu-tls", title="CPU per request to a peer with TLS", unit="us"),
        Row(
            name="upload",
            title="uploads of 100 MB",
            unit="MB/s",
            digits=0,
            more_is_better=True,
        ),
        Row(name="cpu-upload", title="CPU per upload", unit="ms"),
    )
}
