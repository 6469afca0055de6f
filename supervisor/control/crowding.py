"""Clients with too many connections to the sockets."""

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

# Connections of one process to one socket, and of all together. A command has two, a page that
# shows everything a few.
MAX_OF_ONE: Final = 100
MOST: Final = 300

# Descriptors that have to be free while new connections are allowed, as a share of what this
# process may have, and at least so many. zmq aborts the process when it gets none for a connection.
RESERVE_SHARE: Final = 1 / 8
LEAST_RESERVE: Final = 8


class ControlClient(NamedTuple):
    """A connection.

    Attributes:
        fd: Its descriptor.
        pid: The process at its other end.
    """

    fd: int
    pid: int


def too_many(visitors: Sequence[ControlClient]) -> list[ControlClient]:
    """Return the connections to cut: the last ones of the greediest.

    `visitors` are those of one socket.
    """
    counts = Counter(visitor.pid for visitor in visitors)
    allowed = MAX_OF_ONE
    while sum(min(count, allowed) for count in counts.values()) > MOST and allowed > 1:
        allowed -= 1
    seen: Counter[int] = Counter()
    gone = []
    for visitor in sorted(visitors):
        seen[visitor.pid] += 1
        if seen[visitor.pid] > allowed:
            gone.append(visitor)
    return gone


def may_enter(*, used: int, limit: int, is_open: bool) -> bool:
    """Return whether new connections are allowed.

    Args:
        used: Descriptors that are open.
        limit: How many there may be.
        is_open: New connections are allowed until now; once closed, some more have to be free.
    """
    reserve = max(LEAST_RESERVE, int(limit * RESERVE_SHARE))
    return limit - used >= (reserve if is_open else reserve * 1.5)
