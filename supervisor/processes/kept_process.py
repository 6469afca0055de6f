"""What an earlier supervisor has left: its processes, as its reaper hands them over.

The reaper is the only one who remembers: nothing of it is written to a disk, where it would be
there for others, and for longer than what it speaks of. A card may hold keys.
"""

import logging
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec

from ..errors import SupervisorError
from .forked_process import ForkedProcess
from .output import Stream
from .reaper_child import (
    MARK_CHARS,
    MAX_PACKET_BYTES,
    PIPES,
    SPEAKS,
    kill,
    marked_processes,
    started_at,
)
from .reaper_child import __file__ as reaper_file

log = logging.getLogger(__name__)

# Seconds for the reaper to begin, and between two packets. All that it does besides is to look at
# all processes when a supervisor is gone; on a machine with far too much to do that takes seconds,
# and whoever gives up ends all that it keeps.
ANSWER_LIMIT_S: Final = 20.0

# Seconds between two looks at whether a reaper listens that was started a moment before its
# supervisor was killed.
_PAUSE_S: Final = 0.01

# Lists the sockets that somebody has, with their paths; also those on which nobody listens yet.
_SOCKETS: Final = "/proc/net/unix"

# Seconds for all of it. A thousand processes are said in a second.
_WHOLE_LIMIT_S: Final = 30.0

# Processes, and bytes of output of each, that are taken from one reaper.
_MAX_PROCESSES: Final = 4096
_MAX_HELD: Final = 16
_MAX_OUTPUT_BYTES: Final = 1024**2

_STREAMS: Final[tuple[Stream, Stream]] = ("stdout", "stderr")


class KeptProcess(msgspec.Struct, eq=False):
    """A process that an earlier supervisor has started. Has to be taken over, or ended.

    Attributes:
        pid: Its process id, and that of its group.
        started: When it was started, in ticks since the machine was.
        mark: Of its start, in its environment.
        card: What that supervisor has noted of it.
        pipes: Descriptors: its standard input, output and errors.
        said: What it has written while there was no supervisor; the end of that.
    """

    pid: int
    started: int
    mark: str
    card: bytes
    pipes: tuple[int, int, int]
    said: dict[Stream, bytes] = msgspec.field(default_factory=dict)

    @property
    def runs(self) -> bool:
        """Whether it is still there: that process, not another with its number."""
        return started_at(self.pid) == self.started

    @property
    def age_s(self) -> float:
        """Seconds since it was started."""
        ticks = time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")
        return max(0.0, (ticks - self.started) / os.sysconf("SC_CLK_TCK"))

    @property
    def is_ours(self) -> bool:
        """Whether it is of this user, as far as anybody can tell."""
        with suppress(OSError):
            return os.stat(f"/proc/{self.pid}").st_uid == os.geteuid()
        return False

    def close(self) -> None:
        """Close its pipes."""
        for fd in self.pipes:
            os.close(fd)

    def kill(self) -> None:
        """Kill it, and all that it has started; close its pipes.

        What it left behind is killed as well when itself has gone. Reads a file per process.
        """
        if self.runs:
            with suppress(OSError):
                os.killpg(self.pid, 9)
        for pid in marked_processes(self.mark):
            kill(pid)
        self.close()


class Inheritance(msgspec.Struct, eq=False):
    """All that a reaper has kept.

    Attributes:
        reaper: Its process id.
        mark: That all its processes share.
        door: The connection to it.
        processes: Those that it has kept.
        held: Descriptors with their cards, by name.
        is_understood: We know what it says. If not, nothing of that was read.
    """

    reaper: int
    mark: str
    door: socket.socket
    processes: list[KeptProcess] = msgspec.field(default_factory=list)
    is_understood: bool = True
    held: dict[str, tuple[bytes, int]] = msgspec.field(default_factory=dict)

    def take(self, name: str) -> tuple[bytes, int] | None:
        """Return what was held under `name`, for the caller to close."""
        return self.held.pop(name, None)

    def close_held(self) -> None:
        """Close what is held and was not taken."""
        for _, fd in self.held.values():
            os.close(fd)
        self.held.clear()

    def end(self) -> None:
        """Have it kill all, and end; return when it has. Not for longer than the limit."""
        for kept in self.processes:
            kept.close()
        self.close_held()
        with suppress(OSError):
            self.door.send(b"grace 0")
            self.door.shutdown(socket.SHUT_WR)
            while self.door.recv(1):  # of what it has to say nothing is wanted
                continue
        self.door.close()


def inherited_from(path: Path) -> Inheritance | None:
    """Return what the reaper at `path` has kept; None if there is none that answers.

    Blocks, for milliseconds; for `ANSWER_LIMIT_S` if it hangs. What is at `path` is removed if no
    reaper answers there.

    Raises:
        SupervisorError: There is something at `path` that cannot be removed.
    """
    try:
        if not path.is_socket():
            path.unlink(missing_ok=True)
            return None
        door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        door.settimeout(ANSWER_LIMIT_S)
        if not _connects(door, path):
            door.close()
            path.unlink(missing_ok=True)
            return None
    except OSError as exc:
        raise SupervisorError(
            f"cannot use {path} for the reaper: {exc.strerror}; remove it"
        ) from exc
    pid, uid, _ = struct.unpack("3i", door.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    found: Inheritance | None = None
    with suppress(OSError, ValueError, UnicodeDecodeError):
        if uid == os.geteuid():
            found = _read(door)
    if found is not None:
        door.settimeout(ANSWER_LIMIT_S)
        if found.is_understood:
            return found
        log.warning("reaper.not_understood pid=%d", pid)
        found.end()
    door.close()
    if (mark := _mark_of_reaper(pid)) is not None:
        kill(pid)  # it hangs: it must not wake up later and kill
        for left in marked_processes(f"{mark}."):  # in its place
            kill(left)
    path.unlink(missing_ok=True)
    return None


def _connects(door: socket.socket, path: Path) -> bool:
    """Connect; return False if nobody listens there, or what listens is no reaper.

    One that has only just been started is waited for: its socket is there, and somebody has it.
    """
    until = time.monotonic() + ANSWER_LIMIT_S
    while True:
        try:
            door.connect(str(path))
        except ConnectionRefusedError:
            if time.monotonic() > until or not _is_held(path):
                return False
            time.sleep(_PAUSE_S)
        except OSError:
            return False
        else:
            return True


def _is_held(path: Path) -> bool:
    """Return whether a process has the socket that was bound to `path`, as far as can be seen."""
    try:
        with open(_SOCKETS, "rb") as sockets:
            return any(line.rstrip(b"\n").endswith(b" " + os.fsencode(path)) for line in sockets)
    except OSError:
        return True


def _mark_of_reaper(pid: int) -> str | None:
    """Return the mark of the reaper `pid`; None if it is gone, or none."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as line:
            words = line.read().decode().split("\0")
    except (OSError, UnicodeDecodeError):
        return None
    for program, mark in pairwise(words):
        if os.path.basename(program) == os.path.basename(reaper_file) and len(mark) >= MARK_CHARS:
            return mark
    return None


def _read(door: socket.socket) -> Inheritance:
    """Return what the reaper gives.

    Raises:
        OSError: It does not, in time.
        ValueError: It makes no sense.
    """
    found: Inheritance | None = None
    known: dict[int, KeptProcess] = {}
    loose: list[int] = []
    try:
        for packet, loose in _packets(door):
            head, _, rest = packet.partition(b"\n")
            match head.split(b" "):
                case [b"reaper", pid, mark, speaks] if found is None:
                    found = Inheritance(int(pid), mark.decode(), door)
                    if int(speaks) != SPEAKS:
                        found.is_understood = False
                        return found
                case [b"kept", pid, started, mark] if found and len(loose) == PIPES:
                    kept = KeptProcess(
                        int(pid), int(started), mark.decode(), rest, (loose[0], loose[1], loose[2])
                    )
                    if kept.pid <= 1 or kept.pid in known or len(known) >= _MAX_PROCESSES:
                        raise ValueError("no such process")
                    known[kept.pid] = kept
                    found.processes.append(kept)
                    loose = []
                case [b"said", pid, number] if int(pid) in known and number in {b"1", b"2"}:
                    said = known[int(pid)].said
                    stream = _STREAMS[int(number) - 1]
                    said[stream] = (said.get(stream, b"") + rest)[-_MAX_OUTPUT_BYTES:]
                case [b"held", name] if found and len(loose) == 1:
                    if name.decode() in found.held or len(found.held) >= _MAX_HELD:
                        raise ValueError("not a word of a reaper")
                    found.held[name.decode()] = (rest, loose[0])
                    loose = []
                case [b"end"] if found:
                    return found
                case _:
                    raise ValueError("not a word of a reaper")
        raise OSError("it has gone")
    except BaseException:
        for fd in (*loose, *(fd for kept in known.values() for fd in kept.pipes)):
            os.close(fd)
        if found is not None:
            found.close_held()
        raise


def _packets(door: socket.socket) -> Iterator[tuple[bytes, list[int]]]:
    until = time.monotonic() + _WHOLE_LIMIT_S
    while True:
        door.settimeout(min(ANSWER_LIMIT_S, max(0.001, until - time.monotonic())))
        packet, fds, _, _ = socket.recv_fds(door, MAX_PACKET_BYTES, PIPES)
        for fd in fds:
            os.set_inheritable(fd, False)
        if not packet:
            return
        yield packet, list(fds)


class AdoptedProcess(ForkedProcess):
    """A kept process that is taken over; see `StartedProcess`.

    It is a child of this process only if that one has been replaced by exec; else whoever is its
    parent reaps it, and nobody tells how it ended: then it has no exit code.

    Attributes:
        is_child: It is our child: we learn how it ends, and keep its number from being used again.
    """

    def __init__(self, kept: KeptProcess) -> None:
        self.is_child = _parent_of(kept.pid) == os.getpid()
        super().__init__(kept.pid, kept.pipes)

    def _reap(self, options: int) -> int | None:
        with suppress(ChildProcessError):
            return super()._reap(options)
        return self.returncode


def _parent_of(pid: int) -> int:
    """Return the parent of a process; 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return int(stat.read().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0
