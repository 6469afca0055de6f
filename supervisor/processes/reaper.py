"""Kills every child process group if the supervisor dies, or keeps it for the next one.

See `reaper_child`.

The socket to that companion process is the whole trick: the kernel closes it when this process
ends, by whatever means. It costs 3 MB and one message per start and stop of a process.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final

import msgspec
import trio

from arriero.digests import random_hex

from ..errors import SpawnError
from ..host.runtime_dir import REAPER_NAME
from ..host.shortage import what_is_scarce, why
from .kept_process import Inheritance, KeptProcess
from .leftovers import forget_mark, note_mark
from .reaper_child import MARK_CHARS, MARK_NAME, kill, marked_processes, started_at
from .spawn import NOT_INHERITED

log = logging.getLogger(__name__)

# Imports it from the file that Python has compiled: whoever compiles a program keeps 0.8 MB.
_CODE = (
    "import sys; folder = sys.argv[1].rpartition('/')[0]; sys.path.insert(0, folder); "
    "from reaper_child import main; sys.path.remove(folder); "
    "main(sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else None)"
)
_PROGRAM = Path(__file__).resolve().with_name("reaper_child.py")

# Of Python; mark and door follow.
OPTIONS: Final = ("-I", "-S", "-c", _CODE, str(_PROGRAM))

# Seconds until a reaper that died is replaced: at once the first time, doubling while it keeps
# dying (a machine out of memory), reset after it lived for the last of them.
_FIRST_PAUSE_S = 0.01
_LAST_PAUSE_S = 5.0

# Seconds that a reaper gets to end after its socket was closed. It needs some milliseconds.
_END_S = 2.0

# Bytes that may wait for the reaper: some thousand orders.
_ROOM_BYTES = 4 * 1024**2


class Refuge(msgspec.Struct, frozen=True):
    """What outlives this process, for how long, and where the next one finds it.

    Attributes:
        folder: Of the reaper's socket.
        grace_s: Seconds after which all is killed.
    """

    folder: Path
    grace_s: float


class _Entrusted(msgspec.Struct, frozen=True):
    started: int
    mark: str
    card: bytes
    pipes: tuple[int, int, int]


class Reaper:
    """Registry of the process groups that must not outlive this process, and of those that may.

    Attributes:
        pid: Of the companion process; changes when it had to be replaced.
        hands_over: This process ends, and those that were entrusted are left for the next one.
    """

    def __init__(
        self,
        refuge: Refuge | None = None,
        inheritance: Inheritance | None = None,
        folder: Path | None = None,
    ) -> None:
        self.pid = 0
        self.hands_over = False
        self._refuge = refuge
        self._inheritance = inheritance
        self._mark = random_hex(MARK_CHARS // 2) if inheritance is None else inheritance.mark
        self._start_id = random_hex(4)
        if folder is not None:
            note_mark(folder, self._mark)
        self._numbers = count(1)
        self._groups: set[int] = set()
        self._entrusted: dict[int, _Entrusted] = {}
        self._held: dict[str, tuple[bytes, int]] = {}
        self._link: socket.socket | None = None

    def new_mark(self) -> tuple[str, str]:
        """Return an environment variable that marks a new process as ours.

        It closes the gap between the start of a process and its `add`.
        """
        return MARK_NAME, f"{self._mark}.{self._start_id}-{next(self._numbers)}."

    def add(self, group: int) -> None:
        """Kill `group` when this process ends."""
        self._groups.add(group)
        self._tell(f"add {group}")

    def remove(self, group: int) -> None:
        """Leave `group` alone.

        To be called before its leader is reaped: numbers are used again.
        """
        self._groups.discard(group)
        self._forget(group)
        self._tell(f"del {group}")

    def entrust(self, group: int, mark: str, card: bytes, pipes: tuple[int, int, int]) -> None:
        """Let `group` outlive this process, if anything may.

        Args:
            group: It was added.
            mark: Of its start.
            card: What the next supervisor has to know of it.
            pipes: Our ends of its standard input, output and errors; they stay ours.

        Raises:
            OSError: There is no descriptor left for that.
        """
        if self._refuge is None or not (started := started_at(group)):
            return
        self._forget(group)
        self._entrusted[group] = _Entrusted(started, mark, card, _copies(pipes))
        self._tell_of(group, self._entrusted[group])

    def take_back(self, group: int) -> None:
        """Kill `group`, as others, when this process ends: it is to end anyway."""
        if self._forget(group):
            self._tell(f"let {group}")

    def _forget(self, group: int) -> bool:
        entrusted = self._entrusted.pop(group, None)
        for fd in entrusted.pipes if entrusted is not None else ():
            os.close(fd)
        return entrusted is not None

    def forget_all(self) -> None:
        """Close what is kept open for the next supervisor; the reaper holds its own."""
        for group in list(self._entrusted):
            self._forget(group)

    def is_left(self, group: int) -> bool:
        """Return whether `group` is to be left to the next supervisor, now."""
        return self.hands_over and group in self._entrusted

    def hold(self, name: str, card: bytes, fd: int) -> None:
        """Keep the open file `fd` for the next supervisor as well, under `name`: one word."""
        if self._refuge is not None:
            self._held[name] = (card, fd)
            self._tell(f"hold {name}", card, fd)

    def adopt(self, kept: KeptProcess) -> None:
        """Take over `kept`, which the reaper has already.

        Raises:
            OSError: There is no descriptor left for that.
        """
        self._groups.add(kept.pid)
        pipes = _copies(kept.pipes)
        self._entrusted[kept.pid] = _Entrusted(kept.started, kept.mark, kept.card, pipes)

    def _tell_of(self, group: int, entrusted: _Entrusted) -> None:
        order = f"keep {group} {entrusted.started} {entrusted.mark}"
        self._tell(order, entrusted.card, *entrusted.pipes)

    def _tell(self, order: str, card: bytes = b"", *fds: int) -> None:
        if self._link is None:
            return  # between two reapers: the next one gets all groups
        packet = order.encode() + (b"\n" + card if card else b"")
        try:
            if fds:
                socket.send_fds(self._link, [packet], fds)
            else:
                self._link.send(packet)
        except OSError:
            # It died, or is stopped and its socket is full. In the latter case it has to die
            # before that is closed: on waking up it would take that for the end of this process.
            kill(self.pid)
            self._close_link()

    def _close_link(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def _start(self) -> "subprocess.Popen[bytes] | None":
        """Start a reaper, and tell it everything; None for one that was there already."""
        if self._inheritance is not None:
            found, self._inheritance = self._inheritance, None
            found.door.setblocking(False)
            self._link, self.pid = found.door, found.reaper
            self._tell_grace()
            return None
        doors: list[socket.socket] = []
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            doors = [theirs]
            if self._refuge is not None:
                doors.append(_door(self._refuge.folder / REAPER_NAME))
        except OSError as exc:
            for door in doors:
                door.close()
            raise SpawnError(f"cannot start the reaper process: {why(exc)}") from exc
        listener = [str(door.fileno()) for door in doors[1:]]
        try:
            child = subprocess.Popen(
                [sys.executable, *OPTIONS, self._mark, *listener],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={n: value for n, value in os.environ.items() if n not in NOT_INHERITED},
                pass_fds=[door.fileno() for door in doors[1:]],
                start_new_session=True,  # what is typed at a terminal must not reach it
            )
        except OSError as exc:
            ours.close()
            raise SpawnError(
                f"cannot start the reaper process: {what_is_scarce(exc) or exc.strerror}"
            ) from exc
        finally:
            for door in doors:
                door.close()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM_BYTES)
        ours.setblocking(False)
        self._link = ours
        self.pid = child.pid
        self._tell_grace()
        for group in self._groups:
            self._tell(f"add {group}")
        for group, entrusted in self._entrusted.items():
            self._tell_of(group, entrusted)
        for name, (card, fd) in self._held.items():
            self._tell(f"hold {name}", card, fd)
        return child

    def _tell_grace(self) -> None:
        if self._refuge is not None:
            self._tell(f"grace {int(self._refuge.grace_s * 1000)}")

    async def keep_running(self, task_status: trio.TaskStatus[None]) -> None:
        """Run a reaper, and another whenever it dies.

        On cancellation it ends in good order.

        Raises:
            SpawnError: The first one could not be started.
        """
        pause_s = _FIRST_PAUSE_S
        child = self._start()
        task_status.started()
        while True:
            began_at = trio.current_time()
            code = await self._until_ended(child)
            if trio.current_time() - began_at > _LAST_PAUSE_S:
                pause_s = _FIRST_PAUSE_S
            log.error("reaper.died pid=%d code=%s groups=%d", self.pid, code, len(self._groups))
            while True:
                await trio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LAST_PAUSE_S)
                try:
                    child = self._start()
                    break
                except SpawnError as exc:
                    log.error("reaper.absent error=%s retry_in_s=%.2f", exc, pause_s)

    async def _until_ended(self, child: "subprocess.Popen[bytes] | None") -> int | None:
        """Wait until it has ended and reap it; return its exit code, if that can be known.

        When cancelled, see to it that it ends, unless something is left to it.
        """
        pid, is_stuck = self.pid, False
        try:
            await _ends(pid)
        finally:
            if not self.hands_over:
                self._tell("grace 0")
            self._close_link()
            if not self.hands_over:
                with trio.move_on_after(_END_S, shield=True):
                    is_stuck = True
                    await _ends(pid)
                    is_stuck = False
                if is_stuck:
                    kill(pid)
                    self._kill_rest()
                _reap(pid, child)
        return child.returncode if child is not None else None

    def _kill_rest(self) -> None:
        """Do in the place of a reaper that hangs what it is there for."""
        for group in self._groups:
            entrusted = self._entrusted.get(group)
            if entrusted is None or started_at(group) == entrusted.started:
                with suppress(OSError):
                    os.killpg(group, signal.SIGKILL)
        for pid in marked_processes(f"{self._mark}."):
            kill(pid)


def _copies(pipes: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return descriptors of our own: those of the caller are closed at any time.

    Raises:
        OSError: There is none left.
    """
    copies: list[int] = []
    try:
        copies.extend(map(os.dup, pipes))
    except OSError:
        for fd in copies:
            os.close(fd)
        raise
    return copies[0], copies[1], copies[2]


def _reap(pid: int, child: "subprocess.Popen[bytes] | None") -> None:
    """Reap it, if it is our child. It has ended, or was killed."""
    if child is not None:
        child.wait()
        return
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)


async def _ends(pid: int) -> None:
    """Return when the process has ended; it is not reaped."""
    while True:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        except OSError:  # no descriptor left for that
            await trio.sleep(_LAST_PAUSE_S)
            continue
        try:
            await trio.lowlevel.wait_readable(pidfd)
            return
        finally:
            os.close(pidfd)


def _door(path: Path) -> socket.socket:
    """Return a socket that is bound to `path`, for the reaper to listen there.

    Raises:
        OSError: It cannot be bound.
    """
    path.unlink(missing_ok=True)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        door.bind(str(path))
        path.chmod(0o600)
    except OSError:
        door.close()
        raise
    return door


@asynccontextmanager
async def open_reaper(
    refuge: Refuge | None = None,
    inheritance: Inheritance | None = None,
    folder: Path | None = None,
) -> AsyncGenerator[Reaper, None]:
    """Give a reaper.

    Groups that are registered on leaving the block are killed, unless they are handed over.

    Args:
        refuge: Where what is entrusted to it outlives this process; None: nothing does.
        inheritance: Of an earlier one, which goes on: what it has kept is to be taken over, or
            ended.
        folder: Where the next supervisor looks for what both of us leave if we are killed; None:
            nowhere.

    Raises:
        SpawnError: It could not be started.
    """
    reaper = Reaper(refuge, inheritance, folder)
    async with trio.open_nursery() as nursery:
        await nursery.start(reaper.keep_running)
        try:
            yield reaper
        finally:
            nursery.cancel_scope.cancel()
    if folder is not None and not reaper.hands_over:
        forget_mark(folder)
    reaper.forget_all()
