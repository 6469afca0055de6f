"""Looks after all connections of the relay door, a few times a second.

One task for all deadlines: it ends what waits for too long, and notices clients that left while
their answer is not ready. Neither costs a request anything.
"""

import heapq
import itertools
import math
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Protocol

import trio

from arriero.protocol.values import ErrorInfo
from arriero.protocol.wakefulness import Wakefulness

from ..errors import ClientGone, RequestCancelled, TooSlow, from_verdict
from ..http.auth import NOBODY
from ..http.request_head import RequestHead
from ..leases.leases import Lease
from ..limits import LIMITS, Limits
from .read_callbacks import ReadCallbacks
from .send_queue import SendQueue
from .stream import RECEIVE_BYTES, SocketStream, StreamBroken
from .time_slices import TimeSlices

# Connections that are looked at in one turn of the loop.
_LOOKS_PER_TURN = 64

FIRST_S = 1.0  # for the first byte, once this worker is to end

# For the next bytes of an upstream. A long prompt on a slow machine is silent for many minutes,
# so this is only what keeps a lost answer from being waited for until the client gives up.
UPSTREAM_S = 3600.0


class WaitingFor(Enum):
    """What a connection waits for, which decides what its deadline does."""

    IDLE = auto()  # the next request: closed without a word
    REQUEST = auto()  # the rest of a request: told that it is too slow
    CLIENT = auto()  # the client to take bytes: cut
    UPSTREAM = auto()  # the upstream: its connection is cut
    SUPERVISOR = auto()  # a model: has deadlines of its own


class Cuttable(Protocol):
    """Something that can be ended from outside."""

    def cut(self) -> None:
        """Wake whoever waits for it."""


class RunningAccount(Protocol):
    """What is known of a request that runs; see `accounting.Account`."""

    request_id: str
    unix_time: float
    path: bytes
    asked: str
    model: str
    bytes_out: int


class AnsweredHead(Protocol):
    """The head of an upstream's answer; see `upstreams.heads.ResponseHead`."""

    @property
    def fields(self) -> Sequence[tuple[bytes, bytes]]:
        """All of them, names in small letters."""


class Wakeup:
    """Wakes one task, as often as need be; wakes that nobody waited for are one wake."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = trio.Event()

    def set(self) -> None:
        """Wake the task, or let its next `wait` return at once."""
        self._event.set()

    async def wait(self) -> None:
        """Return once `set` was called since the last return."""
        await self._event.wait()
        self._event = trio.Event()


class HeartbeatTimer:
    """Breaks the silence of one stream whose upstream says nothing.

    Args:
        every_s: Longest silence.
        send: Sends a heartbeat, if that can be done at once; called by the monitor.

    Attributes:
        wrote_at: When anything was last written to the client.
        may: The stream waits for its upstream, so nobody else writes at this moment.
        over: The stream has ended.
    """

    __slots__ = ("every_s", "may", "over", "send", "wrote_at")

    def __init__(self, every_s: float, now: float, send: Callable[[], None]) -> None:
        self.every_s = every_s
        self.wrote_at = now
        self.send = send
        self.may = False
        self.over = False

    def end(self) -> None:
        """Send no more. The monitor holds it until it would be due, and no longer the stream."""
        self.over = True
        self.send = _nothing


def _nothing() -> None: ...


class Connection:
    """A client's connection and what is known of it.

    Attributes:
        transport: The socket.
        peer: The client's address, for X-Forwarded-For; may be empty.
        waits: What it waits for.
        deadline: Until when, as `trio.current_time()`.
        busy: A request is being answered, so the client's leaving matters.
        gone: The client has left.
        expired: The deadline has passed.
        upstream: The upstream connection that works for this client.
        patience: Says, once the deadline has passed, for how many more seconds its silence is
            borne; None: for none.
        wakeup: Wakes the task while it waits for a model.
        requests: Model requests so far.
        buffer: Bytes that were read and not used yet.
        cancelled: Somebody has asked for the end of the request.
        cancelled_by_client: It was the client itself.
        lease: The right by which the request runs; None if it has none.
        account, head: Of the request that is being answered, for those who watch; None without.
        answered_head: Of its upstream's answer, once that has come.
        verdict: Why the supervisor has ended the request.
        caller: Who asks, by the key that the request shows.
        tee: Gets all that is sent as well, while there is one.
    """

    __slots__ = (
        "_seen",
        "_unsent",
        "account",
        "answered_head",
        "buffer",
        "busy",
        "caller",
        "cancelled",
        "cancelled_by_client",
        "deadline",
        "expired",
        "gone",
        "head",
        "lease",
        "monitor",
        "patience",
        "peer",
        "requests",
        "tee",
        "transport",
        "upstream",
        "verdict",
        "waits",
        "wakeup",
    )

    def __init__(self, transport: SocketStream, peer: bytes, monitor: "ConnectionMonitor") -> None:
        self.transport = transport
        self.peer = peer
        self.monitor = monitor
        self.waits = WaitingFor.IDLE
        self.deadline = monitor.now + monitor.limits.head_s
        self.busy = False
        self.gone = False
        self.expired = False
        self.upstream: Cuttable | None = None
        self.patience: Callable[[], float] | None = None
        self.wakeup: Wakeup | None = None
        self.requests = 0
        self.buffer = b""
        self.cancelled = False
        self.cancelled_by_client = False
        self.lease: Lease | None = None
        self.account: RunningAccount | None = None
        self.head: RequestHead | None = None
        self.answered_head: AnsweredHead | None = None
        self.verdict: ErrorInfo | None = None
        self.caller = NOBODY
        self.tee: Callable[[bytes], None] | None = None
        self._seen = 0
        self._unsent = b""  # of a heartbeat that did not fit
        transport.watch(monitor.readers)

    def wait_for(self, what: WaitingFor, seconds: float) -> None:
        """Say what is waited for from now on, and for how long at the most."""
        self.waits = what
        self.deadline = self.monitor.now + seconds

    def begin_request(self) -> None:
        """Note that a request is being answered from now on, until `busy` is unset."""
        self.requests += 1
        self.cancelled = self.expired = False
        self.verdict = None
        self.busy = True

    async def receive(self, most: int = RECEIVE_BYTES) -> bytes:
        """Return what the client sent; empty at its end.

        Raises:
            TooSlow: The deadline has passed.
            ClientGone: The connection broke.
        """
        try:
            data = await self.transport.receive(most)
        except StreamBroken as exc:
            raise ClientGone from exc
        if not data and self.expired:
            raise TooSlow("cannot wait any longer for the rest of the request")
        return data

    async def send(self, data: bytes) -> None:
        """Send all of `data`.

        Raises:
            ClientGone: The client does not take it, or takes nothing for too long.
        """
        transport = self.transport
        if self.tee is not None:
            self.tee(data)
        if self._unsent:
            data = self._unsent + data
            self._unsent = b""
        try:
            sent = transport.send_now(data)
        except BlockingIOError:
            sent = 0
        except OSError as exc:
            raise ClientGone from exc
        if sent == len(data):
            return
        waits, deadline = self.waits, self.deadline
        view = memoryview(data)[sent:]
        try:
            while view:
                # for the next piece, not for the whole
                self.wait_for(WaitingFor.CLIENT, self.monitor.limits.write_s)
                view = view[await transport.wait_and_send(view) :]
        except StreamBroken as exc:
            raise ClientGone from exc
        finally:
            self.waits, self.deadline = waits, deadline

    def send_now(self, data: bytes) -> int:
        """Send what the client takes of `data` now; return how many bytes that were.

        Raises:
            ClientGone: The client does not take it.
        """
        if self._unsent:
            return 0  # `send` sends these first
        try:
            sent = self.transport.send_now(data)
        except BlockingIOError:
            return 0
        except OSError as exc:
            raise ClientGone from exc
        if self.tee is not None:
            self.tee(data[:sent])
        return sent

    async def send_last(self, data: bytes, lost: Callable[[], None]) -> None:
        """Send the end of a response, perhaps in a moment, together with those of others.

        For a connection from which the next request is read afterwards.

        Args:
            data: What to send.
            lost: Called if the client turns out to have gone in that moment.

        Raises:
            ClientGone: As for `send`.
        """
        if self._unsent or self.buffer or not self.monitor.sends.take(self.transport, data, lost):
            await self.send(data)
        elif self.tee is not None:
            self.tee(data)

    def send_soon(self, data: bytes) -> bool:
        """Send `data` if the client takes any of it now; the rest goes before all else.

        For a moment at which nobody else sends.

        Returns:
            Whether it was sent. A client that takes nothing has enough to read.
        """
        if self._unsent:
            return False
        try:
            sent = self.transport.send_now(data)
        except OSError:  # it has gone, which others notice, or its buffers are full
            return False
        if self.tee is not None:
            self.tee(data)
        self._unsent = data[sent:]
        return True

    def send_or_keep(self, data: bytes) -> None:
        """Send `data`; what the client does not take now goes before all else.

        For a moment at which nobody else sends, and nothing waits to be sent (see `catch_up`).
        """
        if self.tee is not None:
            self.tee(data)
        self._unsent = data
        self.catch_up()

    def catch_up(self) -> bool:
        """Send what waits to be sent, as far as the client takes it; False if some is left.

        A client that takes nothing for too long is cut, and one that has gone is noticed.
        """
        if not self._unsent:
            return True
        try:
            sent = self.transport.send_now(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._unsent = b""
            self._client_left()
            return True
        self._unsent = self._unsent[sent:]
        if not self._unsent:
            self.wait_for(WaitingFor.SUPERVISOR, math.inf)
        elif sent or self.waits is not WaitingFor.CLIENT:
            self.wait_for(WaitingFor.CLIENT, self.monitor.limits.write_s)
        return not self._unsent

    def check(self) -> None:
        """Raise if nobody wants the answer any more.

        Raises:
            ClientGone: The client has left.
            RequestCancelled: Somebody has asked for the end.
            RelayError: The supervisor has ended it.
        """
        if self.gone:
            raise ClientGone
        if self.cancelled:
            raise self.cancellation()
        if self.verdict is not None:
            raise from_verdict(self.verdict)

    def cancel(self, by_client: bool) -> None:
        """End the request that is being answered, wherever it is.

        Args:
            by_client: Its own client wants that; anybody else's wish is told as an error.
        """
        self.cancelled = True
        self.cancelled_by_client = by_client
        self._wake()

    @property
    def was_cut(self) -> bool:
        """Whether the upstream's silence is our own doing."""
        return self.expired or self.cancelled or self.verdict is not None

    def end(self, verdict: ErrorInfo) -> None:
        """End the request that is being answered, for the supervisor wants that."""
        self.verdict = verdict
        self._wake()

    def cancellation(self) -> RequestCancelled:
        """Return what the client is told of its cancelled request."""
        by = "" if self.cancelled_by_client else " by somebody else: its answer is not complete"
        return RequestCancelled(f"this request was cancelled{by}")

    def look(self, now: float) -> None:
        """Do what is due; called by the monitor."""
        if self.deadline <= now:
            if self.patience is not None and self.waits is WaitingFor.UPSTREAM:
                self.deadline += self.patience()
            if self.deadline <= now:
                self._expire()
        elif self.busy:
            if self._seen != self.requests:
                self._seen = self.requests  # too young to be looked at
            elif not self.gone and self.transport.peer_gone():
                self._client_left()

    def finish(self) -> None:
        """Close it if it does nothing; one that is new may send its first request still."""
        if self.waits is WaitingFor.IDLE:
            if self.requests:
                self.transport.cut()
            else:
                self.deadline = min(self.deadline, self.monitor.now + FIRST_S)

    def _expire(self) -> None:
        self.deadline = math.inf
        self.expired = True
        match self.waits:
            case WaitingFor.REQUEST:
                self.transport.stop_reading()
            case WaitingFor.IDLE | WaitingFor.CLIENT:
                self.transport.cut()
                if self.wakeup is not None:  # it waits for its model, and nobody else sends
                    self._client_left()
            case WaitingFor.UPSTREAM:
                if self.upstream is not None:
                    self.upstream.cut()
            case WaitingFor.SUPERVISOR:
                pass

    def _client_left(self) -> None:
        self.gone = True
        self._wake()

    def _wake(self) -> None:
        if self.upstream is not None:
            self.upstream.cut()
        if self.wakeup is not None:
            self.wakeup.set()


class ConnectionMonitor:
    """Knows all connections and looks at each of them every `Limits.tick_s`.

    Attributes:
        limits: How long is waited for clients.
        now: `trio.current_time()` of the last look: exact enough for deadlines of many seconds.
        connections: All of them.
        chores: Called at each look, with the time.
        fairness: Gives turns to connections that make much work.
        readers: Streams that are read as soon as something comes.
        sends: Makes the sends of one turn together.
        clock: `trio.current_time` itself, without the three calls that lead to it.
    """

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.limits = limits
        self.now = trio.current_time()
        self._wakefulness = Wakefulness(self.now)
        self.connections: set[Connection] = set()
        self.chores: list[Callable[[float], None]] = []
        self.fairness = TimeSlices()
        self.readers = ReadCallbacks()
        self.sends = SendQueue()
        self.clock = trio.lowlevel.current_clock().current_time
        self._beats: list[tuple[float, int, HeartbeatTimer]] = []  # a heap
        self._numbers = itertools.count()

    async def run(self) -> None:
        """Look around until cancelled."""
        tick_s = self.limits.tick_s
        look_at = trio.current_time() + tick_s
        while True:
            await trio.sleep_until(min(look_at, self._beats[0][0]) if self._beats else look_at)
            now = trio.current_time()
            if now >= look_at:
                look_at = now + tick_s
                self.now = now
                self._oversleep(self._wakefulness.look(now))
                self.sends.rest(rests=not self.readers.is_crowded)
                for count, connection in enumerate(tuple(self.connections), 1):
                    connection.look(now)
                    if count % _LOOKS_PER_TURN == 0:
                        await trio.lowlevel.checkpoint()  # thousands may have left at once
                for chore in self.chores:
                    chore(now)
            while self._beats and self._beats[0][0] <= now:
                self._beat(heapq.heappop(self._beats)[2], now)

    def end_all(self, lease: Lease | None, verdict: ErrorInfo) -> None:
        """End the requests that run by that `lease`."""
        if lease is not None:
            for connection in tuple(self.connections):
                if connection.lease is lease:
                    connection.end(verdict)

    def _oversleep(self, slept_s: float) -> None:
        """Give everybody the time back in which this process stood still, and read nothing."""
        if slept_s:
            for connection in self.connections:
                connection.deadline += slept_s

    def add_beat(self, beat: HeartbeatTimer) -> None:
        """Watch over the silence of a stream; intervals are longer than `Limits.tick_s`."""
        due = max(beat.wrote_at + beat.every_s, trio.current_time() + self.limits.beat_pause_s)
        heapq.heappush(self._beats, (due, next(self._numbers), beat))

    def _beat(self, beat: HeartbeatTimer, now: float) -> None:
        # Streams that write only note the time; here it is looked at when it matters.
        if beat.over:
            return
        if beat.may and now >= beat.wrote_at + beat.every_s:
            beat.send()
            beat.wrote_at = now
        self.add_beat(beat)

    def finish(self) -> None:
        """Close the connections that do nothing."""
        self.sends.flush()  # the last responses on them, which may have ended in this very turn
        for connection in tuple(self.connections):
            connection.finish()
