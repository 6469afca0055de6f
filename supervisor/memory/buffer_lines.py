"""Buffer sizes in the log of llama-server, where it prints them (``-lv 4``).

Such as ``load_tensors:  CUDA0 model buffer size = 13169.41 MiB``. Source: llama.cpp, src/
llama-model.cpp, llama-kv-cache.cpp, llama-context.cpp.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from .sizes import RAM

_LINE: Final = re.compile(
    rb"(\S+): +([A-Za-z]+\d*)(_\w+)? +(?:\w+ )?buffer size += +(\d{1,9}(?:\.\d+)?) MiB"
)
_GPU: Final = re.compile(r"(?:CUDA|ROCm|HIP|Vulkan|SYCL|MUSA)(\d+)")
_MIB: Final = 1024**2

# Mapped files are seen as pages of the process, and only as far as it needs them.
_MAPPED: Final = "_Mapped"

# Lines of one start that are added up: a model on eight GPUs has some fifty.
MAX_LINES: Final = 1000


class BufferSizes:
    """The buffers of one start, added up.

    Attributes:
        amounts: Device -> bytes.
    """

    def __init__(self, gpus: Sequence[str]) -> None:
        """Begin with nothing.

        Args:
            gpus: The devices that the process sees, in its order: its ``CUDA0`` is the first.
        """
        self.amounts: dict[str, int] = {}
        self._gpus = gpus
        self._seen: dict[bytes, None] = {}

    def take(self, line: bytes) -> None:
        """Add the buffer that `line` tells of, if it does."""
        if b"buffer size" not in line or len(self._seen) >= MAX_LINES:
            return
        match = _LINE.search(line)
        if match is None or match[0] in self._seen:
            return  # a context that is made twice tells it twice
        self._seen[match[0]] = None
        device = self._device(match[2].decode(), (match[3] or b"").decode())
        if device is not None:
            count = int(float(match[4]) * _MIB)
            self.amounts[device] = self.amounts.get(device, 0) + count

    def _device(self, backend: str, kind: str) -> str | None:
        if kind == _MAPPED:
            return None
        gpu = _GPU.fullmatch(backend)
        if gpu is None or kind == "_Host":
            return RAM
        number = int(gpu[1])
        return self._gpus[number] if number < len(self._gpus) else None


def seen_gpus(devices: Sequence[str], env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the GPUs that a process with `env` sees, in its order.

    Args:
        devices: All GPUs of the machine, by their numbers.
        env: Its environment. Names that are no numbers (UUIDs) show all.
    """
    for name in _MASKS:
        if name not in env:
            continue
        numbers = [part.strip() for part in env[name].split(",")]
        if not all(number.lstrip("-").isdigit() for number in numbers if number):
            return tuple(devices)
        return tuple(
            devices[int(number)]
            for number in numbers
            if number.isdigit() and int(number) < len(devices)
        )
    return tuple(devices)


# What hides GPUs from a process, for each maker.
_MASKS: Final = (
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "GGML_VK_VISIBLE_DEVICES",
    "ONEAPI_DEVICE_SELECTOR",
)
