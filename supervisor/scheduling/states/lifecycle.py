"""State table of a model process.

Nothing here waits, reads a clock or touches a process; `engine.py` decides when a step is taken
and `fleet.py` does what it means. The table is printed in the README.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final

from arriero.protocol.values import State

from ...errors import IllegalStep


class Step(Enum):
    """A step in the life of a model process."""

    ADOPT = "is taken over"  # an earlier supervisor has started it; it serves
    START = "start"  # it is this model's turn, and there is room
    UP = "serves"  # it answers requests
    DRAIN = "drain"  # it has to go: no new requests beyond what the leases admit
    KEEP = "keep"  # its place is not needed any more
    STOP = "stop"  # it is stopped: drained, unwanted, too slow to start, or unloaded at once
    SLEEP = "sleeps"  # it gave its memory back, most of it, and its process stays
    WAKE = "wake"  # it is this model's turn again
    END = "ends"  # the process and its whole group are gone


# Every step that can be taken is here. Any other pair is a bug in the caller.
TRANSITIONS: Final[Mapping[tuple[State, Step], State]] = {
    ("stopped", Step.ADOPT): "ready",
    ("stopped", Step.START): "starting",
    ("starting", Step.UP): "ready",
    ("starting", Step.STOP): "stopping",  # took too long, or lost its last waiter
    ("starting", Step.END): "stopped",  # could not be started, or died while loading
    ("ready", Step.DRAIN): "draining",
    ("ready", Step.STOP): "stopping",  # unloaded at once
    ("ready", Step.END): "stopped",  # crashed
    ("draining", Step.KEEP): "ready",
    ("draining", Step.STOP): "stopping",  # the last lease was given back
    ("draining", Step.END): "stopped",  # crashed
    ("stopping", Step.STOP): "stopping",  # stopped again, with less patience
    ("stopping", Step.END): "stopped",
    ("stopping", Step.SLEEP): "asleep",  # it was put to sleep in the place of an end
    ("draining", Step.SLEEP): "asleep",  # it fell asleep by itself
    ("asleep", Step.WAKE): "starting",
    ("asleep", Step.STOP): "stopping",  # unloaded, or another start is wanted
    ("asleep", Step.END): "stopped",  # crashed
}


def after(state: State, step: Step) -> State:
    """Return the state that `step` leads to.

    Raises:
        IllegalStep: The table has no such pair.
    """
    try:
        return TRANSITIONS[state, step]
    except KeyError:
        raise IllegalStep(f"cannot {step.name} a model that is {state}") from None


def as_mermaid() -> str:
    """Return the table as a Mermaid state diagram, for the README."""
    rows = [f"    {old} --> {new}: {step.value}" for (old, step), new in TRANSITIONS.items()]
    return "\n".join(["stateDiagram-v2", "    [*] --> stopped", *rows])
