"""GPUs of AMD and Intel, as their drivers tell of them in files: recorded trees, and odd files.

The forms are those of Linux 6.1 to 6.13: drivers/gpu/drm/amd/amdgpu (amdgpu_vram_mgr.c,
amdgpu_fdinfo.c), drivers/gpu/drm/xe (xe_tile_sysfs.c, xe_drm_client.c), drivers/gpu/drm/i915
(i915_drm_client.c), Documentation/gpu/drm-usage-stats.rst.
"""

from pathlib import Path

import pytest

from arriero.supervisor.memory.sysfs_gpus import SysfsGpu, find_gpus, gpu_bytes
from tests.supervisor.memory.machine import GIB, MIB, add_client, write_at

# A machine with a Radeon RX 7900 XT, an Arc A770 on xe, an A750 on Intel's own i915, another one on
# the i915 of Linux, which does not tell its memory, and a processor's own GPU.
AMD, XE, I915, MAINLINE, SHARED = (
    f"0000:{place}" for place in ("03:00.0", "07:00.0", "0a:00.0", "0d:00.0", "00:02.0")
)
PCI = "sys/devices/pci0000:00"
NODE = "sys/class/kfd/kfd/topology/nodes"
TREE = {
    f"{PCI}/{AMD}/vendor": "0x1002\n",
    f"{PCI}/{AMD}/device": "0x744c\n",
    f"{PCI}/{AMD}/mem_info_vram_total": f"{20 * GIB - 16 * MIB}\n",
    f"{PCI}/{AMD}/mem_info_vram_used": "1289830400\n",
    f"{PCI}/{AMD}/mem_info_vis_vram_total": "268435456\n",
    f"{PCI}/{AMD}/mem_info_gtt_total": "33522561024\n",
    f"{PCI}/{XE}/vendor": "0x8086\n",
    f"{PCI}/{XE}/device": "0x56a0\n",
    f"{PCI}/{XE}/tile0/physical_vram_size_bytes": f"{16 * GIB}\n",
    f"{PCI}/{XE}/tile0/gt0/freq0/cur_freq": "600\n",
    f"{PCI}/{I915}/vendor": "0x8086\n",
    f"{PCI}/{I915}/device": "0x56a1\n",
    f"{PCI}/{MAINLINE}/vendor": "0x8086\n",
    f"{PCI}/{SHARED}/vendor": "0x8086\n",
    "sys/class/drm/card2/lmem_total_bytes": f"{8 * GIB}\n",
    "sys/class/drm/card2/gt_cur_freq_mhz": "600\n",
    "sys/class/drm/version": "drm 1.1.0 20060810\n",
    f"{NODE}/0/gpu_id": "0\n",
    f"{NODE}/1/gpu_id": "45019\n",
    f"{NODE}/1/properties": "simd_count 168\nlocation_id 768\ngfx_target_version 110000\n",
}
CARDS = {0: AMD, 1: XE, 2: I915, 3: MAINLINE, 10: SHARED}

# Driver -> the GPU, what one descriptor tells, and what that client has of the GPU's memory.
FDINFO = {
    "amdgpu of Linux 6.1": (
        AMD,
        "drm-driver:\tamdgpu\ndrm-client-id:\t{client}\ndrm-pdev:\t{bus}\npasid:\t32771\n"
        "drm-memory-vram:\t1048576 KiB\ndrm-memory-gtt: \t20480 KiB\ndrm-memory-cpu: \t0 KiB\n"
        "drm-engine-gfx:\t123456 ns\n",
        GIB,
    ),
    "amdgpu of Linux 6.13": (  # the old name is an alias of the new one
        AMD,
        "drm-driver:\tamdgpu\ndrm-client-id:\t{client}\ndrm-pdev:\t{bus}\npasid:\t32771\n"
        "drm-total-vram:\t1100000 KiB\ndrm-shared-vram:\t0\ndrm-resident-vram:\t1 GiB\n"
        "drm-resident-gtt:\t20480 KiB\ndrm-memory-vram:\t1048576 KiB\n"
        "drm-memory-gtt: \t20480 KiB\namd-evicted-vram:\t0 KiB\n",
        GIB,
    ),
    "xe": (
        XE,
        "drm-driver:\txe\ndrm-client-id:\t{client}\ndrm-pdev:\t{bus}\ndrm-total-system:\t0\n"
        "drm-resident-gtt:\t192 KiB\ndrm-total-vram0:\t23992 KiB\ndrm-shared-vram0:\t16 MiB\n"
        "drm-resident-vram0:\t23992 KiB\ndrm-resident-vram1:\t8 KiB\ndrm-resident-stolen:\t0\n"
        "drm-cycles-rcs:\t28257900\n",
        24000 * 1024,
    ),
    "i915": (
        I915,
        "drm-driver:\ti915\ndrm-client-id:\t{client}\ndrm-pdev:\t{bus}\n"
        "drm-total-system0:\t2 MiB\ndrm-resident-system0:\t2 MiB\ndrm-total-local0:\t64 MiB\n"
        "drm-resident-local0:\t48 MiB\ndrm-engine-render:\t7340012345 ns\n",
        48 * MIB,
    ),
}

# None: a folder, which gives an error where it is read.
ODD = (b"", b"\n", b"garbage\n", b"-5\n", b"9" * 5000, b"\xff\xfe\x00", b"1 2 3\n", b"0x\n", None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in TREE.items():
        write_at(tmp_path, name, text)
    for card, bus in CARDS.items():
        folder = tmp_path / f"sys/class/drm/card{card}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "device").symlink_to(f"../../../devices/pci0000:00/{bus}")
        (tmp_path / f"sys/class/drm/card{card}-DP-1").mkdir()
        (tmp_path / f"sys/class/drm/renderD{128 + card}").mkdir()
    return tmp_path


def test_gpus_are_those_with_memory_of_their_own(root: Path) -> None:
    assert find_gpus(root) == (
        SysfsGpu(AMD, "AMD", 20 * GIB - 16 * MIB, 1289830400, "45019", "gfx1100"),
        SysfsGpu(XE, "Intel", 16 * GIB, None),
        SysfsGpu(I915, "Intel", 8 * GIB, None),
    )


def test_each_driver_tells_what_a_process_has(root: Path) -> None:
    gpus = find_gpus(root)
    for pid, (driver, (bus, text, has)) in enumerate(FDINFO.items(), 100):
        for fd in (3, 4):  # two descriptors of one client tell the same
            add_client(root, pid, fd, text.format(client=7, bus=bus))
        add_client(root, pid, 5, text.format(client=8, bus="0000:ff:00.0"))  # a GPU that is unknown
        assert gpu_bytes([pid], gpus, root)[bus] == has, driver
        add_client(root, pid, 6, text.format(client=9, bus=bus))
        assert gpu_bytes([pid], gpus, root)[bus] == 2 * has, driver

    # What it computes with is among that, or told by kfd alone.
    for computed, most in ((GIB // 2, 2 * GIB), (5 * GIB, 5 * GIB)):
        write_at(root, "sys/class/kfd/kfd/proc/100/vram_45019", f"{computed}\n")
        assert gpu_bytes([100], gpus, root)[AMD] == most


def test_odd_files_cost_no_more_than_their_gpu(root: Path) -> None:
    """Empty, garbage, too large, not there, unreadable: all others are found as before."""
    gpus = find_gpus(root)
    for name, text in TREE.items():
        path = root / name
        path.unlink()
        others = [gpu for gpu in gpus if gpu.bus not in name]
        others = [gpu for gpu in others if not (gpu.bus == I915 and "card2" in name)]
        others = [gpu for gpu in others if not (gpu.bus == AMD and "kfd" in name)]
        for odd in (*ODD, b"gone"):
            if odd is None:
                path.mkdir()
            elif odd != b"gone":
                path.write_bytes(odd)
            found = find_gpus(root)
            assert set(others) <= set(found), (name, odd)
            assert all(0 < gpu.total < 2**50 for gpu in found), (name, odd)
            if path.is_dir():
                path.rmdir()
            path.unlink(missing_ok=True)
        path.write_text(text)
    assert find_gpus(root) == gpus


def test_odd_clients_have_nothing(root: Path) -> None:
    gpus = find_gpus(root)
    has = b"drm-pdev:\t%b\ndrm-resident-vram0:\t" % XE.encode()
    told = (
        *(odd for odd in ODD if odd is not None),
        has + b"5 KiB\n",  # no client
        b"drm-client-id:\t1\ndrm-resident-vram0:\t5 KiB\n",  # no GPU
        b"drm-client-id:\tx\n" + has + b"5 KiB\n",
        b"drm-client-id:\t2\n" + has + b"many KiB\n",
        b"drm-client-id:\t3\n" + has + b"5 parsecs\n",
        b"drm-client-id:\t4\n" + has + b"9" * 5000 + b" GiB\n",
        b"drm-client-id:\t5\n" + has + b"9999999999 GiB\n",
        b"drm-client-id:\t6\ndrm-pdev:\t\xff\xfe\ndrm-resident-vram0:\t5 KiB\n",
        b"x" * 200_000 + b"drm-client-id:\t7\n" + has + b"5 KiB\n",
    )
    folder = root / "proc/100/fdinfo"
    folder.mkdir(parents=True)
    for number, text in enumerate(told):
        (folder / str(number)).write_bytes(text)
    (folder / "98").mkdir()
    (folder / "99").symlink_to("nowhere")  # it was closed meanwhile

    assert set(gpu_bytes([100, 101], gpus, root).values()) == {0}
    add_client(root, 100, 97, f"drm-client-id:\t7\ndrm-pdev:\t{XE}\ndrm-resident-vram0:\t5 KiB\n")
    assert gpu_bytes([100, 101], gpus, root)[XE] == 5 * 1024
