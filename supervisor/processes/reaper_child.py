"""Companion process of a supervisor: kills the groups that outlive it.

Started as ``python -I -S reaper_child.py MARK``. Reads lines ``add GROUP`` and ``del GROUP``
from its standard input until that ends, which it does when the supervisor is gone, however it
went. Then every group that is still registered is killed, and every process whose environment
has ``ARRIERO_SPAWN=MARK.`` (it was started by the supervisor a moment before that one was killed,
or has left its group).

Only the standard library's smallest parts are imported: this process is there all the time.
"""

import os
import signal
import sys
import time

# Name of the environment variable that every started process has, and its children inherit.
MARK_NAME = "ARRIERO_SPAWN"

# How often marked processes are looked for at the most, and seconds between two looks. A process
# may fork while the list is read, or be on the way from fork to exec, so two looks in a row have
# to find nothing; a process that cannot be killed (stuck in a driver) ends the search as well.
_SWEEPS = 10
_SWEEP_PAUSE_S = 0.02


def marked_processes(mark: str) -> list[int]:
    """Return the processes with `mark` in their environment, without zombies.

    Reads a file per process of this user: milliseconds. Processes of other users are not seen.
    """
    wanted = f"\0{MARK_NAME}={mark}".encode()
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as environ:  # empty for a zombie
                if wanted in b"\0" + environ.read():
                    found.append(int(name))
        except OSError:
            continue  # ended meanwhile, or not ours
    return found


def kill(pid: int) -> None:
    """Kill a process, if it is there and ours."""
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return


def _read_groups() -> set[int]:
    """Read lines until the supervisor is gone; return the registered groups."""
    groups: set[int] = set()
    rest = b""
    while data := os.read(0, 65536):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            word, _, number = line.partition(b" ")
            if not number.isdigit() or int(number) <= 1:
                continue  # killpg of 0 or 1 would hit far more than was meant
            if word == b"add":
                groups.add(int(number))
            elif word == b"del":
                groups.discard(int(number))
    return groups


def main(mark: str) -> None:
    """Wait for the end of the supervisor, then kill the rest."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the supervisor may need seconds after the same one
    for group in _read_groups():
        try:
            os.killpg(group, signal.SIGKILL)
        except OSError:
            continue
    empty_looks = 0
    for _ in range(_SWEEPS):
        left = marked_processes(f"{mark}.")
        for pid in left:
            kill(pid)
        empty_looks = 0 if left else empty_looks + 1
        if empty_looks == 2:
            break
        time.sleep(_SWEEP_PAUSE_S)


if __name__ == "__main__":
    main(sys.argv[1])
