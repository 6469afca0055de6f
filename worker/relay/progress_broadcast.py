"""Tells all who wait for a model how far it is. `status_stream` and `prefill` decide.

One task speaks to all of them: a client that waits costs nothing until it is to hear something, and
then only that. Those that wait sleep until they have their model.
"""

import heapq
import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import trio

from ..progress.model_view import ModelView, ProgressView
from .progress_updates import ProgressUpdates

# Clients that are spoken to in one turn of the loop: a millisecond or two.
_PER_TURN: Final = 32

# Seconds until a client that took nothing is offered it again.
_RETRY_S: Final = 0.25


@dataclass(slots=True, eq=False)
class Subscriber:
    """A request that waits.

    Attributes:
        updates: What its client is told.
        due: When it is to be looked at, if nothing changes before.
        over: It does not wait any more.
    """

    updates: ProgressUpdates
    due: float = math.inf
    over: bool = False


@dataclass(slots=True)
class _Audience:
    """All that wait for one model.

    Attributes:
        listeners: In order of arrival.
        seen: What they were told of last.
        wake: Called by the view.
    """

    model: str
    seen: ModelView
    listeners: dict[Subscriber, None] = field(default_factory=dict)

    def concerned(self, view: ModelView) -> Iterable[Subscriber]:
        """Return those for whom `view` is news."""
        seen, self.seen = self.seen, view
        if (view.stage, view.ahead, view.other) != (seen.stage, seen.ahead, seen.other):
            return tuple(self.listeners)
        old, new = _percent(seen), _percent(view)
        if old == new:
            return ()
        return tuple(
            one
            for one in self.listeners
            if (step := one.updates.step) and old // step != new // step
        )


def _percent(view: ModelView) -> int:
    return -1 if view.fraction is None else int(view.fraction * 100 + 1e-9)


class ProgressBroadcast:
    """Knows who waits, and for what.

    Args:
        view: How all models stand.
    """

    def __init__(self, view: ProgressView) -> None:
        self._view = view
        self._audiences: dict[str, _Audience] = {}
        self._due: list[
            tuple[float, int, Subscriber]
        ] = []  # a heap; those with another due are old
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
        listener = Subscriber(updates)
        audience.listeners[listener] = None
        self._speak(listener, self._view.look(model))
        return listener

    def remove(self, listener: Subscriber) -> None:
        """Let it be: its task speaks for itself from now on. May be called again."""
        if listener.over:
            return
        listener.over = True
        model = listener.updates.model
        audience = self._audiences[model]
        del audience.listeners[listener]
        if not audience.listeners:
            del self._audiences[model]
            self._view.unwatch(model, self._wakes.pop(model))

    async def run(self) -> None:
        """Speak until cancelled."""
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
            due, _, listener = heapq.heappop(self._due)
            if due == listener.due and not listener.over:
                listener.due = math.inf
                found.append(listener)
        return found

    async def _tell(self, listeners: Iterable[Subscriber]) -> None:
        for count, listener in enumerate(listeners, 1):
            if not listener.over:
                self._speak(listener, self._view.look(listener.updates.model))
            if count % _PER_TURN == 0:
                await trio.lowlevel.checkpoint()

    def _speak(self, listener: Subscriber, view: ModelView) -> None:
        updates, now = listener.updates, trio.current_time()
        due = updates.next_deadline() if updates.tell_soon(view) else now + _RETRY_S
        if due != listener.due:
            listener.due = due
            if due < math.inf:
                heapq.heappush(self._due, (due, next(self._numbers), listener))
                if self._due[0][2] is listener:
                    self._wakeup.set()
