"""What is broken, in whom, and when: the cells of the matrix. Deciding.

A cell is written ``sigkill/worker/stream``; each part may be ``*``.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from itertools import product

CLIENTS = 16  # of a cell
LATE_CLIENTS = 4  # of these come only after the fault has begun


class Fault(Enum):
    """What happens to a process."""

    SIGKILL = "sigkill"
    SIGSTOP = "sigstop"
    FD_LIMIT = "fd-limit"
    NO_FD = "no-fd"
    NO_MEMORY = "no-memory"
    DISK_STATE = "disk-state"
    DISK_TMP = "disk-tmp"
    DISK_LOG = "disk-log"


class Target(Enum):
    """Whose process it is."""

    SUPERVISOR = "supervisor"
    WORKER = "worker"
    MODEL = "model"
    LLAMA_SERVER = "llama-server"  # a model that is no script, in some cells


class Situation(Enum):
    """What is going on at that moment."""

    QUEUED = "queued"
    DRAINING = "draining"
    STOPPING = "stopping"
    LOADING = "loading"
    PLAIN = "plain"
    STREAM = "stream"


# Seconds for which a fault lasts; 0 is over in a moment. A limit of 64 stays: operators have such.
LASTS_S = {
    Fault.SIGKILL: 0.0,
    Fault.SIGSTOP: 15.0,
    Fault.FD_LIMIT: 0.0,
    Fault.NO_FD: 5.0,
    Fault.NO_MEMORY: 5.0,
    Fault.DISK_STATE: 5.0,
    Fault.DISK_TMP: 5.0,
    Fault.DISK_LOG: 5.0,
}

# Who writes nothing there has nothing to lose there.
_SENSELESS = {
    (Fault.DISK_STATE, Target.WORKER): "only the supervisor writes to the state folder",
    (Fault.DISK_STATE, Target.MODEL): "only the supervisor writes to the state folder",
    (Fault.DISK_TMP, Target.SUPERVISOR): "only workers keep temporary files: uploads",
    (Fault.DISK_TMP, Target.MODEL): "its temporary files are its own affair",
    (Fault.DISK_LOG, Target.WORKER): "its log goes to the supervisor through a pipe",
    (Fault.DISK_LOG, Target.MODEL): "its log goes to the supervisor through a pipe",
}


@dataclass(frozen=True, slots=True, order=False)
class Cell:
    """One field of the matrix."""

    fault: Fault
    target: Target
    situation: Situation

    def __str__(self) -> str:
        return f"{self.fault.value}/{self.target.value}/{self.situation.value}"

    @property
    def senseless(self) -> str | None:
        """Why it cannot be run, or None."""
        return _SENSELESS.get((self.fault, self.target))


_SCRIPTED = (Target.SUPERVISOR, Target.WORKER, Target.MODEL)

ALL = tuple(
    Cell(*parts)
    for parts in (
        *product(Fault, _SCRIPTED, Situation),
        *product(
            (Fault.SIGKILL, Fault.SIGSTOP, Fault.NO_FD, Fault.NO_MEMORY),
            (Target.LLAMA_SERVER,),
            (Situation.PLAIN, Situation.STREAM),
        ),
    )
)

# What has gone wrong before, here or elsewhere; cheap enough for each run of the tests.
MOST_TELLING = (
    "sigkill/supervisor/stream",
    "no-fd/supervisor/loading",
)


def parse(text: str) -> Cell:
    """Return the cell that is written so."""
    (found,) = select([text])
    return found


def select(patterns: Sequence[str]) -> list[Cell]:
    """Return the cells that fit one of `patterns`, in the order of the matrix.

    Raises:
        ValueError: A pattern fits none.
    """
    for pattern in patterns:
        if not any(fnmatchcase(str(cell), pattern) for cell in ALL):
            raise ValueError(f"there is no cell {pattern!r}: write FAULT/TARGET/SITUATION")
    return [cell for cell in ALL if any(fnmatchcase(str(cell), one) for one in patterns)]


def third(cells: Sequence[Cell], seed: str) -> list[Cell]:
    """Return a third of `cells`, in their order; the same for the same seed."""
    chosen = random.Random(seed).sample(range(len(cells)), -(-len(cells) // 3))
    return [cells[index] for index in sorted(chosen)]
