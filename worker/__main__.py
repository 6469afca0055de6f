"""Wiring: arguments -> settings -> `trio.run`. Started by the supervisor, never by hand."""

import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from getopt import getopt
from pathlib import Path

import trio

from arriero.protocol.log_format import SentFormatter

from .app import Settings, run_worker

# Exit code of a worker whose supervisor has gone.
ORPHANED = 3

_MAX_TOKEN_BYTES = 1000

# Number of this worker; inherited listening sockets, those of them for clients without TLS, and the
# one for administrators; the inherited table of connections; the supervisor's sockets, and itself.
_OPTIONS = (
    "worker=",
    "listen-fd=",
    "plain-fd=",
    "admin-fd=",
    "shares-fd=",
    "socket-dir=",
    "parent-pid=",
)


def _leave_at_once() -> None:
    """End without any clean-up: the kernel closes all connections, which cuts their answers."""
    os._exit(ORPHANED)


def _token() -> bytes:
    """Read the line that the supervisor has left on standard input."""
    return os.read(sys.stdin.fileno(), _MAX_TOKEN_BYTES).strip()


def _numbers(given: Mapping[str, Sequence[str]], option: str) -> tuple[int, ...]:
    return tuple(map(int, given.get(option, ())))


def main(options: Sequence[str] | None = None) -> int:
    """Run one worker and return its exit code.

    Args:
        options: Its command line, without the program; None: that of this process.
    """
    pairs, _ = getopt(sys.argv[1:] if options is None else options, "", _OPTIONS)
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        given.setdefault(name.removeprefix("--"), []).append(value)
    parent_pid = int(given["parent-pid"][0])
    handler = logging.StreamHandler()
    handler.setFormatter(SentFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    if os.getppid() != parent_pid:
        return ORPHANED
    # Ctrl-C reaches the whole group of processes; the supervisor ends us in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = Settings(
        worker=int(given["worker"][0]),
        listen_fds=_numbers(given, "listen-fd"),
        plain_fds=_numbers(given, "plain-fd"),
        admin_fd=next(iter(_numbers(given, "admin-fd")), None),
        shares_fd=next(iter(_numbers(given, "shares-fd")), None),
        socket_dir=Path(given["socket-dir"][0]),
        parent_pid=parent_pid,
        token=_token(),
    )
    trio.run(run_worker, settings, _leave_at_once)
    return 0


if __name__ == "__main__":
    sys.exit(main())
