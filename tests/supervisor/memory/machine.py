"""A machine as files: what /proc and /sys tell, as recorded on machines that have such GPUs."""

from pathlib import Path
from types import SimpleNamespace

MIB, GIB = 1024**2, 1024**3


def write(root: Path, **files: str) -> None:
    """Write files; a double underscore in a name is a slash."""
    for name, text in files.items():
        write_at(root, name.replace("__", "/"), text)


def write_at(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def add_ram(root: Path, total: int, available: int) -> None:
    write_at(
        root,
        "proc/meminfo",
        f"MemTotal: {total // 1024} kB\nMemFree: 1 kB\nMemAvailable: {available // 1024} kB\n"
        "HugePages_Total:       0\n",
    )


def add_process(
    root: Path, pid: int, *, group: int, anon: int = 0, file: int = 0, locked: int = 0
) -> None:
    kib = {"VmLck": locked, "RssAnon": anon, "RssFile": file, "RssShmem": 0}
    lines = "".join(f"{name}:\t{count // 1024:8} kB\n" for name, count in kib.items())
    write_at(root, f"proc/{pid}/status", f"Name:\tllama-server\nState:\tS (sleeping)\n{lines}")
    write_at(root, f"proc/{pid}/stat", f"{pid} (llama (x) server) S 1 {group} {group} 0 -1 1 2 3\n")


def add_amd(root: Path, card: int, bus: str, *, total: int, used: int) -> None:
    device = root / f"sys/devices/pci0000:00/{bus}"
    device.mkdir(parents=True)
    for name, text in {
        "vendor": "0x1002",
        "mem_info_vram_total": str(total),
        "mem_info_vram_used": str(used),
    }.items():
        (device / name).write_text(f"{text}\n")
    link_card(root, card, device)


def add_intel(root: Path, card: int, bus: str, *, vram: int) -> None:
    device = root / f"sys/devices/pci0000:00/{bus}"
    (device / "tile0").mkdir(parents=True)
    (device / "vendor").write_text("0x8086\n")
    if vram:
        (device / "tile0/physical_vram_size_bytes").write_text(f"{vram}\n")
    link_card(root, card, device)


def link_card(root: Path, card: int, device: Path) -> None:
    folder = root / f"sys/class/drm/card{card}"
    folder.mkdir(parents=True)
    (folder / "device").symlink_to(device)
    (root / f"sys/class/drm/card{card}-DP-1").mkdir()


def add_client(root: Path, pid: int, fd: int, text: str) -> None:
    write_at(root, f"proc/{pid}/fdinfo/{fd}", f"pos:\t0\nflags:\t02100002\n{text}")


class NvmlError(Exception):
    """What the library raises."""


class StandInNvml:
    """The interface of `pynvml`, for machines without a GPU.

    Attributes:
        gpus: For each: total, used, processes (id -> bytes, None where the driver does not tell).
        lost: GPUs that do not answer any more.
    """

    NVMLError = NvmlError

    def __init__(self, *gpus: tuple[int, int, dict[int, int | None]]) -> None:
        self.gpus = list(gpus)
        self.lost: set[int] = set()

    def nvmlInit(self) -> None: ...
    def nvmlShutdown(self) -> None: ...

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> object:
        if index in self.lost:
            raise NvmlError("GPU is lost")
        return index

    def nvmlDeviceGetName(self, handle: object) -> str:
        return f"NVIDIA Card {handle}"

    def nvmlDeviceGetMemoryInfo(self, handle: object) -> SimpleNamespace:
        total, used, _ = self._gpu(handle)
        return SimpleNamespace(total=total, used=used, free=total - used)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: object) -> list[SimpleNamespace]:
        _, _, processes = self._gpu(handle)
        return [SimpleNamespace(pid=p, usedGpuMemory=count) for p, count in processes.items()]

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: object) -> list[SimpleNamespace]:
        raise NvmlError("Not Supported")

    def _gpu(self, handle: object) -> tuple[int, int, dict[int, int | None]]:
        assert isinstance(handle, int)
        return self.gpus[handle]
