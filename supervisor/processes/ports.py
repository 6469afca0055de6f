"""Listeners on the TCP ports of this machine, and free ports."""

import errno
import ipaddress
import socket
from collections.abc import Collection, Iterator
from itertools import chain

import trio

from ..errors import PortError
from .listening_sockets import IPAddress, ListeningSocket, listening_sockets

LAST_PORT = 65535

# Seconds between two looks at a port that has to close: the first and the longest.
_FIRST_PAUSE_S = 0.002
_LAST_PAUSE_S = 0.05

# Where the search goes on, by first port. A port is a thing of the whole machine, and so is the
# place where this process last found a free one: a port that was just given back is the last to
# be given out, so a client of the old process does not reach a new one.
_cursors: dict[int, int] = {}


def pick_port(
    start: int,
    taken: Collection[int],
    *,
    preferred: int | None = None,
    reserved: Collection[int] = (),
    last: int = LAST_PORT,
) -> int:
    """Return a free port from `start` on, each time another one.

    Nobody listens there, on any address.

    Args:
        start: The first port to be considered.
        taken: Ports of processes that do not listen yet.
        preferred: Returned whenever it is free.
        reserved: Ports that others prefer: only where no other is free.
        last: The last port to be considered.

    Raises:
        PortError: None is free.
        OSError: There is no descriptor left to look.
    """
    if preferred is not None and preferred not in taken and _is_free(preferred):
        return preferred
    first = max(_cursors.get(start, start), start)
    for unwelcome in ({*taken, *reserved}, taken):
        for port in chain(range(first, last + 1), range(start, min(first, last + 1))):
            if port not in unwelcome and _is_free(port):
                _cursors[start] = port + 1
                return port
    raise PortError(f"cannot find a free port from {start} to {last}; choose a lower startPort")


def is_listening(port: int, host: str = "127.0.0.1") -> bool:
    """Return whether a connection to `port` of `host` would be answered."""
    return any(True for _ in listeners_on(port, host))


def listeners_on(port: int, host: str = "127.0.0.1") -> Iterator[ListeningSocket]:
    """Give the listeners that would answer at `port` of `host`."""
    wanted = _address_of(host)
    for listener in listening_sockets():
        if listener.port == port and _answers(listener.address, wanted):
            yield listener


async def wait_port_closed(port: int, host: str = "127.0.0.1") -> None:
    """Return once nothing listens on `port`. There is no time limit."""
    pause_s = _FIRST_PAUSE_S
    while is_listening(port, host):
        await trio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LAST_PAUSE_S)


def _answers(bound: IPAddress, wanted: IPAddress | None) -> bool:
    """Return whether a socket bound to `bound` blocks `wanted` (None: any address)."""
    return wanted is None or wanted.is_unspecified or bound.is_unspecified or bound == wanted


def _address_of(host: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None  # a name: whatever it stands for


def _is_free(port: int) -> bool:
    """Return whether `port` can be bound on all addresses; that takes a tenth of a look.

    Raises:
        OSError: No descriptor is left to try it.
    """
    for family, any_address in ((socket.AF_INET6, "::"), (socket.AF_INET, "")):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                # as llama-server does it: connections of an earlier one that linger do not matter
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                probe.bind((any_address, port))
            return True
        except OSError as exc:
            if exc.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            if exc.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:  # no IPv6 here
                raise
    return False
