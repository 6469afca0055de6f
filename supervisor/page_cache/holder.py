"""Runs the holder: a process that keeps files in main memory.

It is there only while there is something to keep.
"""

import logging
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import trio

from ..errors import SpawnError
from ..processes.process import Exit, RunningProcess, SpawnSpec, Stream, run_process
from ..processes.reaper import Reaper
from .loaded_files import Identity
from .orders import NOTHING_HELD, HolderPlan, HolderReport, plan_line, read_report

log = logging.getLogger(__name__)

_PROGRAM: Final = Path(__file__).resolve().with_name("holder_child.py")

# Seconds until another is started when one has ended; the kernel ends it when memory runs out.
# They double while that goes on.
FIRST_PAUSE_S: Final = 30.0
_LAST_PAUSE_S: Final = 960.0

# Seconds that it may take to end. What it holds is given back by the kernel.
_TERM_GRACE_S: Final = 1.0

# Seconds that it may take to read a plan: one slice from the slowest disk. One that takes longer
# hangs in a file system.
_TAKE_LIMIT_S: Final = 60.0


class Holder:
    """Owns the process.

    Attributes:
        plan: What is to be kept.
        report: What it has said last; of an earlier plan perhaps.
        held: File -> bytes that are kept of it, as of the last report on a plan at hand.
        pid: Of the process; 0 without one.
    """

    def __init__(
        self,
        reaper: Reaper,
        pressure: tuple[Path, ...],
        *,
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        """Build it; `run` starts the process.

        Args:
            reaper: Has it killed when this process ends.
            pressure: Where the kernel tells of pressure on memory.
            first_pause_s: Seconds until another is started when one has ended.
        """
        self._first_pause_s = first_pause_s
        self.plan = HolderPlan()
        self.report: HolderReport = NOTHING_HELD
        self.held: dict[Identity, int] = {}
        self.pid = 0
        self._reaper = reaper
        self._pressure = pressure
        self._changed = trio.Event()
        self._heard: Callable[[], None] = lambda: None

    def on_report(self, heard: Callable[[], None]) -> None:
        """Call `heard` whenever there is a report, or the process has ended."""
        self._heard = heard

    def follow(self, plan: HolderPlan) -> None:
        """Let it follow `plan` from now on, whatever its number is."""
        numbered = msgspec.structs.replace(plan, number=self.plan.number)
        if numbered == self.plan:
            return
        self.plan = msgspec.structs.replace(plan, number=self.plan.number + 1)
        self._changed.set()

    @property
    def locked_bytes(self) -> int:
        """What cannot be dropped, in total."""
        return sum(self.report.held) if self.report.locked else 0

    async def run(self) -> None:
        """Run the process while there is something to keep, until cancelled."""
        pause_s = self._first_pause_s
        while True:
            if not self.plan.files:
                pause_s = self._first_pause_s
                await self._next_plan()
                continue
            began_at = trio.current_time()
            why = await self._run_one()
            if not self.plan.files:
                continue
            if trio.current_time() - began_at > _LAST_PAUSE_S:
                pause_s = self._first_pause_s
            log.warning("keep_in_ram.ended reason=%r again_in_s=%.0f", why, pause_s)
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LAST_PAUSE_S)

    async def _next_plan(self) -> None:
        await self._changed.wait()
        self._changed = trio.Event()

    async def _run_one(self) -> str:
        """Run one process until there is nothing to keep, or it ends; return why it ended."""
        try:
            ours, theirs = socket.socketpair()
        except OSError as exc:
            return f"it cannot be started: {exc.strerror}"
        command = SpawnSpec(
            argv=(
                *(sys.executable, "-I", "-S", str(_PROGRAM), str(theirs.fileno())),
                *map(str, self._pressure),
            ),
            cwd=Path("/"),
            pass_fds=(theirs.fileno(),),
            is_ours=True,
        )
        ends: list[Exit] = []

        async def see_through(task_status: trio.TaskStatus[RunningProcess]) -> None:
            end = await run_process(
                command,
                on_line=self._take,
                reaper=self._reaper,
                term_grace_s=_TERM_GRACE_S,
                task_status=task_status,
            )
            ends.append(end)
            nursery.cancel_scope.cancel()  # nobody takes plans any more

        try:
            async with trio.open_nursery() as nursery:
                with theirs:
                    try:
                        running = await nursery.start(see_through)
                    except SpawnError as exc:
                        return str(exc)
                self.pid = running.pid
                async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as orders:
                    await self._send_plans(orders)
                nursery.cancel_scope.cancel()
        finally:
            ours.close()
            self.pid, self.report, self.held = 0, NOTHING_HELD, {}
            self._heard()
        return str(ends[0]) if ends else "it takes no plan"

    async def _send_plans(self, orders: trio.SocketStream) -> None:
        """Send each plan; return when there is nothing to keep, or it takes none."""
        while self.plan.files:
            self._changed = trio.Event()
            with trio.move_on_after(_TAKE_LIMIT_S) as taking:
                try:
                    await orders.send_all(plan_line(self.plan))
                except trio.BrokenResourceError:  # its end is noticed by who waits for it
                    await trio.sleep(_TAKE_LIMIT_S)
            if taking.cancelled_caught:
                return
            await self._changed.wait()

    def _take(self, stream: Stream, line: bytes) -> None:
        report = read_report(line) if stream == "stdout" else None
        if report is None:
            log.warning("keep_in_ram.said line=%r", line[:200].decode(errors="replace"))
            return
        before, self.report = self.report, report
        if report.number == self.plan.number:
            held = zip(self.plan.files, report.held, strict=False)
            self.held = {file.identity: count for file, count in held if count}
        if report.why and report.why != before.why:
            log.warning("keep_in_ram.not_locked reason=%r", report.why)
        if report.yields_s > before.yields_s:
            left = sum(report.held)
            log.warning("keep_in_ram.gave_way left_bytes=%d pause_s=%.0f", left, report.yields_s)
        self._heard()
