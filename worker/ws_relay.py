"""Relays a WebSocket: messages of the Responses API one by one, all others as mere bytes. Doing.

One read at a time per direction: a side that is slow slows the other one down, and nothing is
buffered beyond one read and one message.
"""

import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import trio

from .errors import ClientGone, RelayError, UpstreamDied, UpstreamSilent
from .headers import MAX_ANSWER_HEAD_BYTES
from .sentry import Connection
from .upstream import Endpoint, Link, LinkWire
from .websocket import (
    Close,
    End,
    Ended,
    Event,
    Leg,
    Message,
    OpenedHead,
    Reply,
    cancelled,
    ended_by_client,
    ended_by_upstream,
    failed,
    not_kept,
    read_opened,
    refused,
    silent,
)
from .wire import Wire, WireBroken
from .ws_turns import Turns

# Seconds for the last words of a WebSocket.
_PARTING_S = 2.0

# Seconds between two looks at whether a WebSocket without a turn may stay.
_LOOK_S = 1.0

# The longest silence of one side, once the other one has ended.
_HALF_CLOSED_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialled:
    """A connection to an upstream that was asked for a WebSocket.

    Attributes:
        link: The connection.
        opened: What it has answered.
        raw: The same as it came, with its blank line.
        rest: Bytes that came behind it.
        may_stay: Whether its model is to be kept; if not, it ends as soon as it does nothing.
    """

    link: Link
    opened: OpenedHead
    raw: bytes
    rest: bytes
    may_stay: Callable[[], bool]


class _Stop:
    """Ends what runs in a scope."""

    def __init__(self, scope: trio.CancelScope) -> None:
        self._scope = scope

    def cut(self) -> None:
        self._scope.cancel()


@contextmanager
def stoppable(conn: Connection) -> Iterator[None]:
    """Let the block be ended when the client has gone, or somebody has asked for that.

    Raises:
        ClientGone: The client has gone.
        RequestCancelled: Somebody has asked for the end.
    """
    with trio.CancelScope() as scope:
        conn.upstream = _Stop(scope)
        try:
            yield
        finally:
            conn.upstream = None
    if scope.cancelled_caught:
        conn.check()


Dial: TypeAlias = Callable[[], AbstractAsyncContextManager[Dialled]]


@asynccontextmanager
async def dial(
    endpoint: Endpoint,
    request: bytes,
    *,
    connect_s: float,
    head_s: float,
    may_stay: Callable[[], bool],
) -> AsyncGenerator[Dialled, None]:
    """Ask an upstream for a WebSocket; the connection is closed when the block ends.

    Args:
        endpoint: Where.
        request: The head of the request.
        connect_s: Seconds for the connection.
        head_s: The same for the answer.
        may_stay: See `Dialled`.

    Raises:
        Unreachable: Nobody listens there.
        UpstreamDied: It went away before it answered, or speaks no HTTP.
        UpstreamSilent: It does not answer in time.
    """
    link = await endpoint.open(connect_s)
    try:
        with trio.move_on_after(head_s) as waiting:
            try:
                await link.wire.send(request)
                opened, raw, rest = await _read_opened(link)
            except WireBroken as exc:
                raise UpstreamDied("the model's server went away before it answered") from exc
        if waiting.cancelled_caught:
            raise UpstreamSilent("the model's server said nothing for too long")
        yield Dialled(link=link, opened=opened, raw=raw, rest=rest, may_stay=may_stay)
    finally:
        link.wire.close()


async def _read_opened(link: Link) -> tuple[OpenedHead, bytes, bytes]:
    """Return the first answer that is no interim one, and what has come behind it."""
    data = b""
    while True:
        raw, blank, rest = data.partition(b"\r\n\r\n")
        if blank:
            opened = read_opened(raw + blank)
            if opened.status >= 200 or opened.status == 101:
                return opened, raw + blank, rest
            data = rest
            continue
        if len(data) > MAX_ANSWER_HEAD_BYTES:
            raise UpstreamDied("cannot read the answer: its head is too long")
        more = await link.wire.receive()
        if not more:
            raise UpstreamDied("the model's server went away before it answered")
        data += more


# --- messages ------------------------------------------------------------------------------------


class Side:
    """One side of a WebSocket: messages in, messages out. Pings are answered while it is read."""

    def __init__(
        self, leg: Leg, wire: LinkWire, send: Callable[[bytes], Awaitable[None]], data: bytes
    ) -> None:
        """Build it.

        Args:
            leg: Its frames.
            wire: Gives its bytes.
            send: Sends some; raises `ClientGone` or `WireBroken` if they are not taken.
            data: What it has sent already.
        """
        self._leg = leg
        self._wire = wire
        self._send = send
        self._events: deque[Event] = deque(leg.receive(data))
        self._sending = trio.Lock()  # whoever reads answers pings
        self._whole = True  # what was sent last

    async def next(self) -> Message | Ended:
        """Wait for what it says next."""
        while True:
            # reads of a side that always has more cannot be cancelled: they would lose bytes
            await trio.lowlevel.checkpoint_if_cancelled()
            while not self._events:
                try:
                    data = await self._wire.receive()
                except WireBroken:
                    data = b""
                if not data:
                    return Ended()
                self._events.extend(self._leg.receive(data))
            event = self._events.popleft()
            if not isinstance(event, Reply):
                return event
            await self._say(event.frame)

    async def send(self, message: Message) -> bool:
        """Send a message; returns whether it was taken. If not, whoever reads hears why."""
        return await self._say(self._leg.message(message))

    async def end(self, close: Close | None) -> None:
        """Say why it ends, if that was not said and can be."""
        if close is not None and self._whole:
            await self._say(self._leg.close(close))

    async def drain(self) -> None:
        """Drop what it says until it has closed the connection."""
        with contextlib.suppress(WireBroken):
            while await self._wire.receive():
                pass

    async def _say(self, frame: bytes) -> bool:
        if not frame:
            return False
        async with self._sending:
            self._whole = False
            try:
                await self._send(frame)
            except (ClientGone, WireBroken):
                return False
            self._whole = True
        return True


class TurnSocket:
    """One WebSocket of the Responses API, from its first message to its end."""

    def __init__(
        self, conn: Connection, turns: Turns, idle_s: float, is_finishing: Callable[[], bool]
    ) -> None:
        """Build it.

        Args:
            conn: The client's, whose WebSocket is open.
            turns: What is asked and answered on it.
            idle_s: The longest silence; pings are no words.
            is_finishing: Whether this worker is about to end.
        """
        self._conn = conn
        self._turns = turns
        self._idle_s = idle_s
        self._is_finishing = is_finishing
        self._client = Side(Leg(serves=True), conn.wire, conn.send, conn.buffer)
        self._scope = trio.CancelScope()
        self._end: End | None = None
        self._spoke_at = trio.current_time()
        self._dialled = trio.Event()
        self._may_stay: Callable[[], bool] = lambda: True
        self._upstream: Side | None = None

    def cut(self) -> None:
        """End it: the client has gone, or somebody has asked for that (the sentry calls this)."""
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

    def _finish(self, end: End) -> None:
        if self._end is None:
            self._end = end
        self._scope.cancel()

    def _why(self) -> End:
        if self._end is not None:
            return self._end
        if self._conn.cancelled:
            return cancelled()
        if self._conn.gone:
            return ended_by_client(Ended())
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
        if isinstance(first, Ended):
            self._finish(ended_by_client(first))
            return
        try:
            message = self._turns.say(first)
        except RelayError as error:
            self._finish(refused(error))
            return
        nursery.start_soon(self._from_client)
        try:
            async with dial() as dialled:
                await self._from_upstream(dialled, message)
        except RelayError as error:
            self._finish(failed(error))
        except ClientGone:
            self._finish(ended_by_client(Ended()))

    async def _from_client(self) -> None:
        while True:
            event = await self._client.next()
            self._spoke_at = trio.current_time()
            if isinstance(event, Ended):
                self._finish(ended_by_client(event))
                return
            await self._dialled.wait()
            assert self._upstream is not None
            try:
                message = self._turns.say(event)
            except RelayError as error:
                self._finish(refused(error))
                return
            await self._upstream.send(message)

    async def _from_upstream(self, dialled: Dialled, first: Message) -> None:
        if dialled.opened.status != 101:
            raise UpstreamDied(
                "the model's server opens no WebSocket here: it answered "
                f"{dialled.opened.status}; ask by HTTP"
            )
        wire = dialled.link.wire
        leg = Leg(serves=False)
        self._upstream = upstream = Side(leg, wire, wire.send, dialled.rest)
        self._may_stay = dialled.may_stay
        try:
            await upstream.send(first)
            self._spoke_at = trio.current_time()
            self._dialled.set()
            while True:
                event = await upstream.next()
                self._spoke_at = trio.current_time()
                if isinstance(event, Ended):
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


# --- mere bytes ----------------------------------------------------------------------------------


class Tunnel:
    """A WebSocket whose messages are nobody's business.

    Attributes:
        bytes_out: Bytes that have gone to the client.
    """

    def __init__(self, conn: Connection, dialled: Dialled, idle_s: float) -> None:
        """Build it.

        Args:
            conn: The client's, which has got the head of the answer.
            dialled: The upstream's.
            idle_s: The longest silence of both.
        """
        self.bytes_out = 0
        self._conn = conn
        self._dialled = dialled
        self._idle_s = idle_s
        self._moved_at = trio.current_time()
        self._failure: ClientGone | RelayError | None = None
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Pass bytes both ways until both sides have ended, or one of them is broken.

        Raises:
            ClientGone: The client's side is broken.
            UpstreamDied: The upstream's is.
            UpstreamSilent: Nothing was said for too long.
        """
        # one that has said all may still listen: that it has gone is heard when it takes nothing
        self._conn.busy = False
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch)
                async with trio.open_nursery() as both:
                    both.start_soon(self._up)
                    both.start_soon(self._down)
                nursery.cancel_scope.cancel()
        if self._failure is not None:
            raise self._failure

    def _fail(self, error: ClientGone | RelayError) -> None:
        self._failure = self._failure or error
        self._scope.cancel()

    async def _watch(self) -> None:
        while True:
            left_s = self._moved_at + self._idle_s - trio.current_time()
            if left_s <= 0:
                self._fail(UpstreamSilent("nothing was said for too long"))
            await trio.sleep(max(0, min(left_s, _LOOK_S)))

    async def _up(self) -> None:
        data = self._conn.buffer
        upstream = self._dialled.link.wire
        try:
            while True:
                if data:
                    await upstream.send(data)
                await trio.lowlevel.checkpoint_if_cancelled()  # see `Side.next`
                data = await self._from_client()
                if not data:
                    break
        except WireBroken:
            self._fail(UpstreamDied("the model's server went away in the middle of the socket"))
            return
        except ClientGone as gone:
            self._fail(gone)
            return
        if isinstance(upstream, Wire):  # TLS cannot end one direction alone
            upstream.end_writing()
        self._idle_s = min(self._idle_s, _HALF_CLOSED_S)

    async def _from_client(self) -> bytes:
        try:
            data = await self._conn.wire.receive()
        except WireBroken as exc:
            raise ClientGone from exc
        self._moved_at = trio.current_time()
        return data

    async def _down(self) -> None:
        data = self._dialled.rest
        try:
            while True:
                if data:
                    await self._conn.send(data)
                    self.bytes_out += len(data)
                await trio.lowlevel.checkpoint_if_cancelled()  # see `Side.next`
                data = await self._dialled.link.wire.receive()
                self._moved_at = trio.current_time()
                if not data:
                    break
        except WireBroken:
            self._fail(UpstreamDied("the model's server went away in the middle of the socket"))
            return
        except ClientGone as gone:
            self._fail(gone)
            return
        self._conn.wire.end_writing()
        self._idle_s = min(self._idle_s, _HALF_CLOSED_S)
