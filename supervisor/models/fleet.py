"""The processes of models: carries out `Spawn` and `Terminate`, one task for each start."""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import trio

from arriero.protocol.flood_log import FloodLog
from arriero.protocol.values import LOCAL, ErrorInfo
from arriero.protocol.worker_config import SeenFacts

from ..config.load import Config, ModelConfig
from ..errors import PortError, SpawnError
from ..host.http_get import Access
from ..host.shortage import what_is_scarce, why
from ..launchers.launcher import Launcher
from ..llamacpp.load_report import wants_report
from ..processes.kept_process import KeptProcess
from ..processes.process import TERM_GRACE_S, Exit, SpawnSpec, adopt_process
from ..processes.reaper import Reaper
from ..progress.stage_times import Durations, StageTimes
from ..progress.stage_times_file import load_durations, save_durations
from ..scheduling.dispatcher import Dispatcher
from ..scheduling.messages.events import Adopted, ProcessEnded
from ..slots.keeper import SlotKeeper
from .signs.liveness_watch import PulseRound
from .start.adoption import ModelCard, why_not_adopted
from .start.choices import is_llama_server
from .start.exit_reason import crashed, load_failed, out_of, why_it_failed
from .start.model_start import ModelStart
from .start.output_log import OutputLog
from .start.try_state import BegunTry

log = logging.getLogger(__name__)

# Commands that are remembered for ending themselves when they are asked for their report.
_MAX_WITHOUT_REPORT = 500


class _StartEnd(NamedTuple):
    """Why there is no process any more; see `ProcessEnded`."""

    error: ErrorInfo
    out_of: tuple[str, ...] = ()
    crashed: bool = False


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
        self._starts: dict[int, ModelStart] = {}
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
        if reason:
            self._end_kept(kept, model, reason)
            return
        start = self._new_start(config, swap)
        try:
            begun = start.adopt(kept, card, self._launcher(config), partial(self._stop_argv, start))
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

    def _end_kept(self, kept: KeptProcess, model: str, reason: str) -> None:
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
        starts = [it for it in self._starts.values() if it.config.model == model]
        return starts[-1].choices.access.key if starts else ""

    def place_of(self, model: str) -> tuple[str, Access] | None:
        """Return the base URL of the server of `model`, and the way to it; None: it is not up."""
        found = [it.place for it in self._starts.values() if it.config.model == model]
        return found[-1] if found else None

    # --- one start ------------------------------------------------------------------------------

    def _learn(self, fingerprint: str, observed: StageTimes) -> None:
        self._durations.learn(fingerprint, observed)
        save_durations(self._durations_path, self._durations)

    def _new_start(self, config: ModelConfig, swap: int) -> ModelStart:
        return ModelStart(
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

    def _begin(self, start: ModelStart) -> BegunTry | ErrorInfo:
        """Start its process; return why that failed, if so."""
        model, fingerprint = start.config.model, start.config.fingerprint
        choices = start.choices
        try:
            taken = {port for other in self._starts.values() for port in other.choices.ports}
            is_retry = start.tries > 0
            launch = choices.choose(start.config, self._config(), taken, is_retry=is_retry)
            choices.is_itself = is_llama_server(start.config)
            choices.asks_for_report = (
                wants_report(dict(launch.env), is_itself=choices.is_itself)
                and fingerprint not in self._without_report
            )
            choices.went = self._dispatcher.engine.gone_for(model)
            launcher = self._launcher(start.config)
            launched = start.begin(launch, launcher, partial(self._stop_argv, start))
        except (SpawnError, PortError) as exc:
            return load_failed(model, str(exc))
        except Exception as exc:  # noqa: BLE001  it ends this start, and nothing else
            return self._bug(model, exc)
        log.info("model.starting model=%s swap=%d", model, start.swap)
        return BegunTry(launch, launched)

    def _stop_argv(self, start: ModelStart, pid: int) -> tuple[str, ...]:
        now = self._config().models.get(start.config.model)
        return start.choices.stop_argv(start.config, now, pid)

    async def _run(self, start: ModelStart, begun: BegunTry | ErrorInfo) -> None:
        model = start.config.model
        try:
            end = await self._try(start, begun)
        except Exception as exc:  # noqa: BLE001  it ends this start, and nothing else
            end = _StartEnd(self._bug(model, exc))
        finally:
            del self._starts[start.swap]
        log.info("model.ended model=%s swap=%d reason=%r", model, start.swap, end.error.message)
        self._dispatcher.handle(ProcessEnded(model, start.swap, *end))
        self._on_change()

    def _bug(self, model: str, exc: Exception) -> ErrorInfo:
        if what_is_scarce(exc) is None:
            self._flood.exception("model.bug model=%s", model, exc=exc)
        return load_failed(model, f"cannot start it: {why(exc)}")

    async def _try(self, start: ModelStart, begun: BegunTry | ErrorInfo) -> _StartEnd:
        """See its process through, and another while the end is not its fault."""
        model = start.config.model
        while not isinstance(begun, ErrorInfo):
            end = await start.run(begun)
            self._on_exit(model, end.code)
            if start.ended_without_pipe(end):
                self._ask_no_more(start.config.fingerprint)
            otherwise = start.how_to_try_again(end)
            if otherwise is None:
                return _start_end(start, end)
            log.warning("model.again model=%s swap=%d with=%r", model, start.swap, otherwise)
            begun = self._begin(start)
        return _StartEnd(begun)

    def _ask_no_more(self, fingerprint: str) -> None:
        """Ask no start of that command for its report."""
        self._without_report[fingerprint] = None
        if len(self._without_report) > _MAX_WITHOUT_REPORT:
            del self._without_report[next(iter(self._without_report))]


def _start_end(start: ModelStart, end: Exit) -> _StartEnd:
    was_ready = start.is_ready
    error = start.failure or why_it_failed(start.config.model, end, was_ready=was_ready)
    if was_ready:
        return _StartEnd(error)
    return _StartEnd(error, () if start.config.is_elsewhere else out_of(end), crashed(end))


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
