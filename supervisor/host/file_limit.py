"""Limits of open files, for us and the workers: the system's maximum.

Each client that waits holds a connection. The usual soft limit of 1,024 is there for programs that
use select(2), which is not ours; the hard limit is what the operator allows. Models get the soft
limit back that we were started with: they may be such programs.

Source: systemd.exec(5), "Don't use" beside LimitNOFILE; "File Descriptor Limits" in systemd's docs.
"""

import contextlib
import resource
from typing import Final

_AT_START: Final = resource.getrlimit(resource.RLIMIT_NOFILE)


def raise_descriptor_limit() -> None:
    """Raise the soft limit to the hard one, for children as well."""
    _, hard = _AT_START
    with contextlib.suppress(OSError, ValueError):  # what the system does not allow stays
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def restore_own_limit() -> None:
    """Have the limit again that we had before, for the program that takes our place."""
    with contextlib.suppress(OSError, ValueError):  # more files are open: they stay
        resource.setrlimit(resource.RLIMIT_NOFILE, _AT_START)


def restore_descriptor_limit(pid: int) -> None:
    """Give the new child `pid` the limit that we had before."""
    if resource.getrlimit(resource.RLIMIT_NOFILE) != _AT_START:
        with contextlib.suppress(OSError, ValueError):  # it has gone already
            resource.prlimit(pid, resource.RLIMIT_NOFILE, _AT_START)
