"""Finds GPUs of NVIDIA, by NVML: the library of nvidia-smi, which opens no context.

Source: docs.nvidia.com/deploy/nvml-api; the module `pynvml` of the distribution nvidia-ml-py.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Protocol, cast

import msgspec

from .devices import DeviceReading


class NvmlMemory(Protocol):
    """Memory of one GPU, in bytes."""

    total: int
    used: int


class NvmlProcess(Protocol):
    """A process on one GPU; `usedGpuMemory` is None where the driver does not tell."""

    pid: int
    usedGpuMemory: int | None


class NvmlModule(Protocol):
    """What is used of `pynvml`. `Handle` stands for a GPU there."""

    @property
    def NVMLError(self) -> type[Exception]: ...  # noqa: D102
    def nvmlInit(self) -> None: ...  # noqa: D102
    def nvmlShutdown(self) -> None: ...  # noqa: D102
    def nvmlDeviceGetCount(self) -> int: ...  # noqa: D102
    def nvmlDeviceGetHandleByIndex(self, index: int) -> object: ...  # noqa: D102
    def nvmlDeviceGetName(self, handle: object) -> str | bytes: ...  # noqa: D102
    def nvmlDeviceGetMemoryInfo(self, handle: object) -> NvmlMemory: ...  # noqa: D102
    def nvmlDeviceGetComputeRunningProcesses(  # noqa: D102
        self, handle: object
    ) -> Sequence[NvmlProcess]: ...
    def nvmlDeviceGetGraphicsRunningProcesses(  # noqa: D102
        self, handle: object
    ) -> Sequence[NvmlProcess]: ...


class NvidiaGpu(msgspec.Struct, frozen=True):
    """A GPU, and who uses it.

    Attributes:
        reading: Total and used.
        by_pid: Process -> bytes, of those about which the driver tells.
    """

    reading: DeviceReading
    by_pid: dict[int, int]


def load_nvml() -> NvmlModule | None:
    """Return the library, ready for use; None if it, a driver or a GPU is not there. Blocks."""
    try:
        module = cast(NvmlModule, import_module("pynvml"))
    except ImportError:
        return None
    try:
        module.nvmlInit()
    except module.NVMLError:  # no driver on this machine
        return None
    return module


def read_nvidia(nvml: NvmlModule) -> tuple[NvidiaGpu, ...]:
    """Return the GPUs in the order of nvidia-smi. Blocks: a driver that hangs never answers.

    One that does not answer is as if it was full: nothing is started on it.
    """
    try:
        count = nvml.nvmlDeviceGetCount()
    except nvml.NVMLError:
        return ()
    return tuple(_read(nvml, index) for index in range(count))


def _read(nvml: NvmlModule, index: int) -> NvidiaGpu:
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        name = nvml.nvmlDeviceGetName(handle)
    except nvml.NVMLError:  # it fell off the bus
        return NvidiaGpu(DeviceReading(0, 0, "does not answer"), {})
    by_pid: dict[int, int] = {}
    for processes in (
        nvml.nvmlDeviceGetComputeRunningProcesses,
        nvml.nvmlDeviceGetGraphicsRunningProcesses,  # Vulkan is among these
    ):
        for process in _processes(nvml, processes, handle):
            if process.usedGpuMemory is not None:
                # One that computes and draws is in both lists, with all that it has.
                before = by_pid.get(process.pid, 0)
                by_pid[process.pid] = max(before, process.usedGpuMemory)
    told = name.decode(errors="replace") if isinstance(name, bytes) else name
    return NvidiaGpu(DeviceReading(memory.total, memory.used, told), by_pid)


def _processes(
    nvml: NvmlModule, ask: Callable[[object], Sequence[NvmlProcess]], handle: object
) -> Sequence[NvmlProcess]:
    try:
        return ask(handle)
    except nvml.NVMLError:
        return ()
