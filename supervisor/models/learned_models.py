"""What was learned of models in earlier runs, by their commands: sizes and durations."""

import os
from pathlib import Path
from typing import Final

from ..config.load import ModelConfig
from ..memory.learned import LearnedSizes
from ..memory.learned_file import load_sizes, save_sizes
from ..memory.sizes import NOTHING, UNKNOWN, Amounts, ModelSize
from ..progress.stage_times import Durations
from ..progress.stage_times_file import load_durations

# Programs that start a model elsewhere: what it uses is not what its processes here use.
_ELSEWHERE: Final = frozenset({"docker", "podman", "nerdctl", "ssh", "kubectl", "flatpak"})


def is_elsewhere(config: ModelConfig) -> bool:
    """Return whether what a model uses is not seen in its processes."""
    if config.ends_elsewhere:
        return True
    names = {os.path.basename(word) for word in config.command[:3]}
    return not names.isdisjoint(_ELSEWHERE)


class LearnedModels:
    """Sizes, which are kept here, and durations, which the fleet keeps."""

    def __init__(self, sizes_path: Path, durations_path: Path) -> None:
        """Read both files. Blocks for two small ones."""
        self._path = sizes_path
        self._sizes: LearnedSizes = load_sizes(sizes_path)
        self._durations: Durations = load_durations(durations_path)

    def size_of(self, config: ModelConfig) -> ModelSize | None:
        """Return the declared or learned size of a model; None: it has to be estimated.

        One that a launcher starts takes nothing of this machine.
        """
        if config.is_elsewhere:
            return ModelSize(NOTHING, "declared")
        if config.memory:
            return ModelSize(config.memory, "declared")
        learned = self._sizes.get(config.fingerprint)
        return None if learned is None else ModelSize(learned, "learned")

    def sleep_size_of(self, config: ModelConfig) -> ModelSize | None:
        """Return what a model keeps while it sleeps, declared or learned.

        Unknown: it cannot be learned. None: it has to be seen.
        """
        if config.is_elsewhere:
            return ModelSize(NOTHING, "declared")
        if config.sleep_memory:
            return ModelSize(config.sleep_memory, "declared")
        if is_elsewhere(config):
            return UNKNOWN
        learned = self._sizes.get(_asleep(config.fingerprint))
        return None if learned is None else ModelSize(learned, "learned")

    def start_s(self, config: ModelConfig) -> float | None:
        """Return how long a start of the model takes; None if that is not known."""
        found = self._durations.get(config.fingerprint)
        return None if found is None else found.total_s

    def learn(self, fingerprint: str, peak: Amounts) -> None:
        """Keep the peak of one run. Blocks for one small file."""
        self._sizes.learn(fingerprint, peak)
        save_sizes(self._path, self._sizes)

    def learn_asleep(self, fingerprint: str, kept: Amounts) -> None:
        """Keep what was seen last while it slept. Blocks for one small file."""
        self._sizes.put(_asleep(fingerprint), kept)
        save_sizes(self._path, self._sizes)

    def raise_to(self, fingerprint: str, least: Amounts) -> None:
        """Keep that the size is at least `least`. Blocks for one small file."""
        self._sizes.raise_to(fingerprint, least)
        save_sizes(self._path, self._sizes)


def _asleep(fingerprint: str) -> str:
    return f"{fingerprint} asleep"
