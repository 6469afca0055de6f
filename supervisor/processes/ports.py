"""Listeners on the TCP ports of this machine, and free ports."""

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
    host: str = "127.0.0.1",
    *,
    preferred: int | None = None,
    reserved: Collection[int] = (),
    last: int = LAST_PORT,
) -> int:
    """Return a free port from `start` on, each time another one.

    Args:
        start: The first port to be considered.
        taken: Ports of processes that do not listen yet.
        host: Address on which the port will be listened on.
        preferred: Returned whenever it is free.
        reserved: Ports that others prefer: only where no other is free.
        last: The last port to be considered.

    Raises:
        PortError: None is free.
    """
    busy = {listener.port for listener in listening_sockets()} | set(taken)
    if preferred is not None and preferred not in busy and _is_bindable(host, preferred):
        return preferred
    first = max(_cursors.get(start, start), start)
    for unwelcome in (busy.union(reserved), busy):
        for port in chain(range(first, last + 1), range(start, min(first, last + 1))):
            if port not in unwelcome and _is_bindable(host, port):
                _cursors[start] = port + 1
                return port
    raise PortError(
        f"cannot find a free port from {start} to {last} on {host}; choose a lower startPort"
    )


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


def _is_bindable(host: str, port: int) -> bool:
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, number) as probe:
            # as llama-server does it: connections of an earlier server that linger do not matter
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError:
        return False
    return True
