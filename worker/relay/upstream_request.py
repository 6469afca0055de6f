"""A request goes up; the head of its answer, and then its bytes, come down.

One read at a time: a client that is slow slows the upstream down.
"""

import math
import time

import trio

from arriero.protocol.worker_config import PeerRoute

from ..connections.connection import Connection, WaitingFor
from ..connections.stream import StreamBroken
from ..errors import ClientGone, RelayError, UpstreamDied, UpstreamSilent
from ..http.header_rules import CompiledRules
from ..http.tracing import Trace
from ..leases.leases import Lease
from ..progress.model_view import ModelView
from ..upstreams.admission_gate import AdmissionGate
from ..upstreams.heads import MAX_ANSWER_HEAD_BYTES, ResponseHead, upstream_request
from ..upstreams.peers import peer_request
from ..upstreams.pool import Endpoint, UpstreamConnection, UpstreamUnreachable
from ..upstreams.request import UpstreamRequest
from .exchange import Call

# Bodies up to this size are sent together with the head: copying is cheaper than a system call.
_JOINED_BYTES = 64 * 1024

# Seconds in which more may come before small pieces are read; see `stream_response`.
_BATCH_S = 0.002

# After the grant nothing is said about the model any more; a stream that was begun has its
# heartbeats until the upstream's first byte.
_READY_VIEW = ModelView("ready")


def head_for_model(
    call: Call,
    endpoint: Endpoint,
    lease: Lease,
    length: int | None,
    trace: Trace,
    rules: CompiledRules | None,
) -> bytes:
    """Return the head that goes to a model of this machine; see `upstream_request`.

    With keys of our own, what a client shows is one of them, and no model's business.
    """
    return upstream_request(
        call.head,
        target=call.target,
        length=length,
        peer=call.conn.peer,
        base_path=endpoint.base_path,
        extra=trace.upstream_lines,
        rules=rules,
        key_line=lease.key_line,
        forwards=not call.config.api_keys,
    )


def head_for_peer(
    call: Call,
    peer: PeerRoute,
    body: bytes,
    length: int | None,
    trace: Trace,
    rules: CompiledRules | None,
) -> bytes:
    """Return the head that goes to a peer now; see `peer_request`."""
    return peer_request(
        peer,
        call.route.send_as or call.route.model,
        call.head,
        body,
        length=length,
        route=call.way,
        stream=call.stream,
        own_keys=call.config.api_keys,
        now=time.time(),
        extra=trace.upstream_lines,
        rules=rules,
    )


class _Attempt:
    """A connection that is not there yet, and may be ended nevertheless."""

    def __init__(self, scope: trio.CancelScope) -> None:
        self.cut = scope.cancel


async def open_link(conn: Connection, endpoint: Endpoint, connect_s: float) -> UpstreamConnection:
    """Return a new connection; see `Endpoint.open`. The attempt ends when nobody waits for it."""
    with trio.CancelScope() as scope:
        conn.upstream = _Attempt(scope)
        try:
            return await endpoint.open(connect_s)
        finally:
            conn.upstream = None
    conn.check()
    raise UpstreamUnreachable("cannot reach the model's server")


async def wait_for_room(call: Call, gate: AdmissionGate) -> None:
    """Wait until the upstream can be asked; meanwhile the client hears what it is to hear.

    Raises:
        ClientGone: The client has left.
        RequestCancelled: Somebody has asked for the end.
        UpstreamSilent: The upstream has answered nobody for too long.
    """
    conn = call.conn
    conn.wait_for(WaitingFor.UPSTREAM, call.config.upstream_idle_s)
    place = gate.line_up()
    try:
        with trio.CancelScope() as scope:
            conn.upstream = _Attempt(scope)
            while True:
                with trio.move_on_at(call.next_deadline() if call.speaks else math.inf):
                    await place.wait()
                    return
                await call.tell(_READY_VIEW)
        blame(conn)
        raise UpstreamUnreachable("cannot reach the model's server")
    except BaseException:
        gate.give_up(place)
        raise
    finally:
        conn.upstream = None


def blame(conn: Connection) -> None:
    """Say why an upstream connection ended, if it was not the upstream."""
    conn.check()
    if conn.expired:
        raise UpstreamSilent("the model's server said nothing for too long")


async def ask(call: Call, link: UpstreamConnection, outgoing: UpstreamRequest) -> bytes:
    """Send the request and return the first bytes of the answer; none if there are none."""
    wire = link.wire
    if call.upload is not None:
        return await _ask_with_upload(call, link, outgoing)
    body = outgoing.body
    try:
        if outgoing.parts:
            for part in (outgoing.head, *outgoing.parts):
                await wire.send(part)
        elif len(body) <= _JOINED_BYTES:
            await wire.send(outgoing.head + body)
        else:
            await wire.send(outgoing.head)
            await wire.send(body)
    except StreamBroken:
        pass  # perhaps it has answered all the same, as with 413
    return await first_bytes(call, link)


async def _ask_with_upload(
    call: Call, link: UpstreamConnection, outgoing: UpstreamRequest
) -> bytes:
    """The same with a body that comes from the client meanwhile.

    An answer that comes before its end (an error, as a rule) ends the sending.
    """
    upload = call.upload
    assert upload is not None
    link.half_asked = True
    failure: ClientGone | RelayError | None = None

    async def send() -> None:
        nonlocal failure
        try:
            await link.wire.send(outgoing.head)
            link.half_asked = not await upload.send(link.wire)
        except StreamBroken:
            pass  # perhaps it has answered all the same
        except (ClientGone, RelayError) as exc:
            failure = exc
            link.wire.cut()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        data = await first_bytes(call, link)
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    if not upload.drained:
        call.close = True
    return data


async def first_bytes(call: Call, link: UpstreamConnection) -> bytes:
    """Wait for bytes; meanwhile the client hears what it is to hear."""
    try:
        if not call.speaks:
            return await link.wire.receive()
        while True:
            with trio.move_on_at(call.next_deadline()):
                return await link.wire.receive()
            await call.tell(_READY_VIEW)
    except StreamBroken:
        return b""


async def read_head(
    call: Call, link: UpstreamConnection, endpoint: Endpoint, data: bytes
) -> tuple[ResponseHead, bytes]:
    """Return the first head that is no interim one, and what has come of the body."""
    while True:
        end = data.find(b"\r\n\r\n") + 4
        if end >= 4:
            head = endpoint.read_head(data[:end])
            data = data[end:]
            if head.status >= 200:
                return head, data
            if not data:
                data = await first_bytes(call, link)
            continue
        if len(data) > MAX_ANSWER_HEAD_BYTES:
            raise UpstreamDied("cannot read the answer: its head is too long")
        more = await next_bytes(call, link) if data else b""
        if not more:
            blame(call.conn)
            raise UpstreamDied("the model's server went away before it answered")
        data += more


async def next_bytes(
    call: Call, link: UpstreamConnection, *, batch: bool = False, until: float = math.inf
) -> bytes:
    """Return the next bytes of the answer; none when the connection ended, or was reset.

    Args:
        call: Whose answer it is.
        link: Where it comes from.
        batch: Let some more come first.
        until: When silence is too long, if that is before its usual end.

    Raises:
        ClientGone: It was ended because the client has left.
    """
    conn = call.conn
    conn.deadline = min(conn.monitor.now + call.config.upstream_idle_s, until)
    try:
        if batch:
            await trio.sleep(_BATCH_S)
            data = await link.wire.receive_now()
        else:
            data = await link.wire.receive()
    except StreamBroken:
        data = b""
        link.reset = True
    if not data and conn.gone:
        raise ClientGone
    return data
