"""Checks that a model's process lives while it serves. `liveness` decides."""

import hashlib
import logging
from collections.abc import Callable
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import msgspec
import trio

from ..config.load import LaunchConfig, ModelConfig
from ..host.http_get import PLAIN, Access
from ..scheduling.dispatcher import Dispatcher
from ..scheduling.events import Hung, Stalled
from ..scheduling.refusals import hung
from .health import probe
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


class PulseWatch(msgspec.Struct, kw_only=True):
    """Watches over one process that serves.

    Attributes:
        dispatcher: Gets the findings.
        config: Gives the model's settings in force.
        swap: Number of the start.
        launch: How it was started.
        pid: Of the process.
        access: How it is asked.
        has_slots: It reports on its slots.
    """

    dispatcher: Dispatcher
    config: Callable[[], ModelConfig]
    swap: int
    launch: LaunchConfig
    pid: int
    access: Access = PLAIN
    has_slots: bool = False
    _slots: bytes = b""
    _slots_at: float = 0.0

    async def run(self) -> None:
        """Look again and again, until it hangs.

        To be cancelled when the process has ended.
        """
        model = self.config().model
        up_at = trio.current_time()
        pulse = Pulse(up_at)
        asks, heard = self.dispatcher.engine.vitals(model)
        planned_s, is_seen = LOOK_S, True
        while True:
            await trio.sleep(LOOK_S)
            now_asks, now_heard = self.dispatcher.engine.vitals(model)
            is_asked, is_heard = now_asks != asks, now_heard != heard
            asks, heard = now_asks, now_heard
            now = trio.current_time()
            pulse.look(now, planned_s, is_asked=is_asked, is_heard=is_heard)
            planned_s = LOOK_S
            config = self.config()
            limit_s = config.hung_after_s
            if pulse.wants_question(limit_s):
                planned_s += QUESTION_S
                is_seen = await self._question(pulse, limit_s)
            if pulse.is_hung(limit_s, is_seen=is_seen):
                log.warning(
                    "model.hung model=%s swap=%d pid=%d silent_s=%.0f",
                    *(model, self.swap, self.pid, pulse.silent_s),
                )
                well_s = trio.current_time() - up_at - pulse.silent_s
                self.dispatcher.handle(Hung(model, self.swap, hung(model, pulse.silent_s), well_s))
                return
            if config.drain_limit_s and self.dispatcher.engine.state(model) == "draining":
                await self._look_at_drain(pulse, model, config.drain_limit_s)

    async def _question(self, pulse: Pulse, limit_s: float) -> bool:
        """Query its health; return whether its processes can be seen.

        When we cannot look, for there is no descriptor or thread to be had, it is not to blame.
        """
        url = self.launch.health_url or f"{self.launch.base_url}/health"
        response = None
        with trio.move_on_after(min(QUESTION_S, limit_s * _QUESTION_SHARE)):
            response = await probe(url, access=self.access)
        host = urlsplit(self.launch.endpoint).hostname or ""
        place = self.launch.port if self.launch.socket is None else self.launch.socket
        read = partial(read_effort, place, host, self.pid)
        effort = None
        try:
            effort = await trio.to_thread.run_sync(read)
        except (OSError, RuntimeError) as exc:
            log.warning("model.not_watched pid=%d reason=%r", self.pid, str(exc))
            pulse.lives()
        else:
            now = trio.current_time()
            pulse.was_questioned(now, has_answered=response is not None, effort=effort)
        return effort is not None

    async def _look_at_drain(self, pulse: Pulse, model: str, limit_s: float) -> None:
        """Report for how long its last requests have made no progress."""
        if self.has_slots and pulse.still_s >= self._slots_at + limit_s * _SLOTS_SHARE:
            self._slots_at = pulse.still_s
            with trio.move_on_after(min(QUESTION_S, limit_s * _QUESTION_SHARE)):
                url = f"{self.launch.base_url}/slots"
                response = await probe(url, with_body=True, access=self.access)
                if response is not None and response.status == 200:
                    slots = hashlib.sha256(response.body).digest()
                    if self._slots not in {b"", slots}:
                        pulse.got_further()
                    self._slots = slots
        self._slots_at = min(self._slots_at, pulse.still_s)
        self.dispatcher.handle(Stalled(model, self.swap, pulse.still_s))
