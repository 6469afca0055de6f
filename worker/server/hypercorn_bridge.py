"""The page door: Hypercorn answers one request, which is complete.

`hypercorn.trio.tcp_server.TCPServer` is half-internal. This is the only file that touches it, the
version range in pyproject.toml is narrow, and a test fails when its shape moves.
"""

import logging
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, ConnectionState, LifespanState

from ..connections.connection import Connection, WaitingFor
from ..connections.stream import SocketStream
from ..errors import ClientGone
from ..http.body_memory import MemoryHold
from ..http.request_head import MAX_HEAD_BYTES, RequestHead
from ..upstreams.upload import BodySource
from .hypercorn_request import MAX_PAGE_BODY_BYTES, page_request

# Bytes of a chunk that are worth reading on for; see `head` for lengths that are known.
_MAX_CHUNKED_BYTES = 64 * 1024 * 1024

# Seconds for the app to end; it has nothing to do then.
_SHUTDOWN_S = 1.0

# For what a client still sends after its answer: seconds of silence, bytes, seconds in all.
_LINGER_S = 5.0
_LINGER_BYTES = 1024**3
_LINGER_TOTAL_S = 300.0


class _OneRequest:
    """What TCPServer uses of a `trio.SocketStream`, which is final: one request, then silence."""

    def __init__(self, conn: Connection, request: bytes) -> None:
        self._conn = conn
        self._request = request
        self._reading = trio.CancelScope()
        self.socket = conn.transport.sock

    async def receive_some(self, _: int) -> bytes:
        """Return the request, all of it; then wait for the client to leave."""
        if self._request:
            await trio.lowlevel.checkpoint()
            request, self._request = self._request, b""
            return request
        try:
            with self._reading:
                while await self._conn.receive():
                    pass  # another request, which a closing connection does not answer
                return b""
        except ClientGone as exc:
            raise trio.BrokenResourceError from exc
        raise trio.ClosedResourceError

    async def send_all(self, data: bytes) -> None:
        """Send all of `data`; a client that takes none of it for long is cut."""
        try:
            await self._conn.send(data)
        except ClientGone as exc:
            raise trio.BrokenResourceError from exc

    # The two below never wait, against trio's custom: quart-trio cancels the task that is at work
    # in them as soon as its answer is out, and a checkpoint would leave the connection open. The
    # socket is closed afterwards, so that what still comes does not wipe the answer.

    async def send_eof(self) -> None:
        """Do nothing."""

    async def aclose(self) -> None:
        """Wake the reader: it is over."""
        self._reading.cancel()


class HypercornBridge:
    """Serves an ASGI app, one request per connection."""

    def __init__(self, app: ASGIWrapper, config: Config, context: WorkerContext) -> None:
        self._app = app
        self._config = config
        self._context = context

    async def __call__(
        self, conn: Connection, head: RequestHead, raw: bytes, hold: MemoryHold
    ) -> None:
        """Answer one request. The connection is over then.

        Args:
            conn: Where it came from.
            head: Of the request.
            raw: The same as it came.
            hold: Counts its body; its owner releases it.

        Raises:
            RelayError: Its body cannot be read, or there is no memory for it now.
            ClientGone: The client left in the middle of it.
        """
        body, length = await _read_body(conn, head, hold)
        conn.wait_for(WaitingFor.SUPERVISOR, math.inf)  # the app's answers have limits of their own
        stream = _OneRequest(conn, page_request(raw, body, length=length))
        state = ConnectionState(LifespanState({}))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cut_when_cancelled, conn.transport)
            # TCPServer's annotation asks for TLS; it takes plain streams just as well.
            await TCPServer(self._app, self._config, self._context, state, stream)  # type: ignore[arg-type]
            conn.wait_for(WaitingFor.IDLE, _LINGER_TOTAL_S)
            await conn.transport.linger(_LINGER_S, _LINGER_BYTES, _LINGER_TOTAL_S)
            nursery.cancel_scope.cancel()


async def _cut_when_cancelled(transport: SocketStream) -> None:
    """Cut the connection when all is to end: the server's writes take no notice of that."""
    try:
        await trio.sleep_forever()
    finally:
        transport.cut()


async def _read_body(conn: Connection, head: RequestHead, hold: MemoryHold) -> tuple[bytes, int]:
    """Return the whole body and its length. One that is too long is refused by its length."""
    if head.length is not None and head.length > MAX_PAGE_BODY_BYTES:
        return b"", head.length
    source = BodySource(conn, head, _MAX_CHUNKED_BYTES)
    body = bytearray()
    while piece := await source.read():
        hold.grow(len(piece))
        body += piece
        if len(body) > MAX_PAGE_BODY_BYTES:
            return b"", len(body)
    return bytes(body), len(body)


@asynccontextmanager
async def open_page_door(app: ASGIFramework) -> AsyncGenerator[HypercornBridge, None]:
    """Start `app` and give the door to it; the app is shut down when the block ends."""
    config = Config()
    config.h11_max_incomplete_size = MAX_HEAD_BYTES + 1024  # our lines come to it
    config.read_timeout = None  # nothing more is read
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    wrapper = ASGIWrapper(app)
    context = WorkerContext(None)
    lifespan = Lifespan(wrapper, config, LifespanState({}))
    async with trio.open_nursery() as nursery:
        await nursery.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        yield HypercornBridge(wrapper, config, context)
        with trio.move_on_after(_SHUTDOWN_S):  # not when cancelled: the app is gone by then
            await lifespan.wait_for_shutdown()
        nursery.cancel_scope.cancel()
