"""Runs the exporter's process, while spans are wanted, and says what was lost."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import trio

from arriero.protocol.flood_log import FloodLog
from arriero.protocol.read_json import JsonReader

from ..config.values import Config
from ..errors import SpawnError
from ..processes.process import SpawnSpec, Stream, run_process
from ..processes.reaper import Reaper
from .report import ExportReport

log = logging.getLogger(__name__)

_PROGRAM: Final = "arriero.supervisor.telemetry.exporter_child"

# Seconds until another process is started when one has ended; they double while that goes on.
FIRST_PAUSE_S: Final = 1.0
_LAST_PAUSE_S: Final = 60.0

# Seconds that it may take to end: a last batch, and its own end.
_TERM_GRACE_S: Final = 2.0

# Of what it writes that is no report, so much is shown.
_MAX_SHOWN: Final = 200

_reports: Final = JsonReader(ExportReport)


class _Wanted(NamedTuple):
    traces: bool
    endpoint: str | None


class SpanExporter:
    """Owns the process.

    Attributes:
        exported: Requests whose spans have arrived.
        lost: Requests whose spans have not, as far as it was told.
    """

    def __init__(
        self,
        config: Callable[[], Config],
        reaper: Reaper,
        folder: Path,
        last_seq: Callable[[], int],
        *,
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        """Build it; `run` starts the process.

        Args:
            config: Says what is wanted.
            reaper: Has the process killed when this one ends.
            folder: Of the sockets.
            last_seq: Gives the number of the last record that was published.
            first_pause_s: Seconds until another is started when one has ended.
        """
        self.exported = 0
        self.lost = 0
        self._config = config
        self._reaper = reaper
        self._folder = folder
        self._last_seq = last_seq
        self._first_pause_s = first_pause_s
        self._changed = trio.Event()
        self._report: ExportReport | None = None
        self._seq = 0  # of the last record of which it is known what became of it
        self._flood = FloodLog(log)

    def wake(self) -> None:
        """Look at the configuration again."""
        self._changed.set()

    async def run(self) -> None:
        """Run the process while it is wanted, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._flood.flush_regularly)
            await self._keep_running()

    async def _keep_running(self) -> None:
        pause_s = self._first_pause_s
        while True:
            self._changed = trio.Event()
            wanted = self._wanted()
            if not wanted.traces:
                await self._changed.wait()
                self._seq = self._last_seq()
                continue
            began_at = trio.current_time()
            ends: list[str] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._end_when_changed, wanted, nursery.cancel_scope)
                ends.append(await self._run_one(wanted.endpoint))
                nursery.cancel_scope.cancel()
            if not ends:  # something else is wanted
                pause_s = self._first_pause_s
                continue
            if trio.current_time() - began_at > _LAST_PAUSE_S:
                pause_s = self._first_pause_s
            self._flood.warning("telemetry.ended reason=%r again_in_s=%.0f", ends[0], pause_s)
            with trio.move_on_after(pause_s):
                await self._changed.wait()
            pause_s = min(2 * pause_s, _LAST_PAUSE_S)

    def _wanted(self) -> "_Wanted":
        config = self._config()
        return _Wanted(config.traces, config.traces_endpoint)

    async def _end_when_changed(self, wanted: "_Wanted", running: trio.CancelScope) -> None:
        while self._wanted() == wanted:
            await self._changed.wait()
            self._changed = trio.Event()
        running.cancel()

    async def _run_one(self, url: str | None) -> str:
        """Run one process until it ends; return why that was."""
        command = SpawnSpec(
            argv=(
                *(sys.executable, "-m", _PROGRAM, str(self._folder), str(self._seq)),
                *(() if url is None else (url,)),
            ),
            is_ours=True,
        )
        self._report = None
        try:
            end = await run_process(
                command, on_line=self._take, reaper=self._reaper, term_grace_s=_TERM_GRACE_S
            )
        except SpawnError as exc:
            return str(exc)
        return str(end)

    def _take(self, stream: Stream, line: bytes) -> None:
        report = _reports.find(line) if stream == "stdout" else None
        if report is None:
            shown = line[:_MAX_SHOWN].decode(errors="replace")
            self._flood.warning("telemetry.said line=%r", shown)
            return
        before, self._report = self._report, report
        self._seq = report.seq
        if before is None:
            log.info("telemetry.exporting endpoint=%s", self._wanted().endpoint or "environment")
            before = ExportReport()
        self.exported += report.exported - before.exported
        self.lost += report.lost - before.lost
        if report.lost > before.lost:
            self._flood.warning("telemetry.lost requests=%d reason=%r", self.lost, report.why)
