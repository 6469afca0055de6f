"""What the holder is told, and what it reports: a line of JSON each.

`holder_child` writes and reads the same without this module: it imports nothing of arriero.
"""

from typing import Final

import msgspec

from .loaded_files import LoadedFile


class HolderPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be kept; it takes the place of the plan before.

    Attributes:
        number: Rises with each one.
        most: Bytes that may be kept together.
        reads: What is not in memory yet may be read now.
        files: Those to be kept, the last of which is given up first.
    """

    number: int = 0
    most: int = 0
    reads: bool = False
    files: tuple[LoadedFile, ...] = ()


class HolderReport(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the holder.

    Attributes:
        number: Of the plan that it follows.
        held: Bytes of each file of the plan that are kept.
        locked: They cannot be dropped.
        why: Why they can; empty if not.
        yields_s: Seconds for which it keeps no more, since memory was short; 0: it was not.
        bad: Index of a file -> why it cannot be kept.
    """

    number: int
    held: tuple[int, ...]
    locked: bool
    why: str
    yields_s: float
    bad: dict[int, str]


NOTHING_HELD: Final = HolderReport(number=0, held=(), locked=True, why="", yields_s=0.0, bad={})


def read_report(line: bytes) -> HolderReport | None:
    """Return the report in a line of the holder's output; None if it is something else."""
    try:
        return msgspec.json.decode(line, type=HolderReport)
    except msgspec.DecodeError:
        return None


def plan_line(plan: HolderPlan) -> bytes:
    """Return `plan` as the holder reads it."""
    return msgspec.json.encode(plan) + b"\n"
