"""Which launcher a model has."""

from collections.abc import Callable
from pathlib import Path

from ..config.load import Config, ModelConfig
from ..processes.reaper import Reaper
from .command import CommandLauncher
from .launcher import Launcher
from .local import LocalLauncher
from .ray import RayLauncher


class Launchers:
    """All launchers.

    Args:
        config: Gives the configuration in force.
        reaper: Of the processes.
        folder: Of the supervisor's sockets.
    """

    def __init__(self, config: Callable[[], Config], reaper: Reaper, folder: Path) -> None:
        self._command = CommandLauncher(reaper)
        self._ray = RayLauncher(config, reaper, folder)
        self._local = LocalLauncher(reaper)

    def of(self, config: ModelConfig) -> Launcher:
        """Return the launcher of a model, as its configuration says."""
        if config.is_on_ray:
            return self._ray
        return self._local if config.templates is None else self._command

    async def run(self) -> None:
        """Run what launchers need besides, until cancelled."""
        await self._ray.run()
