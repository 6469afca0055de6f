"""Wiring: opens the parts of the supervisor in order; that order, reversed, is the shutdown."""

import logging
import os
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVarTuple, Unpack

import trio

from arriero.idle_memory import give_back_when_idle
from arriero.protocol.control.base import Done, Refusal
from arriero.protocol.errors import ProtocolError
from arriero.protocol.events import AnyEvent
from arriero.protocol.records import RequestRecord
from arriero.protocol.transport import open_context
from arriero.protocol.values import State
from arriero.protocol.worker_config import SeenFacts

from .config.lint.exposure import exposure_elsewhere
from .config.load import ModelConfig
from .control.commands import Commands
from .control.connection_limits import keep_doors
from .control.event_publisher import Publisher, open_publisher
from .control.remote import open_remote_control
from .control.server import open_control_server
from .errors import SupervisorError
from .facts.seen_facts import FACTS_FILE_NAME, SeenModels
from .host.curve_key_file import read_keys
from .host.file_limit import raise_descriptor_limit
from .host.instance_file import FILE_NAME as INSTANCE_FILE_NAME
from .host.instance_file import instance_of
from .host.listen_socket import (
    where_it_listens,
)
from .host.log import ProgramLog, tell_warnings
from .host.own_version import own_version
from .host.runtime_dir import open_runtime_dir, open_state_dir
from .host.systemd import Notifier, feed_watchdog
from .launchers.launchers import Launchers
from .lifetime.inheritance import find_inheritance, left_processes, open_rings
from .lifetime.listeners import hold_listeners, open_listeners
from .lifetime.order import Order
from .lifetime.restart import become_next, why_no_restart
from .lifetime.shutdown import DRAIN_LIMIT_S, drain, heeded_signals, lose_patience, obey
from .lifetime.standing_orders import OrderKeeper, read_orders
from .lifetime.startup_message import first_words, own_url
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
from .models.start.choices import missing_program
from .models.start.output_log import OutputLog
from .page_cache.holder import Holder
from .page_cache.read_ahead import read_ahead
from .page_cache.warm_tier import WarmTier
from .peers.late import FILE_NAME as PEERS_FILE_NAME
from .peers.late import LatePeers
from .pricing.feed import FILE_NAME as PRICES_FILE_NAME
from .pricing.feed import PriceFeed
from .processes.leftovers import end_leftovers
from .processes.reaper import Refuge, open_reaper
from .progress.load_stages import LoadStages
from .progress.stage_times_file import FILE_NAME
from .reload.change_detector import View
from .reload.inspector import ConfigInspector
from .reload.profiles import ProfileSwitch
from .reload.reloader import ActiveConfig, Parts, Reloader, follow_logging
from .reload.watcher import watch
from .scheduling.dispatcher import Dispatcher
from .scheduling.engine import Engine
from .scheduling.messages.events import ShuttingDown
from .slots.keeper import SlotKeeper
from .slots.saved_files import FILE_NAME as SLOTS_FILE_NAME
from .store.archive import RecordArchive
from .store.limits import FILE_NAME as STORE_NAME
from .store.limits import StoreLimits
from .telemetry.exporter import SpanExporter
from .workers.connection_counts import open_shares
from .workers.key_limits import KeyLimits
from .workers.key_use_file import FILE_NAME as KEY_USE_FILE_NAME
from .workers.key_use_file import keep_day, load_day
from .workers.lease_server import LeaseServer, open_lease_server
from .workers.pool import WorkerPool, run_workers
from .workers.request_log import EndedRequests
from .workers.selections import Selections
from .workers.zygote import Zygote

log = logging.getLogger(__name__)

_Ts = TypeVarTuple("_Ts")

# Seconds until the `Hello` of all workers should have come; READY=1 waits no longer for a slow
# machine.
WORKERS_LIMIT_S = 20.0

# Seconds between two orders to say which requests run.
_WISH_S: Final = 0.25

# Seconds in which zmq hands the last messages over, before the next supervisor is started.
_LAST_WORD_S = 0.05


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

        ended = EndedRequests(lambda: in_force.config.activity.metrics_rows, note)
        seen_models = SeenModels(kept / FACTS_FILE_NAME)
        prices = PriceFeed(lambda: in_force.config.price_list, kept / PRICES_FILE_NAME)
        await prices.load_copy()
        keys = KeyLimits(
            lambda: in_force.config.client_keys, load_day(kept / KEY_USE_FILE_NAME), time.time
        )
        inheritance = await find_inheritance(config, folder)
        if inheritance is None:  # else its reaper sees to all
            await trio.to_thread.run_sync(end_leftovers, folder)
        listeners = open_listeners(config, inheritance, stack)
        host, address = where_it_listens(listeners[0].socket)
        if (exposed := exposure_elsewhere(config, host)) is not None:
            tell_warnings([exposed])
        await stack.enter_async_context(archive.running())
        context = stack.enter_context(open_context())
        refuge = Refuge(folder, config.supervisor_grace_s) if config.adopt else None
        reaper = await stack.enter_async_context(open_reaper(refuge, inheritance, folder))
        hold_listeners(listeners, reaper)
        rings = open_rings(inheritance, reaper, stack) if config.adopt else {}
        if inheritance is not None:
            inheritance.close_held()
        if rings:
            output_log.keep_in(rings["log"])
            program_log.keep_in(rings["own-log"])
            stack.callback(program_log.leave_ring)
            archive.add_again(ended.keep_in(rings["records"]))
        ordered = read_orders(rings.get("orders"))
        if ordered.profile in config.profiles:
            in_force.profile = ordered.profile
        left = left_processes(inheritance)
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
            listeners=[(one.kind, one.socket.fileno()) for one in listeners],
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
                ended=ended,
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
            (lease_server.expect(card.worker, process.pid, card.proof), card.proof)
            for process, card in left.workers
        ]
        owners = tuple(owner for owner, proof in known if proof)
        mute = tuple(owner for owner, proof in known if not proof)
        ordered.carry_out_holds(dispatcher)
        ordered.carry_out_pins(dispatcher)
        for process, found in left.models:
            fleet.adopt(process, found, owners, mute, unloading=found.swap in ordered.unloading)
        for process in left.strangers:
            log.warning("supervisor.left_strange pid=%d", process.pid)
            fleet.see_off(process)
        dispatcher.tell_orders(orders.note)
        await stack.enter_async_context(_background(dispatcher.keep_time))
        await stack.enter_async_context(
            _background(
                partial(give_back_when_idle, pack=lambda: program_log.pack() or output_log.pack())
            )
        )
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
        for process, card in left.workers:
            pool.adopt(process, card)
        pool.scale(workers)
        signals = stack.enter_context(trio.open_signal_receiver(*heeded_signals()))
        patience = trio.CancelScope()
        await stack.enter_async_context(
            _background(obey, signals, told_to_stop, patience, reloader.trigger)
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
            async with _background(lose_patience, patience, dispatcher):
                await drain(dispatcher, pool)
        if patience.cancelled_caught:
            log.warning("supervisor.cut_short running=%s", dispatcher.engine.running())
        dispatcher.handle(ShuttingDown(at_once=True))
    log.info("supervisor.stopped")
    return False


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
