"""One child process for exactly as long as one task lives.

"Ended" means: the process that was started is reaped, its group is empty, its output is read to
the end, and nobody listens on its port. What it started and what left its group is killed too,
if it holds the output or the port.
"""

import logging
import math
import os
import signal
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import IO, Protocol, TypeAlias, TypeVar

import msgspec
import trio

from ..errors import SpawnError
from ..host.shortage import what_is_scarce
from ..llamacpp.load_report import END_WORD
from .kept_process import AdoptedProcess, KeptProcess
from .output import OutputReader, Stream
from .ports import is_listening, wait_port_closed
from .procfs import group_exists, group_members
from .reaper import Reaper
from .reaper_child import kill, marked_processes
from .spawn import PipedProcess, SpawnSpec, spawn
from .unix_sockets import is_listening_at, wait_socket_closed

log = logging.getLogger(__name__)

_Seen = TypeVar("_Seen")

# Launch, mark for the environment -> a child that runs, as `spawn` gives it.
Start: TypeAlias = Callable[[SpawnSpec, tuple[str, str]], Awaitable[PipedProcess]]

# Seconds from SIGTERM to SIGKILL. Precedents: trio.run_process 5, docker stop 10, systemd 90.
# llama-server has nothing to save and ends in 0.02 s.
TERM_GRACE_S = 10.0

# Seconds until a llama-server with its report on is sent SIGTERM once more. What asks it to end in
# the moment in which it becomes ready is lost, and it serves on (build 10068: 2 of 11 stops in that
# moment); a second SIGTERM ends it at once. Cleaning up takes 0.1 s for a GB in main memory; who is
# at it is better not disturbed.
_ASK_AGAIN_S = 3.0

# Seconds after SIGKILL until a process counts as stuck in the kernel. Giving some 80 GB of locked
# memory and a GPU context back takes seconds; beyond this a driver hangs.
KILL_WAIT_S = 30.0

# Seconds that what outlives the leader gets to let go of output and port, once before it is
# killed and once after. Both together are the half second that an end may be noticed late.
_SETTLE_S = 0.25

# Lines that are kept for the text of an error. llama-server writes 12 about a missing file.
TAIL_LINES = 20


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a process.

    Attributes:
        code: Its exit code; -N means that signal N ended it. None if nobody can say: it was started
            by an earlier supervisor.
        ran_s: Seconds from its start to its end.
        asked: It was asked to end, by `RunningProcess.stop` or by cancellation.
        killed: It did not end within its grace and was sent SIGKILL.
        tail: The last lines of its standard error, oldest first.
        survivors: Processes of its group that even SIGKILL did not end within `KILL_WAIT_S`.
        port_closed: Nothing listens on its port, or its unix socket. False: somebody does whom it
            did not start.
    """

    code: int | None
    ran_s: float
    asked: bool
    killed: bool = False
    tail: tuple[str, ...] = ()
    survivors: tuple[int, ...] = ()
    port_closed: bool = True

    def __str__(self) -> str:
        after = f"after {self.ran_s:.1f} s"
        if self.code is None:
            return f"ended {after}; its exit code is not known"
        if self.code >= 0:
            return f"exited with code {self.code} {after}"
        name = signal.strsignal(-self.code) or f"signal {-self.code}"
        return f"ended by signal {-self.code} ({name}) {after}"


class RunningProcess(Protocol):
    """A running process, as `nursery.start(run_process, ...)` gives it."""

    @property
    def pid(self) -> int:
        """Its process id, which is that of its group as well."""

    @property
    def started_at(self) -> float:
        """Time of its start, as `trio.current_time` counts."""

    def entrust(self, card: bytes) -> None:
        """Let it outlive this process, if anything may: see `Reaper.entrust`.

        Has no effect once it was asked to end.
        """

    def ask_to_end(self) -> None:
        """Send it SIGTERM, and leave it all the time that it takes."""

    def stop(self, *, grace_s: float) -> None:
        """Terminate its group with SIGTERM, and SIGKILL after `grace_s` (0: at once).

        Where `SpawnSpec.stop_argv` gives a command, that is run in the place of SIGTERM, and has
        `grace_s` as well; if it fails, SIGTERM follows. Where `SpawnSpec.ends_with_input` is set,
        the end of its input takes the place of SIGTERM.

        Returns at once; `run_process` returns when it has ended. May be called again with less
        patience (more has no effect), and after the end (no effect).
        """


class StartedProcess(RunningProcess, Protocol):
    """A process that `start_process` has started. Its `run` has to follow, without a wait."""

    async def run(
        self, on_line: Callable[[Stream, bytes], None], *, term_grace_s: float = TERM_GRACE_S
    ) -> Exit:
        """See it through; as `run_process`."""


def start_process(launch: SpawnSpec, reaper: Reaper) -> StartedProcess:
    """Start one process; the program is loaded, which is not yet "ready".

    For who cannot wait for a turn of the loop; others take `run_process`, which leaves nothing
    to forget.

    Args:
        launch: The program, and its surroundings.
        reaper: Has its group registered while it runs.

    Raises:
        SpawnError: It could not be started; the text may be shown to clients.
    """
    mark = reaper.new_mark()
    return _Child(launch, spawn(launch, mark), mark[1], reaper)


def adopt_process(kept: KeptProcess, launch: SpawnSpec, reaper: Reaper) -> StartedProcess:
    """Take over a process that an earlier supervisor has started.

    What it wrote meanwhile comes first among its lines.

    Args:
        kept: The process; it runs, as far as is known.
        launch: How it was started. Of that, only what concerns its end is looked at.
        reaper: Has it already.

    Raises:
        SpawnError: It has just ended, or no descriptor is left. Its pipes are closed.
    """
    try:
        reaper.adopt(kept)
        return _Child(launch, AdoptedProcess(kept), kept.mark, reaper, kept)
    except OSError as exc:
        reaper.remove(kept.pid)
        kept.kill()
        reason = what_is_scarce(exc) or exc.strerror
        raise SpawnError(f"cannot take over process {kept.pid}: {reason}") from exc


async def run_process(
    launch: SpawnSpec,
    *,
    on_line: Callable[[Stream, bytes], None],
    reaper: Reaper,
    term_grace_s: float = TERM_GRACE_S,
    start: Start | None = None,
    task_status: trio.TaskStatus[RunningProcess] = trio.TASK_STATUS_IGNORED,
) -> Exit:
    """Run one process for exactly as long as this task.

    ``await nursery.start(run_process, launch, ...)`` returns once the program is loaded, which is
    not yet "ready". `RunningProcess.stop` ends it, and so does cancelling the task. However the
    task ends, the process is reaped by then and its group is empty; but for one that was entrusted
    to the reaper, when all these are handed over to the next supervisor: it runs on.

    Args:
        launch: The program, and its surroundings.
        on_line: Called for each line of its output, without line end, at most
            `line_splitter.MAX_LINE_BYTES` long. Must be quick: nothing else runs meanwhile.
        reaper: Has its group registered while it runs.
        term_grace_s: Seconds between SIGTERM and SIGKILL when the task is cancelled.
        start: Starts it in the place of `spawn`.
        task_status: Set by ``nursery.start``; gets the running process.

    Raises:
        SpawnError: It could not be started; the text may be shown to clients.
    """
    mark = reaper.new_mark()
    spawned = spawn(launch, mark) if start is None else await start(launch, mark)
    child = _Child(launch, spawned, mark[1], reaper)
    task_status.started(child)
    return await child.run(on_line, term_grace_s=term_grace_s)


async def _run_stop_command(
    child: "_Child",
    launch: SpawnSpec,
    on_line: Callable[[Stream, bytes], None],
    reaper: Reaper,
    argv: tuple[str, ...],
) -> None:
    """End `child` by a command; if that fails, by SIGTERM.

    The command is killed when the time is up.
    """
    why = "it was not done in time"
    try:
        with child.time_to_stop:
            try:
                ended = await run_process(
                    SpawnSpec(
                        argv=argv,
                        env=launch.env,
                        without=launch.without,
                        cwd=launch.cwd,
                    ),
                    on_line=on_line,
                    reaper=reaper,
                    term_grace_s=0.0,
                )
                why = str(ended) if ended.code else ""
            except SpawnError as exc:
                why = str(exc)
        if why:
            log.warning("process.stop_command_failed pid=%d reason=%r", child.pid, why)
            child.terminate()
    finally:
        child.stop_command_ended()


def _seen(look: Callable[[], _Seen], otherwise: _Seen) -> _Seen:
    """Return `look()` in /proc; `otherwise` without a free descriptor."""
    try:
        return look()
    except OSError:
        return otherwise


def _take_over(pipe: IO[bytes] | None) -> int:
    """Return a descriptor of `pipe` that no file object closes."""
    assert pipe is not None
    with pipe:
        return os.dup(pipe.fileno())


class _Child:
    """A process with its group, until reaped. Implements `StartedProcess`.

    Attributes:
        output: The reading ends of its output, for the reader to close.
        run_stop_command: Begins to run the command that is given to it.
        time_to_stop: How long that may run; nothing else ends it.
    """

    run_stop_command: Callable[[tuple[str, ...]], None]

    def __init__(
        self,
        launch: SpawnSpec,
        spawned: PipedProcess,
        mark: str,
        reaper: Reaper,
        kept: KeptProcess | None = None,
    ) -> None:
        self._popen = spawned
        self._mark = mark
        self._is_foreign = isinstance(spawned, AdoptedProcess) and not spawned.is_child
        self._said = kept.said if kept is not None else {}
        self._reaper = reaper
        self._launch = launch
        self._port = launch.port
        self._socket = launch.socket
        self._stop_argv = launch.stop_argv
        self.pid = self._popen.pid
        self.started_at = trio.current_time() - (kept.age_s if kept is not None else 0.0)
        self._leader_ended = False
        self._ended_at: float | None = None
        self._kill_at = self._ask_again_at = math.inf
        self._patience = trio.CancelScope()
        self.time_to_stop = trio.CancelScope(shield=True)
        self._stop_command_ended: trio.Event | None = None
        self._told = False
        self._killed = False
        self._survivors: set[int] = set()
        self._port_closed = True
        reaper.add(self.pid)
        self._fds: list[int] = []
        try:
            self._pidfd = self._keep(os.pidfd_open(self.pid))
            stdout = self._keep(_take_over(self._popen.stdout))
            stderr = self._keep(_take_over(self._popen.stderr))
        except OSError as exc:
            self._signal_group(signal.SIGKILL)
            reaper.remove(self.pid)
            self._popen.wait()  # at once: it was killed before it did anything
            self._close()
            name = os.path.basename(launch.argv[0])
            why = what_is_scarce(exc) or exc.strerror
            raise SpawnError(f"cannot start {name!r}: {why}") from exc
        self._fds = [self._pidfd]
        self.output: list[tuple[Stream, trio.lowlevel.FdStream]] = [
            ("stdout", trio.lowlevel.FdStream(stdout)),
            ("stderr", trio.lowlevel.FdStream(stderr)),
        ]

    def _keep(self, fd: int) -> int:
        self._fds.append(fd)
        return fd

    def _close(self) -> None:
        for fd in self._fds:
            os.close(fd)
        for pipe in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            assert pipe is not None
            pipe.close()

    async def run(
        self, on_line: Callable[[Stream, bytes], None], *, term_grace_s: float = TERM_GRACE_S
    ) -> Exit:
        """See `StartedProcess.run`."""
        tail: deque[bytes] = deque(maxlen=TAIL_LINES)

        def take(stream: Stream, line: bytes) -> None:
            if stream == "stderr":
                tail.append(line)
            on_line(stream, line)

        with self:
            async with trio.open_nursery() as nursery:
                output = OutputReader()
                nursery.start_soon(output.read, self.output, take, self._said)
                self.run_stop_command = lambda argv: nursery.start_soon(
                    _run_stop_command, self, self._launch, on_line, self._reaper, argv
                )
                try:
                    await self.leader_ends()
                except BaseException:  # cancellation above all; nothing may leave it running
                    if not self._reaper.is_left(self.pid):
                        self.stop(grace_s=0.0 if self._reaper.hands_over else term_grace_s)
                    raise
                finally:
                    if not self._reaper.is_left(self.pid):
                        with trio.CancelScope(shield=True):  # bounded: grace, then KILL_WAIT_S
                            await self.leader_ends()
                            await self.rest_ends(output.ended)
                    output.give_up()
        return self.exit(tail)

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self._close()

    def entrust(self, card: bytes) -> None:
        """See `RunningProcess.entrust`."""
        (_, stdout), (_, stderr) = self.output
        stdin = self._popen.stdin
        assert stdin is not None
        if self._told or self._leader_ended or stdin.closed:
            return
        try:
            pipes = (stdin.fileno(), stdout.fileno(), stderr.fileno())
            self._reaper.entrust(self.pid, self._mark, card, pipes)
        except OSError as exc:  # no descriptor is left; or it has closed its output itself
            log.warning("process.not_entrusted pid=%d reason=%r", self.pid, str(exc))

    def ask_to_end(self) -> None:
        """See `RunningProcess.ask_to_end`."""
        if not self._leader_ended:
            with suppress(OSError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)

    def stop(self, *, grace_s: float) -> None:
        """See `RunningProcess.stop`."""
        self._kill_at = min(self._kill_at, trio.current_time() + grace_s)
        self.time_to_stop.deadline = self._kill_at
        self._be_patient()
        if self._told or self._ended_at is not None:
            return
        self._told = True
        self._reaper.take_back(self.pid)
        if grace_s > 0 and (argv := self._stop_argv(self.pid)):
            self._stop_command_ended = trio.Event()
            self.run_stop_command(argv)
            return
        if grace_s > 0:
            self.terminate()
        self._close_input()

    def terminate(self) -> None:
        """Send SIGTERM to its group, unless the end of its input ends it.

        Not after it was reaped: the number may be another's.
        """
        if self._launch.ends_with_input:
            return
        self._signal_group(signal.SIGTERM)
        self._signal_group(signal.SIGCONT)  # a process that is stopped cannot obey

    def stop_command_ended(self) -> None:
        """Note that no stop command runs any more."""
        assert self._stop_command_ended is not None  # it was set before the command was run
        self._stop_command_ended.set()
        self._close_input()

    def _close_input(self) -> None:
        """Close its standard input.

        llama-server with its report on has a thread that reads it; after SIGTERM it cleans up and
        then waits for that thread for ever, until this end is closed (measured with build 10068:
        ended 0.01 s after that). And it ends by itself when it is closed, so a stop command comes
        first: it may want to ask the server for something.
        """
        stdin = self._popen.stdin
        assert stdin is not None
        if self._launch.report and not stdin.closed:
            with suppress(OSError):  # it has ended, or has closed it
                # An empty pipe holds it; but the process can write to this pipe itself.
                os.set_blocking(stdin.fileno(), False)
                stdin.write(END_WORD)
            self._ask_again_at = trio.current_time() + _ASK_AGAIN_S
            self._be_patient()
        stdin.close()

    def _be_patient(self) -> None:
        self._patience.deadline = min(self._kill_at, self._ask_again_at)

    async def leader_ends(self) -> None:
        """Wait for the end of the process; kill the group when time is up.

        Returns at once when called again. May be cancelled and called again.
        """
        if self._leader_ended:
            return
        while True:
            with trio.CancelScope() as self._patience:
                self._be_patient()
                await trio.lowlevel.wait_readable(self._pidfd)
            if not self._patience.cancelled_caught or self._kill_at <= trio.current_time():
                break
            self._ask_again_at = math.inf
            self.terminate()
        if self._patience.cancelled_caught:
            self._killed = True
            self._signal_group(signal.SIGKILL)
            with trio.move_on_after(KILL_WAIT_S):
                await trio.lowlevel.wait_readable(self._pidfd)
        self._leader_ended = True

    async def rest_ends(self, output_ended: trio.Event) -> None:
        """Reap the process, and end its remaining group."""
        self._ended_at = trio.current_time()
        if self._stop_command_ended is not None:  # it may still run `kill`, with this number
            await self._stop_command_ended.wait()  # bounded: `time_to_stop`
        # In this order: as long as the leader is not reaped, its number cannot be used again, so
        # the signal hits no other process, and neither would the reaper.
        if self._is_foreign:  # somebody else has reaped it: its number may be another's
            for pid in _seen(lambda: marked_processes(self._mark), list[int]()):
                kill(pid)
        else:
            self._signal_group(signal.SIGKILL)
        self._reaper.remove(self.pid)
        self._popen.poll()
        if not await self._settles(output_ended):
            nothing: list[int] = []
            for pid in _seen(lambda: marked_processes(self._mark), nothing):
                log.warning("process.escaped pid=%d leader=%d", pid, self.pid)
                kill(pid)
            await self._settles(output_ended)
        with trio.move_on_after(KILL_WAIT_S):
            await self._group_ends()
        self._popen.poll()
        self._survivors = _seen(self._members, set())
        self._port_closed = _seen(self._is_place_free, True)
        if self._survivors:
            log.error("process.left pid=%d survivors=%s", self.pid, sorted(self._survivors))
        if not self._port_closed:  # nothing of ours is left that could hold it
            place = self._port or self._socket
            log.warning("process.port_taken pid=%d by_another_at=%s", self.pid, place)

    def exit(self, tail: deque[bytes]) -> Exit:
        """Return its exit."""
        assert self._ended_at is not None
        code = self._popen.returncode
        if code is None and (self._survivors or not self._is_foreign):
            code = -signal.SIGKILL  # not even that ended it
        return Exit(
            code=code,
            ran_s=self._ended_at - self.started_at,
            asked=self._told,
            killed=self._killed,
            tail=tuple(line.decode(errors="replace") for line in tail),
            survivors=tuple(sorted(self._survivors)),
            port_closed=self._port_closed,
        )

    def _signal_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return
        except PermissionError:  # all that is left of it runs as another user
            log.warning("process.not_ours group=%d signal=%s", self.pid, number.name)

    def _members(self) -> set[int]:
        return group_members(self.pid) if group_exists(self.pid) else set()

    def _is_place_free(self) -> bool:
        return not (
            (self._port is not None and is_listening(self._port))
            or (self._socket is not None and is_listening_at(self._socket))
        )

    async def _group_ends(self) -> None:
        pause_s = 0.001
        while _seen(lambda: group_exists(self.pid), True):
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.05)

    async def _settles(self, output_ended: trio.Event) -> bool:
        with trio.move_on_after(_SETTLE_S):
            await self._group_ends()
            await output_ended.wait()
            try:
                if self._port is not None:
                    await wait_port_closed(self._port)
                if self._socket is not None:
                    await wait_socket_closed(self._socket)
            except OSError:  # no descriptor left to look
                return False
            return True
        return False


__all__ = [
    "TERM_GRACE_S",
    "Exit",
    "RunningProcess",
    "SpawnSpec",
    "Start",
    "StartedProcess",
    "Stream",
    "adopt_process",
    "run_process",
    "start_process",
]
