"""Reasons of scarcity: threads, processes, files, memory, disk.

The words may be shown to clients: they never hold a path or an argument.
"""

import errno
from typing import Final

_ENOUGH: Final = {
    errno.EAGAIN: "the system gives no more processes or threads (EAGAIN); raise TasksMax= of the "
    "service, or ulimit -u",
    errno.EMFILE: "this process has no more files to open (EMFILE); raise LimitNOFILE= of the "
    "service, or ulimit -n",
    errno.ENFILE: "the system has no more files to open (ENFILE); raise fs.file-max",
    errno.ENOMEM: "the system gives no more memory (ENOMEM)",
    errno.ENOSPC: "the disk is full (ENOSPC)",
    errno.EDQUOT: "the disk quota is used up (EDQUOT)",
}

# Python's message when pthread_create fails; it has no reason.
_NO_THREAD: Final = "can't start new thread"


def what_is_scarce(failure: BaseException) -> str | None:
    """Return the missing resource; None if `failure` is of another kind."""
    failure = first_of(failure)
    if isinstance(failure, OSError):
        return _ENOUGH.get(failure.errno or 0)
    if isinstance(failure, MemoryError):
        return _ENOUGH[errno.ENOMEM]
    if isinstance(failure, RuntimeError) and _NO_THREAD in str(failure):
        return _ENOUGH[errno.EAGAIN]
    return None


def why(failure: BaseException) -> str:
    """Return the reason of `failure`, in words that anybody may read."""
    scarce = what_is_scarce(failure)
    if scarce is not None:
        return scarce
    return f"{type(first_of(failure)).__name__}, an error in this program; its log says more"


def first_of(failure: BaseException) -> BaseException:
    """Return the first single exception in a group of groups."""
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure
