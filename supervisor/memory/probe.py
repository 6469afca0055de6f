"""All devices and all models in one look."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from .devices import DeviceReading
from .nvidia_gpus import NvidiaGpu, NvmlModule, read_nvidia
from .process_memory import ProcessMemory, families, read_memory
from .ram import read_ram
from .sizes import RAM, Amounts
from .sysfs_gpus import SysfsGpu, find_gpus, gpu_bytes


class ModelUse(msgspec.Struct, frozen=True):
    """What the processes of one model use.

    Attributes:
        amounts: Device -> bytes. While it loads, mapped files are left out: a model on its way to a
            GPU passes through them.
        with_files: The same with them: what it needs to serve.
    """

    amounts: Amounts
    with_files: Amounts


class Look(msgspec.Struct, frozen=True):
    """One look at the machine.

    Attributes:
        found: The devices.
        foreign: What others than models use of each.
        by_model: What each model uses.
    """

    found: Mapping[str, DeviceReading]
    foreign: Amounts
    by_model: Mapping[str, ModelUse]


def look(
    leaders: Mapping[str, int], nvml: NvmlModule | None = None, root: Path = Path("/")
) -> Look:
    """Look at the machine. Blocks: for some milliseconds, or as long as a driver hangs.

    GPUs are numbered in the order of nvidia-smi, then those of AMD and Intel by their cards.

    Args:
        leaders: Model -> process id of what was started.
        nvml: For GPUs of NVIDIA, if there are any.
        root: Where ``proc`` and ``sys`` are.
    """
    nvidia = read_nvidia(nvml) if nvml is not None else ()
    sysfs = find_gpus(root)
    ram = read_ram(root)
    found = {} if ram is None else {RAM: ram}
    first = len(nvidia)  # of the numbers of the others
    for number, gpu in enumerate(nvidia):
        found[f"gpu{number}"] = gpu.reading
    for number, card in enumerate(sysfs):
        found[f"gpu{first + number}"] = DeviceReading(
            card.total, card.used, f"{card.maker} {card.bus}"
        )
    ours: dict[str, int] = {}
    by_model = {}
    for model, pids in families(leaders, root).items():
        memory = read_memory(pids, root)
        on_gpus = _on_gpus(pids, nvidia, sysfs, root)
        by_model[model] = _use(memory, on_gpus)
        for device, count in {RAM: memory.kept, **on_gpus}.items():
            ours[device] = ours.get(device, 0) + count
    foreign = {
        device: max(0, reading.used - ours.get(device, 0))
        for device, reading in found.items()
        if reading.used is not None
    }
    return Look(found, foreign, by_model)


def _use(memory: ProcessMemory, on_gpus: Amounts) -> ModelUse:
    return ModelUse(
        amounts={RAM: memory.kept, **on_gpus},
        with_files={RAM: memory.own + memory.files, **on_gpus},
    )


def _on_gpus(
    pids: Iterable[int],
    nvidia: tuple[NvidiaGpu, ...],
    sysfs: tuple[SysfsGpu, ...],
    root: Path,
) -> dict[str, int]:
    pids = tuple(pids)
    found = {}
    for number, gpu in enumerate(nvidia):
        if count := sum(gpu.by_pid.get(pid, 0) for pid in pids):
            found[f"gpu{number}"] = count
    by_bus = gpu_bytes(pids, sysfs, root)
    for number, card in enumerate(sysfs):
        if count := by_bus.get(card.bus, 0):
            found[f"gpu{len(nvidia) + number}"] = count
    return found
