"""Resources that the processes of a start have used. `liveness` interprets them.

Source of the formats: proc(5); Linux, Documentation/scheduler/sched-stats.rst.
"""

import contextlib
import os
from typing import Final

from ...processes.port_owner import family_on
from .liveness import ResourceUse

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


def read_effort(place: int | str | None, host: str, leader: int) -> ResourceUse | None:
    """Return the resources used by the start of `leader`; None if unknown.

    Reads some lines for each process of the machine: call it in a thread, and not often.

    Args:
        place: Of the model's server: a port, or the path of a unix socket; None if that
            is not on this machine.
        host: Its address.
        leader: The process that was started.
    """
    family = None if place is None else family_on(place, host, leader)
    if not family:
        return None
    cpu_s, waited_s, major_faults = 0.0, 0.0, 0
    for pid in family:
        try:
            with open(f"/proc/{pid}/stat", "rb") as stat:
                # from the state on; the name before it may hold spaces and parentheses
                fields = stat.read().rpartition(b")")[2].split()
            faults, user, system = int(fields[9]), int(fields[11]), int(fields[12])
        except (OSError, ValueError, IndexError):
            continue  # it ended while we looked
        cpu_s += (user + system) / _TICKS_PER_S
        waited_s += _waited_s(pid)
        major_faults += faults
    return ResourceUse(cpu_s, waited_s, major_faults)


def _waited_s(pid: int) -> float:
    """Return the seconds that `pid` waited for a processor; 0.0 if unknown."""
    waited_ns = 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat", "rb") as schedstat:
                waited_ns += int(schedstat.read().split()[1])  # "ran_ns waited_ns slices"
    return waited_ns / 1e9
