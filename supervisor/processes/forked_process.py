"""A process that was forked elsewhere, with our ends of its pipes. See `PipedProcess`."""

import os
from collections.abc import Sequence
from typing import IO


class ForkedProcess:
    """A child of this process that another one has forked.

    Attributes:
        pid: Its process id.
        returncode: As for `subprocess.Popen`.
    """

    def __init__(self, pid: int, pipes: Sequence[int]) -> None:
        """Take it over, with the descriptors of our ends: what it reads, writes, and complains."""
        stdin, stdout, stderr = pipes
        self.pid = pid
        self.returncode: int | None = None
        self.stdin: IO[bytes] = os.fdopen(stdin, "wb", buffering=0)
        self.stdout: IO[bytes] = os.fdopen(stdout, "rb", buffering=0)
        self.stderr: IO[bytes] = os.fdopen(stderr, "rb", buffering=0)

    def poll(self) -> int | None:
        """Reap it if it has ended; return its exit code, or minus the signal that ended it."""
        return self._reap(os.WNOHANG)

    def wait(self) -> int | None:
        """Wait for its end, then as `poll`."""
        return self._reap(0)

    def _reap(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode
