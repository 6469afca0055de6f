"""The worker's line to the supervisor: lease messages and events. `leases.py` decides."""

import logging
import os
from collections import deque
from typing import assert_never

import msgspec
import trio

from arriero.protocol.codec import decode_event, encode, encode_finished, read_from_supervisor
from arriero.protocol.errors import RemoteProtocolError
from arriero.protocol.lease import (
    Away,
    CancelAnswer,
    CancelOrder,
    CancelOutcome,
    Captured,
    Claimed,
    Finish,
    FromSupervisor,
    FromWorker,
    Grant,
    Hello,
    InflightOrder,
    KeyAnswer,
    Noted,
    Peeked,
    PeerLost,
    PreviewOrder,
    Probe,
    ProfileAnswer,
    Refuse,
    Resync,
    Resynced,
    Revoke,
    Selected,
    There,
    Void,
    Want,
    Welcome,
)
from arriero.protocol.records import RawCapture
from arriero.protocol.transport import FrameSocket
from arriero.protocol.wakefulness import Wakefulness

from .accounting.account import Account
from .accounting.record import make_record
from .limits import Limits
from .preview import preview
from .relay.context import RelayContext

log = logging.getLogger(__name__)

# Topics that are numbered as events. All of them, or there would be gaps; log lines are not.
TOPICS = (
    b"state/", b"progress/", b"queue/", b"evicted/", b"worker/", b"config/", b"heartbeat/",
)  # fmt: skip

_HELLO_S = 0.5  # between two hellos, until the welcome
_RESYNC_S = 1.0  # between two requests for a snapshot
_SOON_S = 0.02  # until a message that can wait is sent; a busy worker says hundreds at once
_MAX_RECORDS = 256  # in one message
# Least number of records that are made in one turn of the loop, each in 10 to 20 us: those of many
# requests in one turn hold up the next one by a millisecond.
_RECORDS_A_TURN = 4
_MAX_UNSENT = 8  # messages that wait for zmq, beside which no records are made
_MAX_ENDED = 10_000  # requests whose records wait, of which more are dropped
# Messages with records that may be said again to another supervisor. They are noted every second,
# and there is one every `_SOON_S` at the most, but for full ones.
_MAX_UNNOTED = 100
_NOTED_S = 0.5  # until the last records are noted; an answer takes a millisecond


class SupervisorLink:
    """Speaks with the supervisor, and keeps the service up to date.

    Attributes:
        welcomed: Set once the configuration is known.
        finish: Set when the supervisor wants this worker to end.
        supervisor: Process id of the supervisor; that of its replacement is another, mostly.
        is_let_go: It ends when it has finished, whoever is there.
    """

    def __init__(
        self,
        worker: int,
        token: bytes,
        supervisor: int,
        lease: FrameSocket,
        events: FrameSocket,
        service: RelayContext,
        limits: Limits,
    ) -> None:
        self._limits = limits
        self.welcomed = trio.Event()
        self.finish = trio.Event()
        self._service = service
        self._worker = worker
        self.supervisor = supervisor
        self._token = token
        self._lease = lease
        self._events = events
        self._heard_at = trio.current_time()
        self._wakefulness = Wakefulness(trio.current_time())
        self._resync_after = 0.0
        self.is_let_go = False
        self._greets = True
        self._epoch = ""  # of the supervisor that has welcomed us
        self._away_until: float | None = None  # there is none, and another one is waited for
        self._back = trio.Event()
        self._outbox: deque[bytes] = deque()
        self._ended: deque[tuple[Account, float]] = deque()
        self._records: list[bytes] = []  # which are made, for the next message
        self._number = 0  # of the last message with records
        self._unnoted: deque[tuple[int, list[bytes]]] = deque(maxlen=_MAX_UNNOTED)
        self._noted = trio.Event()
        self._some_ended = trio.Event()
        self._unsent = trio.Event()  # something is
        self._is_sent_soon = False  # which was said already
        service.say = service.queries.say = self.say
        service.ended = self.ended
        service.captured = self.captured

    def say(self, message: FromWorker) -> None:
        """Send `message`; what zmq does not take now is sent in the same order a little later.

        Records go ahead of it, but for a `Want`: somebody waits.
        """
        if not isinstance(message, Want):
            self._pack()
        self._outbox.append(encode(message))
        self._send()

    def ended(self, account: Account, now: float) -> None:
        """Tell of a request that was over at `now`: with the next message, or in a moment.

        Records are made soon after, a few at a time: those of a busy worker, many at once, at half
        of the cost. A supervisor that takes nothing for long misses some.
        """
        if len(self._ended) < _MAX_ENDED and not account.is_told:
            account.is_told = True
            ended = self._ended
            ended.append((account, now))
            if not self._is_sent_soon:
                self._is_sent_soon = True
                self._unsent.set()
            if len(ended) == _RECORDS_A_TURN:
                if self._service.monitor.readers.is_crowded:
                    self._some_ended.set()
                else:  # nobody else waits for the turn that this takes; another turn takes longer
                    self._make_records(_RECORDS_A_TURN)
                    self._send()

    def captured(self, capture: RawCapture) -> None:
        """Tell what was captured of a request that has ended.

        A supervisor that reads slower than they come gets none: a record is worth more.
        """
        if len(self._outbox) < _MAX_UNSENT and self._silent_s() <= self._limits.lost_s:
            self.say(Captured(capture=capture))

    async def is_replaced(self) -> bool:
        """Wait for another supervisor, for there is none; return whether it has come in time."""
        self._is_away()
        with trio.move_on_after(self._service.names.config.supervisor_grace_s):
            await self._back.wait()
            return True
        return False

    @property
    def is_away(self) -> bool:
        """True while there is no supervisor that we know."""
        return self._away_until is not None

    def is_silent(self) -> bool:
        """Whether a supervisor that should be there has said nothing for long."""
        return not self.is_away and self._silent_s() > self._limits.silent_s

    def let_go(self) -> None:
        """Finish what runs without any supervisor: there is one, which speaks another language.

        Its reaper ends this worker if need be. Who waits for a model has to ask again, elsewhere.
        """
        self.is_let_go = True
        for message in self._service.leases.lost():
            self.say(message)
        self.finish.set()

    def _is_away(self) -> None:
        grace_s = self._service.names.config.supervisor_grace_s
        if self._away_until is None and grace_s:
            self._away_until = trio.current_time() + grace_s
            self._back = trio.Event()
            self._service.view.leave()
        self._greets = True

    def flush(self) -> None:
        """Send what waits, if zmq takes it."""
        self._pack()
        self._send()

    def _pack(self) -> None:
        """Put the records of all requests that are over into the outbox."""
        while self._make_records(_MAX_RECORDS):
            pass
        self._close_message()

    def _make_records(self, most: int) -> bool:
        """Make some records; return whether there are more to be made.

        None are made for a supervisor that does not listen, or reads slower than they come; those
        that wait for that are made with the next message, which is a report at the latest.
        """
        if len(self._outbox) >= _MAX_UNSENT:
            self._send()  # there may be room by now
        if self._silent_s() > self._limits.lost_s or len(self._outbox) >= _MAX_UNSENT:
            return False
        self._service.monitor.sends.flush()  # then all is known of those that ended in this turn
        for _ in range(min(most, len(self._ended), _MAX_RECORDS - len(self._records))):
            self._records.append(encode(make_record(*self._ended.popleft())))
        if len(self._records) >= _MAX_RECORDS:
            self._close_message()
        return bool(self._ended)

    def _close_message(self) -> None:
        if not self._records:
            return
        number = 0
        if self._service.names.config.supervisor_grace_s:
            number = self._number = self._number + 1
            self._unnoted.append((number, self._records))
        self._outbox.append(encode_finished(self._records, number))
        self._records = []

    def _say_again(self) -> None:
        """Tell another supervisor of the ends that the one before it may not have noted."""
        for number, records in self._unnoted:
            self._outbox.append(encode_finished(records, number, again=True))
        self._send()

    async def all_noted(self) -> None:
        """Return once all ends are noted, or soon: the next supervisor may not come."""
        self._say_report()
        with trio.move_on_after(_NOTED_S):
            while self._unnoted:
                await self._noted.wait()

    def _send(self) -> None:
        while self._outbox:
            if not self._lease.send([self._token, self._outbox[0]]):
                return
            self._outbox.popleft()

    async def _make_records_soon(self) -> None:
        while True:
            await self._some_ended.wait()
            self._some_ended = trio.Event()
            await self._make_all_records()

    async def _flush_soon(self) -> None:
        while True:
            await self._unsent.wait()
            self._unsent = trio.Event()
            await trio.sleep(_SOON_S)
            self._is_sent_soon = False
            await self._make_all_records()
            self.flush()

    async def _make_all_records(self) -> None:
        # A share of them in each turn, since others come meanwhile.
        while self._make_records(max(_RECORDS_A_TURN, len(self._ended) // 4)):
            self._send()
            await trio.lowlevel.checkpoint()

    async def run(self) -> None:
        """Speak until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._greet)
            nursery.start_soon(self._receive_messages)
            nursery.start_soon(self._receive_events)
            nursery.start_soon(self._report)
            nursery.start_soon(self._make_records_soon)
            nursery.start_soon(self._flush_soon)

    async def _greet(self) -> None:
        while True:
            if self._greets:
                service = self._service
                self.say(
                    Hello(
                        worker=self._worker,
                        pid=os.getpid(),
                        holds=service.leases.holdings(),
                        selected=service.engagements.selected(),
                        claimed=service.engagements.claimed(),
                        keys=service.engagements.keys(),
                        waits=service.leases.waits(),
                    )
                )
            self._wakefulness.look(trio.current_time())
            await trio.sleep(_HELLO_S)

    async def _report(self) -> None:
        await self.welcomed.wait()
        while True:
            self._say_report()
            is_waited_for = trio.current_time() < (self._away_until or 0.0)
            if self._silent_s() > self._limits.lost_s and not is_waited_for:
                self._greets = True  # it may be another one by the time it speaks
                left = self._service.leases.lost()
                if left:
                    log.warning("supervisor.lost waiting=%d", len(left))
                for message in left:
                    self.say(message)
            await trio.sleep(self._limits.report_s)

    def _silent_s(self) -> float:
        return self._wakefulness.silent_s(self._heard_at, trio.current_time())

    def _say_report(self, probe: int = 0) -> None:
        generation = self._service.names.config.generation
        report = self._service.leases.report(probe, self._service.upstreams.was_heard)
        self.say(msgspec.structs.replace(report, generation=generation))

    async def _receive_messages(self) -> None:
        while True:
            frames = await self._lease.receive()
            self._heard_at = trio.current_time()
            try:
                message = read_from_supervisor(frames[-1])
            except RemoteProtocolError as exc:
                log.warning("lease.unreadable error=%s", exc)
                continue
            self._handle(message)

    def _handle(self, message: FromSupervisor) -> None:
        service = self._service
        leases = service.leases
        if self._away_until is not None and not isinstance(message, Welcome):
            return  # a last word of the one that has gone: the next one is told what holds now
        match message:
            case Welcome():
                self._take_welcome(message)
            case Finish():
                self.finish.set()
            case Away():
                self._is_away()
            case PeerLost(peer=peer):
                service.awaited.lost(peer, trio.current_time())
            case Noted():
                while self._unnoted and self._unnoted[0][0] <= message.number:
                    self._unnoted.popleft()
                self._noted.set()
                self._noted = trio.Event()
            case Grant():
                leases.granted(message, trio.current_time())
            case Refuse():
                leases.refused(message)
            case Revoke():
                held = service.view.standing(message.model).endpoint
                if message.error is not None:
                    lease = leases.held(message.model, message.lease)
                    service.monitor.end_all(lease, message.error)
                released = leases.revoke(message)
                if released is not None:
                    if held is not None:
                        service.upstreams.forget(held)
                    self.say(released)
            case Void():
                endpoint = leases.gone(message)
                if endpoint is not None:
                    service.upstreams.forget(endpoint)
            case Probe():
                self._say_report(message.probe)
            case Resynced():
                service.view.restart(message.snapshot)
            case InflightOrder():
                service.feeds.on_order(message.wanted)
            case CancelOrder():
                result = service.running.cancel(message.request_id, message.caller, message.peer)
                self.say(CancelOutcome(ask=message.ask, result=result))
            case PreviewOrder():
                self.say(preview(service.names, message))
            case Claimed() | Selected() | KeyAnswer() | Peeked() | There():
                service.queries.answered(message)
            case ProfileAnswer() | CancelAnswer():
                service.queries.answered(message)
            case _:
                assert_never(message)

    def _take_welcome(self, message: Welcome) -> None:
        service = self._service
        is_another = message.snapshot.epoch != self._epoch
        if self._away_until is not None and not is_another:
            return  # a last word of the one that has gone
        self._greets = False
        service.instance = message.snapshot.epoch
        service.configure(message.config)
        service.view.restart(message.snapshot)
        if is_another and self._epoch:
            service.feeds.on_another_supervisor()
            log.info("supervisor.replaced by=%d", message.pid)
            service.view.config_generation = message.config.generation
            self._say_again()
            service.queries.repeat()
            for want in service.leases.renew():
                self.say(want)
        self._epoch, self._away_until = message.snapshot.epoch, None
        self.supervisor = message.pid or self.supervisor
        self._back.set()
        self.welcomed.set()
        self._say_report()  # a reload waits until all workers follow it

    async def _receive_events(self) -> None:
        await self.welcomed.wait()
        view = self._service.view
        while True:
            frames = await self._events.receive()
            self._heard_at = trio.current_time()
            try:
                event = decode_event(frames)
            except RemoteProtocolError as exc:
                log.warning("event.unreadable error=%s", exc)
                continue
            if not view.take(event) and self._heard_at >= self._resync_after:
                self._resync_after = self._heard_at + _RESYNC_S
                self.say(Resync())
            if event.epoch != self._epoch:
                self._greets = True  # of another supervisor, which does not know us
            elif view.config_generation > self._service.names.config.generation:
                self._greets = True  # the welcome that brings it has not come (yet)
