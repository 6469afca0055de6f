"""`command`: templates for ssh, srun, kubectl and the like.

What runs here is the program of the template, as a process like any other: its output is the
server's, its end is the server's end, and the next supervisor takes it over as such. `guard` sees
to the other machine.
"""

import logging
from collections.abc import Callable
from typing import Final

import trio

from ..config.load import LaunchConfig
from ..config.schema.launcher_types import HOST
from ..errors import SpawnError
from ..llamacpp.load_report import VARIABLE as REPORT_VARIABLE
from ..processes.kept_process import KeptProcess
from ..processes.process import (
    TERM_GRACE_S,
    Exit,
    SpawnSpec,
    StartedProcess,
    Stream,
    adopt_process,
    run_process,
    start_process,
)
from ..processes.reaper import Reaper
from .guard import filled, first_words, guarded, read_host
from .launcher import Launched, LaunchOrder, StandIn

log = logging.getLogger(__name__)

# Share of the time to stop after which the guard kills: its end is to be seen here before the
# program that brought it there is killed, too.
_GUARDS_SHARE: Final = 0.8

# Seconds for the stop command of a start that has ended by itself.
CLEANUP_LIMIT_S: Final = 30.0


class CommandLauncher:
    """Starts models by templates. Implements `Launcher`."""

    def __init__(self, reaper: Reaper) -> None:
        self._reaper = reaper

    def start(self, order: LaunchOrder) -> Launched:
        """See `Launcher.start`."""
        machine = _Machine(order)
        words = guarded(order.launch.command, _GUARDS_SHARE * order.config.unload_timeout_s)
        argv = filled(order.launch.template, words)
        spec = _spec(order, machine, argv, first_words(_environment(order)))
        return self._launched(order, machine, start_process(spec, self._reaper))

    def adopt(self, order: LaunchOrder, kept: KeptProcess) -> Launched:
        """See `Launcher.adopt`."""
        machine = _Machine(order)
        spec = _spec(order, machine, ("model",), b"")
        return self._launched(order, machine, adopt_process(kept, spec, self._reaper))

    def _launched(
        self, order: LaunchOrder, machine: "_Machine", process: StartedProcess
    ) -> Launched:
        return Launched(_Sent(order, process, machine, self._reaper), machine.place)


def _spec(
    order: LaunchOrder, machine: "_Machine", argv: tuple[str, ...], first_input: bytes
) -> SpawnSpec:
    return SpawnSpec(
        argv=argv,
        port=order.launch.port,
        socket=order.launch.socket,
        without=order.without,
        stop_argv=machine.stop_argv,
        first_input=first_input,
        ends_with_input=True,
    )


def _environment(order: LaunchOrder) -> dict[str, str]:
    """Return what the server gets on the other machine, beside what is there."""
    env = dict(order.launch.env)
    written = env.pop(REPORT_VARIABLE, "")
    return env | ({REPORT_VARIABLE: written or "1"} if order.report else {})


class _Machine:
    """Where a start runs, by the guard's own word."""

    def __init__(self, order: LaunchOrder) -> None:
        self._order = order
        self._host = order.launch.host
        self._is_known = trio.Event()
        if self._host:
            self._is_known.set()

    def take(self, line: bytes) -> bool:
        """Return whether `line` says which machine it is, and nothing else has said that yet."""
        if self._host or (host := read_host(line)) is None:
            return False
        self._host = host
        self._is_known.set()
        return True

    async def place(self) -> LaunchConfig:
        """See `Launched.place`.

        Also where nothing else depends on that: the next supervisor may have to know it.
        """
        await self._is_known.wait()
        return self._order.launch.on(self._host)

    def stop_argv(self, pid: int) -> tuple[str, ...]:
        """Return the stop command; none while it needs a machine that is not known."""
        words = self._order.stop_argv(pid)
        if not self._host and any(HOST in word for word in words):
            return ()
        return tuple(word.replace(HOST, self._host) for word in words)


class _Sent(StandIn):
    """A start on another machine, by the process here that brought it there."""

    def __init__(
        self, order: LaunchOrder, process: StartedProcess, machine: _Machine, reaper: Reaper
    ) -> None:
        super().__init__(order, process)
        self._machine = machine
        self._reaper = reaper

    async def run(
        self, on_line: Callable[[Stream, bytes], None], *, term_grace_s: float = TERM_GRACE_S
    ) -> Exit:
        """See `StartedProcess.run`.

        When it ends unasked, something may be left on the other machine: the connection may have
        been lost. The stop command is for that, too.
        """

        def take(stream: Stream, line: bytes) -> None:
            if stream != "stdout" or not self._machine.take(line):
                on_line(stream, line)

        end = await self._process.run(take, term_grace_s=term_grace_s)
        if not end.asked and (argv := self._machine.stop_argv(self.pid)):
            await self._clean_up(argv, on_line)
        return end

    async def _clean_up(
        self, argv: tuple[str, ...], on_line: Callable[[Stream, bytes], None]
    ) -> None:
        why = "it was not done in time"
        with trio.move_on_after(CLEANUP_LIMIT_S):
            try:
                spec = SpawnSpec(argv=argv, without=self._order.without)
                ended = await run_process(
                    spec, on_line=on_line, reaper=self._reaper, term_grace_s=0.0
                )
                why = str(ended) if ended.code else ""
            except SpawnError as exc:
                why = str(exc)
        if why:  # mostly: there is nothing left to be stopped
            model = self._order.config.model
            log.info("launcher.nothing_stopped model=%s pid=%d reason=%r", model, self.pid, why)
