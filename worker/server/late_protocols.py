"""HTTP/2 and WebSockets, for those who speak them: a fifth of what a worker would import.

Few clients do. Their libraries are imported for the first one, in a thread, beside the streams of
all others.
"""

import socket
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import TYPE_CHECKING

import trio

from ..connections.connection import Connection
from ..errors import Unavailable
from ..http.request_head import RequestHead
from ..relay.context import RelayContext
from ..websocket.handshake import WsRequest
from .containment import FLOOD_LOG

if TYPE_CHECKING:
    from ..http2.connection import Http2Server

# No thread, descriptor or memory can be had, or the installation is being replaced.
SCARCE = (ImportError, MemoryError, OSError, RuntimeError)

_HTTP2 = "arriero.worker.http2.connection"
_WEBSOCKET = "arriero.worker.websocket.handler"

_imported: set[str] = set()


class LateHttp2:
    """Serves connections of HTTP/2 as `Http2Server` does, which is made for the first one.

    Args:
        serve: Serves one request.
    """

    def __init__(self, serve: Callable[[socket.socket, bytes], Awaitable[None]]) -> None:
        self._serve = serve
        self._server: Http2Server | None = None

    async def __call__(self, conn: Connection, data: bytes) -> None:
        """Serve one connection; see `Http2Server`.

        Raises:
            Unavailable: HTTP/2 cannot be loaded; it is tried again for the next one.
        """
        if self._server is None:
            await _import_late(_HTTP2)
            from ..http2.connection import Http2Server

            if self._server is None:
                self._server = Http2Server(self._serve)
        await self._server(conn, data)

    def finish(self) -> None:
        """See `Http2Server`."""
        if self._server is not None:
            self._server.finish()


async def answer_late_websocket(
    service: RelayContext, conn: Connection, head: RequestHead, way: WsRequest
) -> None:
    """Answer a request for a WebSocket; see `answer_websocket`.

    Raises:
        Unavailable: WebSockets cannot be loaded; it is tried again for the next one.
    """
    await _import_late(_WEBSOCKET)
    from ..websocket.handler import answer_websocket

    await answer_websocket(service, conn, head, way)


async def _import_late(name: str) -> None:
    if name in _imported:
        return
    try:
        await trio.to_thread.run_sync(import_module, name)
    except SCARCE as exc:
        FLOOD_LOG.exception(f"import.failed module={name} error={type(exc).__name__}", exc=exc)
        raise Unavailable(
            "this protocol cannot be loaded now", code="protocol_unavailable"
        ) from exc
    _imported.add(name)
