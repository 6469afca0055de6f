"""Looks at devices and processes, and keeps the sizes of models.

Where memory does not decide, nothing here looks at anything.
"""

import logging
import math
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio

from ..config.load import Config, ModelConfig
from ..memory.buffer_lines import BufferSizes, seen_gpus
from ..memory.estimate import estimate
from ..memory.nvidia_gpus import NvmlModule, load_nvml
from ..memory.probe import Look, look
from ..memory.sizes import NOTHING, RAM, UNKNOWN, Amounts, ModelSize, in_order, largest
from ..scheduling.dispatcher import Dispatcher
from ..scheduling.messages.events import DevicesRead, Sized
from ..scheduling.view import RunningModel
from .learned_models import LearnedModels, is_elsewhere

log = logging.getLogger(__name__)

# Seconds between two looks. Memory of a process that is gone comes back within hundreds of
# milliseconds, and somebody waits for it; a start takes seconds; a cache grows over minutes. A look
# costs a few milliseconds, in a thread.
_SOON_S: Final = 0.05
_STARTING_S: Final = 0.5
_IDLE_S: Final = 5.0

# Seconds that a look may take. A driver that hangs is not waited for: what is known stays.
LOOK_LIMIT_S: Final = 10.0

# A size that differs by less is the same: a hundredth.
_SAME: Final = 0.01


class _Run(msgspec.Struct):
    """What is known of one start.

    Attributes:
        fingerprint: Of its command.
        buffers: What its log tells.
        peak: What it has used at most.
        told: The last size that was told.
        serves: It has been seen serving.
        asleep: What it was seen to keep while it slept, since it last served.
    """

    fingerprint: str
    buffers: BufferSizes
    peak: Amounts = msgspec.field(default_factory=dict)
    told: Amounts = msgspec.field(default_factory=dict)
    serves: bool = False
    asleep: Amounts = NOTHING


class MemoryWatch:
    """Keeps the engine informed of devices and sizes."""

    def __init__(
        self,
        config: Callable[[], Config],
        dispatcher: Dispatcher,
        *,
        nursery: trio.Nursery,
        learned: LearnedModels,
        yielding: Callable[[], int] = lambda: 0,
        load: Callable[[], NvmlModule | None] = load_nvml,
        root: Path = Path("/"),
    ) -> None:
        """Build it; `run` looks.

        Args:
            config: Gives the configuration in force.
            dispatcher: Of the engine.
            nursery: Runs the estimates.
            learned: Keeps what is seen.
            yielding: Gives the bytes of main memory that are used, but given back when needed.
            load: Gives the library for GPUs of NVIDIA.
            root: Where ``proc`` and ``sys`` are.
        """
        self._config = config
        self._dispatcher = dispatcher
        self._nursery = nursery
        self._learned = learned
        self._yielding = yielding
        self._load = load
        self._root = root
        self._nvml: NvmlModule | None = None
        self._is_loaded = False
        self._runs: dict[int, _Run] = {}  # by the number of the start
        self._last: Look | None = None
        self._woken = trio.Event()
        self._looker = trio.CapacityLimiter(1)  # one that hangs is not followed by others
        self._is_blind = False

    # --- sizes ----------------------------------------------------------------------------------

    def estimate(self, model: str) -> None:
        """Begin to estimate the size of `model`; the dispatcher gets the outcome."""
        config = self._config().models.get(model)
        if config is not None:
            self._nursery.start_soon(self._estimate, config)

    async def _estimate(self, config: ModelConfig) -> None:
        size = await self._estimated(config)
        log.info(
            "model.estimated model=%s source=%s bytes=%s",
            config.model,
            size.source,
            dict(size.amounts),
        )
        self._dispatcher.handle(Sized(config.model, size))

    async def _estimated(self, config: ModelConfig) -> ModelSize:
        """Return an estimate; reads the model's files in a thread."""
        totals = (
            {}
            if self._last is None
            else {name: reading.total for name, reading in self._last.found.items()}
        )
        work = partial(estimate, config.command, dict(config.env), totals, self._gpus())
        try:
            return await trio.to_thread.run_sync(work, abandon_on_cancel=True)
        except OSError as exc:
            log.warning("model.not_estimated model=%s reason=%s", config.model, exc)
            return UNKNOWN

    def raise_size(self, model: str, amounts: Amounts) -> None:
        """Remember that `model` needs at least `amounts`."""
        config = self._config().models.get(model)
        log.warning("model.size_raised model=%s bytes=%s", model, dict(amounts))
        if config is not None:
            self._learned.raise_to(config.fingerprint, amounts)

    def take_line(self, model: str, swap: int, line: bytes) -> None:
        """Take a line of the log of a start."""
        if b"buffer size" in line and self._dispatcher.engine.counts_memory:
            self._run_of(model, swap).buffers.take(line)

    def _run_of(self, model: str, swap: int) -> _Run:
        run = self._runs.get(swap)
        if run is None:
            config = self._config().models.get(model)
            env = {} if config is None else dict(config.env)
            fingerprint = "" if config is None else config.fingerprint
            buffers = BufferSizes(seen_gpus(self._gpus(), {**os.environ, **env}))
            run = self._runs[swap] = _Run(fingerprint, buffers)
        return run

    def _gpus(self) -> list[str]:
        return [] if self._last is None else [n for n in in_order(self._last.found) if n != RAM]

    # --- looking --------------------------------------------------------------------------------

    def wake(self) -> None:
        """Look soon: a process has begun, has become ready or has ended."""
        self._woken.set()

    async def run(self) -> None:
        """Look again and again, as long as memory decides. Runs until cancelled."""
        while True:
            if self._dispatcher.engine.counts_memory:
                await self.look()
            with trio.move_on_after(self._pause_s()):
                await self._woken.wait()
                self._woken = trio.Event()
                await trio.sleep(_SOON_S)  # several at once are one
            self._woken = trio.Event()

    def _pause_s(self) -> float:
        engine = self._dispatcher.engine
        if not engine.counts_memory:
            return math.inf
        if engine.awaits_memory:
            return _SOON_S
        running = engine.running_models()
        if any(not one.serves for one in running):
            return _STARTING_S
        return _IDLE_S

    async def look(self) -> None:
        """Look once, and tell the engine."""
        engine = self._dispatcher.engine
        running = {one.model: one for one in engine.running_models()}
        models = self._config().models
        leaders = {
            model: one.pid
            for model, one in running.items()
            if (config := models.get(model)) is None or not config.is_elsewhere
        }
        began_at = self._dispatcher.now()
        seen: Look | None = None
        with trio.move_on_after(LOOK_LIMIT_S):
            seen = await trio.to_thread.run_sync(
                self._look, leaders, abandon_on_cancel=True, limiter=self._looker
            )
        if seen is None:
            if not self._is_blind:
                log.warning("memory.blind limit_s=%g reason='a driver hangs'", LOOK_LIMIT_S)
            self._is_blind = True
            return
        self._is_blind = False
        self._last = seen
        for model, one in running.items():  # first: others start as soon as devices show room
            if one.sleeps and (use := seen.by_model.get(model)) is not None:
                self._take_asleep(one, use.amounts)
        self._dispatcher.handle(DevicesRead(seen.found, self._foreign(seen), began_at))
        for model, one in running.items():
            if not one.sleeps and (use := seen.by_model.get(model)) is not None:
                self._take(one, use.with_files if one.serves else use.amounts)
        self._settle(running)

    def _foreign(self, seen: Look) -> Amounts:
        """Return what others use: what gives way to models does not count."""
        others = seen.foreign.get(RAM, 0)
        return {**seen.foreign, RAM: max(0, others - self._yielding())}

    def _look(self, leaders: dict[str, int]) -> Look:
        if not self._is_loaded:
            self._nvml, self._is_loaded = self._load(), True
        return look(leaders, self._nvml, self._root)

    def _take(self, one: RunningModel, use: Amounts) -> None:
        run = self._run_of(one.model, one.swap)
        run.peak = largest(run.peak, use, run.buffers.amounts)
        config = self._config().models.get(one.model)
        if config is None or is_elsewhere(config):
            return  # what it uses is not seen here
        is_news = one.serves and not run.serves
        if is_news or _differ(run.peak, run.told):
            run.told, run.serves = run.peak, one.serves
            size = ModelSize(run.peak, "learned")
            self._dispatcher.handle(Sized(one.model, size, one.swap, one.serves))
        if is_news:
            self._learn(run)

    def _take_asleep(self, one: RunningModel, amounts: Amounts) -> None:
        config = self._config().models.get(one.model)
        if config is not None and not is_elsewhere(config):
            self._run_of(one.model, one.swap).asleep = amounts
            size = ModelSize(amounts, "learned")
            self._dispatcher.handle(Sized(one.model, size, one.swap, sleeps=True))

    def _settle(self, running: dict[str, RunningModel]) -> None:
        """Keep what was learned of starts and sleeps that are over."""
        swaps = {one.swap for one in running.values()}
        sleeping = {one.swap for one in running.values() if one.sleeps}
        for swap, run in self._runs.items():
            if run.asleep and swap not in sleeping:
                self._learned.learn_asleep(run.fingerprint, run.asleep)
                run.asleep = NOTHING
        for swap in [swap for swap in self._runs if swap not in swaps]:
            run = self._runs.pop(swap)
            if run.serves:
                self._learn(run)

    def _learn(self, run: _Run) -> None:
        self._learned.learn(run.fingerprint, run.peak)


@asynccontextmanager
async def open_memory_watch(
    config: Callable[[], Config],
    dispatcher: Dispatcher,
    learned: LearnedModels,
    yielding: Callable[[], int] = lambda: 0,
) -> AsyncGenerator[MemoryWatch, None]:
    """Give a watch whose estimates run while the block runs; arguments as for `MemoryWatch`."""
    async with trio.open_nursery() as nursery:
        yield MemoryWatch(config, dispatcher, nursery=nursery, learned=learned, yielding=yielding)
        nursery.cancel_scope.cancel()


def _differ(one: Amounts, other: Amounts) -> bool:
    return any(
        abs(one.get(device, 0) - other.get(device, 0)) > _SAME * max(1, other.get(device, 0))
        for device in {*one, *other}
    )
