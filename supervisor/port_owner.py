"""Whether the server that listens on a port or socket is the one that was started, or another.

Between the choice of a port and the moment at which a server binds it lies half its start, and
whoever binds it meanwhile would be taken for the server. Linux says who holds which socket: the
number (inode) of a listener stands in /proc/net/tcp, and among the open files of its process.

In doubt it is ours: who listens in the place of what was started may do so on its behalf, in a
container or as another user, and cannot be seen from here, or looks like a stranger.

Source of the formats: proc(5).
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from .guardian_child import MARK_NAME
from .ports import listeners_on
from .unix_sockets import listener_at

# Programs that let a process which is no child of theirs do the work. With one of them among the
# processes of a start, every listener may be there for it. As /proc/<pid>/stat names them.
_DELEGATES: Final = frozenset(
    {"conmon", "docker", "flatpak-spawn", "machinectl", "nerdctl", "podman", "ssh", "systemd-run"}
)


@dataclass(frozen=True, slots=True)
class _Process:
    name: str
    parent: int
    group: int


def stranger_on(port: int, host: str, leader: int) -> int | None:
    """Return the process that listens on `port` of `host` and has nothing to do with `leader`.

    Reads the table of listeners and the open files of `leader`: a millisecond at the most. If the
    listener is not among these, a line for each process of the machine and each open file of this
    user: some ten milliseconds, so call it in a thread.

    Args:
        port: The port.
        host: Address or name to which is connected.
        leader: The process that was started, and leads its group.

    Returns:
        Its process id; None if nobody listens, it is ours, or nobody can say.
    """
    mine = os.geteuid()
    sockets = {found.inode for found in listeners_on(port, host) if found.uid == mine}
    if sockets.issubset(_sockets_of(leader)):
        return None
    processes = dict(_processes())
    return _stranger(_holders(sockets, processes).values(), leader, processes)


def stranger_at(path: str, leader: int) -> int | None:
    """Return the process that listens on the unix socket `path` and is a stranger to `leader`.

    As for `stranger_on`. Who has ended, or cannot be seen, is no stranger.
    """
    listener = listener_at(path)
    if listener is None or listener == leader:
        return None
    processes = dict(_processes())
    return _stranger([{listener}] if listener in processes else [], leader, processes)


def _stranger(
    holders_of_each: Iterable[set[int]], leader: int, processes: Mapping[int, _Process]
) -> int | None:
    """Return a process of those that hold a socket together, if none of them is of `leader`."""
    started = {pid for pid in processes if _descends(pid, leader, processes)}
    if any(processes[pid].name in _DELEGATES for pid in started):
        return None
    mark = _mark_of(leader)
    for holders in holders_of_each:
        if not any(pid in started or (mark and _mark_of(pid) == mark) for pid in holders):
            return min(holders)
    return None


def family_on(place: int | str, host: str, leader: int) -> set[int] | None:
    """Return the processes that were started with `leader`, if it is they who serve at `place`.

    As `stranger_on`, call it in a thread. Nobody who listens is not somebody else.

    Args:
        place: A port of `host`, or the path of a unix socket.
        host: Address or name to which is connected.
        leader: The process that was started, and leads its group.

    Returns:
        None if somebody else listens there, who cannot be told from one that does so on behalf of
        `leader`: in a container, say.
    """
    processes = dict(_processes())
    mark = _mark_of(leader)
    started = {pid for pid in processes if _descends(pid, leader, processes)}
    if any(processes[pid].name in _DELEGATES for pid in started):
        return None
    family = started | {pid for pid in processes if mark and _mark_of(pid) == mark}
    if isinstance(place, str):
        return family if listener_at(place) in {None, *family} else None
    theirs = {inode for pid in family for inode in _sockets_of(pid)}
    sockets = {found.inode for found in listeners_on(place, host)}
    return family if sockets <= theirs else None


def _holders(sockets: set[int], processes: Mapping[int, _Process]) -> dict[int, set[int]]:
    """Return who holds each of `sockets`, as far as that can be seen."""
    holders: dict[int, set[int]] = {}
    for pid in processes:
        for inode in sockets.intersection(_sockets_of(pid)):
            holders.setdefault(inode, set()).add(pid)
    return holders


def _descends(pid: int, leader: int, processes: Mapping[int, _Process]) -> bool:
    """Say whether `pid` is in the group of `leader`, or below one that is."""
    seen: set[int] = set()  # the table is no snapshot: a number that is used again may close a ring
    while pid not in seen and (found := processes.get(pid)) is not None:
        if found.group == leader:
            return True
        seen.add(pid)
        pid = found.parent
    return False


def _processes() -> Iterator[tuple[int, _Process]]:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", "rb") as stat:
                # "pid (name) state ppid pgrp ..."; the name may hold spaces and parentheses
                head, _, rest = stat.read().rpartition(b")")
            _state, parent, group = rest.split()[:3]
        except (OSError, ValueError):
            continue  # it ended while we looked
        name = head.partition(b"(")[2].decode(errors="replace")
        yield int(pid), _Process(name, int(parent), int(group))


def _sockets_of(pid: int) -> Iterator[int]:
    """Give the inodes of the sockets that `pid` has open; none if it is not ours to look at."""
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        try:
            kind, _, inode = os.readlink(f"{folder}/{name}").partition(":[")
        except OSError:
            continue  # closed while we looked
        if kind == "socket":
            yield int(inode.removesuffix("]"))


def _mark_of(pid: int) -> bytes:
    """Return what the environment of `pid` says of who started it; empty if nothing."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as environ:
            found = environ.read().split(b"\0")
    except OSError:
        return b""
    return next((entry for entry in found if entry.startswith(f"{MARK_NAME}=".encode())), b"")
