"""How far a load is: gathers what is seen of it, and tells the engine."""

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from arriero.protocol.values import Phase, Progress

from ...config.load import LaunchConfig
from ...llamacpp.model_files import model_files
from ...progress.bytes_loaded import LoadBytes, bytes_done, total_bytes
from ...progress.estimator import Estimate, Estimator
from ...progress.log_lines import read_log_line
from ...progress.proc_counters import read_load_bytes
from ...progress.server_report import LoadingReport
from ...progress.stage_times import StageTimes
from ...scheduling.dispatcher import Dispatcher
from ...scheduling.messages.events import Progressed

# Seconds between looks at how far a start is. Four a second make a smooth bar; a look costs two
# small reads from /proc.
LOOK_EVERY_S: Final = 0.25

# Of a start that is known to be short: twenty looks, but none sooner than this.
_LOOKS: Final = 20
_LOOK_LEAST_S: Final = 0.04

# Seconds that a launcher with an endpoint of its own has, such as ssh, to get to its machine before
# that is told: with a scheduler it may be hours.
TO_A_MACHINE_S: Final = 1.0


class LoadProgress:
    """Progress of one start.

    Attributes:
        began_at: When it began, on trio's clock.
    """

    def __init__(
        self, model: str, swap: int, dispatcher: Dispatcher, learned: StageTimes | None
    ) -> None:
        self._model = model
        self._swap = swap
        self._dispatcher = dispatcher
        self._learned = learned
        self._told: tuple[str, float | None] | None = None
        self.begin_at(trio.current_time())

    def begin_at(self, time: float) -> None:
        """Count from `time` on."""
        self.began_at = time
        self._estimator = Estimator(self._learned, time)

    async def watch(self, launch: LaunchConfig, pid: int, *, is_seen: bool) -> None:
        """Measure again and again, what it reads from disk too if its process `is_seen`."""
        files = model_files(launch.command, dict(launch.env)) if is_seen else ()
        total = total_bytes(files)
        first: LoadBytes | None = None
        every_s = LOOK_EVERY_S
        if self._learned is not None:
            every_s = min(every_s, max(_LOOK_LEAST_S, self._learned.total_s / _LOOKS))
        while True:
            if total and (now_read := read_load_bytes(pid)) is not None:
                first = first or now_read
                done = bytes_done(first, now_read, total)
                self._estimator.bytes(done, total, trio.current_time())
            self._tell()
            await trio.sleep(every_s)

    def take_bytes(self, done: int, total: int) -> None:
        """Take the bytes of its files that it has read, as its launcher sees them."""
        self._estimator.bytes(done, total, trio.current_time())
        self._tell()

    def take_report(self, report: LoadingReport) -> None:
        """Take what its server reports."""
        self._estimator.report(report, trio.current_time())
        self._tell()

    def take_line(self, line: bytes) -> None:
        """Take a line of its output, which may have a hint."""
        if (hint := read_log_line(line)) is not None:
            self._estimator.log(hint, trio.current_time())
            self._tell()

    def finish(self, now: float) -> StageTimes:
        """Return how long its stages took; it is ready."""
        return self._estimator.finish(now)

    async def find_place(
        self, place: Callable[[], Awaitable[LaunchConfig]], silent_s: float
    ) -> LaunchConfig:
        """Return its launch as soon as it has a machine; what takes longer is told."""

        async def tell() -> None:
            await trio.sleep(silent_s)
            self.tell_phase("placing")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(tell)
            found = await place()
            nursery.cancel_scope.cancel()
        return found

    def tell_phase(self, phase: Phase, why: str = "") -> None:
        """Report that it has got to `phase`, which its server knows nothing of."""
        elapsed_s = trio.current_time() - self.began_at
        progress = Progress(
            model=self._model, swap=self._swap, phase=phase, elapsed_s=elapsed_s, detail=why
        )
        self._dispatcher.handle(Progressed(progress))

    def _tell(self) -> None:
        """Report its progress, unless it is unchanged."""
        now = trio.current_time()
        estimate: Estimate = self._estimator.at(now)
        percent = None if estimate.fraction is None else int(100 * estimate.fraction)
        if (estimate.phase, percent) == self._told:
            return
        self._told = (estimate.phase, percent)
        self._dispatcher.handle(
            Progressed(
                Progress(
                    model=self._model,
                    swap=self._swap,
                    phase=estimate.phase,
                    elapsed_s=now - self.began_at,
                    fraction=estimate.fraction,
                    eta_s=estimate.eta_s,
                    bytes_done=estimate.bytes_done,
                    bytes_total=estimate.bytes_total,
                )
            )
        )
