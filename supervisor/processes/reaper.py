"""Kills every child process group if the supervisor dies, even by SIGKILL.

See `reaper_child`.

The pipe to that companion process is the whole trick: the kernel closes it when this process
ends, by whatever means. It costs 9 MB and one write per start and stop of a process.
"""

import itertools
import logging
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from ..errors import SpawnError
from ..host.shortage import what_is_scarce, why
from .reaper_child import MARK_NAME, kill

log = logging.getLogger(__name__)

_PROGRAM = Path(__file__).resolve().with_name("reaper_child.py")

# Seconds until a reaper that died is replaced: at once the first time, doubling while it keeps
# dying (a machine out of memory), reset after it lived for the last of them.
_FIRST_PAUSE_S = 0.01
_LAST_PAUSE_S = 5.0

# Seconds that a reaper gets to end after its pipe was closed. It needs some milliseconds.
_END_S = 2.0


class Reaper:
    """Registry of the process groups that must not outlive this process.

    Attributes:
        pid: Of the companion process; changes when it had to be replaced.
    """

    def __init__(self) -> None:
        self.pid = 0
        self._mark = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._groups: set[int] = set()
        self._pipe: int | None = None

    def new_mark(self) -> tuple[str, str]:
        """Return an environment variable that marks a new process as ours.

        It closes the gap between the start of a process and its `add`.
        """
        return MARK_NAME, f"{self._mark}.{next(self._numbers)}."

    def add(self, group: int) -> None:
        """Kill `group` when this process ends."""
        self._groups.add(group)
        self._tell("add", group)

    def remove(self, group: int) -> None:
        """Leave `group` alone.

        To be called before its leader is reaped: numbers are used again.
        """
        self._groups.discard(group)
        self._tell("del", group)

    def _tell(self, word: str, group: int) -> None:
        if self._pipe is None:
            return  # between two reapers: the next one gets all groups
        try:
            os.write(self._pipe, f"{word} {group}\n".encode())  # shorter than PIPE_BUF: whole
        except OSError:
            # It died, or is stopped and its pipe is full. In the latter case it has to die before
            # the pipe is closed: on waking up it would take that for the end of this process.
            kill(self.pid)
            self._close_pipe()

    def _close_pipe(self) -> None:
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None

    def _start(self) -> "subprocess.Popen[bytes]":
        try:
            reading, writing = os.pipe()
        except OSError as exc:
            raise SpawnError(f"cannot start the reaper process: {why(exc)}") from exc
        try:
            child = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_PROGRAM), self._mark],
                stdin=reading,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,  # what is typed at a terminal must not reach it
            )
        except OSError as exc:
            os.close(writing)
            raise SpawnError(
                f"cannot start the reaper process: {what_is_scarce(exc) or exc.strerror}"
            ) from exc
        finally:
            os.close(reading)
        os.set_blocking(writing, False)
        self._pipe = writing
        self.pid = child.pid
        for group in self._groups:
            self._tell("add", group)
        return child

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
            started_at = trio.current_time()
            code = await self._until_ended(child)
            if trio.current_time() - started_at > _LAST_PAUSE_S:
                pause_s = _FIRST_PAUSE_S
            log.error("reaper.died pid=%d code=%d groups=%d", child.pid, code, len(self._groups))
            while True:
                await trio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LAST_PAUSE_S)
                try:
                    child = self._start()
                    break
                except SpawnError as exc:
                    log.error("reaper.absent error=%s retry_in_s=%.2f", exc, pause_s)

    async def _until_ended(self, child: "subprocess.Popen[bytes]") -> int:
        """Wait until `child` has ended and reap it.

        When cancelled, see to it that it ends.
        """
        try:
            await _ends(child)
        finally:
            self._close_pipe()
            with trio.move_on_after(_END_S, shield=True):
                await _ends(child)
            if child.poll() is None:
                child.kill()
            child.wait()  # at once: it has ended, or was killed
        return child.returncode


async def _ends(child: "subprocess.Popen[bytes]") -> None:
    """Return when `child` has ended; it is not reaped."""
    while True:
        try:
            pidfd = os.pidfd_open(child.pid)
        except OSError:  # no descriptor left for that
            await trio.sleep(_LAST_PAUSE_S)
            if child.poll() is not None:
                return
            continue
        try:
            await trio.lowlevel.wait_readable(pidfd)
            return
        finally:
            os.close(pidfd)


@asynccontextmanager
async def open_reaper() -> AsyncGenerator[Reaper, None]:
    """Give a reaper.

    Groups that are registered on leaving the block are killed.

    Raises:
        SpawnError: It could not be started.
    """
    reaper = Reaper()
    async with trio.open_nursery() as nursery:
        await nursery.start(reaper.keep_running)
        try:
            yield reaper
        finally:
            nursery.cancel_scope.cancel()
