"""Relays a WebSocket of the Responses API, message by message.

One read at a time per direction: a side that is slow slows the other one down, and nothing is
buffered beyond one read and one message.
"""

import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

import trio

from ..connections.connection import Connection
from ..connections.stream import StreamBroken
from ..connections.time_slices import TimeSlices
from ..errors import BadRequest, ClientGone, RelayError, UpstreamDied, from_verdict
from ..http.body_memory import MemoryHold
from ..json.large_body import LARGE_BYTES, LargeBody, read_large
from ..upstreams.pool import UpstreamStream
from .dial import DialledUpstream
from .frames import (
    Event,
    PongDue,
    WsClose,
    WsCodec,
    WsEnd,
    WsEnded,
    WsMessage,
    cancelled,
    ended_by_client,
    ended_by_upstream,
    failed,
    not_kept,
    refused,
    silent,
)
from .responses_turns import ResponsesTurns

# Seconds for the last words of a WebSocket.
_PARTING_S = 2.0

# Seconds between two looks at whether a WebSocket without a turn may stay.
_LOOK_S = 1.0

# Bytes that are taken apart in one go, and how many events in them are few. A frame may have two
# bytes, and takes as long as one of a thousand.
_STEP_BYTES = 4096
_FEW_EVENTS = 16

Dial: TypeAlias = Callable[[], AbstractAsyncContextManager[DialledUpstream]]


class WsSide:
    """One side of a WebSocket: messages in, messages out. Pings are answered while it is read."""

    def __init__(
        self,
        leg: WsCodec,
        transport: UpstreamStream,
        send: Callable[[bytes], Awaitable[None]],
        data: bytes,
        fairness: TimeSlices,
    ) -> None:
        """Build it.

        Args:
            leg: Its frames.
            transport: Gives its bytes.
            send: Sends some; raises `ClientGone` or `StreamBroken` if they are not taken.
            data: What it has sent already.
            fairness: Gives turns to those whose frames are many.
        """
        self._leg = leg
        self._transport = transport
        self._send = send
        self._fairness = fairness
        self._unread = data
        self._events: deque[Event] = deque()
        self._is_dense = False
        self._sending = trio.Lock()  # whoever reads answers pings
        self._whole = True  # what was sent last

    async def next(self) -> WsMessage | WsEnded:
        """Wait for what it says next."""
        while True:
            # reads of a side that always has more cannot be cancelled: they would lose bytes
            await trio.lowlevel.checkpoint_if_cancelled()
            while not self._events:
                if not self._unread:
                    try:
                        self._unread = await self._transport.receive()
                    except StreamBroken:
                        self._unread = b""
                    if not self._unread:
                        return WsEnded()
                elif self._is_dense:
                    await self._fairness.turn()
                data, self._unread = self._unread[:_STEP_BYTES], self._unread[_STEP_BYTES:]
                self._events.extend(self._leg.receive(data))
                self._is_dense = len(self._events) > _FEW_EVENTS
            event = self._events.popleft()
            if not isinstance(event, PongDue):
                return event
            await self._say(event.frame)

    async def send(self, message: WsMessage) -> bool:
        """Send a message; returns whether it was taken. If not, whoever reads hears why."""
        return await self._say(self._leg.message(message))

    async def end(self, close: WsClose | None) -> None:
        """Say why it ends, if that was not said and can be."""
        if close is not None and self._whole:
            await self._say(self._leg.close(close))

    async def drain(self) -> None:
        """Drop what it says until it has closed the connection."""
        with contextlib.suppress(StreamBroken):
            while await self._transport.receive():
                pass

    async def _say(self, frame: bytes) -> bool:
        if not frame:
            return False
        async with self._sending:
            self._whole = False
            try:
                await self._send(frame)
            except (ClientGone, StreamBroken):
                return False
            self._whole = True
        return True


class ResponsesSocket:
    """One WebSocket of the Responses API, from its first message to its end."""

    def __init__(
        self,
        conn: Connection,
        turns: ResponsesTurns,
        idle_s: float,
        is_finishing: Callable[[], bool],
        hold: MemoryHold,
    ) -> None:
        """Build it.

        Args:
            conn: The client's, whose WebSocket is open.
            turns: What is asked and answered on it.
            idle_s: The longest silence; pings are no words.
            is_finishing: Whether this worker is about to end.
            hold: Counts the bytes of the client's message that is on its way.
        """
        self._conn = conn
        self._turns = turns
        self._idle_s = idle_s
        self._is_finishing = is_finishing
        self._client = WsSide(
            WsCodec(serves=True, hold=hold),
            conn.transport,
            conn.send,
            conn.buffer,
            conn.monitor.fairness,
        )
        self._scope = trio.CancelScope()
        self._end: WsEnd | None = None
        self._spoke_at = trio.current_time()
        self._dialled = trio.Event()
        self._may_stay: Callable[[], bool] = lambda: True
        self._upstream: WsSide | None = None

    def cut(self) -> None:
        """End it: the client has gone, or somebody has asked for that (the monitor calls this)."""
        self._scope.cancel()

    async def run(self, dial: Dial) -> None:
        """Relay until either side ends.

        Args:
            dial: Opens the way to the model of the first turn.
        """
        self._conn.upstream = self
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._watch)
                    await self._talk(dial, nursery)
            with trio.move_on_after(_PARTING_S, shield=True):
                await self._client.end(self._why().client)
        finally:
            self._conn.upstream = None
            self._turns.end(self._why().error)

    def _finish(self, end: WsEnd) -> None:
        if self._end is None:
            self._end = end
        self._scope.cancel()

    def _why(self) -> WsEnd:
        if self._end is not None:
            return self._end
        if self._conn.cancelled:
            by_client = self._conn.cancelled_by_client
            return cancelled(self._conn.cancellation(), by_client=by_client)
        if self._conn.gone:
            return ended_by_client(WsEnded())
        if self._conn.verdict is not None:
            return failed(from_verdict(self._conn.verdict))
        return failed(UpstreamDied("this server ends"))  # cancelled from above

    async def _watch(self) -> None:
        """End it when nothing is said for too long, or its place is needed between two turns."""
        while True:
            in_turn = self._turns.is_open
            if in_turn and not self._dialled.is_set():
                self._spoke_at = trio.current_time()  # a load has limits of its own
            left_s = self._spoke_at + self._idle_s - trio.current_time()
            if left_s <= 0:
                self._finish(silent(self._idle_s, in_turn=in_turn))
            if not in_turn and (self._is_finishing() or not self._may_stay()):
                self._finish(not_kept())
            await trio.sleep(max(0, min(left_s, _LOOK_S)))

    async def _talk(self, dial: Dial, nursery: trio.Nursery) -> None:
        first = await self._client.next()
        if isinstance(first, WsEnded):
            self._finish(ended_by_client(first))
            return
        try:
            message = await self._say(first)
        except RelayError as error:
            self._finish(refused(error))
            return
        nursery.start_soon(self._from_client)
        try:
            async with dial() as dialled:
                if self._turns.is_elsewhere:
                    message = await self._renamed(message)
                await self._from_upstream(dialled, message)
        except RelayError as error:
            self._finish(failed(error))
        except ClientGone:
            self._finish(ended_by_client(WsEnded()))

    async def _say(self, message: WsMessage) -> WsMessage:
        """Return a message of the client as it goes to the model; see `ResponsesTurns.say`."""
        large = await self._read_large(message)
        await self._turns.ask_first(message, large)
        return self._turns.say(message, large)

    async def _renamed(self, first: WsMessage) -> WsMessage:
        """Return the first message with the name of the model that serves after all."""
        return self._turns.renamed(first, await self._read_large(first))

    async def _read_large(self, message: WsMessage) -> LargeBody | None:
        if not message.is_text or len(message.data) <= LARGE_BYTES:
            return None
        steps = read_large(message.data, self._turns.strip_large)
        try:
            return await self._conn.monitor.fairness.run(steps)
        except BadRequest:
            return LargeBody(message.data, b"", ())

    async def _from_client(self) -> None:
        while True:
            event = await self._client.next()
            self._spoke_at = trio.current_time()
            if isinstance(event, WsEnded):
                self._finish(ended_by_client(event))
                return
            await self._dialled.wait()
            assert self._upstream is not None
            try:
                message = await self._say(event)
            except RelayError as error:
                self._finish(refused(error))
                return
            await self._upstream.send(message)

    async def _from_upstream(self, dialled: DialledUpstream, first: WsMessage) -> None:
        if dialled.opened.status != 101:
            raise UpstreamDied(
                "the model's server opens no WebSocket here: it answered "
                f"{dialled.opened.status}; ask by HTTP"
            )
        transport = dialled.link.transport
        leg = WsCodec(serves=False)
        self._upstream = upstream = WsSide(
            leg, transport, transport.send, dialled.rest, self._conn.monitor.fairness
        )
        self._may_stay = dialled.may_stay
        try:
            await upstream.send(first)
            self._spoke_at = trio.current_time()
            self._dialled.set()
            while True:
                event = await upstream.next()
                self._spoke_at = trio.current_time()
                if isinstance(event, WsEnded):
                    self._finish(ended_by_upstream(event))
                    return
                if await self._client.send(event):
                    self._turns.hear(event, trio.current_time())
        finally:
            end = self._why()
            with trio.move_on_after(_PARTING_S, shield=True):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._client.end, end.client)
                    await upstream.end(end.upstream)
                    await upstream.drain()
