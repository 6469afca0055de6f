"""Sizes out of files and options."""

from pathlib import Path

import pytest

from arriero.supervisor.llamacpp.gguf import GgufHeader, read_head
from arriero.supervisor.memory.buffer_lines import BufferSizes, seen_gpus
from arriero.supervisor.memory.estimate import (
    ServerShape,
    amounts_of,
    cache_bytes,
    estimate,
    shape_of,
)
from arriero.supervisor.memory.sizes import UNKNOWN, ModelSize
from tests.real.tiny_gguf import write_tiny_gguf

MIB, GIB = 1024**2, 1024**3

LLAMA_8B = GgufHeader(
    {
        "general.architecture": "llama",
        "llama.block_count": 32,
        "llama.context_length": 131072,
        "llama.embedding_length": 4096,
        "llama.attention.head_count": 32,
        "llama.attention.head_count_kv": 8,
    },
    291,
    8 * 10**9,
    "Q4_K",
    5 * GIB,
)


def shape(command: str, *gpus: str, **env: str) -> ServerShape:
    return shape_of(command.split(), env, gpus, dict.fromkeys(gpus, 24 * GIB))


def test_the_cache_of_a_known_model_is_known() -> None:
    """llama.cpp says 1024 MiB for 8,192 tokens of Llama 3 8B, and 544 MiB with q8_0."""
    assert cache_bytes(LLAMA_8B, shape("-c 8192")) == 1024 * MIB
    assert cache_bytes(LLAMA_8B, shape("-c 8192 -ctk q8_0 -ctv q8_0")) == 544 * MIB
    assert cache_bytes(LLAMA_8B, shape("")) == 16 * GIB  # as long as it was made for


@pytest.mark.parametrize(
    ("command", "on_gpu", "in_ram"),
    [
        ("-ngl 99 -c 8192", 1.0, 0.0),
        ("-c 8192", 1.0, 0.0),  # auto
        ("--n-gpu-layers 0 -c 8192", 0.0, 1.0),
        ("-ngl 11 -c 8192", 1 / 3, 2 / 3),
    ],
)
def test_layers_are_where_they_are_said_to_be(command: str, on_gpu: float, in_ram: float) -> None:
    found = amounts_of(LLAMA_8B, 5 * GIB, shape(command, "gpu0"))
    there = found.get("gpu0", 0) - (512 * MIB if on_gpu else 0)
    whole = 5 * GIB * 1.05 + GIB
    assert there == pytest.approx(whole * on_gpu, abs=2 * MIB)
    assert found["ram"] - 96 * MIB == pytest.approx(whole * in_ram, abs=2 * MIB)


def test_layers_are_dealt_out_by_memory_or_as_said() -> None:
    totals = {"gpu0": 24 * GIB, "gpu1": 8 * GIB}
    by_memory = shape_of([], {}, ("gpu0", "gpu1"), totals)
    assert by_memory.shares == (0.75, 0.25)
    assert shape_of(["-ts", "3,2"], {}, ("gpu0", "gpu1"), totals).shares == (0.6, 0.4)
    assert shape("-sm none -mg 1", "gpu0", "gpu1").gpus == ("gpu1",)
    assert shape("-dev CUDA1", "gpu0", "gpu1").gpus == ("gpu1",)
    assert shape("--device none", "gpu0").gpus == ()


def test_the_environment_is_weaker_than_the_command() -> None:
    env = {"LLAMA_ARG_CTX_SIZE": "4096", "LLAMA_ARG_N_GPU_LAYERS": "0"}
    assert shape("", "gpu0", **env).gpu_layers == 0
    assert shape("-c 512", "gpu0", **env).context == 512


def test_a_masked_gpu_is_not_used() -> None:
    gpus = ["gpu0", "gpu1", "gpu2"]
    assert seen_gpus(gpus, {"CUDA_VISIBLE_DEVICES": "2,0"}) == ("gpu2", "gpu0")
    assert seen_gpus(gpus, {"CUDA_VISIBLE_DEVICES": ""}) == ()
    assert seen_gpus(gpus, {"CUDA_VISIBLE_DEVICES": "GPU-1234"}) == tuple(gpus)
    assert seen_gpus(gpus, {}) == tuple(gpus)


def test_what_is_no_llama_server_is_unknown_and_alone_where_it_may_be(tmp_path: Path) -> None:
    assert estimate(["python3", "serve.py"], {}, {}, []) == UNKNOWN
    masked = estimate(["vllm", "serve"], {"CUDA_VISIBLE_DEVICES": "1"}, {}, ["gpu0", "gpu1"])
    assert (masked.source, set(masked.amounts)) == ("unknown", {"gpu1", "ram"})
    missing = ["llama-server", "-m", str(tmp_path / "none.gguf"), "-ngl", "0"]
    assert estimate(missing, {}, {}, ["gpu0"]) == ModelSize({"ram": 0}, "unknown")


def test_the_file_of_a_model_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write_tiny_gguf(path)
    command = ["nice", "llama-server", "-m", str(path), "-c", "512"]

    found = estimate(command, {}, {}, [])

    cache = cache_bytes(read_head(path), ServerShape(context=512))
    assert found.source == "estimated"
    assert found.amounts == {"ram": int(path.stat().st_size * 1.05) + cache + 96 * MIB}


LOG = """
0.10.680.248 I load_tensors:   CPU_Mapped model buffer size =   235.16 MiB
0.10.680.266 I load_tensors:   CPU_REPACK model buffer size =    12.00 MiB
load_tensors:        CUDA0 model buffer size = 13169.50 MiB
load_tensors:        CUDA1 model buffer size =   100.00 MiB
load_tensors:    CUDA_Host model buffer size =     8.00 MiB
llama_context:        CPU  output buffer size =     4.00 MiB
llama_kv_cache:      CUDA0 KV buffer size =    24.00 MiB
sched_reserve:      CUDA0 compute buffer size =    28.00 MiB
sched_reserve:      CUDA0 compute buffer size =    28.00 MiB
load_tensors:      Vulkan7 model buffer size =     1.00 MiB
something else
"""


def test_the_log_of_llama_server_tells_its_buffers() -> None:
    """Mapped files are seen elsewhere; a line that comes twice counts once."""
    sizes = BufferSizes(["gpu2", "gpu0"])
    for line in LOG.encode().splitlines():
        sizes.take(line)
    assert sizes.amounts == {
        "ram": 24 * MIB,
        "gpu2": int(13169.5 * MIB) + 52 * MIB,
        "gpu0": 100 * MIB,
    }
