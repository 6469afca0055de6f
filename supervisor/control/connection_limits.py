"""Bounds the memory and descriptors of connections to the sockets.

zmq accepts all connections, and aborts the process ("Too many open files (src/ipc_listener.cpp)")
when there is no descriptor for the next one: so the doors are closed before.
"""

import contextlib
import logging
import math
import os
import resource
import socket
import stat
import struct
from collections.abc import Iterable, Sequence
from typing import Final

import trio

from arriero.protocol.flood_log import FloodLog
from arriero.protocol.transport import UnixListener, taken

from .crowding import MAX_OF_ONE, ControlClient, may_enter, too_many

log = logging.getLogger(__name__)

# Seconds between two looks. zmq accepts some ten thousand connections a second.
LOOK_S: Final = 0.1

# Descriptors that are looked at before others get their turn: a millisecond at most.
_LOOKS_PER_TURN: Final = 100

# Seconds between two searches for the greedy while no descriptors are added: with hundreds of
# models there are thousands to look at.
_SEARCH_S: Final = 1.0

_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid: unix(7), SO_PEERCRED


async def keep_doors(doors: Sequence[UnixListener]) -> None:
    """Close `doors` when descriptors get few, and cut the greediest.

    Runs until cancelled.
    """
    flood = FloodLog(log)
    seen, search_at = 0, -math.inf
    while True:
        await trio.sleep(LOOK_S)
        flood.flush()
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        used = _open_files(limit)
        for door in doors:
            lets_in = may_enter(used=used, limit=limit, is_open=door.is_open)
            if door.is_open and not lets_in:
                door.close()
                flood.warning("sockets.closed open_files=%d limit=%d", used, limit)
            elif lets_in and not door.is_open:
                door.open()
        now = trio.current_time()
        if used > MAX_OF_ONE and (used > seen or now >= search_at):
            search_at = now + _SEARCH_S
            with contextlib.suppress(OSError):  # no descriptor to look; some will be closed
                await _cut_greedy(doors, flood)
        seen = used


def has_descriptors() -> bool:
    """Return whether another connection leaves enough descriptors for all else."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return may_enter(used=_open_files(limit), limit=limit, is_open=True)


async def _cut_greedy(doors: Iterable[UnixListener], flood: FloodLog) -> None:
    visitors: dict[str, list[ControlClient]] = {os.fspath(door.path): [] for door in doors}
    for count, name in enumerate(os.listdir("/proc/self/fd"), 1):
        if count % _LOOKS_PER_TURN == 0:
            await trio.lowlevel.checkpoint()
        if not _is_socket(int(name)):
            continue
        with taken(int(name)) as connection:
            if connection is not None and (place := _place_of(connection)) in visitors:
                pid, _, _ = _CREDENTIALS.unpack(
                    connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
                )
                if pid != 0:
                    visitors[place].append(ControlClient(int(name), pid))
    for place, found in visitors.items():
        for visitor in too_many(found):
            flood.warning("sockets.cut pid=%d reason='too many connections'", visitor.pid)
            with taken(visitor.fd) as connection, contextlib.suppress(OSError):
                if connection is not None and _place_of(connection) == place:
                    connection.shutdown(socket.SHUT_RDWR)


def _is_socket(fd: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:  # closed meanwhile
        return False


def _place_of(connection: socket.socket) -> str | None:
    """Return the path at which `connection` was accepted; None for anything else."""
    if connection.family != socket.AF_UNIX:
        return None
    if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return None  # this one listens
    return str(connection.getsockname())


def _open_files(limit: int) -> int:
    """Return how many there are; `limit` if that cannot be seen.

    Linux tells since 6.2, by the size of the folder; before, all have to be listed.
    """
    try:
        return os.stat("/proc/self/fd").st_size or len(os.listdir("/proc/self/fd"))
    except OSError:  # there is not even one for that
        return limit
