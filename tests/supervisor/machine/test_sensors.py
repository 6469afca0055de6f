"""Facts and samples of machines, made of files and of a stand-in for NVIDIA's library."""

import platform
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import msgspec
import psutil
import pytest
import trio

from arriero.protocol.machine import (
    Accelerator,
    AcceleratorMemory,
    Driver,
    Environment,
    Hardware,
    NetworkUse,
    Processor,
)
from arriero.supervisor.machine.hardware import architecture_of, hardware
from arriero.supervisor.machine.monitor import Monitor
from arriero.supervisor.machine.samples import SystemSampler
from arriero.supervisor.machine.sensors import gpu_samples, load_sensors
from tests.supervisor.memory.machine import (
    GIB,
    MIB,
    NvmlError,
    StandInNvml,
    add_amd,
    add_intel,
    add_ram,
    write_at,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BUS = "0000:03:00.0"


def add_activity(root: Path, cores: dict[int, tuple[int, int, int, int]] | None = None) -> None:
    """Write what the kernel tells of cores: ticks of users, of itself, idle, and waiting."""
    lines = ["cpu  9 9 9 9 9 9 9 9 9 9"]
    for number, (user, system, idle, waiting) in (cores or {0: (1, 1, 1, 1)}).items():
        lines.append(f"cpu{number} {user} 0 {system} {idle} {waiting} 0 0 0 {user} 0")
    write_at(root, "proc/stat", "\n".join([*lines, "intr 7 8", ""]))
    write_at(root, "proc/loadavg", "0.50 1.25 2.00 3/400 5000\n")
    write_at(
        root,
        "proc/self/net/dev",
        "Inter-|   Receive                 |  Transmit\n face |bytes    packets errs\n"
        "    lo: 7 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n"
        "eth0:1: 5 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
        "  eth0:12 1 0 0 0 0 0 0 34 1 0 0 0 0 0 0\n",
    )


class StandInSensors(StandInNvml):
    """The same, with all that is asked of it; `is_mute`: nothing but memory is supported."""

    is_mute = False

    def _unless_mute(self) -> None:
        if self.is_mute:
            raise NvmlError("Not Supported")

    def nvmlSystemGetDriverVersion(self) -> str:
        return "550.1"

    def nvmlDeviceGetUUID(self, handle: object) -> bytes:
        self._unless_mute()
        return b"GPU-1"

    def nvmlDeviceGetUtilizationRates(self, handle: object) -> SimpleNamespace:
        self._unless_mute()
        return SimpleNamespace(gpu=87, memory=12)

    def nvmlDeviceGetTemperature(self, handle: object, sensor: int) -> int:
        self._unless_mute()
        return 61

    def nvmlDeviceGetFanSpeed(self, handle: object) -> int:
        self._unless_mute()
        return 40

    def nvmlDeviceGetPowerUsage(self, handle: object) -> int:
        self._unless_mute()
        return 250_500

    def nvmlDeviceGetPowerManagementLimit(self, handle: object) -> int:
        self._unless_mute()
        return 300_000

    def nvmlDeviceGetCudaComputeCapability(self, handle: object) -> tuple[int, int]:
        self._unless_mute()
        return (8, 9)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with a GPU of AMD and one of Intel, and two processors of two cores."""
    add_amd(tmp_path, 0, BUS, total=16 * GIB, used=4 * GIB)
    add_intel(tmp_path, 1, "0000:04:00.0", vram=8 * GIB)
    device = f"sys/bus/pci/devices/{BUS}"
    for name, text in {
        "gpu_busy_percent": "93",
        "product_name": "Radeon",
        "unique_id": "abc",
        "hwmon/hwmon3/temp1_label": "edge",
        "hwmon/hwmon3/temp1_input": "55000",
        "hwmon/hwmon3/temp2_label": "mem",
        "hwmon/hwmon3/temp2_input": "70500",
        "hwmon/hwmon3/fan1_input": "1500",
        "hwmon/hwmon3/fan1_max": "3000",
        "hwmon/hwmon3/power1_average": "150000000",
    }.items():
        write_at(tmp_path, f"{device}/{name}", f"{text}\n")
    node = "sys/class/kfd/kfd/topology/nodes/1"
    write_at(tmp_path, f"{node}/gpu_id", "777\n")
    # bus 3, device 0, function 0
    write_at(tmp_path, f"{node}/properties", "domain 0\nlocation_id 768\ngfx_target_version 110003")
    add_ram(tmp_path, 64 * GIB, 32 * GIB)
    cpus = [
        f"processor : {n}\nvendor_id : AuthenticAMD\nmodel name : EPYC\nphysical id : {n // 2}\n"
        f"core id : {n % 2}\nflags : fpu sse"
        for n in range(4)
    ]
    write_at(tmp_path, "proc/cpuinfo", "\n\n".join(cpus) + "\n\n")
    add_activity(tmp_path)
    write_at(tmp_path, "etc/os-release", 'NAME="Debian GNU/Linux"\nVERSION_ID="12"\n')
    return tmp_path


def test_gpus_tell_what_they_do(root: Path) -> None:
    nvml = StandInSensors((8 * GIB, 2 * GIB, {}))

    nvidia, amd, intel = gpu_samples(nvml, NOW, root)

    assert (nvidia.id, nvidia.name, nvidia.uuid) == (0, "NVIDIA Card 0", "GPU-1")
    assert (nvidia.gpu_util_pct, nvidia.temp_c, nvidia.power_draw_w) == (87, 61, 250.5)
    assert (nvidia.mem_util_pct, nvidia.mem_used_mb, nvidia.fan_speed_pct) == (25, 2048, 40)
    assert (amd.id, amd.name, amd.uuid, amd.gpu_util_pct) == (1, "Radeon", "abc", 93)
    assert (amd.temp_c, amd.vram_temp_c, amd.fan_speed_pct, amd.power_draw_w) == (55, 70.5, 50, 150)
    assert (amd.mem_used_mb, amd.mem_total_mb, amd.mem_util_pct) == (4096, 16384, 25)
    assert (intel.id, intel.mem_total_mb, intel.mem_used_mb, intel.temp_c) == (2, 8192, None, None)


def test_what_a_gpu_does_not_tell_is_unknown(tmp_path: Path) -> None:
    nvml = StandInSensors((8 * GIB, 2 * GIB, {}), (1, 1, {}))
    nvml.is_mute = True
    nvml.lost.add(1)

    mute, lost = gpu_samples(nvml, NOW, tmp_path)

    assert (mute.uuid, mute.gpu_util_pct, mute.temp_c, mute.power_draw_w) == ("", None, None, None)
    assert mute.mem_used_mb == 2048
    assert lost.id == 1


def test_hardware_is_told_without_placeholders(root: Path) -> None:
    found = hardware("1.0", StandInSensors((8 * GIB, 2 * GIB, {})), root)

    assert found.cpu == Processor(
        vendor="AuthenticAMD",
        model="EPYC",
        socket_count=2,
        physical_core_count=4,
        logical_thread_count=4,
    )
    assert found.operating_system.name == "Debian GNU/Linux"
    assert found.memory.capacity_bytes == 64 * GIB
    assert found.environment == Environment(kind="native")
    nvidia, amd, _ = found.accelerators
    assert nvidia == Accelerator(
        index=0,
        kind="gpu",
        vendor="NVIDIA",
        model="NVIDIA Card 0",
        architecture="Ada Lovelace",
        memory=AcceleratorMemory(kind="dedicated", capacity_bytes=8 * GIB),
        driver=Driver(name="nvidia", version="550.1"),
        power_limit_watts=300.0,
    )
    assert (amd.vendor, amd.model, amd.architecture) == ("AMD", "Radeon", "gfx1103")


def test_architectures_have_few_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for raw, name in (
        ("x86_64", "x86_64"),
        ("amd64", "x86_64"),
        ("aarch64", "arm64"),
        ("armv7l", "armv7"),
        ("riscv64", "riscv64"),
        ("loongarch64", "other"),
    ):
        monkeypatch.setattr(platform, "machine", lambda raw=raw: raw)
        found = hardware("1.0", None, tmp_path).architecture
        assert (found.name, found.raw_name) == (name, raw)


def test_this_machine_is_told() -> None:
    found = hardware("1.0", load_sensors())
    cpu = found.cpu

    assert (found.operating_system.family, found.schema_version) == ("linux", 1)
    assert (found.memory.capacity_bytes or 0) > 0
    threads = cpu.logical_thread_count or 0
    assert 0 < (cpu.socket_count or 1) <= (cpu.physical_core_count or threads) <= threads
    assert msgspec.json.decode(msgspec.json.encode(found), type=Hardware) == found
    now = datetime.now(UTC)
    sample = SystemSampler(Path("/")).sample(now)
    assert (sample.timestamp, len(sample.cpu_util_per_core)) == (now, psutil.cpu_count())
    assert 0 < sample.mem_used_mb <= sample.mem_total_mb
    assert sample.mem_total_mb == psutil.virtual_memory().total // MIB
    assert sample.swap_total_mb == psutil.swap_memory().total // MIB
    names = sorted(psutil.net_io_counters(pernic=True).keys() - {"lo"})
    assert [it.name for it in sample.net_io] == names


def test_what_the_machine_does_is_told(tmp_path: Path) -> None:
    sampler = SystemSampler(tmp_path)
    add_ram(tmp_path, 8 * GIB, 2 * GIB)
    add_activity(tmp_path, {0: (100, 20, 900, 80), 1: (0, 0, 50, 0)})
    first = sampler.sample(NOW)
    add_activity(tmp_path, {0: (130, 20, 950, 100), 1: (0, 5, 50, 0), 2: (7, 0, 0, 0)})
    second = sampler.sample(NOW)
    add_activity(tmp_path, {0: (130, 20, 960, 90), 2: (17, 0, 0, 0)})

    assert first.cpu_util_per_core == (0.0, 0.0)
    assert second.cpu_util_per_core == (30.0, 100.0, 0.0)
    assert sampler.sample(NOW).cpu_util_per_core == (0.0, 100.0)  # waits count down; one is off
    assert (first.mem_total_mb, first.mem_used_mb, first.mem_free_mb) == (8192, 6144, 2048)
    assert (first.swap_total_mb, first.swap_used_mb) == (0, 0)
    assert (first.load_avg_1, first.load_avg_5, first.load_avg_15) == (0.5, 1.25, 2.0)
    assert first.net_io == (
        NetworkUse(name="eth0", bytes_recv=12, bytes_sent=34),
        NetworkUse(name="eth0:1", bytes_recv=5, bytes_sent=0),
    )


def test_odd_sensors_do_no_harm(root: Path) -> None:
    nvml = StandInSensors((0, 0, {}))
    fan = f"sys/bus/pci/devices/{BUS}/hwmon/hwmon3/fan1"
    for speed, fastest, percent in (
        ("3000", "3000", 100.0), ("3300", "3000", 100.0), ("0", "3000", 0.0), ("9", "0", None),
        ("9", "x", None),
    ):  # fmt: skip
        write_at(root, f"{fan}_input", speed)
        write_at(root, f"{fan}_max", fastest)
        nvidia, amd, _ = gpu_samples(nvml, NOW, root)

        assert amd.fan_speed_pct == percent
        assert (nvidia.mem_util_pct, nvidia.mem_total_mb) == (0.0, 0)
    properties = "location_id 768\ngfx_target_version"
    for version, target in (("90010", "gfx90a"), ("110003", "gfx1103"), ("0", None), ("x", None)):
        node = "sys/class/kfd/kfd/topology/nodes/1/properties"
        write_at(root, node, f"{properties} {version}\n")
        assert hardware("1.0", None, root).accelerators[0].architecture == target


def test_surroundings_are_recognized(tmp_path: Path) -> None:
    def kind(**files: str) -> str:
        for name, text in files.items():
            write_at(tmp_path, name.replace("__", "/"), text)
        return hardware("1.0", None, tmp_path).environment.kind

    assert kind() == "unknown"
    assert kind(proc__cpuinfo="processor : 0\nflags : fpu hypervisor\n") == "virtual_machine"
    assert kind(run__systemd__container="podman") == "container"
    assert kind(proc__sys__kernel__osrelease="5.15-microsoft-standard-WSL2") == "wsl"


def test_compute_capabilities_have_families() -> None:
    found = [architecture_of(it) for it in [(12, 0), (9, 0), (8, 9), (8, 6), (7, 5), (2, 0), None]]

    assert found == ["Blackwell", "Hopper", "Ada Lovelace", "Ampere", "Turing", None, None]


async def test_samples_of_an_hour_are_kept(root: Path) -> None:
    monitor = Monitor(lambda: 5.0, lambda: "1.0", lambda: StandInSensors((GIB, MIB, {})), root)
    before, nothing = monitor.last, monitor.since(None)
    assert (before, nothing) == ((None, ()), ((), ()))
    moments = set()
    for most, kept in ((3, 1), (3, 2), (3, 3), (3, 3), (1, 1), (0, 1), (2, 2), (2, 2), (2, 2)):
        await monitor.sample(most)
        system, gpus = monitor.since(None)
        moments.add(system[-1].timestamp)
        assert (len(system), len(gpus)) == (kept, 3 * kept)
        assert [it.timestamp for it in system] == sorted(moments)[-kept:]
        assert monitor.last == (system[-1], gpus[-3:])

    system, gpus = monitor.since(None)
    assert [it.id for it in gpus] == [0, 1, 2] * 2
    assert len(monitor.since(system[0].timestamp)[0]) == 1
    assert monitor.since(system[1].timestamp) == ((), ())
    assert len(monitor.since(datetime(2026, 1, 1))[0]) == 2
    assert system[-1].mem_total_mb > 0
    assert await monitor.hardware() is await monitor.hardware()


async def test_samples_come_until_they_are_not_wanted(
    root: Path, mock_clock: trio.testing.MockClock
) -> None:
    wanted: list[float | None] = [None]
    monitor = Monitor(
        lambda: wanted[-1], lambda: "1.0", lambda: StandInSensors((GIB, MIB, {})), root
    )

    async def sleeps() -> None:
        """Return once the monitor does; a thread takes the samples, and hands them back."""
        for _ in range(2):
            while True:
                await trio.testing.wait_all_tasks_blocked()
                if not monitor._looker.borrowed_tokens:
                    break

    async def passes(seconds: float, samples: int) -> None:
        await sleeps()
        mock_clock.jump(seconds)
        await sleeps()
        assert len(monitor.since(None)[0]) == samples

    async with trio.open_nursery() as nursery:
        nursery.start_soon(monitor.run)
        await passes(60, samples=0)
        wanted.append(5.0)
        await passes(5, samples=0)
        await passes(5, samples=1)
        await passes(4, samples=1)
        await passes(1, samples=2)
        wanted.append(None)
        assert monitor.last == (None, ())
        await passes(5, samples=3)  # it was begun before
        await passes(5, samples=0)
        wanted.append(5.0)
        nursery.cancel_scope.cancel()
    await passes(60, samples=0)


async def test_a_library_that_fails_costs_one_sample() -> None:
    def fail() -> StandInSensors | None:
        failures.pop()
        return None

    failures: list[int] = []  # popping from it fails
    monitor = Monitor(lambda: 5.0, lambda: "1.0", fail)

    await monitor.sample(10)
    assert monitor.last == (None, ())
    assert await monitor.hardware() is None
    failures.append(1)
    await monitor.sample(10)
    assert monitor.last[0] is not None


async def test_a_driver_that_hangs_is_not_waited_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hangs, may_go = threading.Event(), threading.Event()
    asked = []

    def hang() -> None:
        asked.append(1)
        hangs.set()
        may_go.wait(30)

    monitor = Monitor(lambda: 5.0, lambda: "1.0", hang)
    try:
        await monitor.sample(10)
        await trio.to_thread.run_sync(hangs.wait)
        assert await monitor.hardware() is None  # the one that hangs is not followed by another
    finally:
        may_go.set()

    assert (len(asked), monitor.last) == (1, (None, ()))
