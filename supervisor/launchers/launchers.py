"""Which launcher a model has."""

from ..config.load import ModelConfig
from ..processes.reaper import Reaper
from .command import CommandLauncher
from .launcher import Launcher
from .local import LocalLauncher


class Launchers:
    """All launchers."""

    def __init__(self, reaper: Reaper) -> None:
        self._reaper = reaper
        self._local = LocalLauncher(reaper)

    def of(self, config: ModelConfig) -> Launcher:
        """Return the launcher of a model, as its configuration says."""
        if config.templates is None:
            return self._local
        return CommandLauncher(config.templates, self._reaper)
