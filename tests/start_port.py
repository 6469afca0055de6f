"""Where the ports of models begin: each of all processes that test on this machine has its own.

Whatever checkout they are of. All are below the ports that the system gives away.
"""

import socket
from contextlib import ExitStack, suppress

_FIRST = 5800
_PROCESSES = 64

# For each of these processes.
PORTS = 400


def _own_ports() -> tuple[int, socket.socket | None]:
    """Return the first of some ports, and what tells other processes that they are taken.

    An abstract name is that of one process, is gone with it, and leaves no file.
    """
    for number in range(_PROCESSES):
        mark = socket.socket(socket.AF_UNIX)
        with suppress(OSError):
            mark.bind(f"\0arriero-tests-ports-{number}")
            return _FIRST + number * PORTS, mark
        mark.close()
    return _FIRST, None  # two of so many share them: arriero chooses another port if one is taken


START_PORT, _MARK = _own_ports()

# Trains take ports from the beginning; the others are for tests that need some for themselves.
_given = START_PORT + PORTS // 4


def free_ports(count: int) -> int:
    """Return the first of `count` ports in a row that nobody has, and no other test is given."""
    global _given
    while _given + count <= START_PORT + PORTS:
        first = _given
        _given += count
        with suppress(OSError), ExitStack() as taken:
            for port in range(first, first + count):
                taken.enter_context(socket.create_server(("127.0.0.1", port)))
            return first
    raise AssertionError(f"no {count} ports are left: {START_PORT} + {PORTS}")
