"""Relays a WebSocket whose messages are nobody's business: mere bytes, both ways.

One read at a time per direction: a side that is slow slows the other one down.
"""

from collections.abc import Awaitable, Callable

import trio

from ..connections.connection import Connection
from ..connections.stream import SocketStream, StreamBroken
from ..errors import ClientGone, RelayError, UpstreamDied, UpstreamSilent
from .dial import DialledUpstream

# Seconds between two looks at whether anything moves.
_LOOK_S = 1.0


class Tunnel:
    """A WebSocket whose messages are nobody's business.

    Attributes:
        bytes_out: Bytes that have gone to the client.
    """

    def __init__(self, conn: Connection, dialled: DialledUpstream, idle_s: float) -> None:
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
        upstream = self._dialled.link.transport
        # TLS cannot end one direction alone
        end = upstream.end_writing if isinstance(upstream, SocketStream) else None
        await self._pass(self._conn.buffer, self._from_client, upstream.send, end)

    async def _down(self) -> None:
        upstream = self._dialled.link.transport
        end = self._conn.transport.end_writing
        await self._pass(self._dialled.rest, upstream.receive, self._to_client, end)

    async def _pass(
        self,
        data: bytes,
        receive: Callable[[], Awaitable[bytes]],
        send: Callable[[bytes], Awaitable[None]],
        end: Callable[[], None] | None,
    ) -> None:
        """Send `data` and all that is received, and then say that there is no more."""
        try:
            while True:
                if data:
                    await send(data)
                await trio.lowlevel.checkpoint_if_cancelled()  # a full read cannot be cancelled
                data = await receive()
                self._moved_at = trio.current_time()
                if not data:
                    break
        except StreamBroken:
            self._fail(UpstreamDied("the model's server went away in the middle of the socket"))
            return
        except ClientGone as gone:
            self._fail(gone)
            return
        if end is not None:
            end()
        self._idle_s = min(self._idle_s, self._conn.monitor.limits.half_closed_s)

    async def _from_client(self) -> bytes:
        try:
            return await self._conn.transport.receive()
        except StreamBroken as exc:
            raise ClientGone from exc

    async def _to_client(self, data: bytes) -> None:
        await self._conn.send(data)
        self.bytes_out += len(data)
