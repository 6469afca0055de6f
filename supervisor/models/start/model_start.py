"""One start of one model, from spawn to end."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Final

import trio
from msgspec.structs import replace

from arriero.protocol.events import LogLine
from arriero.protocol.values import LOCAL, ErrorInfo
from arriero.protocol.worker_config import SeenFacts

from ...config.load import LaunchConfig, ModelConfig
from ...facts.ask import ask_facts
from ...host.http_get import Access
from ...launchers.launcher import Launched, Launcher, LaunchOrder
from ...llamacpp.api_key import LEAST_SECRET
from ...processes.kept_process import KeptProcess
from ...processes.process import Exit, RunningProcess, Stream
from ...progress.server_report import LoadingReport, ReadyReport, read_report_line
from ...progress.stage_times import StageTimes
from ...scheduling.dispatcher import Dispatcher
from ...scheduling.messages.events import BecameReady, Hung, Spawned
from ...scheduling.messages.refusals import machine_lost
from ...slots.keeper import SlotKeeper
from ...slots.server_slots import SlotServer, slot_server
from ...text.redact import HIDDEN
from ..signs.liveness_watch import PulseRound, PulseWatch
from .adoption import ModelCard
from .choices import Choices
from .displaced import displaced, stranger_in_place
from .load_progress import TO_A_MACHINE_S, LoadProgress
from .output_log import OutputLog
from .server_kind import kind_of_command, kind_of_server
from .sleeper import ServedAt, Sleeper
from .start_retry import MAX_TRIES, Otherwise
from .try_state import BegunTry, TryState

log = logging.getLogger(__name__)

# Seconds that a server which reports because of `env` has to live on when it is ready, before
# anybody is let in: without our pipe it ends itself 0.001 s after that.
_PROBATION_S: Final = 0.1


class ModelStart:
    """One start of one model. Its processes come one after the other: mostly there is one.

    Attributes:
        config: The model, as it was started.
        swap: Number of the start.
        choices: What was chosen for it.
        tries: How many have ended.
        is_ready: It has served.
    """

    def __init__(
        self,
        config: ModelConfig,
        swap: int,
        dispatcher: Dispatcher,
        output_log: OutputLog,
        *,
        pulse_round: PulseRound,
        learned: StageTimes | None,
        learn: Callable[[StageTimes], None],
        learn_facts: Callable[[SeenFacts], None],
        slots: SlotKeeper,
        now: Callable[[], ModelConfig],
        on_change: Callable[[], None],
        on_log_line: Callable[[bytes], None],
    ) -> None:
        self.config = config
        self.swap = swap
        self.choices = Choices()
        self.tries = 0
        self.is_ready = False
        self._config_now = now
        self._on_change = on_change
        self._on_log_line = on_log_line
        self._kind = config.kind
        self._dispatcher = dispatcher
        self._output_log = output_log
        self._learn = learn
        self._learn_facts = learn_facts
        self._pulse_round = pulse_round
        self._slots = slots
        self._progress = LoadProgress(config.model, swap, dispatcher, learned)
        self._sleeper = Sleeper(config.model, swap, dispatcher, on_change)
        self._saving = trio.CancelScope()
        self._serving: LaunchConfig | None = None  # set when it takes requests
        self._running: RunningProcess | None = None
        self._grace_s: float | None = None  # set when it was stopped before it ran
        self._try = TryState(config.model, swap, dispatcher)

    @property
    def failure(self) -> ErrorInfo | None:
        """Why it was ended, if it was ended for that."""
        return self._try.failure

    @property
    def place(self) -> tuple[str, Access] | None:
        """Base URL of its server, and the way to it; None: it does not serve, or sleeps."""
        if self._serving is None or self._sleeper.sleeps:
            return None
        return self._serving.base_url, self.choices.access

    # --- its end, and its sleep -----------------------------------------------------------------

    @property
    def slot_server(self) -> SlotServer | None:
        """Its server, if its slots are to be saved."""
        if self._serving is None or self._sleeper.sleeps:  # its slots are gone, and it would wake
            return None
        return self._slot_server(self._serving)

    def _slot_server(self, launch: LaunchConfig) -> SlotServer | None:
        if not self._config_now().save_slots:
            return None
        return slot_server(self.config, launch, self.choices.access)

    async def save_and_stop(self, server: SlotServer, grace_s: float) -> None:
        """Save its slots, then end it; `stop` makes it end at once."""
        with self._saving:
            await self._slots.save(server)
        if not self._saving.cancel_called:
            self.stop(grace_s)

    def stop(self, grace_s: float) -> None:
        """End it, now or as soon as it runs."""
        self._saving.cancel()
        self._grace_s = grace_s
        if self._running is not None:
            self._running.stop(grace_s=grace_s)

    async def fall_asleep(self) -> None:
        """Put it to sleep, and report how that ended."""
        await self._sleeper.fall_asleep(self._served_at())

    async def wake(self) -> None:
        """Wake it, and report how that ended."""
        await self._sleeper.wake(self._served_at())

    def _served_at(self) -> ServedAt | None:
        if self._serving is None:
            return None
        return ServedAt(self._serving.base_url, self.choices.access, self._kind or "unknown")

    # --- one try --------------------------------------------------------------------------------

    def _order(
        self, launch: LaunchConfig, stop_argv: Callable[[int], tuple[str, ...]]
    ) -> LaunchOrder:
        return LaunchOrder(
            config=self.config,
            swap=self.swap,
            launch=launch,
            start_id=self.choices.start_id,
            without=self.choices.without,
            report=self.choices.asks_for_report,
            stop_argv=stop_argv,
            on_waiting=self._wait_for_machine,
            on_loaded=self._take_bytes,
            on_lost=self._lose_machine,
        )

    def begin(
        self, launch: LaunchConfig, launcher: Launcher, stop_argv: Callable[[int], tuple[str, ...]]
    ) -> Launched:
        """Start the process; `run` follows.

        Args:
            launch: The program, and its surroundings.
            launcher: Starts it.
            stop_argv: Process id -> command that ends it, when it has to end; none: SIGTERM.

        Raises:
            SpawnError: It could not be started.
        """
        self._try = TryState(self.config.model, self.swap, self._dispatcher)
        self.choices.endpoint_port = launch.port
        launched = launcher.start(self._order(launch, stop_argv))
        launched.process.entrust(self._card(launch))
        return launched

    def adopt(
        self,
        kept: KeptProcess,
        card: ModelCard,
        launcher: Launcher,
        stop_argv: Callable[[int], tuple[str, ...]],
    ) -> BegunTry:
        """Take over a process; `run` follows. Arguments as for `begin`.

        Raises:
            SpawnError: It has just ended.
        """
        launch = card.launched(self.config)
        self.choices.follow(card)
        launched = launcher.adopt(self._order(launch, stop_argv), kept)
        self._kind = card.kind
        if card.serves:
            self.is_ready = True
            self._try.ready_at = trio.current_time()
            self._serving = launch
        else:
            self._progress.begin_at(launched.process.started_at)
        return BegunTry(launch, launched)

    async def run(self, begun: BegunTry) -> Exit:
        """Report the progress and readiness of the process, and wait for its end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow, begun)
            end = await begun.launched.process.run(self._take)
            nursery.cancel_scope.cancel()
        self._running = None
        self.tries += 1
        return replace(end, tail=tuple(self._try.log))

    async def _follow(self, begun: BegunTry) -> None:
        """Report on a process that is being run; is cancelled when it ends."""
        launch, (self._running, place) = begun
        if self._grace_s is not None:
            self._running.stop(grace_s=self._grace_s)
        self._kind = self._kind or kind_of_command(self.config.command)
        pid = self._running.pid
        if place is not None:
            silent_s = 0.0 if launch.wants_host else TO_A_MACHINE_S
            launch = await (
                place() if self.is_ready else self._progress.find_place(place, silent_s)
            )
            self._running.entrust(self._card(launch))
        if not self.is_ready:  # else it was taken over
            host = launch.host or LOCAL
            spawned = Spawned(self.config.model, self.swap, pid, launch.endpoint, host)
            self._dispatcher.handle(spawned)
            await self._get_ready(launch, pid)
        if self.is_ready:
            kind = self._kind or "unknown"
            self._learn_facts(await ask_facts(launch.base_url, self.choices.access, kind))
            await self._watch_pulse(launch, pid)

    def ended_without_pipe(self, end: Exit) -> bool:
        """Return whether it ended because it was asked for its report."""
        return self._try.ended_without_pipe(end, self.choices)

    def how_to_try_again(self, end: Exit) -> Otherwise | None:
        """Return how a start with that end is retried; None: it is not."""
        if self.is_ready or self._grace_s is not None or self.tries >= MAX_TRIES:
            return None
        return self._try.how_to_try_again(end, self.config, self.choices)

    # --- until it is ready ----------------------------------------------------------------------

    async def _get_ready(self, launch: LaunchConfig, pid: int) -> None:
        """Return when it serves and that is reported.

        Is cancelled when it ends before that.
        """
        async with trio.open_nursery() as nursery:
            is_seen = not self.config.is_elsewhere
            nursery.start_soon(partial(self._progress.watch, launch, pid, is_seen=is_seen))
            await self._wait_until_ready(launch)
            nursery.cancel_scope.cancel()
        if self.choices.asks_for_report and not self.choices.is_itself:
            await trio.sleep(_PROBATION_S)  # is cancelled when it ends
        if await self._has_lost_its_place(launch, pid):
            return
        self.is_ready = True
        now = trio.current_time()
        self._try.ready_at = self._try.ready_at or now
        await self._restore_slots(launch)
        self._serving = launch
        log.info(
            "model.ready model=%s swap=%d start_s=%.2f",
            self.config.model,
            self.swap,
            now - self._progress.began_at,
        )
        assert self._running is not None  # it is cancelled when it ends
        self._running.entrust(self._card(launch))
        self._dispatcher.handle(BecameReady(self.config.model, self.swap, self._kind or "unknown"))
        self._on_change()
        if self.tries == 0:
            self._learn(self._progress.finish(now))  # last: it writes a file

    async def _wait_until_ready(self, launch: LaunchConfig) -> None:
        """Return when its endpoint answers."""
        access = self.choices.access
        response = await self._try.readiness.wait(launch, access, self._progress.began_at)
        if self._kind is None and response is not None:
            self._kind = await kind_of_server(launch.base_url, response, access)

    async def _has_lost_its_place(self, launch: LaunchConfig, pid: int) -> bool:
        """Return whether another process has its port; then its end has begun."""
        itself = self.choices.is_itself or self._try.complained
        stranger = await stranger_in_place(self.config, launch, pid, listens_itself=itself)
        if stranger is None:
            return False
        log.warning(
            "model.port_taken model=%s swap=%d port=%s by=%d",
            self.config.model,
            self.swap,
            launch.port or launch.socket,
            stranger.pid,
        )
        self._try.failure = displaced(self.config, stranger.place)
        self._try.is_displaced = True
        assert self._running is not None  # it is cancelled when it ends
        self._running.stop(grace_s=self.config.unload_timeout_s)
        return True

    async def _restore_slots(self, launch: LaunchConfig) -> None:
        """Restore what its last process has saved, well within the time that a start may take."""
        server = self._slot_server(launch) if self._slots.has(self.config.model) else None
        if server is not None:
            self._progress.tell_phase("restoring")
            limit_at = self._progress.began_at + self.config.health_check_timeout_s
            await self._slots.restore(server, (limit_at - trio.current_time()) / 2)

    def _card(self, launch: LaunchConfig) -> bytes:
        return self.choices.card(
            self.config, self.swap, launch, kind=self._kind, serves=self.is_ready
        )

    async def _watch_pulse(self, launch: LaunchConfig, pid: int) -> None:
        """Notice when all its signs of life stop; is cancelled when it ends."""
        await PulseWatch(
            dispatcher=self._dispatcher,
            config=self._config_now,
            swap=self.swap,
            launch=launch,
            pid=pid,
            access=self.choices.access,
            has_slots=self._kind == "llama-server",
        ).run(self._pulse_round)

    # --- what it says ---------------------------------------------------------------------------

    def _take(self, stream: Stream, line: bytes) -> None:
        """Take one line of its output.

        Lines for us alone are not logged.
        """
        report = read_report_line(line) if stream == "stdout" else None
        if report is None:
            self._log(stream, line)
        if self.is_ready:
            if self._kind == "llama-server":
                self._sleeper.take_line(report, line, reports=self.choices.asks_for_report)
            return
        self._try.readiness.note_line()
        self._on_log_line(line)
        if isinstance(report, ReadyReport):  # only llama-server speaks so
            self._kind = self._kind or "llama-server"
            self._try.ready_at = self._try.ready_at or trio.current_time()
            self._try.readiness.note_report()
        elif isinstance(report, LoadingReport):
            self._progress.take_report(report)
        else:
            self._progress.take_line(line)

    def _log(self, stream: Stream, line: bytes) -> None:
        text = self._without_key(line.decode(errors="replace"))
        text = self._output_log.add(self.config.model, stream, text)
        self._try.note_line(text, is_ready=self.is_ready)
        self._dispatcher.publish(
            LogLine(model=self.config.model, swap=self.swap, line=text, stream=stream)
        )

    def _without_key(self, text: str) -> str:
        """Return a line of its output without its key, such as with ``set -x``."""
        key = self.choices.access.key
        return text.replace(key, HIDDEN) if len(key) >= LEAST_SECRET else text

    # --- what its launcher says -----------------------------------------------------------------

    def _wait_for_machine(self, why: str = "") -> None:
        """Report that no machine has room for it."""
        if not self.is_ready:
            self._progress.tell_phase("placing", why)

    def _lose_machine(self, machine: str) -> None:
        """Have its requests end: nobody closes connections to a machine that is gone."""
        self._try.has_lost_machine = True
        if self.is_ready:
            model, now = self.config.model, trio.current_time()
            self._try.failure = failure = machine_lost(model, machine)
            well_s = now - (self._try.ready_at or now)
            self._dispatcher.handle(Hung(model, self.swap, failure, well_s))

    def _take_bytes(self, done: int, total: int) -> None:
        """Take the bytes of its files that it has read, as its launcher sees them."""
        if not self.is_ready:
            self._progress.take_bytes(done, total)
