"""The results of the matrix as docs/reliability.md. Deciding: results -> text.

The layout depends on nothing but the matrix, and times are rounded to what a machine repeats, so
that the difference of two reports shows what has changed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .blame import RULE
from .cell import Result
from .endings import Ending
from .matrix import ALL, CLIENTS, LATE_CLIENTS, Cell, Fault, Target

MEANING = {
    Fault.SIGKILL: "killed: a crash, or the kernel short of memory",
    Fault.SIGSTOP: "frozen for 15 s: a paused machine, swap, a debugger",
    Fault.FD_LIMIT: "from now on no more than 64 descriptors",
    Fault.NO_FD: "for 5 s no descriptor can be had",
    Fault.NO_MEMORY: "for 5 s no memory can be had (RLIMIT_AS at what is in use)",
    Fault.DISK_STATE: "for 5 s nothing can be written to the state folder",
    Fault.DISK_TMP: "for 5 s nothing can be written to the temporary folder; the clients upload",
    Fault.DISK_LOG: "for 5 s nothing can be written to the log",
}

_COLUMNS = (Ending.WHOLE, Ending.ERROR, Ending.CUT, Ending.HANG, Ending.SILENT, Ending.ODD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where figures come from.

    Attributes:
        date: Of the run.
        versions: Name -> version of what took part.
        machine: In a few words.
        command: That writes them.
    """

    date: str
    versions: Mapping[str, str]
    machine: str
    command: str


def seconds(value: float) -> str:
    """Write a time as coarsely as a machine repeats it."""
    if math.isinf(value):
        return "never"
    return "< 1" if value < 1 else f"{value:.0f}"


def line(result: Result) -> str:
    """One cell in a line, for people who wait."""
    counts = " ".join(
        f"{one.value} {result.endings[one]}" for one in _COLUMNS if result.endings[one]
    )
    text = f"{result.cell}: {counts}; good again: {seconds(result.good_s)}"
    return text + "".join(f"; {one}" for one in result.left)


def verdict(results: Sequence[Result]) -> str:
    """Say whether the promises were kept."""
    total = {ending: sum(one.endings[ending] for one in results) for ending in Ending}
    blamed = sum(one.blamed for one in results)
    left = sum(bool(one.left) for one in results)
    counts = ", ".join(f"{total[ending]} {ending.value}" for ending in _COLUMNS)
    return (
        f"{len(results)} cells, {sum(total.values())} clients: {counts}. For {blamed} of them only "
        f"arriero was to blame; {left} cells left something over."
    )


def as_markdown(
    results: Mapping[Cell, Result], failures: Mapping[Cell, str], origin: Origin
) -> str:
    """Return the whole page.

    Args:
        results: What was run.
        failures: Cells that could not be run, and why.
        origin: Of the figures.
    """
    parts = [
        "# What breaks, and what does not",
        "Written by "
        f"`{origin.command}`; do not edit. {origin.date}, {origin.machine}, "
        + ", ".join(f"{name} {version}" for name, version in sorted(origin.versions.items()))
        + ".",
        _LEGEND,
        RULE,
        f"**{verdict(list(results.values()))}**",
    ]
    for fault in Fault:
        parts.append(f"## {fault.value}: {MEANING[fault]}")
        parts.append(_table(fault, results, failures))
        notes = [f"- no part for the {one.value}: {why}" for one, why in _senseless(fault)]
        if notes:
            parts.append("\n".join(notes))
    return "\n\n".join(parts) + "\n"


def _table(fault: Fault, results: Mapping[Cell, Result], failures: Mapping[Cell, str]) -> str:
    heads = ["of the", "while", *(one.value for one in _COLUMNS), "to blame", "good again, s"]
    rows = [[*heads, "left over"]]
    for cell in ALL:
        if cell.fault is not fault or cell.senseless:
            continue
        start = [cell.target.value, cell.situation.value]
        if result := results.get(cell):
            counts = [str(result.endings[one] or "") for one in _COLUMNS]
            end = [str(result.blamed or ""), seconds(result.good_s), ", ".join(result.left)]
            rows.append([*start, *counts, *end])
        else:
            why = failures.get(cell, "not run")
            rows.append([*start, *[""] * (len(heads) - 2), why])
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join(" ".join(f"| {' | '.join(row)} |".split()) for row in rows)


def _senseless(fault: Fault) -> list[tuple[Target, str]]:
    found = {cell.target: cell.senseless for cell in ALL if cell.fault is fault}
    return [(target, why) for target, why in found.items() if why]


_LEGEND = f"""\
A real supervisor with two workers; models are scripted processes. In each cell one process is hit
while {CLIENTS} clients are there, of whom {LATE_CLIENTS} come half a second later. Half of those
that wait want streams. *queued*: half of them are answered by the model that runs, half wait for
another one; *draining*: the same, and the first model gets nothing new; *stopping*: it is told to
end, and takes 4 s; *loading*: all wait for a model that loads; *plain*: whole answers, which the
model has begun for half of them; *stream*: streams in their middle. The *model* that is hit is the
one that runs, drains, stops or loads; *llama-server* is a real one, with a random model. A
supervisor that has ended is started again after 0.1 s, as systemd would, with the same listening
socket.

How clients ended: *whole*; *error*, in the shape of their API; *cut*, the connection ended before
the HTTP message did, which every client notices; *hang*; *silent*, a clean end of an answer that is
not whole; *odd*, anything else. *good again*: seconds from the fault until somebody who asks anew
(every half second) has a good answer; it has to wait its turn like all others. *left over*:
processes, descriptors (more than two above those of a fresh process), zombies, temporary files."""
