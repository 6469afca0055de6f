"""Takes samples of the machine again and again, and keeps those of an hour."""

import logging
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

import trio

from arriero.protocol.flood_log import FloodLog
from arriero.protocol.machine import GpuSample, Hardware, SystemSample

from ..host.shortage import why
from .samples import SystemSampler
from .sensors import NvmlSensors, gpu_samples, load_sensors

log = logging.getLogger(__name__)

_T = TypeVar("_T")

# Seconds of which samples are kept.
KEPT_S: Final = 3600.0

# Seconds that a look may take; a driver that hangs is not waited for, nor asked again meanwhile.
_LOOK_LIMIT_S: Final = 10.0

# Seconds between two looks at whether samples are wanted by now.
_IDLE_S: Final = 5.0

# GPUs of which samples are kept.
_MAX_GPUS: Final = 64


class Monitor:
    """Samples of the last hour.

    Args:
        every_s: Gives the seconds between two samples; None: none are taken.
        version: Of this program.
        load: Gives the library for GPUs of NVIDIA.
        root: Where ``proc`` and ``sys`` are.
    """

    def __init__(
        self,
        every_s: Callable[[], float | None],
        version: Callable[[], str],
        load: Callable[[], NvmlSensors | None] = load_sensors,
        root: Path = Path("/"),
    ) -> None:
        self._every_s = every_s
        self._version = version
        self._load = load
        self._root = root
        self._sampler = SystemSampler(root)
        self._nvml: NvmlSensors | None = None
        self._is_loaded = False
        self._system: deque[SystemSample] = deque()
        self._gpus: deque[tuple[GpuSample, ...]] = deque()
        self._hardware: Hardware | None = None
        self._looker = trio.CapacityLimiter(1)  # one that hangs is not followed by others
        self._asking = trio.Lock()
        self.flood = FloodLog(log)

    @property
    def is_on(self) -> bool:
        """Samples are taken."""
        return self._every_s() is not None

    @property
    def last(self) -> tuple[SystemSample | None, tuple[GpuSample, ...]]:
        """The newest samples; of the machine there is none before the first."""
        if not (self.is_on and self._system):
            return None, ()
        return self._system[-1], self._gpus[-1]

    def since(
        self, after: datetime | None
    ) -> tuple[tuple[SystemSample, ...], tuple[GpuSample, ...]]:
        """Return the samples that were taken after that moment, the oldest first."""
        if after is not None and after.tzinfo is None:
            after = after.replace(tzinfo=UTC)
        system = tuple(it for it in self._system if after is None or it.timestamp > after)
        gpus = tuple(
            it for taken in self._gpus for it in taken if after is None or it.timestamp > after
        )
        return system, gpus

    async def run(self) -> None:
        """Take samples, the first one after one interval. Runs until cancelled."""
        while True:
            every_s = self._every_s()
            await trio.sleep(every_s or _IDLE_S)
            if every_s is None:
                self._system.clear()
                self._gpus.clear()
                continue
            await self.sample(round(KEPT_S / every_s))

    async def sample(self, most: int) -> None:
        """Take one sample; keep `most` at most."""
        taken = await self._look(self._sample)
        if taken is None:
            return
        self._system.append(taken[0])
        self._gpus.append(taken[1])
        while len(self._system) > max(1, most):
            self._system.popleft()
            self._gpus.popleft()

    async def hardware(self) -> Hardware | None:
        """Return what the machine is; None if that cannot be found out. It is looked at once."""
        async with self._asking:
            if self._hardware is None:
                self._hardware = await self._look(self._find_hardware)
            return self._hardware

    async def _look(self, look: Callable[[], _T]) -> _T | None:
        try:
            with trio.move_on_after(_LOOK_LIMIT_S):
                return await trio.to_thread.run_sync(
                    look, abandon_on_cancel=True, limiter=self._looker
                )
            self.flood.warning("machine.blind limit_s=%g reason='a driver hangs'", _LOOK_LIMIT_S)
        except Exception as exc:  # noqa: BLE001  whatever a strange machine makes of a library
            self.flood.warning("machine.blind reason=%r", why(exc))
        return None

    def _sample(self) -> tuple[SystemSample, tuple[GpuSample, ...]]:
        now = datetime.now(UTC)
        gpus = gpu_samples(self._library(), now, self._root)
        return self._sampler.sample(now), gpus[:_MAX_GPUS]

    def _find_hardware(self) -> Hardware:
        from .hardware import hardware  # nobody needs it at the start

        return hardware(self._version(), self._library(), self._root)

    def _library(self) -> NvmlSensors | None:
        if not self._is_loaded:
            self._nvml, self._is_loaded = self._load(), True
        return self._nvml
