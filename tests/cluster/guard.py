"""Kills all processes that carry a mark when its standard input ends, and removes their folder.

    python tests/cluster/guard.py NAME=VALUE FOLDER

Of a cluster nothing may be left, not even if the tests were killed.
"""

import os
import shutil
import signal
import sys
import time
from contextlib import suppress


def marked(mark: bytes, folder: str = "") -> list[int]:
    """Return the processes with `mark` in their environment, but for this one.

    Some of Ray's write their name over that: they are known by their logs, which are in `folder`.
    """
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        if int(name) != os.getpid():
            with suppress(OSError):
                if _has(name, mark) or (folder and _writes_to(name, folder)):
                    found.append(int(name))
    return found


def _has(pid: str, mark: bytes) -> bool:
    with open(f"/proc/{pid}/environ", "rb") as file:
        return mark in file.read().split(b"\0")


def _writes_to(pid: str, folder: str) -> bool:
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            if os.readlink(f"/proc/{pid}/fd/{fd}").startswith(f"{folder}/"):
                return True
    return False


def end_all(mark: bytes, folder: str = "") -> None:
    """Kill them until there are none."""
    for _ in range(100):
        if not (found := marked(mark, folder)):
            return
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it has something to do after them
    sys.stdin.buffer.read()
    end_all(sys.argv[1].encode(), sys.argv[2])
    shutil.rmtree(sys.argv[2], ignore_errors=True)
