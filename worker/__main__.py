"""Wiring: arguments -> settings -> `trio.run`. Started by the supervisor, never by hand."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import trio

from arriero.protocol.log_format import SentFormatter

from .app import Settings, run_worker

# Exit code of a worker whose supervisor has gone.
ORPHANED = 3

_MAX_TOKEN_BYTES = 1000


def _leave_at_once() -> None:
    """End without any clean-up: the kernel closes all connections, which cuts their answers."""
    os._exit(ORPHANED)


def _token() -> bytes:
    """Read the line that the supervisor has left on standard input."""
    return os.read(sys.stdin.fileno(), _MAX_TOKEN_BYTES).strip()


def main(options: Sequence[str] | None = None) -> int:
    """Run one worker and return its exit code.

    Args:
        options: Its command line, without the program; None: that of this process.
    """
    parser = argparse.ArgumentParser(prog="arriero.worker", description=__doc__)
    parser.add_argument("--worker", type=int, required=True, help="number of this worker")
    parser.add_argument(
        "--listen-fd", type=int, required=True, action="append", help="inherited listening socket"
    )
    parser.add_argument(
        "--plain-fd", type=int, default=[], action="append", help="one for clients without TLS"
    )
    parser.add_argument("--admin-fd", type=int, help="one for administrators")
    parser.add_argument("--shares-fd", type=int, help="inherited table of connections")
    parser.add_argument("--socket-dir", type=Path, required=True, help="the supervisor's sockets")
    parser.add_argument("--parent-pid", type=int, required=True, help="the supervisor")
    given = parser.parse_args(options)
    handler = logging.StreamHandler()
    handler.setFormatter(SentFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    if os.getppid() != given.parent_pid:
        return ORPHANED
    # Ctrl-C reaches the whole group of processes; the supervisor ends us in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = Settings(
        worker=given.worker,
        listen_fds=tuple(given.listen_fd),
        plain_fds=tuple(given.plain_fd),
        admin_fd=given.admin_fd,
        shares_fd=given.shares_fd,
        socket_dir=given.socket_dir,
        parent_pid=given.parent_pid,
        token=_token(),
    )
    trio.run(run_worker, settings, _leave_at_once)
    return 0


if __name__ == "__main__":
    sys.exit(main())
