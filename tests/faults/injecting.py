"""Does the faults to running processes. Nothing here needs to be root, or a file system of its own.

What stands for what:

sigkill    the kernel's out-of-memory killer; a crash
sigstop    a paused virtual machine, swap, a debugger: 15 s, then it goes on
fd-limit   ``ulimit -n 64``, from then on
no-fd      no descriptor can be had, unless it closes one first, for 5 s
no-memory  no memory can be had (RLIMIT_AS at what is in use), for 5 s
disk-...   a file that is written to in that folder cannot grow: RLIMIT_FSIZE is 0 for 5 s. A full
           disk says ENOSPC and this says EFBIG, both to the same call and as the same OSError. The
           limit is one of the process, not of a folder: the rest of what it writes goes into pipes
           while it is in force.
"""

import itertools
import os
import resource
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import psutil
import trio

from .matrix import LASTS_S, Fault

_LIMITED = {
    Fault.FD_LIMIT: resource.RLIMIT_NOFILE,
    Fault.NO_FD: resource.RLIMIT_NOFILE,
    Fault.NO_MEMORY: resource.RLIMIT_AS,
    Fault.DISK_STATE: resource.RLIMIT_FSIZE,
    Fault.DISK_TMP: resource.RLIMIT_FSIZE,
    Fault.DISK_LOG: resource.RLIMIT_FSIZE,
}


def soft_limit(fault: Fault, pid: int) -> int:
    """Return the limit of a process that makes this fault."""
    match fault:
        case Fault.FD_LIMIT:
            return 64
        case Fault.NO_FD:
            # Not less: poll(2) refuses more descriptors than the limit, even those that are open.
            used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
            return next(number for number in itertools.count() if number not in used)
        case Fault.NO_MEMORY:
            return psutil.Process(pid).memory_info().vms
        case _:
            return 0  # bytes


@asynccontextmanager
async def begun(fault: Fault, pid: int) -> AsyncGenerator[None, None]:
    """Do `fault` to the process; it is undone after its time, or at the end of the block."""
    async with trio.open_nursery() as nursery:
        if fault is Fault.SIGKILL:
            os.kill(pid, signal.SIGKILL)
            yield
        elif fault is Fault.SIGSTOP:
            os.kill(pid, signal.SIGSTOP)
            try:
                nursery.start_soon(_thaw, pid)
                yield
            finally:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        else:
            which = _LIMITED[fault]
            soft, hard = resource.prlimit(pid, which)
            resource.prlimit(pid, which, (soft_limit(fault, pid), hard))
            try:
                if LASTS_S[fault]:
                    nursery.start_soon(_lift, fault, pid, (soft, hard))
                yield
            finally:
                _set(pid, which, (soft, hard))
        nursery.cancel_scope.cancel()


async def _thaw(pid: int) -> None:
    await trio.sleep(LASTS_S[Fault.SIGSTOP])
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


async def _lift(fault: Fault, pid: int, limits: tuple[int, int]) -> None:
    await trio.sleep(LASTS_S[fault])
    _set(pid, _LIMITED[fault], limits)


def _set(pid: int, which: int, limits: tuple[int, int]) -> None:
    with suppress(ProcessLookupError):  # it did not survive it
        resource.prlimit(pid, which, limits)
