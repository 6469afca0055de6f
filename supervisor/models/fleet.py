"""The processes of models: carries out `Spawn` and `Terminate`, reports progress and ends."""

import logging
import os
import shutil
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec
import trio
from msgspec.structs import replace

from arriero.digests import random_hex
from arriero.protocol.events import LogLine
from arriero.protocol.flood_log import FloodLog
from arriero.protocol.values import LOCAL, ErrorInfo, Phase, Progress
from arriero.protocol.worker_config import SeenFacts

from ..config.diff import launch_identity
from ..config.load import Config, LaunchConfig, ModelConfig
from ..errors import PortError, SpawnError
from ..facts.ask import ask_facts
from ..host.http_get import Access, Response
from ..host.shortage import what_is_scarce, why
from ..launchers.launcher import Launched, Launcher, LaunchOrder
from ..llamacpp.api_key import LEAST_SECRET, holding
from ..llamacpp.api_key_file import read_key_file
from ..llamacpp.command import server_options
from ..llamacpp.load_report import (
    is_llama_server_itself,
    llama_server_in_place,
    wants_report,
)
from ..llamacpp.model_files import model_files
from ..processes.kept_process import KeptProcess
from ..processes.port_owner import listens_on, stranger_at, stranger_on
from ..processes.ports import LAST_PORT, is_listening, pick_port
from ..processes.process import (
    TAIL_LINES,
    TERM_GRACE_S,
    Exit,
    RunningProcess,
    SpawnSpec,
    Stream,
    adopt_process,
)
from ..processes.reaper import Reaper
from ..processes.spawn import NOT_FOUND
from ..processes.unix_sockets import make_way
from ..progress.bytes_loaded import LoadBytes, bytes_done, total_bytes
from ..progress.estimator import Estimate, Estimator
from ..progress.log_lines import read_log_line
from ..progress.proc_counters import read_load_bytes
from ..progress.server_report import LoadingReport, ReadyReport, Report, read_report_line
from ..progress.stage_times import Durations, StageTimes
from ..progress.stage_times_file import load_durations, save_durations
from ..scheduling.dispatcher import Dispatcher
from ..scheduling.messages.events import (
    Adopted,
    BecameReady,
    FellAsleep,
    Hung,
    NotReady,
    ProcessEnded,
    Progressed,
    SleepFailed,
    Spawned,
    WokeUp,
)
from ..scheduling.messages.refusals import machine_lost
from ..slots.keeper import SlotKeeper
from ..slots.server_slots import SlotServer
from ..slots.sleep import (
    SLEEP_LIMIT_S,
    WAKE_LIMIT_S,
    SleepRefused,
    change_of_sleep,
    put_to_sleep,
    wake,
)
from ..text.redact import HIDDEN
from .signs.health import Outcome, Signs, wait_until_healthy, wait_until_listening
from .signs.liveness_watch import PulseRound, PulseWatch
from .start.adoption import ModelCard, why_not_adopted
from .start.exit_reason import crashed, load_failed, out_of, why_it_failed
from .start.not_ready_reason import place_shown, why_not_ready
from .start.output_log import OutputLog
from .start.server_kind import kind_of_command, kind_of_server
from .start.start_retry import (
    MAX_TRIES,
    Otherwise,
    complains_of_port,
    ended_without_pipe,
    how_to_try_again,
)

log = logging.getLogger(__name__)

# Seconds between looks at how far a start is. Four a second make a smooth bar; a look costs two
# small reads from /proc.
LOOK_EVERY_S = 0.25

# Of a start that is known to be short: twenty looks, but none sooner than this.
_LOOKS = 20
_LOOK_LEAST_S = 0.04

# Ports that a start which has lost its own may jump over: two supervisors with the same startPort
# that start many models at once would otherwise meet again at the next one, and the next.
_PORT_JUMP = 100

# Seconds that a server which reports because of `env` has to live on when it is ready, before
# anybody is let in: without our pipe it ends itself 0.001 s after that.
_PROBATION_S = 0.1

# Seconds that a launcher with an endpoint of its own has, such as ssh, to get to its machine before
# that is told: with a scheduler it may be hours.
_TO_A_MACHINE_S = 1.0

# Commands that are remembered for ending themselves when they are asked for their report.
_MAX_WITHOUT_REPORT = 500

# Characters of a line of its log that are kept for the text of an error.
_LONGEST_LINE = 1000

# Of a key that is made for a start, before it is written in hexadecimal digits.
_KEY_BYTES = 32

# Of a name for a start, likewise. It may be that of a pod, or of a job.
_ID_BYTES = 8


class Fleet:
    """Runs the processes of models, one task each."""

    def __init__(
        self,
        config: Callable[[], Config],
        dispatcher: Dispatcher,
        *,
        nursery: trio.Nursery,
        reaper: Reaper,
        launcher: Callable[[ModelConfig], Launcher],
        output_log: OutputLog,
        durations_path: Path,
        slots: SlotKeeper,
        on_change: Callable[[], None] = lambda: None,
        on_log_line: Callable[[str, int, bytes], None] = lambda model, swap, line: None,
        on_exit: Callable[[str, int | None], None] = lambda model, code: None,
        on_facts: Callable[[str, SeenFacts], None] = lambda fingerprint, facts: None,
    ) -> None:
        self._config = config
        self._launcher = launcher
        self._on_exit = on_exit
        self._on_facts = on_facts
        self._on_change = on_change
        self._on_log_line = on_log_line
        self._dispatcher = dispatcher
        self._nursery = nursery
        self._reaper = reaper
        self._output_log = output_log
        self._durations_path = durations_path
        self._slots = slots
        self._durations: Durations = load_durations(durations_path)
        self._starts: dict[int, _Start] = {}
        self._flood = FloodLog(log)
        self._pulse_round = PulseRound()
        nursery.start_soon(self._pulse_round.run)
        self._without_report: dict[str, None] = {}  # fingerprints of commands, the oldest first

    def spawn(self, model: str, swap: int) -> None:
        """Begin to start `model`; the dispatcher gets the outcome."""
        config = self._config().models[model]
        start = self._starts[swap] = self._new_start(config, swap)
        # At once: a turn of the loop is a quarter of a millisecond for who waits for the model.
        self._nursery.start_soon(self._run, start, self._begin(start))

    def adopt(
        self,
        kept: KeptProcess,
        card: ModelCard,
        owners: tuple[str, ...],
        mute: tuple[str, ...],
        *,
        unloading: bool,
    ) -> None:
        """Go on with a model of an earlier supervisor; end it if that cannot be.

        Args:
            kept: Its process.
            card: What is known of it.
            owners: Workers of that supervisor, who may use it.
            mute: Those of them with whom we cannot speak.
            unloading: It was to end after its running requests.
        """
        model, swap = card.model, card.swap
        config = self._config().models.get(model)
        if config is None:  # it is not in the configuration any more: it finishes what it has
            config = ModelConfig(model=model, proxy=card.endpoint)
        reason = why_not_adopted(kept, card, config)
        if not reason and (swap in self._starts or model in self._dispatcher.engine.running()):
            reason = "another process of it was taken over already"
        if not reason:
            start = self._new_start(config, swap)
            try:
                begun = start.adopt(
                    kept, card, self._launcher(config), partial(self._stop_argv, start)
                )
            except SpawnError as exc:
                log.warning("model.not_adopted model=%s reason=%r", model, str(exc))
                return
            self._starts[swap] = start
            log.info("model.adopted model=%s swap=%d pid=%d", model, swap, kept.pid)
            self._dispatcher.handle(
                Adopted(
                    model=model,
                    swap=swap,
                    pid=kept.pid,
                    endpoint=card.endpoint,
                    kind=card.kind or "unknown",
                    launch=card.launch,
                    owners=owners,
                    mute=mute,
                    unloading=unloading,
                    serves=card.serves,
                    age_s=kept.age_s,
                    went=card.went,
                    host=card.host or LOCAL,
                )
            )
            self._nursery.start_soon(self._run, start, begun)
            return
        for stream, said in kept.said.items():
            for line in said.splitlines():
                self._output_log.add(model, stream, line.decode(errors="replace"))
        log.warning("model.not_adopted model=%s reason=%r", model, reason)
        self._reaper.remove(kept.pid)
        kept.kill()

    def see_off(self, kept: KeptProcess) -> None:
        """End a process of an earlier supervisor of which nothing is known."""
        try:
            process = adopt_process(kept, SpawnSpec(argv=("model",)), self._reaper)
        except SpawnError as exc:
            log.warning("process.strange_ended pid=%d reason=%r", kept.pid, str(exc))
            return
        process.stop(grace_s=TERM_GRACE_S)
        self._nursery.start_soon(process.run, lambda stream, line: None)

    def terminate(self, swap: int, grace_s: float) -> None:
        """Begin to end the process of the start `swap`."""
        if start := self._starts.get(swap):
            if grace_s == 0 and start.config.ends_elsewhere:
                # A process elsewhere, such as a container, outlives the command that began it.
                grace_s = start.config.unload_timeout_s
                start.stop(grace_s)
            elif grace_s > 0 and (server := start.slot_server) is not None:
                self._nursery.start_soon(start.save_and_stop, server, grace_s)
            else:
                start.stop(grace_s)

    def put_to_sleep(self, swap: int) -> None:
        """Begin to put the process of the start `swap` to sleep."""
        if start := self._starts.get(swap):
            self._nursery.start_soon(start.fall_asleep)

    def wake(self, swap: int) -> None:
        """Begin to wake it."""
        if start := self._starts.get(swap):
            self._nursery.start_soon(start.wake)

    def key_of(self, model: str) -> str:
        """Return the key for the running server of `model`; empty for none."""
        keys = [start.access.key for start in self._starts.values() if start.config.model == model]
        return keys[-1] if keys else ""

    def place_of(self, model: str) -> tuple[str, Access] | None:
        """Return the base URL of the server of `model`, and the way to it; None: it is not up."""
        found = [it.place for it in self._starts.values() if it.config.model == model]
        return found[-1] if found else None

    def _learn(self, fingerprint: str, observed: StageTimes) -> None:
        self._durations.learn(fingerprint, observed)
        save_durations(self._durations_path, self._durations)

    def _new_start(self, config: ModelConfig, swap: int) -> "_Start":
        return _Start(
            config,
            swap,
            self._dispatcher,
            self._output_log,
            pulse_round=self._pulse_round,
            learned=self._durations.get(config.fingerprint),
            learn=partial(self._learn, config.fingerprint),
            learn_facts=partial(self._on_facts, config.fingerprint),
            slots=self._slots,
            now=lambda: self._config().models.get(config.model, config),
            on_change=self._on_change,
            on_log_line=partial(self._on_log_line, config.model, swap),
        )

    def _begin(self, start: "_Start") -> "_BegunTry | ErrorInfo":
        """Start its process; return why that failed, if so."""
        model, fingerprint = start.config.model, start.config.fingerprint
        try:
            launch = self._launch(start)
            start.is_itself = _is_llama_server_itself(start.config)
            start.asks_for_report = (
                wants_report(dict(launch.env), is_itself=start.is_itself)
                and fingerprint not in self._without_report
            )
            start.went = self._dispatcher.engine.gone_for(model)
            launcher = self._launcher(start.config)
            launched = start.begin(launch, launcher, partial(self._stop_argv, start))
        except (SpawnError, PortError) as exc:
            return load_failed(model, str(exc))
        except Exception as exc:  # noqa: BLE001  it ends this start, and nothing else
            return self._bug(model, exc)
        log.info("model.starting model=%s swap=%d", model, start.swap)
        return _BegunTry(launch, launched)

    async def _run(self, start: "_Start", begun: "_BegunTry | ErrorInfo") -> None:
        model = start.config.model
        try:
            error = await self._try(start, begun)
        except Exception as exc:  # noqa: BLE001  it ends this start, and nothing else
            error = self._bug(model, exc)
        finally:
            del self._starts[start.swap]
        log.info("model.ended model=%s swap=%d reason=%r", model, start.swap, error.message)
        self._dispatcher.handle(ProcessEnded(model, start.swap, error, start.out_of, start.crashed))
        self._on_change()

    def _bug(self, model: str, exc: Exception) -> ErrorInfo:
        if what_is_scarce(exc) is None:
            self._flood.exception("model.bug model=%s", model, exc=exc)
        return load_failed(model, f"cannot start it: {why(exc)}")

    async def _try(self, start: "_Start", begun: "_BegunTry | ErrorInfo") -> ErrorInfo:
        """See its process through, and another while the end is not its fault.

        Returns why there is none any more.
        """
        model, fingerprint = start.config.model, start.config.fingerprint
        while not isinstance(begun, ErrorInfo):
            end = await start.run(begun)
            self._on_exit(model, end.code)
            if start.ended_without_pipe(end):
                self._without_report[fingerprint] = None
                if len(self._without_report) > _MAX_WITHOUT_REPORT:
                    del self._without_report[next(iter(self._without_report))]
            otherwise = start.how_to_try_again(end)
            if otherwise is None:
                if not start.is_ready:
                    start.crashed = crashed(end)
                    start.out_of = () if start.config.is_elsewhere else out_of(end)
                return start.failure or why_it_failed(model, end, was_ready=start.is_ready)
            log.warning("model.again model=%s swap=%d with=%r", model, start.swap, otherwise)
            begun = self._begin(start)
        return begun

    def _launch(self, start: "_Start") -> LaunchConfig:
        """Choose a port and a key, and make sure that the port is free."""
        config = start.config
        if config.wants_port:
            taken = {port for other in self._starts.values() for port in other.ports}
            now = self._config()
            theirs = {model.port for model in now.models.values() if model.port is not None}
            if start.tries == 0:
                start.port = pick_port(
                    now.start_port, taken, preferred=config.port, reserved=theirs
                )
            else:
                first = min(LAST_PORT, now.start_port + SystemRandom().randrange(_PORT_JUMP))
                start.port = pick_port(first, taken, reserved=theirs)
        start.without = holding(self._config().api_keys, os.environ)
        inherited = {name: os.environ[name] for name in os.environ.keys() - start.without}
        launch = config.launch(start.port, start.fresh_key, inherited, start.start_id)
        key = launch.wanted.key
        if launch.wanted.file:
            key = read_key_file(launch.wanted.file)
        start.access = Access(key, launch.socket)
        if launch.socket is not None:
            make_way(launch.socket)
        is_picked = start.port is not None and launch.port == start.port  # it is free, then
        if launch.port is not None and not is_picked and is_listening(launch.port):
            raise PortError(
                f"cannot use port {launch.port}: another program listens there; stop it, "
                "or write ${PORT} into cmd and proxy"
            )
        return launch

    def _stop_argv(self, start: "_Start", pid: int) -> tuple[str, ...]:
        """Return the command that ends the process `pid`; empty: SIGTERM.

        What was written since the start acts, if no more than that was: a command for another
        start may name what this one has not got.
        """
        config = self._config().models.get(start.config.model, start.config)
        if launch_identity(config) != launch_identity(start.config):
            config = start.config
        launch = config.launch(start.port, start.fresh_key, start_id=start.start_id)
        return launch.stop_argv(pid)


def missing_program(config: ModelConfig) -> ErrorInfo | None:
    """Return why the program of `config` cannot be found, if so."""
    program = config.command[0]
    if config.is_elsewhere:
        if config.templates is None:
            return None
        program = config.templates.start[0]
    path = dict(config.env).get("PATH", os.environ.get("PATH"))
    if shutil.which(program, path=path) is not None:
        return None
    return load_failed(config.model, f"cannot start {os.path.basename(program)!r}: {NOT_FOUND}")


def _is_llama_server_itself(config: ModelConfig) -> bool:
    """Return whether llama-server is started and nothing more, as far as can be seen from here."""
    if config.is_elsewhere:
        return llama_server_in_place(config.command) is not None
    return is_llama_server_itself(config.command, dict(config.env))


class _BegunTry(NamedTuple):
    """What was started, and its surroundings."""

    launch: LaunchConfig
    launched: Launched


class _Start:
    """One start of one model, from spawn to end."""

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
        self._config_now = now
        self.swap = swap
        self.port: int | None = None  # chosen for it
        self.endpoint_port: int | None = None  # where it answers; mostly the same
        # It may stand on a command line, and must not look like an option there.
        self.fresh_key = random_hex(_KEY_BYTES)
        self.start_id = f"arriero-{random_hex(_ID_BYTES)}"
        self.access = Access()
        self.without: frozenset[str] = frozenset()  # what it does not get of our environment
        self.tries = 0  # that have ended
        self.is_itself = False  # what is started is surely llama-server, and nothing more
        self.asks_for_report = False
        self.went: tuple[str, ...] = ()  # models that were stopped for it
        self.is_ready = False
        self.out_of: tuple[str, ...] = ()  # devices, if it ended for want of memory
        self.crashed = False  # while it loaded
        self._on_change = on_change
        self._on_log_line = on_log_line
        self.failure: ErrorInfo | None  # set when it is ended for that
        self._kind = config.kind
        self._dispatcher = dispatcher
        self._output_log = output_log
        self._learn = learn
        self._learn_facts = learn_facts
        self._pulse_round = pulse_round
        self._slots = slots
        self._saving = trio.CancelScope()
        self._serving: LaunchConfig | None = None  # set when it takes requests
        self._sleeps = False
        self._learned = learned
        self._begin_at(trio.current_time())
        self._running: RunningProcess | None = None
        self._grace_s: float | None = None  # set when it was stopped before it ran
        self._told: tuple[str, float | None] | None = None
        self._forget_try()

    def _begin_at(self, time: float) -> None:
        self._began_at = time
        self._estimator = Estimator(self._learned, time)

    def _forget_try(self) -> None:
        """Forget the try before this one."""
        self._reported_ready = trio.Event()
        self._signs = Signs()
        self._ready_at: float | None = None  # by its report, or by its answer
        self._told_why = ""
        self._log: deque[str] = deque(maxlen=TAIL_LINES)
        self._complained = False  # it cannot have its port
        self._is_displaced = False
        self._has_lost_machine = False
        self.failure = None

    @property
    def ports(self) -> list[int]:
        """Ports that are reserved for it."""
        return [port for port in (self.port, self.endpoint_port) if port is not None]

    @property
    def place(self) -> tuple[str, Access] | None:
        """Base URL of its server, and the way to it; None: it does not serve, or sleeps."""
        if self._serving is None or self._sleeps:
            return None
        return self._serving.base_url, self.access

    @property
    def slot_server(self) -> SlotServer | None:
        """Its server, if its slots are to be saved."""
        if self._serving is None or self._sleeps:  # its slots are gone, and it would wake
            return None
        return self._slot_server(self._serving)

    def _slot_server(self, launch: LaunchConfig) -> SlotServer | None:
        if not self._config_now().save_slots or self.config.is_elsewhere:
            return None
        options = server_options(launch.command, dict(launch.env))
        if options is None or not options.slot_save_path.value:
            return None
        return SlotServer(
            model=self.config.model,
            url=launch.base_url,
            access=self.access,
            folder=os.path.abspath(options.slot_save_path.value),
            arguments=self.config.fingerprint,
            files=options.files,
        )

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

    def _order(
        self, launch: LaunchConfig, stop_argv: Callable[[int], tuple[str, ...]]
    ) -> LaunchOrder:
        return LaunchOrder(
            config=self.config,
            swap=self.swap,
            launch=launch,
            start_id=self.start_id,
            without=self.without,
            report=self.asks_for_report,
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
        self._forget_try()
        self.endpoint_port = launch.port
        launched = launcher.start(self._order(launch, stop_argv))
        launched.process.entrust(self._card(launch))
        return launched

    def adopt(
        self,
        kept: KeptProcess,
        card: ModelCard,
        launcher: Launcher,
        stop_argv: Callable[[int], tuple[str, ...]],
    ) -> _BegunTry:
        """Take over a process; `run` follows. Arguments as for `begin`.

        Raises:
            SpawnError: It has just ended.
        """
        launch = card.launched(self.config)
        self.port, self.endpoint_port = card.chosen_port, card.port
        self.start_id = card.start_id or self.start_id
        self.fresh_key, self.access = card.fresh_key, Access(card.key, card.socket)
        self.is_itself, self.asks_for_report = card.is_itself, card.reports
        launched = launcher.adopt(self._order(launch, stop_argv), kept)
        self._kind, self.went = card.kind, card.went
        if card.serves:
            self.is_ready = True
            self._ready_at = trio.current_time()
            self._serving = launch
        else:
            self._begin_at(launched.process.started_at)
        return _BegunTry(launch, launched)

    async def run(self, begun: _BegunTry) -> Exit:
        """Report the progress and readiness of the process, and wait for its end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow, begun)
            end = await begun.launched.process.run(self._take)
            nursery.cancel_scope.cancel()
        self._running = None
        self.tries += 1
        return replace(end, tail=tuple(self._log))

    async def _follow(self, begun: _BegunTry) -> None:
        """Report on a process that is being run.

        Is cancelled when it ends.
        """
        launch, (self._running, place) = begun
        if self._grace_s is not None:
            self._running.stop(grace_s=self._grace_s)
        self._kind = self._kind or kind_of_command(self.config.command)
        pid = self._running.pid
        if place is not None:
            launch = await self._find_place(place, 0.0 if launch.wants_host else _TO_A_MACHINE_S)
            self._running.entrust(self._card(launch))
        if not self.is_ready:  # else it was taken over
            host = launch.host or LOCAL
            spawned = Spawned(self.config.model, self.swap, pid, launch.endpoint, host)
            self._dispatcher.handle(spawned)
            await self._get_ready(launch, pid)
        if self.is_ready:
            kind = self._kind or "unknown"
            self._learn_facts(await ask_facts(launch.base_url, self.access, kind))
            await self._watch_pulse(launch, pid)

    async def _find_place(
        self, place: Callable[[], Awaitable[LaunchConfig]], silent_s: float
    ) -> LaunchConfig:
        """Return its launch as soon as it has a machine; what takes longer is told."""

        async def tell() -> None:
            await trio.sleep(silent_s)
            if not self.is_ready:
                self._tell_phase("placing")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(tell)
            found = await place()
            nursery.cancel_scope.cancel()
        return found

    def ended_without_pipe(self, end: Exit) -> bool:
        """Return whether it ended because it was asked for its report."""
        at = self._ready_at
        ready_for_s = None if at is None else trio.current_time() - at
        return ended_without_pipe(
            end,
            reported=self.asks_for_report,
            is_itself=self.is_itself,
            ready_for_s=ready_for_s,
        )

    def how_to_try_again(self, end: Exit) -> Otherwise | None:
        """Return how a start with that end is retried; None: it is not."""
        if self.is_ready or self._grace_s is not None or self.tries >= MAX_TRIES:
            return None
        if self._has_lost_machine:
            return "another machine"
        return how_to_try_again(
            end,
            displaced=self._is_displaced,
            chooses_port=self.config.wants_port,
            without_pipe=self.ended_without_pipe(end),
        )

    async def _get_ready(self, launch: LaunchConfig, pid: int) -> None:
        """Return when it serves and that is reported.

        Is cancelled when it ends before that.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, launch, pid)
            await self._wait_until_ready(launch)
            nursery.cancel_scope.cancel()
        if self.asks_for_report and not self.is_itself:
            await trio.sleep(_PROBATION_S)  # is cancelled when it ends
        if await self._has_lost_its_place(launch, pid):
            return
        self.is_ready = True
        now = trio.current_time()
        self._ready_at = self._ready_at or now
        await self._restore_slots(launch)
        self._serving = launch
        log.info(
            "model.ready model=%s swap=%d start_s=%.2f",
            self.config.model,
            self.swap,
            now - self._began_at,
        )
        assert self._running is not None  # it is cancelled when it ends
        self._running.entrust(self._card(launch))
        self._dispatcher.handle(BecameReady(self.config.model, self.swap, self._kind or "unknown"))
        self._on_change()
        if self.tries == 0:
            self._learn(self._estimator.finish(now))  # last: it writes a file

    async def _restore_slots(self, launch: LaunchConfig) -> None:
        """Restore what its last process has saved, well within the time that a start may take."""
        server = self._slot_server(launch) if self._slots.has(self.config.model) else None
        if server is not None:
            self._tell_phase("restoring")
            left_s = self._began_at + self.config.health_check_timeout_s - trio.current_time()
            await self._slots.restore(server, left_s / 2)

    def _card(self, launch: LaunchConfig) -> bytes:
        card = ModelCard(
            serves=self.is_ready,
            model=self.config.model,
            swap=self.swap,
            launch=launch_identity(self.config),
            start_id=self.start_id,
            host=launch.host,
            endpoint=launch.endpoint,
            health_url=launch.health_url,
            port=launch.port,
            socket=launch.socket,
            chosen_port=self.port,
            fresh_key=self.fresh_key,
            key=self.access.key,
            kind=self._kind,
            is_itself=self.is_itself,
            reports=self.asks_for_report,
            went=self.went,
        )
        return msgspec.json.encode(card)

    async def _watch_pulse(self, launch: LaunchConfig, pid: int) -> None:
        """Notice when all its signs of life stop.

        Is cancelled when it ends.
        """
        await PulseWatch(
            dispatcher=self._dispatcher,
            config=self._config_now,
            swap=self.swap,
            launch=launch,
            pid=pid,
            access=self.access,
            has_slots=self._kind == "llama-server",
        ).run(self._pulse_round)

    async def _wait_until_ready(self, launch: LaunchConfig) -> None:
        """Return when its endpoint answers.

        Its own report only makes us ask at once.
        """
        response: Response | None = None
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as unhurried:

                async def hurry() -> None:
                    await self._reported_ready.wait()
                    unhurried.cancel()

                nursery.start_soon(hurry)
                response = await self._ask(launch, self._began_at)
            if unhurried.cancelled_caught:
                response = await self._ask(launch, trio.current_time())
            nursery.cancel_scope.cancel()
        if self._kind is None and response is not None:
            self._kind = await kind_of_server(launch.base_url, response, self.access)

    async def _ask(self, launch: LaunchConfig, since: float) -> Response | None:
        """Return the first good response; None if only the port is checked.

        Then its endpoint accepts connections.
        """
        url = launch.health_url or launch.base_url
        shown = place_shown(launch.endpoint)

        def note(outcome: Outcome | None) -> None:
            is_said = self._reported_ready.is_set()
            why = why_not_ready(outcome, url, shown, says_ready=is_said)
            if why != self._told_why:
                self._told_why = why
                self._dispatcher.handle(NotReady(self.config.model, self.swap, why))

        if launch.health_url is None:
            await wait_until_listening(
                url, started_at=since, signs=self._signs, access=self.access, note=note
            )
            return None
        return await wait_until_healthy(
            url, started_at=since, signs=self._signs, access=self.access, note=note
        )

    async def _has_lost_its_place(self, launch: LaunchConfig, pid: int) -> bool:
        """Return whether another process has its port.

        Then its end has begun.

        With a stop command of the operator, it may well be no process of ours that serves.
        """
        if self.config.ends_elsewhere:
            return False
        if launch.socket is not None:
            place = f"socket {os.path.basename(launch.socket)!r}"  # clients read it: no folders
            look = partial(stranger_at, launch.socket, pid)
        elif launch.port is not None:
            place = f"port {launch.port}"
            host = urlsplit(launch.endpoint).hostname or ""
            if listens_on(launch.port, host, pid):  # as nearly always
                return False
            look = partial(stranger_on, launch.port, host, pid)
        else:
            return False
        itself = self.is_itself or self._complained
        stranger = await trio.to_thread.run_sync(partial(look, listens_itself=itself))
        if stranger is None:
            return False
        log.warning(
            "model.port_taken model=%s swap=%d port=%s by=%d",
            self.config.model,
            self.swap,
            launch.port or launch.socket,
            stranger,
        )
        taken = f"another program took its {place} while it was starting"
        if self.config.wants_port:
            why = f"{taken}; ask again: another port is chosen for each start"
            failed = load_failed(self.config.model, why)
            self.failure = msgspec.structs.replace(failed, code="model_unavailable", transient=True)
        else:
            why = f"{taken}; stop that program, or write ${{PORT}} into cmd and proxy"
            self.failure = load_failed(self.config.model, why)
        self._is_displaced = True
        assert self._running is not None  # it is cancelled when it ends
        self._running.stop(grace_s=self.config.unload_timeout_s)
        return True

    async def _watch(self, launch: LaunchConfig, pid: int) -> None:
        """Measure its progress again and again."""
        is_seen = not self.config.is_elsewhere
        files = model_files(launch.command, dict(launch.env)) if is_seen else ()
        total = total_bytes(files)
        first: LoadBytes | None = None
        every_s = LOOK_EVERY_S
        if self._learned is not None:
            every_s = min(every_s, max(_LOOK_LEAST_S, self._learned.total_s / _LOOKS))
        while True:
            if total and (now_read := read_load_bytes(pid)) is not None:
                first = first or now_read
                done = bytes_done(first, now_read, total)
                self._estimator.bytes(done, total, trio.current_time())
            self._tell()
            await trio.sleep(every_s)

    def _take(self, stream: Stream, line: bytes) -> None:
        """Take one line of its output.

        Lines for us alone are not logged.
        """
        report = read_report_line(line) if stream == "stdout" else None
        if report is None:
            text = self.without_key(line.decode(errors="replace"))
            text = self._output_log.add(self.config.model, stream, text)
            self._log.append(text[:_LONGEST_LINE])
            self._complained = self._complained or (not self.is_ready and complains_of_port(text))
            self._dispatcher.publish(
                LogLine(model=self.config.model, swap=self.swap, line=text, stream=stream)
            )
        if self.is_ready:
            self._note_sleep(report, line)
            return
        self._signs.note()  # llama-server, vLLM and others have a line for "ready"
        self._on_log_line(line)
        now = trio.current_time()
        if isinstance(report, ReadyReport):  # only llama-server speaks so
            self._kind = self._kind or "llama-server"
            self._ready_at = self._ready_at or now
            self._reported_ready.set()
        elif isinstance(report, LoadingReport):
            self._estimator.report(report, now)
            self._tell()
        elif (hint := read_log_line(line)) is not None:
            self._estimator.log(hint, now)
            self._tell()

    def _note_sleep(self, report: Report | None, line: bytes) -> None:
        """Report that it falls asleep by itself, or was woken."""
        sleeps = change_of_sleep(report, line, reports=self.asks_for_report)
        if sleeps is None or self._kind != "llama-server":
            return
        self._sleeps = sleeps
        event = FellAsleep if sleeps else WokeUp
        self._dispatcher.handle(event(self.config.model, self.swap))
        self._on_change()

    async def fall_asleep(self) -> None:
        """Put it to sleep, and report how that ended."""
        if self._serving is None:
            self._dispatcher.handle(SleepFailed(self.config.model, self.swap))
            return
        url = self._serving.base_url
        if await self._obeys("sleep", put_to_sleep(url, self.access), SLEEP_LIMIT_S):
            self._sleeps = True
            self._dispatcher.handle(FellAsleep(self.config.model, self.swap))
            self._on_change()

    async def wake(self) -> None:
        """Wake it, and report how that ended."""
        if self._serving is None:
            self._dispatcher.handle(SleepFailed(self.config.model, self.swap))
            return
        url, kind = self._serving.base_url, self._kind or "unknown"
        if await self._obeys("wake", wake(url, self.access, kind), WAKE_LIMIT_S):
            self._sleeps = False
            self._dispatcher.handle(BecameReady(self.config.model, self.swap, kind))
            self._on_change()

    async def _obeys(self, what: str, asking: Awaitable[None], limit_s: float) -> bool:
        """Return whether it does what it is asked for; what else there is, is reported."""
        why, model, began_at = "", self.config.model, trio.current_time()
        try:
            with trio.fail_after(limit_s):
                await asking
        except SleepRefused as exc:
            why = str(exc)
        except trio.TooSlowError:
            why = f"it has not done so within {limit_s:.0f} s"
        if why:
            log.warning("model.%s_failed model=%s swap=%d reason=%s", what, model, self.swap, why)
            self._dispatcher.handle(SleepFailed(model, self.swap))
        else:
            took_s = trio.current_time() - began_at
            log.info("model.%s model=%s swap=%d took_s=%.2f", what, model, self.swap, took_s)
        return not why

    def without_key(self, text: str) -> str:
        """Return a line of its output without its key.

        Such as with ``set -x``.
        """
        key = self.access.key
        return text.replace(key, HIDDEN) if len(key) >= LEAST_SECRET else text

    def _tell_phase(self, phase: Phase, why: str = "") -> None:
        """Report that it has got to `phase`, which its server knows nothing of."""
        elapsed_s = trio.current_time() - self._began_at
        progress = Progress(
            model=self.config.model, swap=self.swap, phase=phase, elapsed_s=elapsed_s, detail=why
        )
        self._dispatcher.handle(Progressed(progress))

    def _wait_for_machine(self, why: str = "") -> None:
        """Report that no machine has room for it."""
        if not self.is_ready:
            self._tell_phase("placing", why)

    def _lose_machine(self, machine: str) -> None:
        """Have its requests end: nobody closes connections to a machine that is gone."""
        self._has_lost_machine = True
        if self.is_ready:
            model, now = self.config.model, trio.current_time()
            self.failure = machine_lost(model, machine)
            well_s = now - (self._ready_at or now)
            self._dispatcher.handle(Hung(model, self.swap, self.failure, well_s))

    def _take_bytes(self, done: int, total: int) -> None:
        """Take the bytes of its files that it has read, as its launcher sees them."""
        if not self.is_ready:
            self._estimator.bytes(done, total, trio.current_time())
            self._tell()

    def _tell(self) -> None:
        """Report its progress, unless it is unchanged."""
        now = trio.current_time()
        estimate: Estimate = self._estimator.at(now)
        percent = None if estimate.fraction is None else int(100 * estimate.fraction)
        if (estimate.phase, percent) == self._told:
            return
        self._told = (estimate.phase, percent)
        self._dispatcher.handle(
            Progressed(
                Progress(
                    model=self.config.model,
                    swap=self.swap,
                    phase=estimate.phase,
                    elapsed_s=now - self._began_at,
                    fraction=estimate.fraction,
                    eta_s=estimate.eta_s,
                    bytes_done=estimate.bytes_done,
                    bytes_total=estimate.bytes_total,
                )
            )
        )


@asynccontextmanager
async def open_fleet(
    config: Callable[[], Config],
    dispatcher: Dispatcher,
    *,
    reaper: Reaper,
    launcher: Callable[[ModelConfig], Launcher],
    output_log: OutputLog,
    durations_path: Path,
    slots: SlotKeeper,
    on_change: Callable[[], None] = lambda: None,
    on_log_line: Callable[[str, int, bytes], None] = lambda model, swap, line: None,
    on_exit: Callable[[str, int | None], None] = lambda model, code: None,
    on_facts: Callable[[str, SeenFacts], None] = lambda fingerprint, facts: None,
) -> AsyncGenerator[Fleet, None]:
    """Run processes of models while the block runs.

    On leaving, those that run are ended.

    Args:
        config: Gives the configuration in force: a start takes its settings at that moment.
        dispatcher: Of the engine.
        reaper: Of the processes.
        launcher: Gives what starts a model.
        output_log: Keeps their output.
        durations_path: The file of learned durations.
        slots: Keeps prompt caches.
        on_change: Called when a process has become ready or has ended.
        on_log_line: Called with model, start and line while a model loads.
        on_exit: Called with model and exit code when a process has ended; see `Exit`.
        on_facts: Called with fingerprint of the command and facts when a server has told them.
    """
    async with trio.open_nursery() as nursery:
        yield Fleet(
            config,
            dispatcher,
            nursery=nursery,
            reaper=reaper,
            launcher=launcher,
            output_log=output_log,
            durations_path=durations_path,
            slots=slots,
            on_change=on_change,
            on_log_line=on_log_line,
            on_exit=on_exit,
            on_facts=on_facts,
        )
        nursery.cancel_scope.cancel()
