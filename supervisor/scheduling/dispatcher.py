"""Feeds the engine with events and carries out its commands.

All of it runs in one trio task at a time and never waits, so the engine sees events in the
order in which they came, and its commands are carried out before the next one.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec
import trio

from arriero.protocol.events import AnyEvent, ModelEvicted, QueueChanged
from arriero.protocol.lease import FromSupervisor, Grant, Peeked, Refuse, Void
from arriero.protocol.lease import Revoke as RevokeMessage
from arriero.protocol.records import RequestRecord
from arriero.protocol.values import ErrorInfo, Snapshot
from arriero.protocol.wakefulness import LOOK_S, Wakefulness

from ..memory.sizes import Amounts
from .engine import Engine
from .messages.events import (
    Act,
    Announce,
    EstimateSize,
    Event,
    GrantLease,
    PutToSleep,
    RaiseSize,
    RefuseWaiter,
    RevokeLease,
    Spawn,
    Terminate,
    TimePassed,
    VoidLease,
    Waiter,
    Wake,
)
from .orders import StandingOrders
from .room.sizing import SIZING_LIMIT_S
from .view import EngineView

log = logging.getLogger(__name__)

# Shortest time between two events about the queue. Thousands of requests may come or leave at once;
# no person reads faster than this, and each event costs all subscribers.
QUEUE_PAUSE_S: Final = 0.1


class Processes(Protocol):
    """Starts and ends the processes of models, without waiting."""

    def spawn(self, model: str, swap: int) -> None:
        """Begin to start `model`."""
        ...

    def terminate(self, swap: int, grace_s: float) -> None:
        """Begin to end the process of the start `swap`."""
        ...

    def put_to_sleep(self, swap: int) -> None:
        """Begin to put the process of the start `swap` to sleep."""
        ...

    def wake(self, swap: int) -> None:
        """Begin to wake it."""
        ...

    def key_of(self, model: str) -> str:
        """Return the key for the running server of `model`; empty for none."""
        ...


class Sizes(Protocol):
    """Estimates and remembers how much memory models need, without waiting."""

    def estimate(self, model: str) -> None:
        """Begin to estimate the size of `model`; the engine gets the outcome."""
        ...

    def raise_size(self, model: str, amounts: Amounts) -> None:
        """Remember that `model` needs at least `amounts`."""
        ...


class EventSink(Protocol):
    """Numbers events and publishes them, without waiting."""

    @property
    def epoch(self) -> str:
        """Of all events of this supervisor."""
        ...

    @property
    def seq(self) -> int:
        """Number of the last event."""
        ...

    @property
    def log_seq(self) -> int:
        """Number of the last log line."""
        ...

    @property
    def own_seq(self) -> int:
        """Number of the last line of our own log."""
        ...

    @property
    def usage_seq(self) -> int:
        """Number of the last end of a request."""
        ...

    def publish(self, *events: AnyEvent) -> None:
        """Publish `events`, in this order."""
        ...

    def publish_ends(self, records: Sequence[RequestRecord]) -> None:
        """Publish the ends of requests, in this order."""
        ...


class _LeaseAnswer(NamedTuple):
    """A message to one worker, and the requests it concerns."""

    message: Grant | Refuse  # to the first of them
    more: list[int]


class Dispatcher:
    """Feeds the engine with events and carries out its commands.

    Attributes:
        engine: How all stands; events go through `handle`.
        lease_requests: How often a worker had to ask for a model.
        wakefulness: Of this process. `keep_time` looks at it often enough for all.
    """

    def __init__(
        self,
        engine: Engine,
        publisher: EventSink,
        note: Callable[[AnyEvent], None] = lambda event: None,
    ) -> None:
        """Build it.

        Args:
            engine: Decides.
            publisher: Publishes events.
            note: Called with each of those that is published.
        """
        self._engine = engine
        self.engine = engine.view
        self._note = note
        self.wakefulness = Wakefulness(trio.current_time())
        self.lease_requests = 0
        self._publisher = publisher
        self._processes: Processes | None = None
        self._sizes: Sizes | None = None
        self._send_to_worker: Callable[[str, FromSupervisor], None] | None = None
        self._scripts: dict[Waiter, Callable[[GrantLease | ErrorInfo], None]] = {}
        self._changed = trio.Event()
        self._queue_from = self.now()  # when the queue may be published again
        self._queue_news: QueueChanged | None = None  # which waits for that
        self._answers: dict[tuple[str, str, int | ErrorInfo], _LeaseAnswer] = {}
        self._is_frozen = False
        self._note_orders: Callable[[StandingOrders], None] | None = None
        self._orders = StandingOrders()

    def connect(
        self,
        *,
        processes: Processes,
        send_to_worker: Callable[[str, FromSupervisor], None],
        sizes: Sizes | None = None,
    ) -> None:
        """Attach the parts that carry commands out; before the first event."""
        self._sizes = sizes
        self._processes = processes
        self._send_to_worker = send_to_worker

    def now(self) -> float:
        """Return the engine's time, which stands still together with this process.

        So no limit passes, and no model has been idle, while this process stood still.
        """
        return self.wakefulness.awake_s(trio.current_time())

    def handle(self, event: Event) -> None:
        """Feed the engine with `event` and carry out its commands.

        What is announced comes last: processes and requests wait for the rest.
        """
        if self._is_frozen:
            return
        now = self.now()
        news: list[AnyEvent] = []
        for command in self._engine.handle(event, now):
            if not isinstance(command, Announce):
                self._carry_out(command)
            elif isinstance(command.event, QueueChanged):
                self._queue_news = command.event
            else:
                if isinstance(command.event, ModelEvicted):
                    log.info("model.evicted reason=%r", command.event.text)
                news.append(command.event)
        self._flush_answers()
        if news:
            self.publish(*news)
        self._publish_queue(now)
        self._tell_orders()
        self._changed.set()
        self._changed = trio.Event()

    def freeze(self) -> None:
        """Take and do nothing more: all is left to the next supervisor as it is.

        Or the end of this one would look to the engine like that of its workers and their leases.
        """
        self._is_frozen = True

    def tell_orders(self, note: Callable[[StandingOrders], None]) -> None:
        """Call `note` with the engine's orders from now on, whenever they change."""
        self._note_orders = note

    def _tell_orders(self) -> None:
        if self._note_orders is not None and (orders := self.engine.orders()) != self._orders:
            self._orders = orders
            self._note_orders(orders)

    def publish(self, *events: AnyEvent) -> None:
        """Publish events: those of the engine, and those that do not concern it."""
        self._publisher.publish(*events)
        for event in events:
            self._note(event)

    def publish_ends(self, records: Sequence[RequestRecord]) -> None:
        """Publish the ends of requests, which concern nothing here."""
        self._publisher.publish_ends(records)

    @property
    def epoch(self) -> str:
        """That of all events of this supervisor."""
        return self._publisher.epoch

    @property
    def log_seq(self) -> int:
        """Number of the last log line that was published."""
        return self._publisher.log_seq

    @property
    def own_seq(self) -> int:
        """Number of the last line of our own log that was published."""
        return self._publisher.own_seq

    @property
    def usage_seq(self) -> int:
        """Number of the last end of a request that was published."""
        return self._publisher.usage_seq

    def snapshot(self) -> Snapshot:
        """Return everything as it is now."""
        unix_now = time.time()
        return Snapshot(
            epoch=self._publisher.epoch,
            seq=self._publisher.seq,
            t=unix_now,
            models=self.engine.models(self.now(), unix_now),
            queue=self.engine.queue(),
        )

    def peek(self, ask: int, model: str) -> Peeked:
        """Return where `model` answers, if it is ready; nothing changes."""
        endpoint, kind = self.engine.where_ready(model)
        if not endpoint or self._processes is None:
            return Peeked(ask=ask)
        key = self._processes.key_of(model)
        return Peeked(ask=ask, endpoint=endpoint, kind=kind, api_key=key)

    async def keep_time(self) -> None:
        """Feed the engine when a deadline has come. Runs until cancelled."""
        while True:
            changed = self._changed
            now = self.now()
            deadline = self._engine.next_deadline(now)
            if self._queue_news is not None:
                deadline = min(deadline, self._queue_from)
            with trio.move_on_after(max(0.0, min(deadline - now, LOOK_S))) as waiting:
                await changed.wait()
            if waiting.cancelled_caught and self.now() >= deadline:
                self.handle(TimePassed())

    async def wait_until(self, holds: Callable[[EngineView], bool]) -> None:
        """Return once `holds` is true of the engine.

        The caller sets the deadline.
        """
        while not holds(self.engine):
            await self._changed.wait()

    async def size_up(self, model: str) -> None:
        """Return once the size of `model` is estimated, where memory decides; or is unknown."""
        if self._sizes is None or not self.engine.is_unsized(model):
            return
        self._sizes.estimate(model)
        with trio.move_on_after(SIZING_LIMIT_S):
            await self.wait_until(lambda engine: not engine.is_unsized(model))

    def answer_script(
        self, waiter: Waiter, answer: Callable[[GrantLease | ErrorInfo], None]
    ) -> None:
        """Call `answer` once, when `waiter` (a script's) is granted or refused."""
        self._scripts[waiter] = answer

    def forget_script(self, waiter: Waiter) -> None:
        """Do not answer `waiter` any more."""
        self._scripts.pop(waiter, None)

    def _publish_queue(self, now: float) -> None:
        """Publish the queue, if it changed and events may be sent."""
        if self._queue_news is not None and now >= self._queue_from:
            self._publisher.publish(self._queue_news)
            self._queue_news = None
            self._queue_from = now + QUEUE_PAUSE_S

    def _carry_out(self, command: Act) -> None:
        assert self._processes is not None  # `connect` comes before the first happening
        assert self._send_to_worker is not None
        match command:
            case Spawn(model, swap, why):
                if why:
                    log.info("model.unasked model=%s swap=%d reason=%r", model, swap, why)
                self._processes.spawn(model, swap)
            case Terminate(_, swap, grace_s):
                self._processes.terminate(swap, grace_s)
            case EstimateSize(model):
                assert self._sizes is not None  # where memory decides, there are sizes
                self._sizes.estimate(model)
            case RaiseSize(model, amounts):
                assert self._sizes is not None
                self._sizes.raise_size(model, amounts)
            case PutToSleep(_, swap):
                self._processes.put_to_sleep(swap)
            case Wake(_, swap):
                self._processes.wake(swap)
            case GrantLease(waiter, model, lease) if waiter.takes_lease:
                if (answer := self._answers.get((waiter.owner, model, lease))) is not None:
                    answer.more.append(waiter.request)
                    return
                granted = Grant(
                    request=waiter.request,
                    model=model,
                    lease=lease,
                    endpoint=command.endpoint,
                    waited_s=command.waited_s,
                    kind=command.kind,
                    api_key=self._processes.key_of(model),
                    swap=self.engine.swap(model),
                )
                self._answers[waiter.owner, model, lease] = _LeaseAnswer(granted, [])
            case RefuseWaiter(waiter, model, error) if waiter.takes_lease:
                if (answer := self._answers.get((waiter.owner, model, error))) is not None:
                    answer.more.append(waiter.request)
                    return
                refused = Refuse(request=waiter.request, model=model, error=error)
                self._answers[waiter.owner, model, error] = _LeaseAnswer(refused, [])
            case GrantLease(waiter):
                if tell := self._scripts.pop(waiter, None):
                    tell(command)
            case RefuseWaiter(waiter, _, error):
                if tell := self._scripts.pop(waiter, None):
                    tell(error)
            case RevokeLease(owner, model, lease, when_idle, error):
                self._flush_answers()  # what was granted is read before it is taken back
                revoke = RevokeMessage(model=model, lease=lease, when_idle=when_idle, error=error)
                self._send_to_worker(owner, revoke)
            case VoidLease(owner, model, lease):
                self._flush_answers()
                self._send_to_worker(owner, Void(model=model, lease=lease))

    def _flush_answers(self) -> None:
        """Send decisions on requests: one message for all that get the same."""
        if not self._answers:
            return
        assert self._send_to_worker is not None
        answers, self._answers = self._answers, {}
        for (owner, model, _), (message, more) in answers.items():
            if isinstance(message, Refuse):
                code = message.error.code
                log.info("request.refused model=%s code=%s requests=%d", model, code, 1 + len(more))
            if more:
                message = msgspec.structs.replace(message, more=tuple(more))
            self._send_to_worker(owner, message)
