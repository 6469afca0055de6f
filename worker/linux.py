"""Calls of Linux that Python has no function for: siblings, an end with the parent, names.

Source: clone(2), prctl(2), fork() of glibc (sysdeps/nptl/fork), "PyOS_AfterFork_Child" in
Python's C API, setproctitle of PostgreSQL and others for the name.
"""

import ctypes
import errno
import os
import platform
import signal
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_GET_TID_ADDRESS: Final = 40

_CLONE_PARENT: Final = 0x8000
_CLONE_CHILD_CLEARTID: Final = 0x200000
_CLONE_CHILD_SETTID: Final = 0x1000000

# Machine -> number of the call. Others start workers as new programs.
_CLONE: Final = {"x86_64": 56, "aarch64": 220}

# Fields of /proc/self/stat after the name of the program: where its arguments begin and end, and
# the environment with which it was started.
_ARG_START: Final = 45
_ARG_END: Final = 46
_ENV_START: Final = 47
_ENV_END: Final = 48

# Calls that keep the interpreter's lock: nothing else may run in a process that is copied.
_LIBC: Final = ctypes.PyDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long
for _call in (
    ctypes.pythonapi.PyOS_BeforeFork,
    ctypes.pythonapi.PyOS_AfterFork_Parent,
    ctypes.pythonapi.PyOS_AfterFork_Child,
):
    _call.restype = None


def fork_sibling() -> int:
    """Fork, as `os.fork` does, a child of our parent: who can wait for it and learns how it ended.

    The only thread of this process has to be the caller.

    Returns:
        Its process id; 0 in the new process.

    Raises:
        OSError: The system refused, or this machine is of a kind that is not known here.
    """
    number = _CLONE.get(platform.machine())
    # Other C libraries have something else at the place of the thread's number: musl has its lock
    # for the list of threads, and no thread could begin in the new process.
    is_known = platform.libc_ver()[0] == "glibc" and ctypes.sizeof(ctypes.c_long) == 8
    if number is None or not is_known:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    # As fork() of the C library does: it remembers the thread's number at this place.
    place = ctypes.c_void_p()
    known = _LIBC.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(place)) == 0 and place.value
    notes = (_CLONE_CHILD_SETTID | _CLONE_CHILD_CLEARTID) if known else 0
    flags = ctypes.c_ulong(_CLONE_PARENT | notes | signal.SIGCHLD)
    none = ctypes.c_void_p()
    ctypes.pythonapi.PyOS_BeforeFork()
    # x86-64 has the place in the fourth argument, aarch64 in the fifth; each ignores the other.
    pid = int(_LIBC.syscall(ctypes.c_long(number), flags, none, none, place, place))
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    error = ctypes.get_errno()
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(error, os.strerror(error))
    return pid


def end_with_parent(parent: int) -> None:
    """Be killed when our parent ends; at once if `parent` is not that any more."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def outlive_parent() -> None:
    """Take `end_with_parent` back."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(0))


def set_title(words: list[str]) -> None:
    """Show `words` as the command line of this process, as far as there is room for them.

    The room is that of the command line with which its ancestor was started.
    """
    begin, end = _places(_ARG_START, _ARG_END)
    title = "\0".join(words).encode()[: end - begin - 1]
    ctypes.memmove(begin, title.ljust(end - begin, b"\0"), end - begin)


def show_variable(entry: str) -> None:
    """Show ``NAME=VALUE`` in the environment of this process, if there is room for it.

    To others only: it stands where its ancestor had its own, and what we use ourselves is a copy.
    """
    begin, end = _places(_ENV_START, _ENV_END)
    text = entry.encode() + b"\0"
    if len(text) <= end - begin:
        for name, value in os.environ.items():
            os.environ[name] = value  # setenv() copies
        ctypes.memmove(begin, text, len(text))


def _places(*fields: int) -> tuple[int, ...]:
    text = Path("/proc/self/stat").read_bytes()
    found = text[text.rindex(b")") + 2 :].split()
    return tuple(int(found[field]) for field in fields)
