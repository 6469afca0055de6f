"""The page door: Hypercorn takes a connection over, with the bytes that were read. Doing.

`hypercorn.trio.tcp_server.TCPServer` is half-internal. This is the only file that touches it, the
version range in pyproject.toml is narrow, and a test fails when its shape moves. It serves what
it finds: HTTP/1.1, HTTP/2 with prior knowledge, WebSocket upgrades.
"""

import contextlib
import logging
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, ConnectionState, LifespanState

from .head import MAX_HEAD_BYTES
from .wire import Wire

# Milliseconds for a client to acknowledge what was sent. Hypercorn's writes are shielded, so a
# client that stops reading would keep its task for ever; the kernel ends it (tcp(7)).
_USER_TIMEOUT_MS = 30_000

# Seconds of silence while a request is being read, and between requests of HTTP/2.
_READ_TIMEOUT_S = 75

# Seconds for the app to end; it has nothing to do then.
_SHUTDOWN_S = 1.0


class _ReplayStream:
    """What TCPServer uses of a `trio.SocketStream`, which is final; the first bytes were read."""

    def __init__(self, sock: socket.socket, data: bytes) -> None:
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        self._data = data
        self.socket = self._stream.socket

    async def receive_some(self, max_bytes: int) -> bytes:
        """Return what was read before, then what comes."""
        if self._data:
            await trio.lowlevel.checkpoint()
            data, self._data = self._data[:max_bytes], self._data[max_bytes:]
            return data
        return await self._stream.receive_some(max_bytes)

    async def send_all(self, data: bytes) -> None:
        """Send all of `data`."""
        await self._stream.send_all(data)

    # The two below never wait, against trio's custom: quart-trio cancels the task that is at work
    # in them as soon as its answer is out, and a checkpoint would leave the connection open.

    async def send_eof(self) -> None:
        """Say that nothing more will come."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        """Close the socket."""
        self.socket.close()


class PageDoor:
    """Serves an ASGI app on connections that are handed to it."""

    def __init__(self, app: ASGIWrapper, config: Config, context: WorkerContext) -> None:
        self._app = app
        self._config = config
        self._context = context
        self.connections = 0

    async def __call__(self, sock: socket.socket, data: bytes) -> None:
        """Serve one connection until it ends, and close it.

        Args:
            sock: The connection.
            data: What was read from it.
        """
        wire = Wire(sock)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)
        stream = _ReplayStream(sock, data)
        # `cut` is for answers that must not end well; HTTP/2 has no other way through ASGI.
        state = ConnectionState(LifespanState({"cut": wire.cut}))
        self.connections += 1
        try:
            # TCPServer's annotation asks for TLS; it takes plain streams just as well.
            await TCPServer(self._app, self._config, self._context, state, stream)  # type: ignore[arg-type]
        finally:
            self.connections -= 1
            wire.release()
            stream.socket.close()

    async def finish(self) -> None:
        """End the connections that do nothing; the others end after their request."""
        await self._context.terminated.set()


@asynccontextmanager
async def open_page_door(app: ASGIFramework) -> AsyncGenerator[PageDoor, None]:
    """Start `app` and give the door to it; the app is shut down when the block ends."""
    config = Config()
    config.h11_max_incomplete_size = MAX_HEAD_BYTES
    config.h2_max_header_list_size = MAX_HEAD_BYTES
    config.keep_alive_timeout = _READ_TIMEOUT_S
    config.read_timeout = _READ_TIMEOUT_S
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    wrapper = ASGIWrapper(app)
    context = WorkerContext(None)
    lifespan = Lifespan(wrapper, config, LifespanState({}))
    async with trio.open_nursery() as nursery:
        await nursery.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        yield PageDoor(wrapper, config, context)
        with trio.move_on_after(_SHUTDOWN_S):  # not when cancelled: the app is gone by then
            await lifespan.wait_for_shutdown()
        nursery.cancel_scope.cancel()
