"""Asks an upstream for a WebSocket."""

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import msgspec
import trio

from arriero.protocol.worker_config import Timeouts

from ..connections.connection import Connection
from ..connections.stream import StreamBroken
from ..errors import UpstreamDied, UpstreamSilent
from ..upstreams.heads import MAX_ANSWER_HEAD_BYTES
from ..upstreams.pool import Endpoint, UpstreamConnection, UpstreamUnanswered
from .handshake import UpgradeHead, read_opened


class DialledUpstream(msgspec.Struct, frozen=True, kw_only=True):
    """A connection to an upstream that was asked for a WebSocket.

    Attributes:
        link: The connection.
        opened: What it has answered.
        raw: The same as it came, with its blank line.
        rest: Bytes that came behind it.
        may_stay: Whether its model is to be kept; if not, it ends as soon as it does nothing.
    """

    link: UpstreamConnection
    opened: UpgradeHead
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


@asynccontextmanager
async def dial(
    endpoint: Endpoint,
    request: bytes,
    *,
    timeouts: Timeouts,
    head_s: float,
    may_stay: Callable[[], bool],
) -> AsyncGenerator[DialledUpstream, None]:
    """Ask an upstream for a WebSocket; the connection is closed when the block ends.

    Args:
        endpoint: Where.
        request: The head of the request.
        timeouts: Of the connection.
        head_s: Seconds for the answer.
        may_stay: See `DialledUpstream`.

    Raises:
        Unreachable: Nobody listens there.
        UpstreamUnanswered: It went away without a byte of an answer.
        UpstreamDied: It went away in the middle of its answer, or speaks no HTTP.
        UpstreamSilent: It does not answer in time.
    """
    link = await endpoint.open(timeouts)
    try:
        with trio.move_on_after(head_s) as waiting:
            with suppress(StreamBroken):  # perhaps it has answered all the same
                await link.transport.send(request)
            opened, raw, rest = await _read_opened(link)
        if waiting.cancelled_caught:
            raise UpstreamSilent("the model's server said nothing for too long")
        yield DialledUpstream(link=link, opened=opened, raw=raw, rest=rest, may_stay=may_stay)
    finally:
        link.transport.close()


async def _read_opened(link: UpstreamConnection) -> tuple[UpgradeHead, bytes, bytes]:
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
        try:
            more = await link.transport.receive()
        except StreamBroken:
            more = b""
        if not more:
            gone = UpstreamDied if data else UpstreamUnanswered
            raise gone("the model's server went away before it answered")
        data += more
