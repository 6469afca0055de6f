"""The interface of launchers: what is ordered, and what was started."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection
from typing import NamedTuple, Protocol

import msgspec

from ..config.load import LaunchConfig, ModelConfig
from ..processes.kept_process import KeptProcess
from ..processes.process import TERM_GRACE_S, Exit, StartedProcess, Stream


class LaunchOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One start of one model.

    Attributes:
        config: The model.
        swap: Number of the start.
        launch: Its command and environment, and where it will answer. What is known only by the
            machine that it is started on is still missing.
        start_id: A name that no other start has.
        without: Variables of the environment of this process that nothing gets.
        report: Ask llama-server for its report.
        stop_argv: Process id -> command that ends it; none: as the launcher does. Asked when it has
            to end.
        on_waiting: Called with a reason, in words, while there is no machine for it.
        on_loaded: Called with the bytes of its files that it has read, and all of them, if they are
            seen elsewhere only.
        on_lost: Called with the name of its machine when that cannot be reached any more, and
            nothing of the start runs there. Its end follows.
    """

    config: ModelConfig
    swap: int
    launch: LaunchConfig
    start_id: str
    without: Collection[str]
    report: bool
    stop_argv: Callable[[int], tuple[str, ...]]
    on_waiting: Callable[[str], None] = lambda why: None
    on_loaded: Callable[[int, int], None] = lambda done, total: None
    on_lost: Callable[[str], None] = lambda machine: None


class Launched(NamedTuple):
    """What was started.

    Attributes:
        process: Its `run` has to follow, without a wait. Whatever its end is, nothing of the start
            is left by then, as far as the launcher can see to that.
        place: Waits until it is known where the server will answer, and returns the launch with
            that. To be cancelled when the process ends. None: as was ordered, at once.
    """

    process: StartedProcess
    place: Callable[[], Awaitable[LaunchConfig]] | None = None


class Launcher(Protocol):
    """Starts servers of models. Nothing here waits."""

    def start(self, order: LaunchOrder) -> Launched:
        """Begin a start.

        Raises:
            SpawnError: It could not be begun; the text may be shown to clients.
        """

    def adopt(self, order: LaunchOrder, kept: KeptProcess) -> Launched:
        """Go on with a start of an earlier supervisor.

        Raises:
            SpawnError: It has just ended, or cannot be gone on with. Nothing of it is left.
        """


class StandIn(ABC):
    """A start on another machine, by the process here that stands for it.

    Implements `StartedProcess`: what is done to the one is done to the other.
    """

    def __init__(self, order: LaunchOrder, process: StartedProcess) -> None:
        self._order = order
        self._process = process
        self.pid, self.started_at = process.pid, process.started_at

    def entrust(self, card: bytes) -> None:
        """See `RunningProcess.entrust`."""
        self._process.entrust(card)

    def ask_to_end(self) -> None:
        """See `RunningProcess.ask_to_end`."""
        self._process.ask_to_end()

    def stop(self, *, grace_s: float) -> None:
        """See `RunningProcess.stop`."""
        self._process.stop(grace_s=grace_s)

    @abstractmethod
    async def run(
        self, on_line: Callable[[Stream, bytes], None], *, term_grace_s: float = TERM_GRACE_S
    ) -> Exit:
        """See `StartedProcess.run`. Lines of the process itself are not passed on."""
