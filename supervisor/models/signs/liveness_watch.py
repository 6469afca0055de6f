"""Checks that a model's process lives while it serves. `liveness` decides."""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import trio

from arriero.digests import sha256

from ...config.load import LaunchConfig, ModelConfig
from ...host.http_get import PLAIN, Access
from ...scheduling.dispatcher import Dispatcher
from ...scheduling.messages.events import Failing, Hung, Stalled
from ...scheduling.messages.refusals import deserted, hung
from .health import is_refused, probe
from .liveness import Pulse
from .process_activity import read_effort

log = logging.getLogger(__name__)

# Seconds between two looks: workers report once a second.
LOOK_S: Final = 1.0

# Seconds for a response to the query whether it lives. Any response will do, whatever its status.
QUESTION_S: Final = 5.0

# The same, as a share of the limit.
_QUESTION_SHARE: Final = 0.25

# How often it is asked for its slots while it drains, as a share of the limit for that.
_SLOTS_SHARE: Final = 0.1


# Once a worker's connection was refused, ours are to be as well, so often in a row and so many
# seconds apart: a server that is started again by what started it has that long.
_REFUSALS: Final = 3
_REFUSAL_PAUSE_S: Final = 0.5


class PulseRound:
    """Looks at all processes that serve, once a second: one wake-up for all."""

    def __init__(self) -> None:
        self._watches: dict[int, PulseWatch] = {}  # by the number of the start

    @contextmanager
    def including(self, watch: "PulseWatch") -> Generator[None, None, None]:
        """Look at the process of `watch` while the block runs."""
        self._watches[watch.swap] = watch
        try:
            yield
        finally:
            del self._watches[watch.swap]

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await trio.sleep(LOOK_S)
            now = trio.current_time()
            for watch in self._watches.values():
                try:
                    watch.look(now)
                except Exception as exc:  # noqa: BLE001  it ends this model, and nothing else
                    watch.fail(exc)


class PulseWatch:
    """Watches over one process that serves.

    Args:
        dispatcher: Gets the findings.
        config: Gives the model's settings in force.
        swap: Number of the start.
        launch: How it was started.
        pid: Of the process.
        access: How it is asked.
        has_slots: It reports on its slots.
    """

    def __init__(
        self,
        *,
        dispatcher: Dispatcher,
        config: Callable[[], ModelConfig],
        swap: int,
        launch: LaunchConfig,
        pid: int,
        access: Access = PLAIN,
        has_slots: bool = False,
    ) -> None:
        self.swap = swap
        self._dispatcher = dispatcher
        self._config = config
        self._launch = launch
        self._pid = pid
        self._access = access
        self._has_slots = has_slots
        self._slots = b""
        self._slots_at = 0.0
        self.model = config().model
        self._up_at = trio.current_time()
        self._pulse = Pulse(self._up_at)
        self._vitals = dispatcher.engine.vitals(self.model)
        self._planned_s, self._is_seen = LOOK_S, True
        self._is_doubted = False  # a connection was refused
        self._due: trio.Event | None = None  # set when there is more to do than to look
        self._failure: Exception | None = None

    async def run(self, rounds: PulseRound) -> None:
        """See to it until it hangs.

        To be cancelled when the process has ended.

        Raises:
            Exception: A look at it failed.
        """
        with rounds.including(self):
            while True:
                self._due = trio.Event()
                await self._due.wait()
                if self._failure is not None:
                    raise self._failure
                if await self._see_to_it():
                    return

    def fail(self, failure: Exception) -> None:
        """Let `run` raise `failure`."""
        self._failure = failure
        if self._due is not None:
            self._due.set()

    def look(self, now: float) -> None:
        """Take what workers have reported; wake `run` if there is more to do."""
        if self._due is None or self._due.is_set():
            return  # it is being seen to
        (asks, heard, refused), vitals = self._vitals, self._dispatcher.engine.vitals(self.model)
        self._vitals = vitals
        is_ready = self._dispatcher.engine.state(self.model) == "ready"
        self._is_doubted = is_ready and vitals[2] != refused
        self._pulse.look(
            now, self._planned_s, is_asked=vitals[0] != asks, is_heard=vitals[1] != heard
        )
        self._planned_s = LOOK_S
        limit_s = self._config().hung_after_s
        if (
            self._is_doubted
            or self._pulse.wants_question(limit_s)
            or self._pulse.is_hung(limit_s, is_seen=self._is_seen)
            or self._drain_limit_s()
        ):
            self._due.set()

    async def _is_deserted(self) -> bool:
        """Whether nothing listens at its endpoint any more, though its process runs.

        That process may be a client of what runs the server: docker, ssh or srun. Those who are
        answered already may be so to their end.
        """
        self._is_doubted = False
        for _ in range(_REFUSALS):
            self._planned_s += QUESTION_S + _REFUSAL_PAUSE_S
            refused = False
            with trio.move_on_after(QUESTION_S):
                refused = await is_refused(self._launch.base_url, access=self._access)
            if not refused:
                return False
            await trio.sleep(_REFUSAL_PAUSE_S)
        return True

    def _drain_limit_s(self) -> float:
        """Return for how long its last requests may get no further; 0.0 while it does not drain."""
        is_draining = self._dispatcher.engine.state(self.model) == "draining"
        return self._config().drain_limit_s if is_draining else 0.0

    async def _see_to_it(self) -> bool:
        """Return whether it hangs, and that is reported."""
        pulse, limit_s = self._pulse, self._config().hung_after_s
        if self._is_doubted and await self._is_deserted():
            log.warning("model.deserted model=%s swap=%d pid=%d", self.model, self.swap, self._pid)
            well_s = trio.current_time() - self._up_at
            self._dispatcher.handle(Failing(self.model, self.swap, deserted(self.model), well_s))
        if pulse.wants_question(limit_s):
            self._planned_s += QUESTION_S
            self._is_seen = await self._question(pulse, limit_s)
        if pulse.is_hung(limit_s, is_seen=self._is_seen):
            log.warning(
                "model.hung model=%s swap=%d pid=%d silent_s=%.0f",
                *(self.model, self.swap, self._pid, pulse.silent_s),
            )
            well_s = trio.current_time() - self._up_at - pulse.silent_s
            error = hung(self.model, pulse.silent_s)
            self._dispatcher.handle(Hung(self.model, self.swap, error, well_s))
            return True
        if drain_limit_s := self._drain_limit_s():
            await self._look_at_drain(pulse, drain_limit_s)
        return False

    async def _question(self, pulse: Pulse, limit_s: float) -> bool:
        """Query its health; return whether its processes can be seen.

        When we cannot look, for there is no descriptor or thread to be had, it is not to blame.
        """
        url = self._launch.health_url or f"{self._launch.base_url}/health"
        response = None
        with trio.move_on_after(min(QUESTION_S, limit_s * _QUESTION_SHARE)):
            response = await probe(url, access=self._access)
        host = urlsplit(self._launch.endpoint).hostname or ""
        place = self._launch.port if self._launch.socket is None else self._launch.socket
        if self._config().is_elsewhere:
            place = None
        read = partial(read_effort, place, host, self._pid)
        effort = None
        try:
            effort = await trio.to_thread.run_sync(read)
        except (OSError, RuntimeError) as exc:
            log.warning("model.not_watched pid=%d reason=%r", self._pid, str(exc))
            pulse.lives()
        else:
            now = trio.current_time()
            pulse.was_questioned(now, has_answered=response is not None, effort=effort)
        return effort is not None

    async def _look_at_drain(self, pulse: Pulse, limit_s: float) -> None:
        """Report for how long its last requests have made no progress."""
        if self._has_slots and pulse.still_s >= self._slots_at + limit_s * _SLOTS_SHARE:
            self._slots_at = pulse.still_s
            with trio.move_on_after(min(QUESTION_S, limit_s * _QUESTION_SHARE)):
                url = f"{self._launch.base_url}/slots"
                response = await probe(url, with_body=True, access=self._access)
                if response is not None and response.status == 200:
                    slots = sha256(response.body).digest()
                    if self._slots not in {b"", slots}:
                        pulse.got_further()
                    self._slots = slots
        self._slots_at = min(self._slots_at, pulse.still_s)
        self._dispatcher.handle(Stalled(self.model, self.swap, pulse.still_s))
