"""Ownership of a port or socket: the started server, or a stranger.

Between the choice of a port and the moment at which a server binds it lies half its start, and
a process that binds it meanwhile would be taken for the server. Linux shows the holders: the
number (inode) of a listener stands in /proc/net/tcp, and among the open files of its process.

In doubt it is ours: who listens in the place of what was started may do so on its behalf, in a
container, as another user or for a service manager, and cannot be seen from here, or looks like a
stranger. Surely a stranger is one that ran before the start, or belongs to another start, ours or
of another arriero; and any other, if what was started surely listens itself.

Source of the formats: proc(5).
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from .ports import listeners_on
from .reaper_child import MARK_NAME
from .unix_sockets import listener_at

# Programs that let a process which is no child of theirs do the work. With one of them among the
# processes of a start, every listener may be there for it. As /proc/<pid>/stat names them.
_DELEGATES: Final = frozenset(
    {
        "at",
        "conmon",
        "distrobox",
        "docker",
        "docker-compose",
        "flatpak-spawn",
        "incus",
        "kubectl",
        "lima",
        "limactl",
        "lxc",
        "lxc-attach",
        "lxc-start",
        "machinectl",
        "nerdctl",
        "podman",
        "podman-compose",
        "podman-remote",
        "screen",
        "ssh",
        "supervisorctl",
        "systemctl",
        "systemd-run",
        "tmux",
    }
)

# Programs that listen on behalf of others, and may have run for long.
_PROXIES: Final = frozenset(
    {
        "conmon",
        "containerd",
        "dockerd",
        "docker-proxy",
        "gvproxy",
        "incusd",
        "limactl",
        "lxd",
        "pasta",
        "pasta.avx2",
        "rootlessport",
        "slirp4netns",
        "ssh",
        "sshd",
        "systemd",
    }
)


class _Process(msgspec.Struct, frozen=True):
    name: str
    parent: int
    group: int
    started: int  # in ticks since the machine was started


def listens_on(port: int, host: str, pid: int) -> bool:
    """Return whether it is surely `pid` alone that listens on `port`. Takes half a millisecond.

    Args:
        port: The port.
        host: Address or name to which is connected.
        pid: The process.
    """
    sockets = {found.inode for found in listeners_on(port, host)}
    return bool(sockets) and sockets.issubset(_sockets_of(pid))


def stranger_on(port: int, host: str, leader: int, *, listens_itself: bool = False) -> int | None:
    """Return the process that listens on `port` instead of `leader`'s.

    Reads the table of listeners and the open files of `leader`: a millisecond at the most. If the
    listener is not among these, a line for each process of the machine and each open file of this
    user: some ten milliseconds, so call it in a thread.

    Args:
        port: The port.
        host: Address or name to which is connected.
        leader: The process that was started, and leads its group.
        listens_itself: Surely nobody listens on its behalf, and it is of this user.

    Returns:
        Its process id, 0 if that cannot be seen; None if nobody listens, it is ours, or nobody
        can say.
    """
    mine = os.geteuid()
    listeners = list(listeners_on(port, host))
    sockets = {found.inode for found in listeners if found.uid == mine}
    of_leader = set(_sockets_of(leader))
    if listens_itself and not sockets and not {found.inode for found in listeners} <= of_leader:
        return 0
    if sockets <= of_leader:
        return None
    processes = dict(_processes())
    holders = _holders(sockets, processes).values()
    return _stranger(holders, leader, processes, listens_itself=listens_itself)


def stranger_at(path: str, leader: int, *, listens_itself: bool = False) -> int | None:
    """Return the process that listens on `path` instead of `leader`'s.

    As for `stranger_on`. Who has ended, or cannot be seen, is no stranger.
    """
    listener = listener_at(path)
    if listener is None or listener == leader:
        return None
    processes = dict(_processes())
    holders = [{listener}] if listener in processes else []
    return _stranger(holders, leader, processes, listens_itself=listens_itself)


def _stranger(
    holders_of_each: Iterable[set[int]],
    leader: int,
    processes: Mapping[int, _Process],
    *,
    listens_itself: bool,
) -> int | None:
    """Return one of the processes that hold a socket, if none is `leader`'s."""
    started = {pid for pid in processes if _descends(pid, leader, processes)}
    if any(processes[pid].name in _DELEGATES for pid in started):
        return None
    mark = _mark_of(leader)
    for holders in holders_of_each:
        if any(pid in started or (mark and _mark_of(pid) == mark) for pid in holders):
            continue
        if listens_itself or all(_is_foreign(pid, leader, processes) for pid in holders):
            return min(holders)
    return None


def _is_foreign(pid: int, leader: int, processes: Mapping[int, _Process]) -> bool:
    """Return whether `pid` surely does not work for `leader`."""
    if processes[pid].name in _PROXIES:
        return False
    ran_before = leader not in processes or processes[pid].started < processes[leader].started
    return ran_before or bool(_mark_of(pid))


def family_on(place: int | str, host: str, leader: int) -> set[int] | None:
    """Return the processes of `leader`, if they serve at `place`.

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
    """Return the holders of each of `sockets`, as far as visible."""
    holders: dict[int, set[int]] = {}
    for pid in processes:
        for inode in sockets.intersection(_sockets_of(pid)):
            holders.setdefault(inode, set()).add(pid)
    return holders


def _descends(pid: int, leader: int, processes: Mapping[int, _Process]) -> bool:
    """Return whether `pid` is in `leader`'s group, or below it."""
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
            fields = rest.split()
            parent, group, started = (int(fields[at]) for at in (1, 2, 19))
        except (OSError, ValueError, IndexError):
            continue  # it ended while we looked
        name = head.partition(b"(")[2].decode(errors="replace")
        yield int(pid), _Process(name, parent, group, started)


def _sockets_of(pid: int) -> Iterator[int]:
    """Give the inodes of the sockets that `pid` has open.

    None if we may not look.
    """
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
    """Return the mark of the starter in the environment of `pid`.

    Empty if there is none.
    """
    try:
        with open(f"/proc/{pid}/environ", "rb") as environ:
            found = environ.read().split(b"\0")
    except OSError:
        return b""
    return next((entry for entry in found if entry.startswith(f"{MARK_NAME}=".encode())), b"")
