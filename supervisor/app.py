"""Wiring: opens the parts of the supervisor in order; that order, reversed, is the shutdown."""

import logging
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVarTuple, Unpack

import trio

from arriero.protocol.errors import ProtocolError
from arriero.protocol.transport import open_context

from .commands import Commands
from .conductor import Conductor
from .config import Config, load_config, parse_listen
from .control_server import open_control_server
from .durations_file import FILE_NAME
from .engine import Engine
from .errors import SupervisorError
from .fleet import missing_program, open_fleet
from .guardian import open_guardian
from .happenings import ShuttingDown, Spec
from .lease_server import open_lease_server
from .listening import listening_socket
from .logbook import Logbook
from .notify import Notifier, feed_watchdog
from .publisher import open_publisher
from .runtime import open_runtime_dir, state_dir
from .workers import WorkerPool, run_workers

log = logging.getLogger(__name__)

_Ts = TypeVarTuple("_Ts")

# Seconds that running requests get after SIGTERM. docker stop gives 10, systemd 90; a long answer
# of a slow model takes a minute, and deploy/arriero.service leaves twice that.
DRAIN_LIMIT_S = 60.0

# Seconds until all workers should have said hello; READY=1 waits no longer for a slow machine.
WORKERS_LIMIT_S = 20.0


def serve(
    config_path: Path,
    *,
    listen: str | None = None,
    workers: int | None = None,
    socket_dir: Path | None = None,
) -> int:
    """Run the supervisor until it is told to stop, and return the exit status: 0.

    Args:
        config_path: The YAML file.
        listen: ``host:port`` in the place of the file's.
        workers: Number of workers in the place of the file's.
        socket_dir: Folder for the sockets; see `runtime.find_runtime_dir` for the default.

    Raises:
        SupervisorError: It cannot be started: the configuration, the listening address, or the
            folder for the sockets. The text says what would do.
    """
    config = load_config(config_path, environ=os.environ)
    if listen is not None:
        config = replace(config, listen=parse_listen(listen))
    if workers is not None:
        config = replace(config, workers=workers)
    try:
        trio.run(supervise, config, socket_dir)
    except BaseExceptionGroup as group:  # what could not be opened, with a nursery around it
        failure: BaseException = group
        while isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
            failure = failure.exceptions[0]
        if isinstance(failure, SupervisorError | ProtocolError):
            raise SupervisorError(str(failure)) from group
        raise
    return 0


async def supervise(config: Config, socket_dir: Path | None) -> None:
    """Open everything, say that it is ready, and close it again after SIGTERM or SIGINT."""
    notifier = Notifier()
    logbook = Logbook()
    async with AsyncExitStack() as stack:
        # From the bottom up this is the order of shutdown.
        folder = stack.enter_context(open_runtime_dir(socket_dir, os.environ))
        listener = stack.enter_context(listening_socket(config.listen.host, config.listen.port))
        context = stack.enter_context(open_context())
        guardian = await stack.enter_async_context(open_guardian())
        publisher = await stack.enter_async_context(open_publisher(context, folder / "events.sock"))
        engine = Engine(
            _specs(config),
            now=trio.current_time(),
            obstacle=lambda model: missing_program(config.models[model]),
        )
        conductor = Conductor(engine, publisher)
        fleet = await stack.enter_async_context(
            open_fleet(
                config,
                conductor,
                guardian=guardian,
                logbook=logbook,
                durations_path=state_dir(os.environ) / FILE_NAME,
            )
        )
        pool = WorkerPool(
            listen_fd=listener.fileno(),
            socket_dir=folder,
            guardian=guardian,
            publish=conductor.publish,
            leases_of=conductor.engine.leases_of,
        )
        lease_server = await stack.enter_async_context(
            open_lease_server(
                context,
                folder / "lease.sock",
                conductor,
                config=config.route_table,
                on_hello=pool.says_hello,
            )
        )
        conductor.connect(processes=fleet, send_to_worker=lease_server.send)
        await stack.enter_async_context(_background(conductor.keep_time))
        await stack.enter_async_context(_background(feed_watchdog, notifier))
        host, port = listener.getsockname()[:2]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        told_to_stop = trio.Event()
        commands = Commands(
            config,
            conductor,
            pool,
            logbook,
            listen=address,
            control_requests=lambda: control.answered,
            shut_down=told_to_stop.set,
        )
        control = await stack.enter_async_context(
            open_control_server(context, folder / "control.sock", commands.answer)
        )
        await stack.enter_async_context(run_workers(pool, lease_server, config.workers))
        signals = stack.enter_context(trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT))
        patience = trio.CancelScope()
        await stack.enter_async_context(_background(_obey, signals, told_to_stop, patience))
        with trio.move_on_after(WORKERS_LIMIT_S):
            await pool.wait_until_serving()
        log.info(
            "supervisor.ready listen=%s workers=%d sockets=%s", address, config.workers, folder
        )
        count = len(config.models)
        notifier.ready(f"serving {count} model{'s' * (count != 1)} on {address}")
        await told_to_stop.wait()
        notifier.stopping()
        log.info("supervisor.stopping limit_s=%.0f", DRAIN_LIMIT_S)
        patience.deadline = trio.current_time() + DRAIN_LIMIT_S
        with patience:
            await _drain(conductor, pool)
        if patience.cancelled_caught:
            log.warning("supervisor.cut_short running=%s", conductor.engine.running())
        conductor.tell(ShuttingDown(at_once=True))
    log.info("supervisor.stopped")


async def _drain(conductor: Conductor, pool: WorkerPool) -> None:
    """Let everything that runs finish, and nothing new begin."""
    conductor.tell(ShuttingDown())
    await pool.finish_all()
    await conductor.wait_until(lambda engine: not engine.running())


async def _obey(
    signals: AsyncIterator[int], told_to_stop: trio.Event, patience: trio.CancelScope
) -> None:
    """The first signal asks to stop in good order, the second one to stop at once."""
    async for number in signals:
        log.info("supervisor.signal name=%s", signal.Signals(number).name)
        if told_to_stop.is_set():
            patience.cancel()
        told_to_stop.set()


@asynccontextmanager
async def _background(
    task: Callable[[Unpack[_Ts]], Awaitable[object]], *args: *_Ts
) -> AsyncGenerator[None, None]:
    """Run `task` beside the block."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(task, *args)
        yield
        nursery.cancel_scope.cancel()


def _specs(config: Config) -> list[Spec]:
    return [
        Spec(
            model=model.model,
            start_limit_s=model.health_check_timeout_s,
            stop_grace_s=model.unload_timeout_s,
            ttl_s=model.ttl_s,
        )
        for model in config.models.values()
    ]
