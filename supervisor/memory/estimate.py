"""Size of a model that never ran, from its files and options.

An estimate is meant to be too large rather than too small: the first run corrects it. Measured with
build 10068 on a processor: SmolLM2 135M with 2,048 and 8,192 tokens 181 and 316 MiB, estimated 251
and 388; Gemma 3 270M 363 and 385 MiB, estimated 396 and 510.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ..llamacpp.command import server_arguments
from ..llamacpp.gguf import GgufError, GgufHeader, read_head
from ..llamacpp.model_files import model_files
from ..llamacpp.options import OPTIONS
from .buffer_lines import seen_gpus
from .sizes import RAM, UNKNOWN, Amounts, ModelSize

_MIB: Final = 1024**2

# The program with its libraries, its buffers for computing, and its tokenizer, in main memory; and
# on a GPU the driver's context and buffers for computing.
_PROGRAM: Final = 96 * _MIB
_GPU_CONTEXT: Final = 512 * _MIB

# Weights that are laid out anew, and buffers that grow with the model: a share of the weights.
_MORE: Final = 0.05

# Bytes of a number in the cache, by the names that llama-server takes.
# Source: ggml.h; blocks of 32 numbers with a scale, or a scale and an offset.
_CACHE_BYTES: Final = {
    "f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32,
    "q4_1": 20 / 32, "q4_0": 18 / 32, "iq4_nl": 18 / 32,
}  # fmt: skip

# Where a header does not tell: no model has more layers, or a longer context by default.
_NO_CONTEXT: Final = 4096

# A larger number of layers than any model has: all of them.
_ALL: Final = 10_000

# What is left of a model of experts without them: attention, and what all tokens share.
_WITHOUT_EXPERTS: Final = 0.25


class ServerShape(msgspec.Struct, frozen=True, kw_only=True):
    """What in a command decides how much memory llama-server takes.

    Attributes:
        context: Tokens of all slots together; 0: as many as the model was made for.
        gpu_layers: Layers on GPUs.
        key_bytes, value_bytes: Of a number in the cache.
        cache_on_gpu: The cache goes where the layers are.
        experts_on_gpu: So do experts.
        gpus: Those that it may use.
        shares: How much of it each of them gets.
    """

    context: int = 0
    gpu_layers: int = _ALL
    key_bytes: float = 2.0
    value_bytes: float = 2.0
    cache_on_gpu: bool = True
    experts_on_gpu: bool = True
    gpus: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()


def estimate(
    command: Sequence[str], env: Mapping[str, str], totals: Amounts, gpus: Sequence[str]
) -> ModelSize:
    """Return the size of the model that `command` starts, without starting it. Blocks.

    Reads the headers of its files: a third of a second for the largest vocabularies.

    Args:
        command: Program and arguments.
        env: Additions to the environment.
        totals: Bytes of each device.
        gpus: All GPUs, by their numbers.

    Returns:
        An unknown size, with the devices that it may use, for what is not llama-server, or has no
        file here that could be looked at.
    """
    arguments = server_arguments(command)
    seen = seen_gpus(gpus, env)
    everywhere = ModelSize(dict.fromkeys((*seen, RAM), 0), "unknown") if gpus else UNKNOWN
    if arguments is None:
        return everywhere
    shape = shape_of(arguments, env, seen, totals)
    if not shape.gpus:
        everywhere = ModelSize({RAM: 0}, "unknown")
    files = model_files(arguments, env)
    if not files:
        return everywhere
    try:
        header = read_head(files[0])
        size = sum(path.stat().st_size for path in files)
    except (GgufError, OSError):
        return everywhere
    return ModelSize(amounts_of(header, size, shape), "estimated")


def amounts_of(header: GgufHeader, file_bytes: int, shape: ServerShape) -> dict[str, int]:
    """Return what a model takes of each device.

    Args:
        header: Of its first file.
        file_bytes: Of all its files.
        shape: What its command says.
    """
    layers = _field(header, "block_count")
    cache = cache_bytes(header, shape)
    # The output layer counts as one more.
    on_gpu = min(1.0, shape.gpu_layers / (layers + 1)) if shape.gpus and layers else 0.0
    if shape.gpus and not layers:
        on_gpu = 1.0 if shape.gpu_layers else 0.0
    if not shape.experts_on_gpu:
        on_gpu *= _WITHOUT_EXPERTS
    weights_there = int(file_bytes * on_gpu)
    cache_there = int(cache * on_gpu) if shape.cache_on_gpu else 0
    found = {RAM: int((file_bytes - weights_there) * (1 + _MORE)) + cache - cache_there + _PROGRAM}
    if on_gpu:
        there = int(weights_there * (1 + _MORE)) + cache_there
        for device, share in zip(shape.gpus, shape.shares, strict=True):
            if share:
                found[device] = int(there * share) + _GPU_CONTEXT
    return found


def cache_bytes(header: GgufHeader, shape: ServerShape) -> int:
    """Return the bytes of the cache, as if each layer had all of the context.

    Layers with a window, and those with a state in the place of a cache, have less.
    """
    layers = _field(header, "block_count")
    heads = _field(header, "attention.head_count")
    kept_heads = _field(header, "attention.head_count_kv") or heads
    width = _field(header, "embedding_length") // heads if heads else 0
    keys = _field(header, "attention.key_length") or width
    values = _field(header, "attention.value_length") or width
    context = shape.context or _field(header, "context_length") or _NO_CONTEXT
    each = kept_heads * (keys * shape.key_bytes + values * shape.value_bytes)
    return int(layers * context * each)


def _field(header: GgufHeader, name: str) -> int:
    """Return a number of the header; 0 if it is not there, or not one for all layers."""
    arch = header.fields.get("general.architecture")
    value = header.fields.get(f"{arch}.{name}")
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return 0
    return value


def shape_of(
    arguments: Sequence[str], env: Mapping[str, str], gpus: Sequence[str], totals: Amounts
) -> ServerShape:
    """Return what the arguments of llama-server say of its memory.

    Args:
        arguments: Without the program.
        env: Additions to the environment; arguments are stronger.
        gpus: Those that it sees, in its order.
        totals: Bytes of each device: layers are dealt out by them.
    """
    said = _said(arguments, env)
    chosen = tuple(gpus)
    if (devices := said.get("device")) is not None:
        numbers = ["".join(filter(str.isdigit, name)) for name in devices.split(",")]
        chosen = tuple(gpus[int(n)] for n in numbers if n and int(n) < len(gpus))
    if said.get("split-mode") == "none" and chosen:
        main = _whole(said.get("main-gpu"), 0)
        chosen = (chosen[main] if main < len(chosen) else chosen[0],)
    layers = said.get("n-gpu-layers")
    gpu_layers = _whole(layers, _ALL)
    if gpu_layers < 0:
        gpu_layers = _ALL
    return ServerShape(
        context=_whole(said.get("ctx-size"), 0),
        gpu_layers=gpu_layers if chosen else 0,
        key_bytes=_CACHE_BYTES.get(said.get("cache-type-k", "f16"), 2.0),
        value_bytes=_CACHE_BYTES.get(said.get("cache-type-v", "f16"), 2.0),
        cache_on_gpu="no-kv-offload" not in said,
        experts_on_gpu="cpu-moe" not in said and _whole(said.get("n-cpu-moe"), 0) == 0,
        gpus=chosen if gpu_layers else (),
        shares=_shares(said.get("tensor-split"), chosen, totals) if gpu_layers else (),
    )


def _said(arguments: Sequence[str], env: Mapping[str, str]) -> dict[str, str]:
    """Return the options by the names they are written with; of switches the one that is on."""
    found: dict[str, str] = {}
    for variable, value in env.items():
        if (use := OPTIONS.get(variable)) is not None and use.option.takes_value:
            found[use.option.name] = value
    following = iter(arguments)
    for word in following:
        name = word.replace("_", "-").lstrip("-") if word.startswith("-") else ""
        use = OPTIONS.get(name)
        if use is None:
            continue
        if use.option.takes_value:
            found[use.option.name] = next(following, "")
        else:
            found[use.option.off if use.is_off else use.option.name] = ""
    return found


def _shares(split: str | None, gpus: Sequence[str], totals: Amounts) -> tuple[float, ...]:
    """Return which part of a model each of `gpus` gets: as said, or by their memory."""
    try:
        parts = [max(0.0, float(part)) for part in (split or "").replace("/", ",").split(",")]
    except ValueError:
        parts = []
    if not any(parts) or not all(map(math.isfinite, parts)):
        parts = [float(totals.get(device, 1)) for device in gpus]
    parts = (parts + [0.0] * len(gpus))[: len(gpus)]
    whole = sum(parts)
    return tuple(part / whole for part in parts) if whole else tuple(1.0 for _ in gpus)


def _whole(text: str | None, default: int) -> int:
    try:
        return default if text is None else int(text)
    except ValueError:  # auto, all
        return default
