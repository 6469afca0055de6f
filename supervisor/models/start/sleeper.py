"""Puts one server to sleep and wakes it, and notices when it does so by itself."""

import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import trio

from arriero.protocol.records import UpstreamKind

from ...host.http_get import Access
from ...progress.server_report import Report
from ...scheduling.dispatcher import Dispatcher
from ...scheduling.messages.events import BecameReady, FellAsleep, SleepFailed, WokeUp
from ...slots.sleep import (
    SLEEP_LIMIT_S,
    WAKE_LIMIT_S,
    SleepRefused,
    change_of_sleep,
    put_to_sleep,
    wake,
)

log = logging.getLogger(__name__)


class ServedAt(NamedTuple):
    """A server that takes requests.

    Attributes:
        url: Its base URL.
        access: The way to it.
        kind: What it is.
    """

    url: str
    access: Access
    kind: UpstreamKind


class Sleeper:
    """Sleep of one server.

    Attributes:
        sleeps: It is asleep.
    """

    def __init__(
        self, model: str, swap: int, dispatcher: Dispatcher, on_change: Callable[[], None]
    ) -> None:
        self.sleeps = False
        self._model = model
        self._swap = swap
        self._dispatcher = dispatcher
        self._on_change = on_change

    async def fall_asleep(self, server: ServedAt | None) -> None:
        """Put it to sleep, and report how that ended; None: it takes no requests."""
        if server is None:
            self._dispatcher.handle(SleepFailed(self._model, self._swap))
        elif await self._obeys("sleep", put_to_sleep(server.url, server.access), SLEEP_LIMIT_S):
            self.sleeps = True
            self._dispatcher.handle(FellAsleep(self._model, self._swap))
            self._on_change()

    async def wake(self, server: ServedAt | None) -> None:
        """Wake it, and report how that ended; None: it takes no requests."""
        if server is None:
            self._dispatcher.handle(SleepFailed(self._model, self._swap))
        elif await self._obeys("wake", wake(*server), WAKE_LIMIT_S):
            self.sleeps = False
            self._dispatcher.handle(BecameReady(self._model, self._swap, server.kind))
            self._on_change()

    def take_line(self, report: Report | None, line: bytes, *, reports: bool) -> None:
        """Report that a llama-server falls asleep by itself, or was woken."""
        sleeps = change_of_sleep(report, line, reports=reports)
        if sleeps is None:
            return
        self.sleeps = sleeps
        event = FellAsleep if sleeps else WokeUp
        self._dispatcher.handle(event(self._model, self._swap))
        self._on_change()

    async def _obeys(self, what: str, asking: Awaitable[None], limit_s: float) -> bool:
        """Return whether it does what it is asked for; what else there is, is reported."""
        why, model, began_at = "", self._model, trio.current_time()
        try:
            with trio.fail_after(limit_s):
                await asking
        except SleepRefused as exc:
            why = str(exc)
        except trio.TooSlowError:
            why = f"it has not done so within {limit_s:.0f} s"
        if why:
            log.warning("model.%s_failed model=%s swap=%d reason=%s", what, model, self._swap, why)
            self._dispatcher.handle(SleepFailed(model, self._swap))
        else:
            took_s = trio.current_time() - began_at
            log.info("model.%s model=%s swap=%d took_s=%.2f", what, model, self._swap, took_s)
        return not why
