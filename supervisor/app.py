"""Wiring: opens the parts of the supervisor in order; that order, reversed, is the shutdown."""

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, TypeVarTuple, Unpack

import msgspec
import trio

from arriero.protocol.control import Done, Refusal
from arriero.protocol.errors import ProtocolError
from arriero.protocol.events import AnyEvent
from arriero.protocol.lease import ListenerKind
from arriero.protocol.records import RequestRecord
from arriero.protocol.transport import open_context
from arriero.protocol.values import State
from arriero.protocol.wakefulness import LOOK_S
from arriero.protocol.worker_config import SeenFacts, TlsFiles

from .config.lint.exposure import exposure_elsewhere
from .config.lint.lint import with_findings
from .config.lint.real_disk import RealDisk
from .config.load import Config, ModelConfig, load_with_tree, parse_listen
from .config.schema.reader import UnknownKeys
from .config.sources import find_sources
from .config.values import LogLevel
from .config.yaml.tree import Node
from .control.commands import Commands
from .control.connection_limits import keep_doors
from .control.event_publisher import Publisher, open_publisher
from .control.remote import open_remote_control
from .control.server import open_control_server
from .errors import ConfigError, Problem, SupervisorError
from .facts.seen_facts import FACTS_FILE_NAME, SeenModels
from .generate.search import ModelSearch
from .host.curve_key_file import read_keys
from .host.file_limit import raise_descriptor_limit
from .host.instance_file import FILE_NAME as INSTANCE_FILE_NAME
from .host.instance_file import instance_of
from .host.kept_ring import KeptRing
from .host.listen_socket import (
    listen_card,
    listening_socket,
    private_socket,
    second_socket,
    where_it_listens,
)
from .host.log import ProgramLog, tell_warnings
from .host.own_version import own_version
from .host.runtime_dir import REAPER_NAME, open_runtime_dir, open_state_dir
from .host.shortage import why
from .host.systemd import Notifier, feed_watchdog
from .host.tls_files import tls_files
from .launchers.launchers import Launchers
from .machine.monitor import Monitor
from .memory.learned_file import SIZES_FILE_NAME
from .memory.ram import pressure_files
from .metrics.service import MetricsService
from .metrics.tallies import Tallies
from .models.default_models import keep_defaults
from .models.fleet import open_fleet
from .models.learned_models import LearnedModels
from .models.memory_watch import open_memory_watch
from .models.preload import preload
from .models.start.adoption import ModelCard, read_model_card
from .models.start.choices import missing_program
from .models.start.output_log import OutputLog
from .page_cache.holder import Holder
from .page_cache.read_ahead import read_ahead
from .page_cache.warm_tier import WarmTier
from .peers.late import FILE_NAME as PEERS_FILE_NAME
from .peers.late import LatePeers
from .pricing.feed import FILE_NAME as PRICES_FILE_NAME
from .pricing.feed import PriceFeed
from .processes.kept_process import Inheritance, KeptProcess, inherited_from
from .processes.leftovers import end_leftovers
from .processes.reaper import Reaper, Refuge, open_reaper
from .progress.load_stages import LoadStages
from .progress.stage_times_file import FILE_NAME
from .reload.change_detector import View
from .reload.inspector import ConfigInspector
from .reload.profiles import ProfileSwitch
from .reload.reloader import ActiveConfig, Parts, Reloader, follow_logging
from .reload.watcher import look_at, watch
from .restart import become_next, why_no_restart
from .scheduling.dispatcher import Dispatcher
from .scheduling.engine import Engine
from .scheduling.messages.events import ShuttingDown
from .slots.keeper import SlotKeeper
from .slots.saved_files import FILE_NAME as SLOTS_FILE_NAME
from .standing_orders import OrderKeeper, read_orders
from .startup_message import first_words, own_url
from .store.archive import RecordArchive
from .store.limits import FILE_NAME as STORE_NAME
from .store.limits import StoreLimits
from .telemetry.exporter import SpanExporter
from .text.addresses import Address, UnixAddress, is_loopback
from .workers.connection_counts import open_shares
from .workers.key_limits import KeyLimits
from .workers.key_use_file import FILE_NAME as KEY_USE_FILE_NAME
from .workers.key_use_file import keep_day, load_day
from .workers.lease_server import LeaseServer, open_lease_server
from .workers.pool import WorkerCard, WorkerPool, read_worker_card, run_workers
from .workers.request_log import RecordStore
from .workers.selections import Selections
from .workers.zygote import Zygote

log = logging.getLogger(__name__)

_Ts = TypeVarTuple("_Ts")

# Seconds that running requests get after SIGTERM. docker stop gives 10, systemd 90; a long answer
# of a slow model takes a minute, and deploy/arriero.service leaves twice that.
DRAIN_LIMIT_S = 60.0

# Seconds until the `Hello` of all workers should have come; READY=1 waits no longer for a slow
# machine.
WORKERS_LIMIT_S = 20.0


# Names of what the reaper holds beside processes; bytes of memory for each kind of messages. Some
# thousand lines and records, and the last of the orders: a thousand models that unload are 8 kB.
_LISTENER: Final = "listener"
_OLLAMA_LISTENER: Final = "ollama-listener"
_ADMIN_LISTENER: Final = "admin-listener"
_RINGS: Final = {
    "log": 2 * 1024**2,
    "own-log": 1024**2,
    "records": 2 * 1024**2,
    "orders": 256 * 1024,
}

# Seconds between two orders to say which requests run.
_WISH_S: Final = 0.25

# Seconds in which zmq hands the last messages over, before the next supervisor is started.
_LAST_WORD_S = 0.05


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """The options of the command line.

    Attributes:
        files: Configuration files, in the order in which they are merged.
        directory: A folder of further ones.
        search: Finds models to serve without a configuration; then there are no files.
        unknown: What unknown keys are.
        watches: A change of the files is followed.
        listen: ``host:port`` in the place of the configuration's.
        workers: Number of workers in the place of the configuration's.
        log_level: Least important lines of the log, in the place of the configuration's.
        socket_dir: Folder for the sockets; see `runtime_dir.find_runtime_dir` for the default.
        tls_cert: The certificate that clients are shown.
        tls_key: Its key.
    """

    files: tuple[Path, ...] = ()
    directory: Path | None = None
    search: ModelSearch | None = None
    unknown: UnknownKeys = "by file"
    watches: bool = False
    listen: str | None = None
    workers: int | None = None
    log_level: LogLevel | None = None
    socket_dir: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None

    def look(self) -> View:
        """Return the state of the configuration's files."""
        return look_at(self.files, self.directory, lambda folder: find_sources((), folder))

    def load(self) -> Config:
        """Read the configuration; options of the command line win.

        Its warnings are those of ``arriero check``, and the keys on which nothing acts.

        Raises:
            ConfigError: It cannot be used.
        """
        return with_findings(*self.load_with_tree(), RealDisk())

    def load_with_tree(self) -> tuple[Config, Node]:
        """Do as `load`, without looking for what is surely not meant; return the tree as well.

        Raises:
            ConfigError: It cannot be used.
        """
        if self.search is not None:
            config, root = self.search.load(os.environ)
        else:
            config, root = load_with_tree(
                *self.files, directory=self.directory, environ=os.environ, unknown=self.unknown
            )
        config = replace(
            config,
            listen=config.listen if self.listen is None else parse_listen(self.listen),
            workers=config.workers if self.workers is None else self.workers,
            logging=replace(config.logging, level=self.log_level or config.logging.level),
            tls=self._tls(),
        )
        return config, root

    def sources(self) -> tuple[Path, ...]:
        """Return the files as they are now.

        Raises:
            ConfigError: There are none, or they cannot be named.
        """
        return find_sources(self.files, self.directory)

    def _tls(self) -> TlsFiles | None:
        try:
            return tls_files(self.tls_cert, self.tls_key)
        except ValueError as exc:
            source = str(self.tls_cert or self.tls_key)
            raise ConfigError([Problem(source, 0, 0, "", str(exc))]) from exc


def serve(order: Order, zygote: Zygote | None, program_log: ProgramLog) -> int:
    """Run the supervisor until it is stopped; return the exit status 0.

    After `arriero restart` it does not return: the next supervisor takes this process.

    Args:
        order: The options of the command line.
        zygote: Forks the workers; None: they are started as programs.
        program_log: Takes what is logged.

    Raises:
        SupervisorError: It cannot be started: the configuration, the listening address, or the
            folder for the sockets. The text has the remedy.
    """
    raise_descriptor_limit()
    seen = order.look()  # before it is read: what is changed meanwhile must not be missed
    in_force = ActiveConfig(order.load())
    follow_logging(program_log, in_force.config)
    tell_warnings(in_force.config.warnings)
    try:
        is_replaced = trio.run(supervise, order, zygote, in_force, seen, program_log)
    except BaseExceptionGroup as group:  # what could not be opened, with a nursery around it
        failure: BaseException = group
        while isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
            failure = failure.exceptions[0]
        if isinstance(failure, SupervisorError | ProtocolError):
            raise SupervisorError(str(failure)) from group
        raise
    if is_replaced:
        become_next()
    return 0


async def supervise(
    order: Order,
    zygote: Zygote | None,
    in_force: ActiveConfig,
    seen: View,
    program_log: ProgramLog,
) -> bool:
    """Open everything, report readiness, and close it after SIGTERM or SIGINT.

    Returns True if what runs was left to the next supervisor, which is to be started.

    Args:
        order: The options of the command line.
        zygote: Forks the workers.
        in_force: The configuration to begin with.
        seen: State of its files before it was read.
        program_log: Takes what is logged.
    """
    config, started_at = in_force.config, time.time()
    notifier = Notifier()
    output_log = OutputLog(program_log.take_output, program_log.hidden)
    async with AsyncExitStack() as stack:
        # From the bottom up this is the order of shutdown.
        kept = stack.enter_context(open_state_dir(os.environ))
        folder = stack.enter_context(open_runtime_dir(order.socket_dir, os.environ))
        slots = SlotKeeper(lambda: in_force.config, kept / SLOTS_FILE_NAME)
        await slots.sweep()
        tallies = Tallies(in_force.is_known)
        archive = RecordArchive(partial(_store_limits, in_force, kept))

        def note(records: Sequence[RequestRecord]) -> None:
            slots.note(records)
            tallies.note_records(records)
            if peers.keeper is not None:
                for record in records:
                    peers.note(record, in_force.peer_models)

        records = RecordStore(lambda: in_force.config.activity.metrics_rows, note)
        seen_models = SeenModels(kept / FACTS_FILE_NAME)
        prices = PriceFeed(lambda: in_force.config.price_list, kept / PRICES_FILE_NAME)
        await prices.load_copy()
        keys = KeyLimits(
            lambda: in_force.config.client_keys, load_day(kept / KEY_USE_FILE_NAME), time.time
        )
        inheritance = await _inheritance(config, folder)
        if inheritance is None:  # else its reaper sees to all
            await trio.to_thread.run_sync(end_leftovers, folder)
        listener = stack.enter_context(
            listening_socket(
                config.listen.host,
                config.listen.port,
                inherited=None if inheritance is None else inheritance.take(_LISTENER),
            )
        )
        listeners: list[tuple[ListenerKind, socket.socket]] = [("listen", listener)]
        if config.ollama_listen is not None:
            second = stack.enter_context(
                second_socket(
                    "ollamaListen",
                    config.ollama_listen,
                    None if inheritance is None else inheritance.take(_OLLAMA_LISTENER),
                )
            )
            # Ollama's tools know plain HTTP there, and nobody else listens on this machine's own
            # wire; to others its address speaks as all do.
            own_host, _ = where_it_listens(second)
            is_own = own_host is not None and is_loopback(own_host)
            listeners.append(("plain" if is_own else "listen", second))
        if config.admin_listen is not None:
            kept_admin = None if inheritance is None else inheritance.take(_ADMIN_LISTENER)
            if isinstance(config.admin_listen, UnixAddress):
                admin = private_socket(config.admin_listen.path, kept_admin)
                if not config.adopt:
                    stack.callback(Path(config.admin_listen.path).unlink, missing_ok=True)
            else:
                admin = second_socket("adminListen", config.admin_listen, kept_admin)
            listeners.append(("admin", stack.enter_context(admin)))
        host, address = where_it_listens(listener)
        if (exposed := exposure_elsewhere(config, host)) is not None:
            tell_warnings([exposed])
        await stack.enter_async_context(archive.running())
        context = stack.enter_context(open_context())
        refuge = Refuge(folder, config.supervisor_grace_s) if config.adopt else None
        reaper = await stack.enter_async_context(open_reaper(refuge, inheritance, folder))
        reaper.hold(
            _LISTENER, listen_card(config.listen.host, config.listen.port), listener.fileno()
        )
        if config.ollama_listen is not None:
            also = config.ollama_listen
            second = listeners[1][1]
            reaper.hold(_OLLAMA_LISTENER, listen_card(also.host, also.port), second.fileno())
            log.info("supervisor.listens_for_ollama address=%s", where_it_listens(second)[1])
        if config.admin_listen is not None:
            admin = listeners[-1][1]
            reaper.hold(_ADMIN_LISTENER, _card(config.admin_listen), admin.fileno())
            log.info("supervisor.listens_for_admin address=%s", where_it_listens(admin)[1])
        rings = _rings(inheritance, reaper, stack) if config.adopt else {}
        if inheritance is not None:
            inheritance.close_held()
        if rings:
            output_log.keep_in(rings["log"])
            program_log.keep_in(rings["own-log"])
            stack.callback(program_log.leave_ring)
            archive.add_again(records.keep_in(rings["records"]))
        ordered = read_orders(rings.get("orders"))
        if ordered.profile in config.profiles:
            in_force.profile = ordered.profile
        former_models, former_workers, strangers = _sorted(inheritance)
        publisher = await stack.enter_async_context(open_publisher(context, folder / "events.sock"))
        stack.enter_context(program_log.told(publisher.publish_own))
        learned = LearnedModels(kept / SIZES_FILE_NAME, kept / FILE_NAME)
        engine = Engine(
            in_force.specs(learned),
            now=trio.current_time(),
            policy=in_force.policy(),
            obstacle=lambda model: missing_program(in_force.config.models[model]),
        )
        stages = LoadStages()

        def note_event(event: AnyEvent) -> None:
            tallies.note_event(event)
            if event.numbered_as == "events":
                stages.take(event, time.time())

        dispatcher = Dispatcher(engine, publisher, note_event)
        orders = OrderKeeper(rings.get("orders"), ordered, dispatcher.now)
        warm = WarmTier(
            lambda: in_force.config, dispatcher, holder=Holder(reaper, pressure_files())
        )
        memory = await stack.enter_async_context(
            open_memory_watch(
                lambda: in_force.config, dispatcher, learned, lambda: warm.locked_bytes
            )
        )

        def last_seen(model: ModelConfig) -> SeenFacts | None:
            return seen_models.get(model.fingerprint) if len(seen_models) else None

        def learn_facts(fingerprint: str, facts: SeenFacts) -> None:
            if seen_models.learn(fingerprint, facts):
                lease_server.reconfigure()

        launchers = Launchers(lambda: in_force.config, reaper, folder)
        await stack.enter_async_context(_background(launchers.run))
        fleet = await stack.enter_async_context(
            open_fleet(
                lambda: in_force.config,
                dispatcher,
                reaper=reaper,
                launcher=launchers.of,
                output_log=output_log,
                durations_path=kept / FILE_NAME,
                slots=slots,
                on_change=memory.wake,
                on_log_line=memory.take_line,
                on_exit=tallies.note_exit,
                on_facts=learn_facts,
            )
        )

        def have_other_models() -> None:
            in_force.told = peers.told()
            lease_server.reconfigure()

        instance = instance_of(kept / INSTANCE_FILE_NAME)
        peers = LatePeers(
            lambda: in_force.config,
            kept / PEERS_FILE_NAME,
            have_other_models,
            lambda: dispatcher.epoch,
            instance,
            lambda: in_force.peer_models,
            engine.view.demand,
            lambda peer: lease_server.say_lost(peer),
        )
        await peers.load()
        in_force.told = peers.told()

        def standing(name: str) -> State | None:
            model = in_force.config.resolve(name)
            if model is None:
                return "ready" if in_force.config.resolve_remote(name) is not None else None
            return engine.view.standing(model.model)

        pool = WorkerPool(
            listeners=[(kind, one.fileno()) for kind, one in listeners],
            shares_fd=stack.enter_context(open_shares()),
            socket_dir=folder,
            reaper=reaper,
            publish=dispatcher.publish,
            leases_of=dispatcher.engine.leases_of,
            wakefulness=dispatcher.wakefulness,
            start=None if zygote is None else zygote.start,
            program_log=program_log,
        )
        await stack.enter_async_context(_background(keep_day, kept / KEY_USE_FILE_NAME, keys))
        lease_server = await stack.enter_async_context(
            open_lease_server(
                context,
                folder / "lease.sock",
                dispatcher,
                records=records,
                keep=archive.add,
                capture=archive.add_capture,
                completed=stages.completed,
                config=lambda: in_force.routes(prices.listed, last_seen),
                on_hello=pool.says_hello,
                selections=Selections(lambda: in_force.config.selectors, standing),
                peers=peers,
                keys=keys,
                choose_profile=lambda name: profiles.choose(name),
            )
        )
        await stack.enter_async_context(_background(peers.run))
        await stack.enter_async_context(_background(_tell_inflight, publisher, lease_server))
        exporter = SpanExporter(
            lambda: in_force.config, reaper, folder, lambda: publisher.usage_seq
        )
        dispatcher.connect(processes=fleet, send_to_worker=lease_server.send, sizes=memory)
        if engine.view.counts_memory:
            await memory.look()  # before the first start: bounded by its limit
        await stack.enter_async_context(_background(memory.run))
        await stack.enter_async_context(_background(warm.run))
        await stack.enter_async_context(_background(exporter.run))  # ends after the workers
        await stack.enter_async_context(
            _background(read_ahead, lambda: in_force.config, dispatcher)
        )
        known = [
            (lease_server.expect(card.worker, left.pid, card.proof), card.proof)
            for left, card in former_workers
        ]
        owners = tuple(owner for owner, proof in known if proof)
        mute = tuple(owner for owner, proof in known if not proof)
        ordered.carry_out_holds(dispatcher)
        ordered.carry_out_pins(dispatcher)
        for left, found in former_models:
            fleet.adopt(left, found, owners, mute, unloading=found.swap in ordered.unloading)
        for left in strangers:
            log.warning("supervisor.left_strange pid=%d", left.pid)
            fleet.see_off(left)
        dispatcher.tell_orders(orders.note)
        await stack.enter_async_context(_background(dispatcher.keep_time))
        await stack.enter_async_context(_background(feed_watchdog, notifier))
        await stack.enter_async_context(_background(prices.run, lease_server.reconfigure))
        profiles = ProfileSwitch(in_force, dispatcher, lease_server, orders.choose)
        told_to_stop = trio.Event()

        async def hand_over() -> Done | Refusal:
            if (refusal := await why_no_restart(config, order.load)) is not None:
                return refusal
            reaper.hands_over = True
            told_to_stop.set()
            return Done()

        inspector = ConfigInspector(in_force, order.sources, order.load_with_tree, keys.used_today)

        def scale(count: int) -> None:
            orders.scale(count, in_force.config.workers)
            pool.scale(count)

        def headline() -> str:
            count = len(in_force.config.written_models)
            return f"serving {count} model{'s' * (count != 1)} on {address}"

        reloader = Reloader(
            in_force,
            order.load,
            follow=Parts(
                in_force,
                dispatcher,
                lease_server,
                pool,
                output_log,
                program_log,
                prices,
                memory,
                warm,
                learned,
                exporter,
                peers,
            ).follow,
            publish=dispatcher.publish,
            notifier=notifier,
            headline=headline,
        )

        def sampled_every_s() -> float | None:
            activity = in_force.config.activity
            return activity.sampling_s if activity.sampling else None

        monitor = Monitor(sampled_every_s, own_version)
        await stack.enter_async_context(_background(monitor.run))
        metrics = MetricsService(
            in_force,
            dispatcher,
            pool,
            fleet,
            tallies,
            monitor,
            exporter,
            started_at,
            own_version,
            peers.status,
        )
        commands = Commands(
            in_force,
            dispatcher,
            pool,
            output_log,
            program_log,
            archive,
            reloader,
            inspector,
            profiles,
            warm,
            metrics,
            monitor,
            peers=peers.status,
            places=peers.explain,
            cancel=partial(lease_server.cancel, caller=None),
            preview=lease_server.preview,
            decisions=publisher.decisions.all,
            listen=address,
            url=own_url(config, address),
            instance=instance,
            control_requests=lambda: control.answered,
            shut_down=told_to_stop.set,
            restart=hand_over,
            scale=scale,
        )
        control = await stack.enter_async_context(
            open_control_server(context, folder / "control.sock", commands.answer)
        )
        if config.control_listen is not None and config.control_key is not None:
            far = await stack.enter_async_context(
                open_remote_control(
                    context,
                    config.control_listen,
                    await trio.to_thread.run_sync(read_keys, Path(config.control_key)),
                    folder=folder,
                    control=control.socket,
                    events=publisher.socket,
                    allowed=lambda: in_force.config.control_clients,
                )
            )
            log.info("supervisor.control_listens address=%s", far)
        doors = [one.door for one in (publisher, lease_server, control) if one.door is not None]
        await stack.enter_async_context(_background(keep_doors, doors))
        workers = ordered.wanted_workers(config.workers)
        if zygote is not None:
            zygote.expect(workers)
            stack.callback(zygote.close)
        await stack.enter_async_context(run_workers(pool, lease_server))
        for left, card in former_workers:
            pool.adopt(left, card)
        pool.scale(workers)
        signals = stack.enter_context(trio.open_signal_receiver(*_heeded_signals()))
        patience = trio.CancelScope()
        await stack.enter_async_context(
            _background(_obey, signals, told_to_stop, patience, reloader.trigger)
        )
        with trio.move_on_after(WORKERS_LIMIT_S):
            await pool.wait_until_serving()
        archive.start()
        log.info("supervisor.ready listen=%s workers=%d sockets=%s", address, workers, folder)
        notifier.ready(headline())
        if sys.stdout.isatty():
            with suppress(OSError):  # the terminal may be closed already
                init = "" if order.search is None else order.search.init_command()
                told = first_words(in_force.config, address, init)
                os.write(sys.stdout.fileno(), told.encode())
        await stack.enter_async_context(_background(reloader.run))
        if order.watches:
            following = partial(watch, order.look, reloader.trigger, first=seen)
            await stack.enter_async_context(_background(following))
        await stack.enter_async_context(
            _background(keep_defaults, in_force.defaults, in_force.policy, dispatcher)
        )
        loading = partial(preload, config.preload, in_force.policy(), dispatcher)
        async with _background(loading):
            await told_to_stop.wait()
        reloader.close()
        if reaper.hands_over:
            notifier.status("restarting")
            dispatcher.freeze()
            lease_server.say_away()
            await trio.sleep(_LAST_WORD_S)
            log.info("supervisor.hands_over models=%s", dispatcher.engine.running())
            return True
        notifier.stopping()
        log.info("supervisor.stopping limit_s=%.0f", DRAIN_LIMIT_S)
        with patience:
            async with _background(_lose_patience, patience, dispatcher):
                await _drain(dispatcher, pool)
        if patience.cancelled_caught:
            log.warning("supervisor.cut_short running=%s", dispatcher.engine.running())
        dispatcher.handle(ShuttingDown(at_once=True))
    log.info("supervisor.stopped")
    return False


def _card(address: Address | UnixAddress) -> bytes:
    if isinstance(address, UnixAddress):
        return address.path.encode()
    return listen_card(address.host, address.port)


def _store_limits(in_force: ActiveConfig, kept: Path) -> StoreLimits:
    """Return what may be kept of requests, and where, by the configuration in force."""
    activity = in_force.config.activity
    return StoreLimits(
        path=kept / STORE_NAME if activity.store_path is None else Path(activity.store_path),
        rows=activity.store_rows,
        age_s=activity.store_age_s,
        size_bytes=activity.store_bytes,
        capture_bytes=activity.capture_mb * 1024**2,
        memory_rows=activity.metrics_rows,
    )


async def _inheritance(config: Config, folder: Path) -> Inheritance | None:
    """Return what an earlier supervisor has left; without `adopt`, end that.

    Raises:
        SupervisorError: See `inherited_from`.
    """
    found = await trio.to_thread.run_sync(inherited_from, folder / REAPER_NAME)
    if found is None:
        return None
    log.info("supervisor.inherits processes=%d reaper=%d", len(found.processes), found.reaper)
    if config.adopt:
        return found
    await trio.to_thread.run_sync(found.end)
    return None


def _rings(
    inheritance: Inheritance | None, reaper: Reaper, stack: AsyncExitStack
) -> dict[str, KeptRing]:
    """Return the memory that outlives this process, by name; what is there is gone on with.

    Raises:
        SupervisorError: There is none.
    """
    rings: dict[str, KeptRing] = {}
    for name, size in _RINGS.items():
        _, fd = (inheritance and inheritance.take(name)) or (b"", None)
        try:
            ring = rings[name] = KeptRing(f"arriero-{name}", size, fd)
        except OSError as exc:
            raise SupervisorError(
                f"cannot keep memory for the next supervisor: {why(exc)}"
            ) from exc
        stack.callback(ring.close)
        reaper.hold(name, b"", ring.fd)
    return rings


def _sorted(
    inheritance: Inheritance | None,
) -> tuple[
    list[tuple[KeptProcess, ModelCard]], list[tuple[KeptProcess, WorkerCard]], list[KeptProcess]
]:
    """Return the models, the workers, and the rest of what was left."""
    models: list[tuple[KeptProcess, ModelCard]] = []
    workers: list[tuple[KeptProcess, WorkerCard]] = []
    strangers: list[KeptProcess] = []
    for kept in inheritance.processes if inheritance is not None else ():
        if (model := read_model_card(kept.card)) is not None:
            models.append((kept, model))
        elif (worker := read_worker_card(kept.card)) is not None:
            workers.append((kept, worker))
        else:
            strangers.append(kept)
    return models, workers, strangers


async def _lose_patience(patience: trio.CancelScope, dispatcher: Dispatcher) -> None:
    """Cancel `patience` after `DRAIN_LIMIT_S` seconds in which this process was awake."""
    until = dispatcher.now() + DRAIN_LIMIT_S
    while (left_s := until - dispatcher.now()) > 0:  # noqa: ASYNC110  time is all there is
        await trio.sleep(min(left_s, LOOK_S))
    patience.cancel()


async def _drain(dispatcher: Dispatcher, pool: WorkerPool) -> None:
    """Let running requests finish, and admit no new ones."""
    dispatcher.handle(ShuttingDown())
    await pool.finish_all()
    await dispatcher.wait_until(lambda engine: not engine.running())


def _heeded_signals() -> list[signal.Signals]:
    """Return those that `_obey` handles.

    A shell has SIGINT ignored in what a script runs in the background: Ctrl-C is meant for the
    script then, which may stop us in good order.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return [signal.SIGTERM, signal.SIGHUP]
    return [signal.SIGTERM, signal.SIGHUP, signal.SIGINT]


async def _obey(
    signals: AsyncIterator[int],
    told_to_stop: trio.Event,
    patience: trio.CancelScope,
    reload: Callable[[], None],
) -> None:
    """Handle signals: SIGHUP reloads, the others stop.

    The first of these stops in good order, the second at once.

    SIGHUP from a terminal that has been closed asks to stop, as it does of every program there.
    """
    had_terminal = os.isatty(sys.stderr.fileno())
    async for number in signals:
        log.info("supervisor.signal name=%s", signal.Signals(number).name)
        if number == signal.SIGHUP and not (had_terminal and not os.isatty(sys.stderr.fileno())):
            reload()
            continue
        if told_to_stop.is_set():
            patience.cancel()
        told_to_stop.set()


async def _tell_inflight(publisher: Publisher, lease_server: LeaseServer) -> None:
    """Have workers say which requests run while somebody listens for it."""
    while True:
        lease_server.tell_inflight(await publisher.inflight_wish())
        await trio.sleep(_WISH_S)  # who comes and goes all the time is a flood


@asynccontextmanager
async def _background(
    task: Callable[[Unpack[_Ts]], Awaitable[object]], *args: *_Ts
) -> AsyncGenerator[None, None]:
    """Run `task` beside the block."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(task, *args)
        yield
        nursery.cancel_scope.cancel()
