"""`ray`: starts tethers, and keeps the bridge running while there is one."""

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import urlsplit

import trio

from arriero.digests import sha256
from arriero.protocol.flood_log import FloodLog
from arriero.protocol.remote.launch import MachineLost, Placed, PlacePending, ServerHeld

from ..config.load import Config, LaunchConfig
from ..errors import SpawnError
from ..memory.sizes import RAM
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
from ..ray.words import (
    BRIDGE_NAME,
    BridgeOrder,
    TetherOrder,
    read_bridge_line,
    read_word,
    variable_for_bridge,
    variable_for_tether,
)
from .launcher import Launched, LaunchOrder, StandIn

log = logging.getLogger(__name__)

_TETHER: Final = "arriero.supervisor.ray.tether"
_BRIDGE: Final = "arriero.supervisor.ray.bridge"

# Seconds until another bridge is started when one has ended; they double while that goes on.
_FIRST_PAUSE_S: Final = 0.25
_LAST_PAUSE_S: Final = 10.0

# Characters of a line of the bridge that are logged.
_MAX_SHOWN: Final = 400

# Characters of the name that tells this supervisor from others of the cluster.
_NAME_CHARS: Final = 16


class RayLauncher:
    """Starts models on the nodes of a Ray cluster. Implements `Launcher`.

    Args:
        config: Gives the configuration in force.
        reaper: Has all its processes killed when this one ends.
        folder: Of the supervisor's sockets.
    """

    def __init__(self, config: Callable[[], Config], reaper: Reaper, folder: Path) -> None:
        self._config = config
        self._reaper = reaper
        self._path = folder / BRIDGE_NAME
        self._is_wanted = trio.Event()
        self._flood = FloodLog(log)

    def start(self, order: LaunchOrder) -> Launched:
        """See `Launcher.start`."""
        self._is_wanted.set()
        needs, memory = order.config.ray, order.config.memory
        gpus = sum(1 for device in memory if device != RAM) if needs.gpus is None else needs.gpus
        told = TetherOrder(
            bridge=str(self._path),
            model=order.config.model,
            command=order.launch.command,
            env=dict(order.launch.env),
            port=_port_there(order.launch),
            memory=dict(memory),
            cpus=needs.cpus,
            gpus=float(gpus),
            resources=dict(needs.resources),
        )
        spec = _spec(order, variable_for_tether(told))
        return _Tethered(order, start_process(spec, self._reaper)).launched()

    def adopt(self, order: LaunchOrder, kept: KeptProcess) -> Launched:
        """See `Launcher.adopt`."""
        self._is_wanted.set()
        return _Tethered(order, adopt_process(kept, _spec(order, {}), self._reaper)).launched()

    # --- the bridge -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Run a bridge since the first start, and another whenever it ends, until cancelled."""
        await self._is_wanted.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._flood.flush_regularly)
            await self._keep_running()

    async def _keep_running(self) -> NoReturn:
        pause_s = _FIRST_PAUSE_S
        while True:
            began_at = trio.current_time()
            try:
                why = str(await self._run_one())
            except SpawnError as exc:
                why = str(exc)
            if trio.current_time() - began_at > _LAST_PAUSE_S:
                pause_s = _FIRST_PAUSE_S
            self._flood.warning("ray.bridge_ended reason=%r again_in_s=%.2f", why, pause_s)
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LAST_PAUSE_S)

    async def _run_one(self) -> Exit:
        told = BridgeOrder(
            path=str(self._path),
            address=self._config().ray.address,
            namespace=_namespace(self._path),
        )
        spec = SpawnSpec(
            argv=(sys.executable, "-m", _BRIDGE), env=variable_for_bridge(told), is_ours=True
        )
        return await run_process(spec, on_line=self._take, reaper=self._reaper, term_grace_s=0.0)

    def _take(self, stream: Stream, line: bytes) -> None:
        said = read_bridge_line(line) if stream == "stdout" else None
        if said is not None:
            log.info("ray.bridge said=%r", said[:_MAX_SHOWN])
        elif stream == "stderr":
            self._flood.warning("ray.said line=%r", line[:_MAX_SHOWN].decode(errors="replace"))


def _namespace(path: Path) -> str:
    """Return a name that no other supervisor of the cluster has, and the next one here has."""
    told = f"{os.uname().nodename}:{path}"
    return f"arriero-{sha256(told.encode()).hexdigest()[:_NAME_CHARS]}"


def _port_there(launch: LaunchConfig) -> int:
    """Return the port of a server that answers on its node; 0: something else answers for it."""
    return (urlsplit(launch.endpoint).port or 0) if launch.wants_host else 0


def _spec(order: LaunchOrder, variable: dict[str, str]) -> SpawnSpec:
    return SpawnSpec(
        argv=(sys.executable, "-m", _TETHER), env=variable, without=order.without, is_ours=True
    )


class _Tethered(StandIn):
    """A start on some node, by its tether."""

    def __init__(self, order: LaunchOrder, process: StartedProcess) -> None:
        super().__init__(order, process)
        self._where: Placed | None = None
        self._is_placed = trio.Event()

    def launched(self) -> Launched:
        """Return what was started, seen from the fleet."""
        return Launched(self, self._place if self._order.launch.wants_host else None)

    async def _place(self) -> LaunchConfig:
        await self._is_placed.wait()
        assert self._where is not None
        host, name = self._where.host, self._where.name
        return replace(self._order.launch.on(f"[{host}]" if ":" in host else host), host=name)

    async def run(
        self, on_line: Callable[[Stream, bytes], None], *, term_grace_s: float = TERM_GRACE_S
    ) -> Exit:
        """See `StartedProcess.run`."""

        def take(stream: Stream, line: bytes) -> None:
            match read_word(line) if stream == "stdout" else None:
                case None:
                    on_line(stream, line)
                case Placed() as where:
                    if self._where is None:
                        model, name = self._order.config.model, where.name
                        log.info("ray.placed model=%s node=%s host=%s", model, name, where.host)
                    self._where = where
                    self._is_placed.set()
                case PlacePending(why=why):
                    self._order.on_waiting(why)
                case ServerHeld(done=done, total=total):
                    self._order.on_loaded(done, total)
                case MachineLost(node=node):
                    self._order.on_lost(node if self._where is None else self._where.name)

        return await self._process.run(take, term_grace_s=term_grace_s)
