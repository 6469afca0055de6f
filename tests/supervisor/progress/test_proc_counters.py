import os
import subprocess
import sys
from pathlib import Path

from arriero.supervisor.progress.bytes_loaded import PROGRAM_BYTES, LoadBytes, bytes_done
from arriero.supervisor.progress.proc_counters import read_load_bytes

MIB = 1024 * 1024
MODEL_MIB = 64

# Loads the file in two halves, as llama-server would, and says so after each.
LOADS = """
import mmap, sys
way, path, half = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open(path, "rb") as file:
    held, mapped = [], mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    for start in (None, 0, half):
        if start is not None and way == "read":
            held.append(file.read(half))
        if start is not None and way == "map":
            held.append(sum(mapped[start:start + half:4096]))
        print("done", flush=True)
        sys.stdin.readline()
"""


def halves_of_a_load(way: str, model: Path) -> list[int]:
    """Return the MiB that were seen after nothing, half and all of `model` was loaded."""
    half = MODEL_MIB * MIB // 2
    command = [sys.executable, "-c", LOADS, way, str(model), str(half)]
    seen: list[LoadBytes] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(3):
            assert process.stdout.readline() == b"done\n"
            counters = read_load_bytes(process.pid)
            assert counters is not None
            seen.append(counters)
            process.stdin.write(b"\n")
            process.stdin.flush()
    return [bytes_done(seen[0], now, MODEL_MIB * MIB) // MIB for now in seen]


def model_in(folder: Path) -> Path:
    model = folder / "model.gguf"
    model.write_bytes(os.urandom(MIB) * MODEL_MIB)
    return model


def test_a_model_that_is_read_shows_in_full(tmp_path: Path) -> None:
    assert halves_of_a_load("read", model_in(tmp_path)) == [0, MODEL_MIB // 2, MODEL_MIB]


def test_a_model_that_is_mapped_shows_but_for_the_allowance_for_the_program(tmp_path: Path) -> None:
    nothing, half, whole = halves_of_a_load("map", model_in(tmp_path))

    allowance = PROGRAM_BYTES // MIB
    # The kernel maps up to 64 KiB around each page that is touched: a MiB of slack is plenty.
    assert nothing == 0
    assert abs(half - (MODEL_MIB // 2 - allowance)) <= 1
    assert abs(whole - (MODEL_MIB - allowance)) <= 1


def test_nothing_is_known_of_a_process_that_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie until it is reaped
        assert read_load_bytes(process.pid) is None

    assert read_load_bytes(process.pid) is None
