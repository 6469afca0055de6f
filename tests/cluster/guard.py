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


def marked(mark: bytes) -> list[int]:
    """Return the processes with `mark` in their environment, but for this one."""
    found = []
    for name in os.listdir("/proc"):
        with suppress(OSError, ValueError):
            if int(name) == os.getpid():
                continue
            with open(f"/proc/{name}/environ", "rb") as file:
                if mark in file.read().split(b"\0"):
                    found.append(int(name))
    return found


def end_all(mark: bytes) -> None:
    """Kill them until there are none."""
    for _ in range(100):
        if not (found := marked(mark)):
            return
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it has something to do after them
    sys.stdin.buffer.read()
    end_all(sys.argv[1].encode())
    shutil.rmtree(sys.argv[2], ignore_errors=True)
