"""What GPUs tell of themselves beside their memory: heat, use, fans, power.

Sources: docs.nvidia.com/deploy/nvml-api; Linux, Documentation/gpu/amdgpu ("gpu_busy_percent") and
hwmon/sysfs-interface.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol, TypeVar, cast

from arriero.protocol.machine import GpuSample

from ..memory.nvidia_gpus import NvmlModule, load_nvml
from ..memory.sysfs_gpus import SysfsGpu, find_gpus, sysfs_text

_MIB: Final = 1024**2
_T = TypeVar("_T")

_ON_GPU: Final = 0  # NVML_TEMPERATURE_GPU


class NvmlRates(Protocol):
    """Percent of the time in which a GPU computed, and used its memory."""

    gpu: int
    memory: int


class NvmlSensors(NvmlModule, Protocol):
    """What is used of `pynvml` beside memory."""

    def nvmlSystemGetDriverVersion(self) -> str | bytes: ...  # noqa: D102
    def nvmlDeviceGetUUID(self, handle: object) -> str | bytes: ...  # noqa: D102
    def nvmlDeviceGetUtilizationRates(self, handle: object) -> NvmlRates: ...  # noqa: D102
    def nvmlDeviceGetTemperature(self, handle: object, sensor: int) -> int: ...  # noqa: D102
    def nvmlDeviceGetFanSpeed(self, handle: object) -> int: ...  # noqa: D102
    def nvmlDeviceGetPowerUsage(self, handle: object) -> int: ...  # noqa: D102
    def nvmlDeviceGetPowerManagementLimit(self, handle: object) -> int: ...  # noqa: D102
    def nvmlDeviceGetCudaComputeCapability(  # noqa: D102
        self, handle: object
    ) -> tuple[int, int]: ...


def load_sensors() -> NvmlSensors | None:
    """Return NVIDIA's library, ready for use; None if there is no use for it. Blocks."""
    return cast(NvmlSensors | None, load_nvml())  # the same module, with more of it


def gpu_samples(nvml: NvmlSensors | None, now: datetime, root: Path) -> tuple[GpuSample, ...]:
    """Return a sample of each GPU, numbered as devices are. Blocks.

    Args:
        nvml: For GPUs of NVIDIA, if there are any.
        now: The time of the samples.
        root: Where ``sys`` is.
    """
    found = [] if nvml is None else [_nvidia(nvml, it, now) for it in range(count_gpus(nvml))]
    first = len(found)
    cards = enumerate(find_gpus(root), first)
    return (*found, *(_card(number, card, now, root) for number, card in cards))


class AskedGpu:
    """A GPU of NVIDIA's that is asked, and may not answer.

    Args:
        nvml: The library.
        index: The GPU.
    """

    def __init__(self, nvml: NvmlSensors, index: int) -> None:
        self._error = nvml.NVMLError
        try:
            self._handle: object = nvml.nvmlDeviceGetHandleByIndex(index)
        except self._error:  # it fell off the bus
            self._handle = None

    def tell(self, ask: Callable[[object], _T]) -> _T | None:
        """Return what `ask` gives for it; None if it does not say."""
        if self._handle is None:
            return None
        try:
            return ask(self._handle)
        except self._error:
            return None


def count_gpus(nvml: NvmlSensors) -> int:
    """Return how many GPUs of NVIDIA there are."""
    try:
        return nvml.nvmlDeviceGetCount()
    except nvml.NVMLError:
        return 0


def as_text(said: str | bytes | None) -> str:
    """Return what the library says as text: older ones give bytes."""
    return said.decode(errors="replace") if isinstance(said, bytes) else said or ""


def _nvidia(nvml: NvmlSensors, index: int, now: datetime) -> GpuSample:
    tell = AskedGpu(nvml, index).tell
    memory = tell(nvml.nvmlDeviceGetMemoryInfo)
    rates = tell(nvml.nvmlDeviceGetUtilizationRates)
    power_mw = tell(nvml.nvmlDeviceGetPowerUsage)
    return GpuSample(
        timestamp=now,
        id=index,
        name=as_text(tell(nvml.nvmlDeviceGetName)),
        uuid=as_text(tell(nvml.nvmlDeviceGetUUID)),
        temp_c=tell(lambda gpu: nvml.nvmlDeviceGetTemperature(gpu, _ON_GPU)),
        vram_temp_c=None,  # no function of the library tells it for all
        gpu_util_pct=None if rates is None else rates.gpu,
        mem_util_pct=None if memory is None else _percent(memory.used, memory.total),
        mem_used_mb=None if memory is None else memory.used // _MIB,
        mem_total_mb=None if memory is None else memory.total // _MIB,
        fan_speed_pct=tell(nvml.nvmlDeviceGetFanSpeed),
        power_draw_w=None if power_mw is None else power_mw / 1000,
    )


def _card(number: int, card: SysfsGpu, now: datetime, root: Path) -> GpuSample:
    device = root / "sys/bus/pci/devices" / card.bus
    monitors = sorted(device.glob("hwmon/hwmon*"))
    monitor = monitors[0] if monitors else device
    by_label = {
        sysfs_text(path): path.with_name(path.name.replace("_label", "_input"))
        for path in sorted(monitor.glob("temp*_label"))
    }
    fan, fastest = _number(monitor / "fan1_input"), _number(monitor / "fan1_max")
    power = _number(monitor / "power1_average") or _number(monitor / "power1_input")
    used = card.used
    return GpuSample(
        timestamp=now,
        id=number,
        name=sysfs_text(device / "product_name") or f"{card.maker} {card.bus}",
        uuid=sysfs_text(device / "unique_id"),
        temp_c=_thousandth(_number(by_label.get("edge", monitor / "temp1_input"))),
        vram_temp_c=_thousandth(_number(by_label["mem"])) if "mem" in by_label else None,
        gpu_util_pct=_number(device / "gpu_busy_percent"),
        mem_util_pct=None if used is None else _percent(used, card.total),
        mem_used_mb=None if used is None else used // _MIB,
        mem_total_mb=card.total // _MIB,
        fan_speed_pct=None if fan is None or not fastest else min(100.0, _percent(fan, fastest)),
        power_draw_w=None if power is None else power / 1_000_000,
    )


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0


def _thousandth(found: int | None) -> float | None:
    return None if found is None else found / 1000


def _number(path: Path) -> int | None:
    try:
        return int(sysfs_text(path))
    except ValueError:
        return None
