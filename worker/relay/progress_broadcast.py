"""One task sends progress updates to all waiting clients.

A client that waits costs nothing until there is something to send to it, and then only that: its
own task sleeps until it has its model. `status_stream` and `prefill` decide what is sent.
"""

import heapq
import itertools
import math
from collections.abc import Iterable
from functools import partial
from typing import Final

import msgspec
import trio

from ..progress.model_view import ModelView, ProgressView
from .progress_updates import ProgressUpdates

# Clients that are sent something in one turn of the loop: a millisecond or two.
_PER_TURN: Final = 32

# Seconds until a client that took nothing is offered it again.
_RETRY_S: Final = 0.25


class Subscriber(msgspec.Struct, eq=False):
    """A waiting request.

    Attributes:
        updates: Sent to its client.
        due: When it is looked at, if nothing changes before.
        over: It no longer waits.
    """

    updates: ProgressUpdates
    due: float = math.inf
    over: bool = False


class _Audience(msgspec.Struct):
    """All waiting requests of one model.

    Attributes:
        model: The model's id.
        seen: The state of which they were told last.
        subscribers: In order of arrival.
    """

    model: str
    seen: ModelView
    subscribers: dict[Subscriber, None] = msgspec.field(default_factory=dict)

    def concerned(self, view: ModelView) -> Iterable[Subscriber]:
        """Return the subscribers for whom `view` is news."""
        seen, self.seen = self.seen, view
        is_same = (view.stage, view.ahead, view.other) == (seen.stage, seen.ahead, seen.other)
        if not is_same or (view.requests and not seen.requests):
            return tuple(self.subscribers)
        old, new = _percent(seen), _percent(view)
        if old == new:
            return ()
        return tuple(
            one
            for one in self.subscribers
            if (step := one.updates.step) and old // step != new // step
        )


def _percent(view: ModelView) -> int:
    return -1 if view.fraction is None else int(view.fraction * 100 + 1e-9)


class ProgressBroadcast:
    """Knows the waiting requests, and sends their updates.

    Args:
        view: The state of all models.
    """

    def __init__(self, view: ProgressView) -> None:
        self._view = view
        self._audiences: dict[str, _Audience] = {}
        # a heap; entries whose time is not the subscriber's are outdated
        self._due: list[tuple[float, int, Subscriber]] = []
        self._numbers = itertools.count()
        self._news: dict[str, None] = {}  # models of which something has changed
        self._wakeup = trio.Event()
        self._wakes: dict[str, partial[None]] = {}

    def add(self, updates: ProgressUpdates) -> Subscriber:
        """Send `updates` to their client as they become due; until `remove`."""
        model = updates.model
        audience = self._audiences.get(model)
        if audience is None:
            audience = self._audiences[model] = _Audience(model, self._view.look(model))
            wake = self._wakes[model] = partial(self._note, model)
            self._view.watch(model, wake)
        subscriber = Subscriber(updates)
        audience.subscribers[subscriber] = None
        self._speak(subscriber, self._view.look(model))
        return subscriber

    def remove(self, subscriber: Subscriber) -> None:
        """Leave the client to its own task. May be called again."""
        if subscriber.over:
            return
        subscriber.over = True
        model = subscriber.updates.model
        audience = self._audiences[model]
        del audience.subscribers[subscriber]
        if not audience.subscribers:
            del self._audiences[model]
            self._view.unwatch(model, self._wakes.pop(model))

    async def run(self) -> None:
        """Send updates until cancelled."""
        while True:
            with trio.move_on_at(self._due[0][0] if self._due else math.inf):
                await self._wakeup.wait()
            self._wakeup = trio.Event()
            news, self._news = self._news, {}
            for model in news:
                if (audience := self._audiences.get(model)) is not None:
                    await self._tell(audience.concerned(self._view.look(model)))
            await self._tell(self._take_due())

    def _note(self, model: str) -> None:
        self._news[model] = None
        self._wakeup.set()

    def _take_due(self) -> list[Subscriber]:
        now, found = trio.current_time(), []
        while self._due and self._due[0][0] <= now:
            due, _, subscriber = heapq.heappop(self._due)
            if due == subscriber.due and not subscriber.over:
                subscriber.due = math.inf
                found.append(subscriber)
        return found

    async def _tell(self, subscribers: Iterable[Subscriber]) -> None:
        for count, subscriber in enumerate(subscribers, 1):
            if not subscriber.over:
                self._speak(subscriber, self._view.look(subscriber.updates.model))
            if count % _PER_TURN == 0:
                await trio.lowlevel.checkpoint()

    def _speak(self, subscriber: Subscriber, view: ModelView) -> None:
        updates, now = subscriber.updates, trio.current_time()
        due = updates.next_deadline() if updates.tell_soon(view) else now + _RETRY_S
        if due != subscriber.due:
            subscriber.due = due
            if due < math.inf:
                heapq.heappush(self._due, (due, next(self._numbers), subscriber))
                if self._due[0][2] is subscriber:
                    self._wakeup.set()
