"""What the system says when it gives no more."""

import os

NO_THREAD = RuntimeError("can't start new thread")


def refused(number: int) -> OSError:
    """Return the error of a system call that failed so."""
    return OSError(number, os.strerror(number))
