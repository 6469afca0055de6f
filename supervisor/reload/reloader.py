"""Reloads the configuration: one attempt at a time, none forgotten.

What another configuration changes is decided by `config.diff`, what that means for a
model that runs by `engine.py`.
"""

import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec
import trio

from arriero.protocol.control.base import Refusal, refused
from arriero.protocol.control.settings import ReloadReply
from arriero.protocol.events import AnyEvent, ConfigChanged
from arriero.protocol.flood_log import FloodLog
from arriero.protocol.values import ConfigChanges, ConfigStatus, ErrorInfo, FailedReload
from arriero.protocol.worker_config import SeenFacts, WorkerConfig

from ..config.diff import diff, launch_identity, summary, what_comes_into_force
from ..config.model_config import ModelConfig
from ..config.names import PeerModels
from ..config.read_routing import policy_of
from ..config.values import Config
from ..config.worker_config import route_table
from ..errors import ConfigError, Problem
from ..host.log import ProgramLog, tell_warnings
from ..host.shortage import what_is_scarce, why
from ..host.systemd import Notifier
from ..models.default_models import DefaultModels
from ..models.learned_models import LearnedModels
from ..models.memory_watch import MemoryWatch
from ..models.start.output_log import OutputLog
from ..page_cache.warm_tier import WarmTier
from ..peers.late import LatePeers
from ..placement.policy import PlacementPolicy
from ..pricing.feed import PriceFeed
from ..pricing.price_list import PriceList
from ..scheduling.dispatcher import Dispatcher
from ..scheduling.messages.events import Reconfigured, Spec
from ..telemetry.exporter import SpanExporter
from ..workers.lease_server import LeaseServer
from ..workers.pool import WorkerPool

log = logging.getLogger(__name__)

# Seconds between two attempts without a waiter (signals, changed files). The first of a burst
# is served at once, and all the others together by one more.
PAUSE_S = 1.0

# Seconds that reading the files may take: ten thousand models take three. Beyond is a file system
# that hangs.
READ_LIMIT_S = 30.0

# Seconds that workers get to follow; they need milliseconds. One that hangs is replaced soon.
FOLLOW_LIMIT_S = 5.0

# Problems of a file that are repeated in replies, status and events: a screen full.
SHOWN_PROBLEMS = 20
SHOWN_CHARS = 400


def _shown(problems: Sequence[Problem]) -> tuple[str, ...]:
    return tuple(str(problem)[:SHOWN_CHARS] for problem in problems[:SHOWN_PROBLEMS])


class ActiveConfig(msgspec.Struct):
    """The configuration in force. Changed by `Reloader` and `ProfileSwitch` only, but for `told`.

    Attributes:
        told: What watched peers say that they have, by peer.
    """

    config: Config
    loaded_at: float = msgspec.field(default_factory=time.time)
    generation: int = 1
    needs_restart: tuple[str, ...] = ()
    failed: FailedReload | None = None
    profile: str | None = None
    told: Mapping[str, tuple[str, ...]] = {}
    _peer_models: tuple[Config, Mapping[str, tuple[str, ...]], PeerModels] | None = None

    @property
    def peer_models(self) -> PeerModels:
        """The names of the models of peers, with those that they have told."""
        if not self.told:
            return self.config.peer_models
        made = self._peer_models
        if made is None or made[0] is not self.config or made[1] is not self.told:
            names = self.config.peer_models_with(self.told)
            made = self._peer_models = self.config, self.told, names
        return made[2]

    def is_known(self, model: str) -> bool:
        """Return whether there is such a model (by id, not by alias): here, remote or a peer's."""
        return model in self.config.written_models or model in self.peer_models.table

    def status(self) -> ConfigStatus:
        """Return the public state."""
        return ConfigStatus(
            generation=self.generation,
            loaded_at=self.loaded_at,
            files=self.config.files,
            needs_restart=self.needs_restart,
            failed=self.failed,
            warnings=len(self.config.warnings),
            findings=_shown(self.config.warnings),
            profile=self.profile,
        )

    def routes(
        self,
        fetched: PriceList | None = None,
        seen: Callable[[ModelConfig], SeenFacts | None] = lambda model: None,
    ) -> WorkerConfig:
        """Return the configuration for the workers.

        Args:
            fetched: The list of prices that the configuration's URL leads to, if there is one yet.
            seen: Gives what was seen of a model.
        """
        return route_table(
            self.config, self.generation, fetched, self.profile, seen, self.peer_models
        )

    def policy(self) -> PlacementPolicy:
        """Return the placement policy."""
        return policy_of(self.config.routing, self.config.models, self.config.memory)

    def defaults(self) -> DefaultModels:
        """Return which models come back when it is quiet."""
        return DefaultModels(self.config.default_models, self.config.default_after_s)

    def specs(self, learned: LearnedModels | None = None) -> tuple[Spec, ...]:
        """Return each model's settings for the engine.

        Args:
            learned: From earlier runs.
        """
        priority = self.config.routing.priority
        return tuple(
            Spec(
                model=model.model,
                start_limit_s=model.health_check_timeout_s,
                stop_grace_s=model.unload_timeout_s,
                ttl_s=model.ttl_s,
                priority=priority.get(model.model, 0),
                launch=launch_identity(model),
                drain_limit_s=model.drain_limit_s,
                restores=model.on_failure == "restore",
                most=model.concurrency_limit,
                size=None if learned is None else learned.size_of(model),
                start_s=None if learned is None else learned.start_s(model),
                pin=model.pin,
                on_blocked=model.on_blocked.action,
                instead=self._id_of(model.on_blocked.instead),
                sleeps=model.sleep,
                sleep_size=None if learned is None else learned.sleep_size_of(model),
            )
            for model in self.config.models.values()
        )

    def _id_of(self, name: str) -> str:
        found = self.config.resolve(name) if name else None
        return "" if found is None else found.model


class Parts(msgspec.Struct, frozen=True):
    """The parts that follow a new configuration."""

    in_force: ActiveConfig
    dispatcher: Dispatcher
    lease_server: LeaseServer
    workers: WorkerPool
    output_log: OutputLog
    program_log: ProgramLog
    prices: PriceFeed
    memory: MemoryWatch
    warm: WarmTier
    learned: LearnedModels
    exporter: SpanExporter
    peers: LatePeers

    async def follow(self, changes: ConfigChanges, drain: bool) -> tuple[str, ...]:
        """Let all parts follow the configuration; return once the workers do.

        Returns:
            The models that end because they run with an older command.
        """
        engine = self.dispatcher.engine
        follow_logging(self.program_log, self.in_force.config)
        specs = self.in_force.specs(self.learned)
        self.dispatcher.handle(Reconfigured(specs, drain=drain, policy=self.in_force.policy()))
        self.memory.wake()
        self.warm.wake()
        self.exporter.wake()
        self.peers.follow()
        self.in_force.told = self.peers.told()
        draining = engine.stale() if drain else ()
        if not changes.is_empty:
            self.output_log.keep_only(engine.knows)
            if "workers" in changes.settings:
                self.workers.scale(self.in_force.config.workers)
            self.prices.follow()
            await tell_workers(self.lease_server, self.in_force.generation)
        return draining


def follow_logging(program_log: ProgramLog, config: Config) -> None:
    """Let the log follow a configuration."""
    logging = config.logging
    program_log.follow(
        logging.level,
        logging.time_format,
        own=logging.to_stdout in {"proxy", "both"},
        output=logging.to_stdout in {"upstream", "both"},
        secrets=(
            *config.api_keys,
            *(peer.api_key for peer in config.peers.values()),
            *(model.api_key for model in config.models.values()),
        ),
    )


async def tell_workers(lease_server: LeaseServer, generation: int) -> None:
    """Send all workers the configuration in force; return once they follow it."""
    lease_server.reconfigure()
    with trio.move_on_after(FOLLOW_LIMIT_S) as waiting:
        await lease_server.wait_until_followed(generation)
    if waiting.cancelled_caught:
        log.warning("config.not_followed generation=%d", generation)


class _ReloadWaiter(msgspec.Struct, eq=False):
    """A caller that waits for the outcome of an attempt."""

    dry_run: bool
    drain: bool
    answered: trio.Event = msgspec.field(default_factory=trio.Event)
    answer: ReloadReply | Refusal | None = None


class Reloader:
    """Takes requests to reload, and carries out one attempt at a time."""

    def __init__(
        self,
        in_force: ActiveConfig,
        load: Callable[[], Config],
        *,
        follow: Callable[[ConfigChanges, bool], Awaitable[tuple[str, ...]]],
        publish: Callable[[AnyEvent], None],
        notifier: Notifier,
        headline: Callable[[], str],
        read_limit_s: float = READ_LIMIT_S,
    ) -> None:
        """Build it.

        Args:
            in_force: Is kept up to date.
            load: Reads the files, in a thread of its own; raises `ConfigError`.
            follow: Lets everything follow `in_force`, see `Parts.follow`.
            publish: Takes the event about each attempt.
            notifier: Hears when an attempt begins and ends.
            headline: Status for the service manager while it is not reloading.
            read_limit_s: Seconds that `load` may take.
        """
        self._in_force = in_force
        self._load = load
        self._follow = follow
        self._publish = publish
        self._notifier = notifier
        self._headline = headline
        self._read_limit_s = read_limit_s
        self._limiter = trio.CapacityLimiter(1)  # one that hangs is not followed by others
        self._asks: list[_ReloadWaiter] = []
        self._triggered = False
        self._not_before = -math.inf
        self._woken = trio.Event()
        self._closed = False
        self._flood = FloodLog(log)

    def trigger(self) -> None:
        """Reload soon. Any number of calls until the attempt begins are one."""
        self._triggered = True
        self._woken.set()

    def close(self) -> None:
        """Put nothing in force any more: the supervisor ends."""
        self._closed = True

    async def reload(self, *, dry_run: bool, drain: bool) -> ReloadReply | Refusal:
        """Reload now, and return the outcome.

        The files are read after this call.

        Args:
            dry_run: Only report what would change.
            drain: Let models that run with an older command end.
        """
        ask = _ReloadWaiter(dry_run, drain)
        self._asks.append(ask)
        self._woken.set()
        await ask.answered.wait()  # bounded: READ_LIMIT_S, FOLLOW_LIMIT_S
        assert ask.answer is not None
        return ask.answer

    async def run(self) -> None:
        """Carry out reloads until cancelled."""
        while True:
            await self._wait_for_wishes()
            asks, self._asks = self._asks, []
            is_real = self._is_due() or any(not ask.dry_run for ask in asks)
            if is_real:
                self._triggered = False
                self._not_before = trio.current_time() + PAUSE_S
            try:
                await self._attempt(asks, is_real=is_real)
            except Exception as exc:  # noqa: BLE001  it ends this attempt, and nothing else
                self._flood.exception("config.bug", exc=exc)
                error = ErrorInfo(code="internal_error", message=f"cannot reload: {why(exc)}")
                for ask in asks:
                    ask.answer = ask.answer or Refusal(error=error)
                    ask.answered.set()

    async def _wait_for_wishes(self) -> None:
        while not self._asks and not self._is_due():
            self._woken = trio.Event()
            with trio.CancelScope() as waiting:
                if self._triggered:
                    waiting.deadline = self._not_before
                await self._woken.wait()

    def _is_due(self) -> bool:
        return self._triggered and trio.current_time() >= self._not_before

    async def _attempt(self, asks: list[_ReloadWaiter], *, is_real: bool) -> None:
        if is_real and not self._closed:
            self._notifier.reloading()
        try:
            config, changes = await self._read()
        except ConfigError as exc:
            answer = self._refuse(exc, is_real=is_real)
            answers: dict[bool, ReloadReply | Refusal] = {True: answer, False: answer}
        else:
            dry = ReloadReply(generation=self._in_force.generation, applied=False, changes=changes)
            answers = {True: dry, False: dry}
            if is_real:
                drain = any(ask.drain and not ask.dry_run for ask in asks)
                answers[False] = await self._put_in_force(config, changes, drain=drain)
        if is_real:
            self._tell_service_manager()
        for ask in asks:
            ask.answer = answers[ask.dry_run]
            ask.answered.set()

    async def _read(self) -> tuple[Config, ConfigChanges]:
        """Read the files; return the new configuration and its changes.

        In a thread: parsing ten thousand models takes seconds, and no client shall notice.

        Raises:
            ConfigError: They cannot be used.
        """
        old = self._in_force.config

        def read() -> tuple[Config, ConfigChanges]:
            new = self._load()
            return what_comes_into_force(old, new), diff(old, new)

        try:
            with trio.move_on_after(self._read_limit_s):
                return await trio.to_thread.run_sync(
                    read, abandon_on_cancel=True, limiter=self._limiter
                )
            reason = f"reading took longer than {self._read_limit_s:g} s"
        except ConfigError:
            raise
        except Exception as exc:  # noqa: BLE001  whatever is in the files: the models that run go on
            if what_is_scarce(exc) is None:
                self._flood.exception("config.bug", exc=exc)
            reason = f"reading it failed: {why(exc)}"
        source = ", ".join(old.files) or "the configuration"
        raise ConfigError([Problem(source, 0, 0, "", reason)])

    def _refuse(self, error: ConfigError, *, is_real: bool) -> Refusal:
        count = len(error.problems)
        shown = _shown(error.problems)
        generation = self._in_force.generation
        if is_real:
            self._in_force.failed = FailedReload(
                t=time.time(), problems=shown, more=count - len(shown)
            )
            log.error("config.refused generation=%d problems=%d", generation, count)
            for problem in shown:
                log.error("config.problem %s", problem)
            self._publish(ConfigChanged(generation=generation, problems=shown))
        return refused(
            "bad_config",
            f"cannot use the configuration: {count} problem{'s' * (count != 1)}; nothing was "
            f"changed, generation {generation} stays in force",
            shown,
        )

    async def _put_in_force(
        self, config: Config, changes: ConfigChanges, *, drain: bool
    ) -> ReloadReply | Refusal:
        if self._closed:
            return refused("model_unavailable", "cannot reload: arriero is stopping")
        now = self._in_force
        now.failed = None
        now.needs_restart = changes.needs_restart
        now.config = config  # in any case: it may have other warnings
        if now.profile not in config.profiles:
            now.profile = None
        tell_warnings(config.warnings)
        if not changes.is_empty:
            now.generation += 1
            now.loaded_at = time.time()
        summed_up = summary(changes) or "nothing is different"
        log.info("config.reloaded generation=%d summary=%r", now.generation, summed_up)
        self._publish(ConfigChanged(generation=now.generation, summary=summed_up))
        draining: tuple[str, ...] = ()
        if drain or not changes.is_empty:
            draining = await self._follow(changes, drain)
        return ReloadReply(
            generation=now.generation,
            applied=not changes.is_empty,
            changes=changes,
            draining=draining,
        )

    def _tell_service_manager(self) -> None:
        if not self._closed:
            failed = "; the last reload failed" if self._in_force.failed else ""
            self._notifier.ready(f"{self._headline()}{failed}")
