"""What was learned of models in earlier runs, by their commands: sizes and durations."""

from pathlib import Path

from ..config.load import ModelConfig
from ..memory.learned import LearnedSizes
from ..memory.learned_file import load_sizes, save_sizes
from ..memory.sizes import Amounts, ModelSize
from ..progress.stage_times import Durations
from ..progress.stage_times_file import load_durations


class LearnedModels:
    """Sizes, which are kept here, and durations, which the fleet keeps."""

    def __init__(self, sizes_path: Path, durations_path: Path) -> None:
        """Read both files. Blocks for two small ones."""
        self._path = sizes_path
        self._sizes: LearnedSizes = load_sizes(sizes_path)
        self._durations: Durations = load_durations(durations_path)

    def size_of(self, config: ModelConfig) -> ModelSize | None:
        """Return the declared or learned size of a model; None: it has to be estimated."""
        if config.memory:
            return ModelSize(config.memory, "declared")
        learned = self._sizes.get(config.fingerprint)
        return None if learned is None else ModelSize(learned, "learned")

    def start_s(self, config: ModelConfig) -> float | None:
        """Return how long a start of the model takes; None if that is not known."""
        found = self._durations.get(config.fingerprint)
        return None if found is None else found.total_s

    def learn(self, fingerprint: str, peak: Amounts) -> None:
        """Keep the peak of one run. Blocks for one small file."""
        self._sizes.learn(fingerprint, peak)
        save_sizes(self._path, self._sizes)

    def raise_to(self, fingerprint: str, least: Amounts) -> None:
        """Keep that the size is at least `least`. Blocks for one small file."""
        self._sizes.raise_to(fingerprint, least)
        save_sizes(self._path, self._sizes)
