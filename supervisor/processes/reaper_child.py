"""Companion process of a supervisor: kills what outlives it, or keeps it for the next one.

Started as ``python -I -S -c CODE reaper_child.py MARK [DOOR]``; the code imports this file, which
is compiled already. Takes orders, a packet each, from its standard input, a unix socket
(SOCK_SEQPACKET), until the supervisor is gone, however it went.
Then all is ended: every group that is registered, and every process whose environment has
``ARRIERO_SPAWN=MARK.`` (it was started by the supervisor a moment before that one was killed, or
has left its group). Each is asked to end first (SIGTERM): what is killed cannot pass that on, and
some stand for others, such as ``docker run``, whose container would go on, and ``srun``, whose job
would keep its GPUs.

But for what the supervisor has entrusted to this process (`keep`), if it has set a time for that
(`grace`): this goes on for so long. The descriptors of its pipes are held here, so nobody misses
the other end, and what is written meanwhile is read. The next supervisor connects to the unix
socket DOOR, an inherited descriptor, and is given it all; it is then the one whose end is waited
for. What is entrusted has to be there as well when that one dies before it has done anything.

Orders are ``add GROUP``, ``del GROUP``, ``keep GROUP STARTED MARK`` with a card (a text that means
nothing here) and its pipes, ``let GROUP``, ``hold NAME`` with a card and one descriptor,
``grace MS``.

Only the standard library's smallest parts are imported: this process is there all the time. What
it takes to keep something is imported where that is done.
"""

import os
import sys
import time

TYPE_CHECKING = False  # that of `typing` would cost more than all the rest
if TYPE_CHECKING:
    import signal
    import socket
    from collections.abc import Callable
else:
    import _signal as signal  # `signal` adds enumerations, and 0.8 MB for them

# Name of the environment variable that every started process has, and its children inherit.
MARK_NAME = "ARRIERO_SPAWN"

# Characters of the mark of a supervisor, which begins those of its processes.
MARK_CHARS = 16

# How often marked processes are looked for at the most, and seconds between two looks. A process
# may fork while the list is read, or be on the way from fork to exec, so two looks in a row have
# to find nothing; a process that cannot be killed (stuck in a driver) ends the search as well.
_SWEEPS = 10
_SWEEP_PAUSE_S = 0.02

# Seconds from SIGTERM to SIGKILL: for what stands for something else to pass it on.
TERM_S = 1.5

# Longest packet. A card is some hundred bytes.
MAX_PACKET_BYTES = 64 * 1024

# Of what is said when all is handed over. Who takes it may be of another installation.
SPEAKS = 1

# Pipes of one process: its standard input, output and errors.
PIPES = 3

# What is kept of the output of a process while there is no supervisor, for each of its two pipes.
# The end says more than the beginning.
_MOST_OUTPUT_BYTES = 64 * 1024
_READ_BYTES = 16 * 1024

# Bytes of output in one packet.
_CHUNK_BYTES = 32 * 1024

# Seconds that the next supervisor may take for the next packet of what it is given.
_TAKE_LIMIT_S = 10.0


class _Kept:
    """A process that goes on without a supervisor."""

    def __init__(self, started: int, mark: str, card: bytes, pipes: list[int]) -> None:
        self.started = started
        self.mark = mark
        self.card = card
        self.pipes = pipes
        self.said = dict.fromkeys(pipes[1:], b"")  # of those that have not ended


class _Registry:
    """What is known of the supervisor's processes."""

    def __init__(self) -> None:
        self.groups: set[int] = set()
        self.kept: dict[int, _Kept] = {}
        self.held: dict[bytes, tuple[bytes, list[int]]] = {}
        self.grace_s = 0.0

    def take(self, packet: bytes, fds: list[int]) -> None:
        """Carry out one order."""
        head, _, card = packet.partition(b"\n")
        word, *more = head.split(b" ")
        if word == b"grace" and len(more) == 1 and more[0].isdigit():
            self.grace_s = int(more[0]) / 1000
        elif word == b"hold" and len(more) == 1 and len(fds) == 1:
            _, before = self.held.pop(more[0], (b"", []))
            self._drop(before)
            self.held[more[0]], fds = (card, fds), []
        elif more and more[0].isdigit() and int(more[0]) > 1:  # killpg of 0 or 1 hits far more
            group = int(more[0])
            if word == b"add":
                self.groups.add(group)
            elif word == b"del":
                self.groups.discard(group)
                self.let(group)
            elif word == b"let":
                self.let(group)
            elif word == b"keep" and len(more) == 3 and len(fds) == PIPES:
                self.let(group)
                self.groups.add(group)
                self.kept[group] = _Kept(int(more[1]), more[2].decode(), card, fds)
                fds = []
        self._drop(fds)

    def let(self, group: int) -> None:
        """Hold nothing of `group` any more."""
        kept = self.kept.pop(group, None)
        self._drop(kept.pipes if kept is not None else [])

    @staticmethod
    def _drop(fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)


def marked_processes(mark: str) -> list[int]:
    """Return the processes with `mark` in their environment, without zombies.

    Reads a file per process of this user: milliseconds. Processes of other users are not seen.
    """
    wanted = f"\0{MARK_NAME}={mark}".encode()
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as environ:  # empty for a zombie
                if wanted in b"\0" + environ.read():
                    found.append(int(name))
        except OSError:
            continue  # ended meanwhile, or not ours
    return found


def kill(pid: int) -> None:
    """Kill a process, if it is there and ours."""
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return


def started_at(pid: int) -> int:
    """Return when a process was started, in ticks since the machine was; 0 if it is gone.

    Together with its number it is the process that it was: numbers are used again. A zombie is
    gone.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            # "pid (name) state ppid ..."; the name may hold spaces and parentheses
            fields = stat.read().rpartition(b")")[2].split()
        return 0 if fields[0] in {b"Z", b"X"} else int(fields[19])
    except (OSError, ValueError, IndexError):
        return 0


def _kill_all(state: _Registry, mark: str, spared: dict[int, _Kept]) -> None:
    """End what was registered or has the mark, but for `spared` and what belongs to it."""
    groups = []
    for group in state.groups - spared.keys():
        kept = state.kept.get(group)
        if kept is None or started_at(group) == kept.started:
            groups.append(group)  # if the number is another's by now, that is none of ours
    _ask_to_end(groups, os.killpg)
    for group in groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except OSError:
            continue
    marks = {kept.mark for kept in spared.values()}
    _sweep(f"{mark}.", lambda pid: _belongs_to(pid, spared, marks), 2)


def _ask_to_end(processes: "list[int]", send: "Callable[[int, int], None]") -> None:
    """Send SIGTERM to processes, or the groups that they lead, and wait for them, for a while."""
    left = {}
    for pid in processes:
        try:
            send(pid, signal.SIGTERM)
            send(pid, signal.SIGCONT)  # what is stopped would not notice
        except OSError:
            continue
        left[pid] = started_at(pid)
    until = time.monotonic() + TERM_S
    while time.monotonic() < until:
        left = {pid: started for pid, started in left.items() if _is_there(pid, started)}
        if not left:
            return
        time.sleep(_SWEEP_PAUSE_S)


def _is_there(pid: int, started: int) -> bool:
    return started != 0 and started_at(pid) == started


def end_marked(mark: str) -> int:
    """End the processes with `mark` in their environment; return how many there were."""
    own = os.getpid()
    asked = [pid for pid in marked_processes(mark) if pid != own]
    _ask_to_end(asked, os.kill)
    _sweep(mark, lambda pid: pid == own, 1)
    return len(asked)


def _sweep(mark: str, is_spared: "Callable[[int], bool]", empty_looks: int) -> int:
    """Kill marked processes until none was seen so often, or for some looks."""
    killed: set[int] = set()
    left_looks = empty_looks
    for _ in range(_SWEEPS):
        left = [pid for pid in marked_processes(mark) if not is_spared(pid)]
        for pid in left:
            kill(pid)
        killed.update(left)
        left_looks = 2 if left else left_looks - 1
        if left_looks == 0:
            break
        time.sleep(_SWEEP_PAUSE_S)
    return len(killed)


def _belongs_to(pid: int, spared: dict[int, _Kept], marks: set[str]) -> bool:
    if not spared:
        return False
    try:
        if os.getpgid(pid) in spared:
            return True
        with open(f"/proc/{pid}/environ", "rb") as environ:
            entries = environ.read().split(b"\0")
    except OSError:
        return False
    return any(f"{MARK_NAME}={mark}".encode() in entries for mark in marks)


def _follow(supervisor: "socket.socket", state: _Registry) -> None:
    """Carry out orders until the supervisor is gone."""
    import socket

    while True:
        try:
            packet, fds, _, _ = socket.recv_fds(supervisor, MAX_PACKET_BYTES, PIPES)
        except OSError:  # reset: it has gone with something unread
            return
        if not packet:
            return
        state.take(packet, fds)


def _wait(door: "socket.socket", state: _Registry) -> "socket.socket | None":
    """Read what is written, until the next supervisor comes; None if none does in time."""
    import select

    until = time.monotonic() + state.grace_s
    looks = select.poll()
    looks.register(door, select.POLLIN)
    reads = {pipe: kept for kept in state.kept.values() for pipe in kept.said}
    for pipe in reads:
        os.set_blocking(pipe, False)
        looks.register(pipe, select.POLLIN)
    while (left_s := until - time.monotonic()) > 0:
        for fd, _ in looks.poll(left_s * 1000):
            if fd in reads:
                if not _read(fd, reads[fd]):
                    looks.unregister(fd)
            elif (found := _accepted(door)) is not None:
                return found
    return None


def _read(pipe: int, kept: _Kept) -> bool:
    """Read what was written; False at its end."""
    try:
        data = os.read(pipe, _READ_BYTES)
    except BlockingIOError:
        return True
    except OSError:
        data = b""
    if not data:
        return False
    kept.said[pipe] = (kept.said[pipe] + data)[-_MOST_OUTPUT_BYTES:]
    return True


def _accepted(door: "socket.socket") -> "socket.socket | None":
    import socket

    try:
        found, _ = door.accept()
        who = found.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)  # pid, uid, gid
    except OSError:
        return None
    if int.from_bytes(who[4:8], sys.byteorder) == os.geteuid():
        return found
    found.close()
    return None


def _hand_over(supervisor: "socket.socket", state: _Registry, mark: str) -> bool:
    """Give the next supervisor all that is kept; False if it does not take it.

    Nothing is forgotten for that: it may be killed as well, before it has done anything.
    """
    import socket

    supervisor.settimeout(_TAKE_LIMIT_S)
    try:
        supervisor.send(f"reaper {os.getpid()} {mark} {SPEAKS}".encode())
        for group, kept in state.kept.items():
            head = f"kept {group} {kept.started} {kept.mark}\n".encode()
            socket.send_fds(supervisor, [head + kept.card], kept.pipes)
            for number, pipe in enumerate(kept.pipes):
                said = kept.said.get(pipe, b"")
                for at in range(0, len(said), _CHUNK_BYTES):
                    chunk = said[at : at + _CHUNK_BYTES]
                    supervisor.send(f"said {group} {number}\n".encode() + chunk)
        for name, (card, fds) in state.held.items():
            socket.send_fds(supervisor, [b"held %b\n%b" % (name, card)], fds)
        supervisor.send(b"end")
    except OSError:
        return False
    supervisor.settimeout(None)
    for kept in state.kept.values():
        kept.said = dict.fromkeys(kept.said, b"")
    return True


def main(mark: str, door_fd: int | None) -> None:
    """Wait for the end of the supervisor, then for the next one; kill the rest."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the supervisor may need seconds after the same one
    state = _Registry()
    if door_fd is not None:
        _keep(state, mark, door_fd)
        return
    while packet := os.read(0, MAX_PACKET_BYTES):
        state.take(packet, [])
    _kill_all(state, mark, {})


def _keep(state: _Registry, mark: str, door_fd: int) -> None:
    """Do the same for one supervisor after the other, and keep what is entrusted in between."""
    import socket

    supervisor: socket.socket | None = socket.socket(fileno=0)
    door = socket.socket(fileno=door_fd)
    door.listen(1)  # here: who connects is shown this process (SO_PEERCRED)
    door.setblocking(False)
    while supervisor is not None:
        _follow(supervisor, state)
        stays = state.grace_s > 0 and bool(state.kept)
        _kill_all(state, mark, state.kept if stays else {})
        supervisor.close()  # not before: who asked for the end waits for it
        supervisor = None
        state.groups &= state.kept.keys()
        if stays:
            supervisor = _wait(door, state)
            if supervisor is not None:
                _hand_over(supervisor, state, mark)
            else:
                _kill_all(state, mark, {})
    try:
        os.unlink(door.getsockname())
    except OSError:
        return
