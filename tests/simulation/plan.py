"""What is simulated: machines, models, conversations, and where the models' files lie."""

import random
from dataclasses import dataclass
from itertools import accumulate
from math import ceil
from typing import Final

# GB of files as they are published, with the share of models that are made of each: most are
# fine-tunes of a few small ones. Q4_K_M of Qwen2.5 0.5B, Llama 3.2 1B and 3B, Qwen2.5 7B,
# Llama 3.1 8B (and its Q8_0), Mistral Nemo 12B, Qwen2.5 14B, Mistral Small 24B, Gemma 2 27B,
# Qwen2.5 32B, Llama 3.3 70B; gpt-oss 20B and 120B as they are.
FILES_GB: Final = {
    0.40: 10, 0.81: 12, 2.02: 14, 4.68: 14, 4.92: 16, 8.54: 6, 7.48: 6, 8.99: 7, 12.1: 3, 14.3: 4,
    16.6: 2, 19.9: 4, 42.5: 2, 63.4: 0.3,
}  # fmt: skip

# What a model needs besides its file, for the context and buffers: a share, and GB.
_MORE: Final = (1.08, 0.6)

# The most popular models are not the largest ones.
_HEAD, _HEAD_GB = 20, 20.0

# How full the slots of a model's copies are meant to be.
_FULL: Final = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The size of everything.

    Attributes:
        hosts, models: How many.
        per_s: Requests a second.
        seconds, warm_up_s: Of virtual time; what happens in the first ones is not counted.
        zipf: Of models by rank: a model is asked for in proportion to 1 / rank ** zipf.
        turns, think_s: Mean of requests in a conversation, and of the seconds between them.
        answer_s: Mean of the seconds that an answer takes.
        slots: Requests that a copy of a model answers side by side.
        memory_gb: Of a host's devices, taken as one.
        disk_gb_s, start_s: A load takes so many seconds and its file's time on the disk.
        use_halves_s: The use of a model counts half after so long; by that it is decided who
            leaves memory.
        replicas: Hosts that have a model's file, at the least.
        fronts: Programs that choose; each request comes to any of them.
        stale_s: How often a host tells how it stands.
        fails_per_h: Share of hosts that fail in an hour.
        down_s: Seconds until one is back, with nothing in memory.
        hangs: Share of failures in which connections time out (`connect_s`) instead of being
            refused.
        policy: Who decides, see `fronts.POLICIES`.
        seed: Of all that is random.
    """

    hosts: int = 1000
    models: int = 100_000
    per_s: float = 10_000.0
    seconds: float = 240.0
    warm_up_s: float = 60.0
    zipf: float = 1.2
    turns: float = 5.0
    think_s: float = 20.0
    answer_s: float = 2.0
    slots: int = 8
    memory_gb: float = 192.0
    disk_gb_s: float = 7.0
    start_s: float = 1.5
    use_halves_s: float = 1800.0
    replicas: int = 4
    fronts: int = 16
    stale_s: float = 1.0
    fails_per_h: float = 0.01
    down_s: float = 300.0
    hangs: float = 0.5
    connect_s: float = 2.0
    policy: str = "choice"
    seed: int = 1


class Catalogue:
    """All models, the most popular one first; they are named by their rank.

    Attributes:
        size_gb: What each needs in memory.
        load_s: What a load of each takes on an idle host.
        needed: Copies of each that the traffic needs.
        places: Hosts that have the file of each, in the order in which they are to load it.
    """

    def __init__(self, plan: Plan) -> None:
        rng = random.Random(plan.seed)
        files = rng.choices([*FILES_GB], [*FILES_GB.values()], k=plan.models)
        for rank in range(min(_HEAD, plan.models)):
            while files[rank] > _HEAD_GB:
                files[rank] = rng.choice([*FILES_GB])
        factor, more = _MORE
        self.size_gb = [factor * size + more for size in files]
        self.load_s = [plan.start_s + size / plan.disk_gb_s for size in files]
        weights = [1 / rank**plan.zipf for rank in range(1, plan.models + 1)]
        self.weights = [*accumulate(weights)]
        busy = plan.per_s * plan.answer_s / self.weights[-1]  # requests that run, for weight 1
        self.needed = [max(1, ceil(busy * it / plan.slots / _FULL)) for it in weights]
        hosts = range(plan.hosts)
        self.places = [
            tuple(rng.sample(hosts, min(plan.hosts, max(plan.replicas, 2 * count))))
            for count in self.needed
        ]
