"""One look at machines of several kinds."""

from pathlib import Path

import pytest

from arriero.supervisor.memory.devices import DeviceReading
from arriero.supervisor.memory.nvidia_gpus import load_nvml
from arriero.supervisor.memory.probe import look
from arriero.supervisor.memory.ram import pressure_files, read_ram, spare_ram
from arriero.supervisor.memory.sysfs_gpus import SysfsGpu, find_gpus
from tests.supervisor.memory.machine import (
    GIB,
    MIB,
    StandInNvml,
    add_amd,
    add_client,
    add_intel,
    add_process,
    add_ram,
    write_at,
)

BUS = "0000:03:00.0"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    add_ram(tmp_path, 64 * GIB, 50 * GIB)
    return tmp_path


# --- main memory --------------------------------------------------------------------------------


def test_main_memory_is_what_the_kernel_says(root: Path) -> None:
    assert read_ram(root) == DeviceReading(64 * GIB, 14 * GIB)


def test_a_control_group_of_version_2_limits_it(root: Path) -> None:
    """The limit stands two levels up; what can be dropped is not used."""
    write_at(root, "proc/self/cgroup", "0::/system.slice/arriero.service/models\n")
    group = "sys/fs/cgroup/system.slice/arriero.service"
    write_at(root, f"{group}/models/memory.max", "max\n")
    write_at(root, f"{group}/models/memory.current", "1\n")
    write_at(root, f"{group}/memory.max", f"{16 * GIB}\n")
    write_at(root, f"{group}/memory.current", f"{9 * GIB}\n")
    write_at(root, f"{group}/memory.stat", f"anon 5\ninactive_file {GIB}\nactive_file {2 * GIB}\n")
    assert read_ram(root) == DeviceReading(16 * GIB, 6 * GIB)


def test_what_is_mapped_is_not_spare(root: Path) -> None:
    """But for what is mapped and locked, which is used already."""
    with (root / "proc/meminfo").open("a") as file:
        file.write(f"Mapped: {12 * GIB // 1024} kB\n")
    assert spare_ram(0, root) == 38 * GIB
    assert spare_ram(5 * GIB, root) == 43 * GIB
    assert spare_ram(20 * GIB, root) == 50 * GIB

    write_at(root, "proc/self/cgroup", "0::/a\n")
    write_at(root, "sys/fs/cgroup/a/memory.max", f"{16 * GIB}\n")
    write_at(root, "sys/fs/cgroup/a/memory.current", f"{9 * GIB}\n")
    write_at(root, "sys/fs/cgroup/a/memory.stat", f"active_file {2 * GIB}\nfile_mapped {GIB}\n")
    assert spare_ram(0, root) == 8 * GIB


def test_where_pressure_is_told(root: Path) -> None:
    assert pressure_files(root) == ()
    write_at(root, "proc/pressure/memory", "some total=0\n")
    write_at(root, "proc/self/cgroup", "4:memory:/x\n0::/a/b\n")
    write_at(root, "sys/fs/cgroup/a/memory.pressure", "some total=0\n")
    names = [str(path.relative_to(root)) for path in pressure_files(root)]
    assert names == ["proc/pressure/memory", "sys/fs/cgroup/a/memory.pressure"]
    assert spare_ram(0, root / "nowhere") is None


def test_a_control_group_of_version_1_limits_it(root: Path) -> None:
    write_at(root, "proc/self/cgroup", "5:cpu:/x\n4:memory:/box\n0::/\n")
    write_at(root, "sys/fs/cgroup/memory/box/memory.limit_in_bytes", f"{8 * GIB}\n")
    write_at(root, "sys/fs/cgroup/memory/box/memory.usage_in_bytes", f"{3 * GIB}\n")
    write_at(
        root, "sys/fs/cgroup/memory/box/memory.stat", f"total_inactive_file {GIB}\nactive_file 7\n"
    )
    assert read_ram(root) == DeviceReading(8 * GIB, 2 * GIB)


def test_this_machine_has_main_memory() -> None:
    found = read_ram()
    assert found is not None
    assert found.used is not None
    assert 0 < found.used < found.total


def test_a_machine_that_tells_nothing_has_none(tmp_path: Path) -> None:
    assert read_ram(tmp_path) is None
    assert look({}, None, tmp_path).found == {}


# --- processes ----------------------------------------------------------------------------------


def test_what_models_use_is_not_what_others_use(root: Path) -> None:
    """A shell around a server, with a mapped file; a stranger beside them."""
    add_process(root, 100, group=100, anon=MIB)
    add_process(root, 101, group=100, anon=2 * GIB, file=5 * GIB)
    add_process(root, 200, group=200, anon=3 * GIB)

    seen = look({"a": 100}, None, root)

    assert seen.by_model["a"].amounts == {"ram": 2 * GIB + MIB}
    assert seen.by_model["a"].with_files == {"ram": 7 * GIB + MIB}
    assert seen.foreign == {"ram": 12 * GIB - MIB}


def test_locked_files_are_used_ones_that_are_only_mapped_are_not(root: Path) -> None:
    add_process(root, 100, group=100, anon=GIB, file=5 * GIB, locked=5 * GIB)
    assert look({"a": 100}, None, root).foreign == {"ram": 8 * GIB}


def test_a_model_that_is_gone_uses_nothing(root: Path) -> None:
    assert look({"a": 100}, None, root).by_model["a"].with_files == {"ram": 0}


# --- GPUs of AMD and Intel ----------------------------------------------------------------------


def test_gpus_of_amd_and_intel_are_found_by_their_cards(root: Path) -> None:
    add_amd(root, 1, BUS, total=16 * GIB, used=5 * GIB)
    add_intel(root, 0, "0000:04:00.0", vram=12 * GIB)
    add_intel(root, 2, "0000:00:02.0", vram=0)  # it shares main memory

    assert find_gpus(root) == (
        SysfsGpu("0000:04:00.0", "Intel", 12 * GIB, None),
        SysfsGpu(BUS, "AMD", 16 * GIB, 5 * GIB),
    )


def test_the_clients_of_a_gpu_are_counted_once_each(root: Path) -> None:
    """Vulkan on AMD: two descriptors of one client, and one of another GPU."""
    add_amd(root, 0, BUS, total=16 * GIB, used=9 * GIB)
    add_process(root, 100, group=100)
    client = f"drm-driver:\tamdgpu\ndrm-client-id:\t7\ndrm-pdev:\t{BUS}\n"
    for fd in (5, 6):
        add_client(root, 100, fd, f"{client}drm-memory-vram:\t{4 * 1024 * 1024} KiB\n")
    add_client(root, 100, 7, "drm-pdev:\t0000:09:00.0\ndrm-client-id:\t8\ndrm-memory-vram: 9 KiB\n")
    add_client(root, 100, 8, "")

    seen = look({"a": 100}, None, root)

    assert seen.by_model["a"].amounts == {"ram": 0, "gpu0": 4 * GIB}
    assert seen.foreign["gpu0"] == 5 * GIB


def test_what_rocm_computes_with_is_told_by_another_driver(root: Path) -> None:
    add_amd(root, 0, BUS, total=16 * GIB, used=9 * GIB)
    node = "sys/class/kfd/kfd/topology/nodes"
    write_at(root, f"{node}/0/gpu_id", "0\n")
    write_at(root, f"{node}/1/gpu_id", "51234\n")
    write_at(root, f"{node}/1/properties", "cpu_cores_count 0\nlocation_id 768\ndomain 0\n")
    write_at(root, "sys/class/kfd/kfd/proc/100/vram_51234", f"{6 * GIB}\n")
    add_process(root, 100, group=100)

    assert look({"a": 100}, None, root).by_model["a"].amounts["gpu0"] == 6 * GIB


def test_the_driver_of_intel_tells_what_processes_use(root: Path) -> None:
    add_intel(root, 0, BUS, vram=12 * GIB)
    add_process(root, 100, group=100)
    text = f"drm-driver:\txe\ndrm-client-id:\t3\ndrm-pdev:\t{BUS}\n"
    text += "drm-total-vram0:\t30 MiB\ndrm-resident-vram0:\t23 MiB\ndrm-resident-gtt:\t192 KiB\n"
    add_client(root, 100, 9, text)

    seen = look({"a": 100}, None, root)

    assert seen.by_model["a"].amounts["gpu0"] == 23 * MIB
    assert "gpu0" not in seen.foreign  # its driver does not tell


# --- GPUs of NVIDIA -----------------------------------------------------------------------------


def test_gpus_of_nvidia_come_first_and_tell_who_uses_them(root: Path) -> None:
    add_amd(root, 0, BUS, total=16 * GIB, used=GIB)
    add_process(root, 100, group=100)
    nvml = StandInNvml((24 * GIB, 7 * GIB, {100: 4 * GIB, 999: 2 * GIB}), (8 * GIB, 0, {}))

    seen = look({"a": 100}, nvml, root)

    assert list(seen.found) == ["ram", "gpu0", "gpu1", "gpu2"]
    assert seen.found["gpu0"] == DeviceReading(24 * GIB, 7 * GIB, "NVIDIA Card 0")
    assert seen.by_model["a"].amounts == {"ram": 0, "gpu0": 4 * GIB}
    assert seen.foreign == {"ram": 14 * GIB, "gpu0": 3 * GIB, "gpu1": 0, "gpu2": GIB}


def test_where_the_driver_does_not_tell_who_it_is_somebody_else(root: Path) -> None:
    add_process(root, 100, group=100)
    seen = look({"a": 100}, StandInNvml((24 * GIB, 7 * GIB, {100: None})), root)
    assert seen.foreign["gpu0"] == 7 * GIB


def test_a_gpu_that_is_lost_has_no_room(root: Path) -> None:
    nvml = StandInNvml((24 * GIB, 0, {}), (24 * GIB, 0, {}))
    nvml.lost.add(0)
    found = look({}, nvml, root).found
    assert (found["gpu0"].total, found["gpu1"].total) == (0, 24 * GIB)


def test_without_the_library_or_a_driver_there_are_none() -> None:
    assert load_nvml() is None
