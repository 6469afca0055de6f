"""`local`: a process of this machine."""

from ..processes.kept_process import KeptProcess
from ..processes.process import SpawnSpec, adopt_process, start_process
from ..processes.reaper import Reaper
from .launcher import Launched, LaunchOrder


class LocalLauncher:
    """Starts the command itself. Implements `Launcher`."""

    def __init__(self, reaper: Reaper) -> None:
        self._reaper = reaper

    def start(self, order: LaunchOrder) -> Launched:
        """See `Launcher.start`."""
        return Launched(start_process(_spec(order), self._reaper))

    def adopt(self, order: LaunchOrder, kept: KeptProcess) -> Launched:
        """See `Launcher.adopt`."""
        return Launched(adopt_process(kept, _spec(order), self._reaper))


def _spec(order: LaunchOrder) -> SpawnSpec:
    launch = order.launch
    return SpawnSpec(
        argv=launch.command,
        env=dict(launch.env),
        port=launch.port,
        socket=launch.socket,
        without=order.without,
        report=order.report,
        stop_argv=order.stop_argv,
    )
