"""What a start needs of a machine, and why no machine has it. Pure but for file reads.

Ray knows processors, GPUs and main memory, and not the memory of GPUs.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from arriero.protocol.remote.launch import Demand

from ..memory.estimate import estimate
from ..memory.sizes import RAM, ModelSize, bytes_text

# Names that Ray gives to what all machines have.
_CPU: Final = "CPU"
_GPU: Final = "GPU"
_MEMORY: Final = "memory"


class RayNode(NamedTuple):
    """A machine of the cluster.

    Attributes:
        node: Its id.
        total: What it has, by Ray's names.
        free: What of that nobody has.
    """

    node: str
    total: Mapping[str, float]
    free: Mapping[str, float]


def size_elsewhere(command: Sequence[str], env: Mapping[str, str], gpus: float) -> ModelSize:
    """Return the size of a model on a machine with `gpus` GPUs.

    Unknown unless its files are here as well. Reads their headers, which blocks.
    """
    named = [f"gpu{number}" for number in range(math.ceil(gpus))]
    return estimate(command, env, {}, named)


def memory_of(size: ModelSize) -> int:
    """Return the bytes of main memory of a model; 0 if they are not known."""
    return 0 if size.source == "unknown" else size.amounts.get(RAM, 0)


def wanted(demand: Demand) -> dict[str, float]:
    """Return `demand` by Ray's names."""
    basic = {_CPU: demand.cpus, _GPU: demand.gpus, _MEMORY: float(demand.memory)}
    return {name: count for name, count in (basic | demand.resources).items() if count}


def why_pending(demand: Demand, nodes: Sequence[RayNode], *, counts_use: bool) -> str:
    """Return why no machine takes `demand` now; empty if one should.

    Args:
        demand: What is wanted.
        nodes: All machines that may be taken.
        counts_use: What is in use is known to be used by others.
    """
    if not nodes:
        return "no machine is there"
    needs = wanted(demand)
    if any(_has(node.free, needs) for node in nodes):
        return ""
    if any(_has(node.total, needs) for node in nodes):
        return "all machines that are large enough are in use" if counts_use else ""
    lacking = {
        name: count
        for name, count in needs.items()
        if not any(_has(node.total, {name: count}) for node in nodes)
    }
    return f"no machine has {_shown(lacking or needs)}"


def _has(room: Mapping[str, float], needs: Mapping[str, float]) -> bool:
    return all(room.get(name, 0.0) >= count for name, count in needs.items())


def _shown(needs: Mapping[str, float]) -> str:
    words = []
    for name, count in needs.items():
        if name == _MEMORY:
            words.append(f"{bytes_text(int(count))} of memory")
        elif name in {_CPU, _GPU}:
            words.append(f"{count:g} {name}{'s' * (count != 1)}")
        else:
            words.append(f"{count:g} of {name}")
    return " and ".join(words)
