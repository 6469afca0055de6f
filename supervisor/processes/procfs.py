"""Process groups as /proc shows them: members, and whether one still runs.

Source of the formats: proc(5).
"""

import os


def group_members(group: int) -> set[int]:
    """Return the processes of `group` that still run, without zombies.

    Reads a line per process of the machine: some milliseconds, so for rare questions only.
    """
    return {int(name) for name in os.listdir("/proc") if name.isdigit() and _is_in(name, group)}


def group_exists(group: int) -> bool:
    """Return whether a process of `group` still runs.

    Cheap once the group is gone.

    A member whose new parent never reaps it (a container whose first process does not care)
    exists for the kernel until the machine stops; here it counts as gone.
    """
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # a member that changed its user
    return bool(group_members(group))


def _is_in(pid: str, group: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            # "pid (name) state ppid pgrp ..."; the name may hold spaces and parentheses
            state, _parent, pgrp = stat.read().rpartition(b")")[2].split()[:3]
    except (OSError, ValueError):
        return False  # it ended while we looked
    return int(pgrp) == group and state not in {b"Z", b"X"}
