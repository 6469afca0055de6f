"""The machine: what it is, and samples of what it does. Members have llama-swap's names.

Sizes that end in ``_mb`` are MiB, as there.
"""

from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from .values import MessageValue

AcceleratorKind: TypeAlias = Literal["gpu", "npu", "other"]
MemoryKind: TypeAlias = Literal["dedicated", "unified", "shared_system", "unknown"]
EnvironmentKind: TypeAlias = Literal[
    "native", "container", "virtual_machine", "wsl", "other", "unknown"
]


class NetworkUse(MessageValue, frozen=True, kw_only=True):
    """Bytes that went over one network interface since it is up."""

    name: str
    bytes_recv: int
    bytes_sent: int


class SystemSample(MessageValue, frozen=True, kw_only=True):
    """What the machine did at one moment.

    Attributes:
        timestamp: When.
        cpu_util_per_core: Percent of each core since the sample before.
        load_avg_1, load_avg_5, load_avg_15: Tasks that ran or waited to, over minutes.
        net_io: Network interfaces, without the loopback.
    """

    timestamp: datetime
    cpu_util_per_core: tuple[float, ...]
    mem_total_mb: int
    mem_used_mb: int
    mem_free_mb: int
    swap_total_mb: int
    swap_used_mb: int
    load_avg_1: float
    load_avg_5: float
    load_avg_15: float
    net_io: tuple[NetworkUse, ...]


class GpuSample(MessageValue, frozen=True, kw_only=True):
    """What one GPU did at one moment; what its driver does not tell is None.

    Attributes:
        timestamp: When.
        id: Its number, as in the name of the device ``gpu0``.
        name: What it calls itself.
        uuid: Of the device; empty if it has none.
        temp_c, vram_temp_c: Degrees Celsius.
        gpu_util_pct: Percent of the time in which it computed.
        mem_util_pct: Percent of its memory that is used.
        fan_speed_pct: Percent of the fan's fastest.
        power_draw_w: Watts.
    """

    timestamp: datetime
    id: int
    name: str
    uuid: str
    temp_c: float | None
    vram_temp_c: float | None
    gpu_util_pct: float | None
    mem_util_pct: float | None
    mem_used_mb: int | None
    mem_total_mb: int | None
    fan_speed_pct: float | None
    power_draw_w: float | None


class Detector(MessageValue, frozen=True, kw_only=True):
    """The program that has looked."""

    name: str
    version: str


class Capture(MessageValue, frozen=True, kw_only=True):
    """How the facts were found."""

    scope: Literal["inference_host"] = "inference_host"
    method: Literal["detected"] = "detected"
    detector: Detector


class Architecture(MessageValue, frozen=True, kw_only=True):
    """Of the processor: `name` is one of few words, `raw_name` what the kernel says."""

    name: Literal["x86_64", "arm64", "armv7", "ppc64le", "riscv64", "s390x", "other"]
    raw_name: str | None


class OperatingSystem(MessageValue, frozen=True, kw_only=True):
    """What runs the machine."""

    family: Literal["linux", "macos", "windows", "freebsd", "other"]
    name: str | None
    version: str | None
    kernel: str | None


class Environment(MessageValue, frozen=True, kw_only=True):
    """What is around the operating system."""

    kind: EnvironmentKind
    name: str | None = None
    version: str | None = None


class Processor(MessageValue, frozen=True, kw_only=True):
    """The processors, all alike."""

    vendor: str | None
    model: str | None
    socket_count: int | None
    physical_core_count: int | None
    logical_thread_count: int | None


class MainMemory(MessageValue, frozen=True, kw_only=True):
    """What this program may use of it."""

    capacity_bytes: int | None


class AcceleratorMemory(MessageValue, frozen=True, kw_only=True):
    """Memory that a device computes in."""

    kind: MemoryKind
    capacity_bytes: int | None


class Driver(MessageValue, frozen=True, kw_only=True):
    """What makes a device work."""

    name: str | None
    version: str | None


class Accelerator(MessageValue, frozen=True, kw_only=True):
    """A device that models can run on."""

    index: int
    kind: AcceleratorKind
    vendor: str | None
    model: str | None
    architecture: str | None
    memory: AcceleratorMemory
    driver: Driver
    power_limit_watts: float | None


class Hardware(MessageValue, frozen=True, kw_only=True):
    """What the machine is; what is not known is None."""

    schema_version: Literal[1] = 1
    captured_at: datetime
    capture: Capture
    architecture: Architecture
    operating_system: OperatingSystem
    environment: Environment
    cpu: Processor
    memory: MainMemory
    accelerators: tuple[Accelerator, ...] = msgspec.field(default_factory=tuple)
