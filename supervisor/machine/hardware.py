"""What the machine is. Looked at once; what cannot be told is None, never a guess.

Sources: os-release(5), proc(5); systemd.io/CONTAINER_INTERFACE; CUDA C++ Programming Guide
("compute capability").
"""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, TypeAlias

from arriero.protocol.machine import (
    Accelerator,
    AcceleratorMemory,
    Architecture,
    Capture,
    Detector,
    Driver,
    Environment,
    Hardware,
    MainMemory,
    OperatingSystem,
    Processor,
)

from ..memory.ram import read_ram
from ..memory.sysfs_gpus import SysfsGpu, find_gpus
from .sensors import AskedGpu, NvmlSensors, as_text, count_gpus

_ArchitectureName: TypeAlias = Literal[
    "x86_64", "arm64", "armv7", "ppc64le", "riscv64", "s390x", "other"
]
_ARCHITECTURES: Final[dict[str, _ArchitectureName]] = {
    "x86_64": "x86_64",
    "amd64": "x86_64",
    "aarch64": "arm64",
    "arm64": "arm64",
    "armv7l": "armv7",
    "ppc64le": "ppc64le",
    "riscv64": "riscv64",
    "s390x": "s390x",
}

# Compute capability of NVIDIA's GPUs, the first of each family, the newest first.
_FAMILIES: Final = (
    ((10, 0), "Blackwell"),
    ((9, 0), "Hopper"),
    ((8, 9), "Ada Lovelace"),
    ((8, 0), "Ampere"),
    ((7, 5), "Turing"),
    ((7, 0), "Volta"),
    ((6, 0), "Pascal"),
    ((5, 0), "Maxwell"),
    ((3, 0), "Kepler"),
)

# What firmware says of machines that are none.
_VIRTUAL: Final = ("qemu", "kvm", "vmware", "virtualbox", "xen", "bochs", "parallels", "hvm")


def hardware(version: str, nvml: NvmlSensors | None, root: Path = Path("/")) -> Hardware:
    """Return what the machine is. Blocks, as long as a driver may hang.

    Args:
        version: Of this program.
        nvml: For GPUs of NVIDIA, if there are any.
        root: Where ``etc``, ``proc``, ``run`` and ``sys`` are.
    """
    ram = read_ram(root)
    raw = platform.machine()
    release = _assignments(root / "etc/os-release")
    found = [] if nvml is None else [_nvidia(nvml, it) for it in range(count_gpus(nvml))]
    return Hardware(
        captured_at=datetime.now(UTC),
        capture=Capture(detector=Detector(name="arriero", version=version)),
        architecture=Architecture(name=_ARCHITECTURES.get(raw, "other"), raw_name=raw or None),
        operating_system=OperatingSystem(
            family="linux",
            name=release.get("NAME"),
            version=release.get("VERSION_ID"),
            kernel=platform.release() or None,
        ),
        environment=_environment(root),
        cpu=_processor(root),
        memory=MainMemory(capacity_bytes=None if ram is None else ram.total),
        accelerators=(
            *found,
            *(_card(it, card, root) for it, card in enumerate(find_gpus(root), len(found))),
        ),
    )


def architecture_of(capability: tuple[int, int] | None) -> str | None:
    """Return the family of a GPU of NVIDIA's."""
    if capability is None:
        return None
    return next((name for least, name in _FAMILIES if tuple(capability) >= least), None)


def _nvidia(nvml: NvmlSensors, index: int) -> Accelerator:
    tell = AskedGpu(nvml, index).tell
    memory = tell(nvml.nvmlDeviceGetMemoryInfo)
    limit_mw = tell(nvml.nvmlDeviceGetPowerManagementLimit)
    driver = as_text(tell(lambda _: nvml.nvmlSystemGetDriverVersion())) or None
    return Accelerator(
        index=index,
        kind="gpu",
        vendor="NVIDIA",
        model=as_text(tell(nvml.nvmlDeviceGetName)) or None,
        architecture=architecture_of(tell(nvml.nvmlDeviceGetCudaComputeCapability)),
        memory=AcceleratorMemory(
            kind="dedicated", capacity_bytes=None if memory is None else memory.total
        ),
        driver=Driver(name="nvidia", version=driver),
        power_limit_watts=None if limit_mw is None else limit_mw / 1000,
    )


def _card(index: int, card: SysfsGpu, root: Path) -> Accelerator:
    device = root / "sys/bus/pci/devices" / card.bus
    try:
        driver = (device / "driver").readlink().name or None
    except OSError:
        driver = None
    return Accelerator(
        index=index,
        kind="gpu",
        vendor=card.maker,
        model=_text(device / "product_name") or None,
        architecture=card.target or None,
        memory=AcceleratorMemory(kind="dedicated", capacity_bytes=card.total),
        driver=Driver(
            name=driver, version=_text(root / "sys/module" / (driver or "-") / "version") or None
        ),
        power_limit_watts=None,
    )


def _processor(root: Path) -> Processor:
    """Return the processors: the kernel tells of each logical one in a paragraph."""
    paragraphs = _text(root / "proc/cpuinfo").split("\n\n")
    cpus = [fields for text in paragraphs if "processor" in (fields := _fields(text))]

    def first(*names: str) -> str | None:
        return next((cpu[name] for cpu in cpus for name in names if cpu.get(name)), None)

    sockets = {cpu["physical id"] for cpu in cpus if "physical id" in cpu}
    cores = {
        (cpu["physical id"], cpu["core id"]) for cpu in cpus if {"physical id", "core id"} <= {*cpu}
    }
    return Processor(
        vendor=first("vendor_id", "CPU implementer"),
        model=first("model name", "Model", "cpu"),
        socket_count=len(sockets) or None,
        physical_core_count=len(cores) or None,
        logical_thread_count=len(cpus) or os.cpu_count(),
    )


def _environment(root: Path) -> Environment:
    kernel = _text(root / "proc/sys/kernel/osrelease").lower()
    if "microsoft" in kernel:
        return Environment(kind="wsl", name=_text(root / "proc/sys/kernel/osrelease"))
    if name := _container(root):
        return Environment(kind="container", name=name)
    maker = _text(root / "sys/class/dmi/id/sys_vendor")
    product = _text(root / "sys/class/dmi/id/product_name")
    cpu = _fields(_text(root / "proc/cpuinfo").partition("\n\n")[0])
    is_virtual = "hypervisor" in cpu.get("flags", "").split()
    if is_virtual or any(word in f"{maker} {product}".lower() for word in _VIRTUAL):
        return Environment(kind="virtual_machine", name=product or maker or None)
    return Environment(kind="native" if cpu else "unknown")


def _container(root: Path) -> str:
    if name := _text(root / "run/systemd/container"):
        return name
    marks = {"docker": ".dockerenv", "podman": "run/.containerenv"}
    return next((name for name, mark in marks.items() if (root / mark).exists()), "")


def _assignments(path: Path) -> dict[str, str]:
    pairs = (line.partition("=") for line in _text(path).splitlines())
    return {name: value.strip("\"'") for name, _, value in pairs if value}


def _fields(paragraph: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in paragraph.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
