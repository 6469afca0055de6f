"""Finds GPUs of AMD and Intel by the files of their drivers; no library, no context.

Source: Linux, Documentation/gpu/amdgpu ("mem_info_vram_total"), gpu/drm-usage-stats and
gpu/xe/xe-drm-usage-stats ("drm-resident-vram0"), drivers/gpu/drm/amd/amdgpu/amdgpu_fdinfo.c (where
"drm-memory-vram" is an alias), drivers/gpu/drm/xe/xe_tile_sysfs.c ("physical_vram_size_bytes"); kfd
("/sys/class/kfd/kfd/proc/PID/vram_ID"). The i915 of Linux itself does not tell how much memory a
GPU has; that of Intel's packages does, in the folder of the card ("lmem_total_bytes").
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

_CARD: Final = re.compile(r"card(\d+)")
_AMD: Final = "0x1002"
_INTEL: Final = "0x8086"

# Where the drivers of Intel tell how much memory of its own a GPU has, from the folder of its card.
_INTEL_TOTALS: Final = ("device/tile*/physical_vram_size_bytes", "lmem_total_bytes")

# More than any GPU has; beyond is a broken file. Neither does a number have more digits.
_MOST: Final = 2**50
_MOST_DIGITS: Final = 19

_UNITS: Final = {b"": 1, b"KiB": 1024, b"MiB": 1024**2, b"GiB": 1024**3}
_REGIONS: Final = re.compile(rb"drm-resident-(?:vram|local)\d*:\s*(\d+)[ \t]*(\w*)")
# amdgpu had a name of its own for it, and tells both since it follows the common form.
_OLD_REGION: Final = re.compile(rb"drm-memory-vram:\s*(\d+)[ \t]*(\w*)")
_BUS: Final = re.compile(rb"drm-pdev:\s*(\S+)")
_CLIENT: Final = re.compile(rb"drm-client-id:\s*(\d+)")

# Descriptors of one process that are looked at; llama-server has some ten, and one for each client.
_MAX_DESCRIPTORS: Final = 512

# Bytes that are read of what is told of one: some two thousand.
_MAX_FDINFO: Final = 65_536


class SysfsGpu(msgspec.Struct, frozen=True):
    """A GPU with memory of its own.

    Attributes:
        bus: Its address on the PCI bus, such as ``0000:03:00.0``.
        maker: Whose it is.
        total: Its bytes.
        used: Those in use by anybody; None: its driver does not tell.
        kfd_id: Its name for AMD's compute driver; empty: it has none.
        target: What code it runs, such as ``gfx1100``; empty: that is not told.
    """

    bus: str
    maker: str
    total: int
    used: int | None
    kfd_id: str = ""
    target: str = ""


class _KfdNode(msgspec.Struct, frozen=True):
    gpu_id: str = ""
    target: str = ""


def find_gpus(root: Path = Path("/")) -> tuple[SysfsGpu, ...]:
    """Return the GPUs of AMD and Intel, by the numbers of their cards. Blocks.

    One without memory of its own shares that of the machine, and counts as none.
    """
    try:
        cards = [
            (int(match[1]), entry)
            for entry in (root / "sys/class/drm").iterdir()
            if (match := _CARD.fullmatch(entry.name))
        ]
    except OSError:
        return ()
    kfd = _kfd_nodes(root)
    found = (_gpu(card, kfd) for _, card in sorted(cards))
    return tuple(gpu for gpu in found if gpu is not None)


def _gpu(card: Path, kfd: dict[str, _KfdNode]) -> SysfsGpu | None:
    device = card / "device"
    vendor = sysfs_text(device / "vendor")
    bus = device.resolve().name
    if vendor == _AMD:
        total = _number(device / "mem_info_vram_total")
        used = _number(device / "mem_info_vram_used")
        node = kfd.get(bus, _KfdNode())
        return SysfsGpu(bus, "AMD", total, used, node.gpu_id, node.target) if total else None
    if vendor == _INTEL:
        totals = [
            sum(_number(path) or 0 for path in sorted(card.glob(pattern)))
            for pattern in _INTEL_TOTALS
        ]
        total = next(filter(None, totals), 0)
        return SysfsGpu(bus, "Intel", total, None) if total else None
    return None


def gpu_bytes(
    pids: Iterable[int], gpus: Iterable[SysfsGpu], root: Path = Path("/")
) -> dict[str, int]:
    """Return what the processes `pids` have of `gpus`: bus -> bytes. Blocks.

    Processes of other users are not told by the kernel, and count as nothing.
    """
    gpus = tuple(gpus)
    if not gpus:
        return {}
    used = dict.fromkeys((gpu.bus for gpu in gpus), 0)
    clients: set[tuple[str, bytes]] = set()
    for pid in pids:
        computed = {  # newer kernels tell this among what its clients have, too
            gpu.bus: _number(root / f"sys/class/kfd/kfd/proc/{pid}/vram_{gpu.kfd_id}") or 0
            for gpu in gpus
            if gpu.kfd_id
        }
        drawn = dict.fromkeys(used, 0)
        for text in _fdinfo(root / f"proc/{pid}/fdinfo"):
            bus, client = _BUS.search(text), _CLIENT.search(text)
            if bus is None or client is None or (name := bus[1].decode("latin-1")) not in used:
                continue
            if (name, client[1]) in clients:
                continue  # several descriptors of one client tell the same
            clients.add((name, client[1]))
            drawn[name] += _resident(text)
        for name, count in drawn.items():
            used[name] += max(count, computed.get(name, 0))
    return used


def _resident(text: bytes) -> int:
    """Return what one client has of a GPU's own memory; what cannot be true is nothing."""
    regions = _REGIONS.findall(text) or _OLD_REGION.findall(text)
    found = sum(
        int(count) * _UNITS.get(unit, 0) for count, unit in regions if len(count) <= _MOST_DIGITS
    )
    return found if found <= _MOST else 0


def _fdinfo(folder: Path) -> Iterator[bytes]:
    try:
        entries = sorted(folder.iterdir())[:_MAX_DESCRIPTORS]
    except OSError:
        return  # it ended, or is another user's
    for entry in entries:
        try:
            with entry.open("rb") as file:
                text = file.read(_MAX_FDINFO)
        except OSError:
            continue
        if b"drm-" in text:
            yield text


def _kfd_nodes(root: Path) -> dict[str, _KfdNode]:
    """Return what the compute driver says of each GPU, by its address on the bus."""
    found = {}
    for node in (root / "sys/class/kfd/kfd/topology/nodes").glob("*"):
        gpu_id = sysfs_text(node / "gpu_id")
        if gpu_id in {"", "0"}:
            continue  # a processor
        lines = sysfs_text(node / "properties").splitlines()
        fields = dict(line.split()[:2] for line in lines if len(line.split()) >= 2)
        try:
            domain, place = int(fields.get("domain", "0")), int(fields["location_id"])
        except (KeyError, ValueError):
            continue
        bus = f"{domain:04x}:{place >> 8 & 0xFF:02x}:{place >> 3 & 0x1F:02x}.{place & 7:x}"
        found[bus] = _KfdNode(gpu_id, _target(fields.get("gfx_target_version", "")))
    return found


def _target(version: str) -> str:
    """Return the name of a target: its number has two digits each for minor and step."""
    is_number = version.isdecimal() and len(version) <= _MOST_DIGITS
    number = int(version) if is_number else 0
    return f"gfx{number // 10000}{number // 100 % 100:x}{number % 100:x}" if number else ""


def sysfs_text(path: Path) -> str:
    """Return what a file of the kernel has; empty if it cannot be read."""
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""


def _number(path: Path) -> int | None:
    try:
        found = int(sysfs_text(path), 0)
    except ValueError:
        return None
    return found if 0 <= found <= _MOST else None
