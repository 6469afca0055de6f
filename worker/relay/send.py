"""Sends a request upstream and reads the head of the response.

One read at a time: a client that is slow slows the upstream down.
"""

import math
import random
import time
from typing import NamedTuple

import msgspec
import trio

from arriero.protocol.worker_config import Timeouts

from ..connections.connection import Connection, WaitingFor
from ..connections.stream import SocketStream, StreamBroken
from ..errors import ClientGone, RelayError, UpstreamDied, UpstreamSilent
from ..progress.hop_progress import INTERIM, read_progress
from ..upstreams.admission_gate import AdmissionGate
from ..upstreams.heads import MAX_ANSWER_HEAD_BYTES, ResponseBody, ResponseHead
from ..upstreams.pool import (
    Endpoint,
    UpstreamConnection,
    UpstreamStream,
    UpstreamUnanswered,
    UpstreamUnreachable,
)
from ..upstreams.request import UpstreamRequest
from ..upstreams.retry import Retries
from ..upstreams.upload import Upload
from .exchange import Exchange
from .progress_updates import READY_VIEW
from .wait_for_model import STREAM_HOLD_S, hold_limit_s, too_long

# Bodies up to this size are sent together with the head: copying is cheaper than a system call.
_JOINED_BYTES = 64 * 1024

# What an interim response begins with.
_ANY_INTERIM = b"HTTP/1.1 1"

# How often another machine may tell of its model: a load takes minutes, and is told of twice a
# second.
_MAX_INTERIM = 10_000


class RetryAfter(NamedTuple):
    """The request has to be sent again; the client was sent nothing.

    Attributes:
        wait_s: Seconds until then.
        status: Of the response that asked for it.
    """

    wait_s: float
    status: int


class UpstreamResponse(msgspec.Struct, eq=False):
    """The response of an upstream, after its head was read.

    Attributes:
        conn: The connection of the client that it is for.
        idle_s: The longest silence.
        link: Where it comes from.
        head: Its head.
        body: Finds the body in what comes.
        data: Bytes that have come behind the head, and were not looked at.
        asked_usage, asked_progress: The upstream was asked for these in the client's name.
    """

    conn: Connection
    idle_s: float
    link: UpstreamConnection
    head: ResponseHead
    body: ResponseBody
    data: bytes
    asked_usage: bool = False
    asked_progress: bool = False

    @property
    def is_reusable(self) -> bool:
        """Whether its connection may carry another request."""
        return self.body.complete and self.body.keep_alive and not self.link.half_asked

    @property
    def ended_well(self) -> bool:
        """Whether the end of the connection completes the body."""
        return self.body.until_close and not self.link.reset and not self.conn.was_cut

    async def next_bytes(self, *, until: float = math.inf) -> bytes:
        """Return the next bytes; none when the connection ended, or was reset.

        Args:
            until: When silence is too long, if that is before its usual end.

        Raises:
            ClientGone: It was ended because the client has left.
        """
        conn, link = self.conn, self.link
        conn.deadline = min(conn.monitor.now + self.idle_s, until)
        try:
            data = await link.transport.receive()
        except StreamBroken:
            data = b""
            link.reset = True
        if not data and conn.gone:
            raise ClientGone
        return data


async def send(
    exchange: Exchange, endpoint: Endpoint, request: UpstreamRequest, retries: Retries
) -> UpstreamResponse | RetryAfter:
    """Send `request` to `endpoint` and read the head of its response.

    Args:
        exchange: Whose request it is.
        endpoint: Where it goes.
        request: What is sent.
        retries: Says whether the upstream is asked again that has answered with such a head.

    Returns:
        The response: its connection has to be given back, or closed. Or when the upstream has to
        be asked again, which has asked for patience.

    Raises:
        ClientGone: The client has left; the upstream connection is closed by then.
        RequestCancelled: Somebody has asked for the end, before anything was sent.
        UpstreamUnreachable: Nobody listens there. Nothing of the response was sent.
        UpstreamUnanswered: It went away without a byte of a response. Nothing of one was sent.
        UpstreamDied: It went away in the head of its response, or broke the rules of HTTP.
        UpstreamSilent: It said nothing for too long.
    """
    conn, wanted = exchange.writer.conn, exchange.request
    idle_s = wanted.config.upstream_idle_s
    gate = endpoint.gate if wanted.peer is None else None
    if gate is not None and not gate.enter_now():
        await _wait_for_room(exchange, gate)
    link: UpstreamConnection | None = None
    try:
        link = endpoint.take_idle(conn.monitor.clock()) or await _open_link(
            conn, endpoint, request.timeouts
        )
        conn.check()  # what was wished before there was anything to cut
        exchange.account.was_asked = True
        conn.wait_for(WaitingFor.UPSTREAM, min(idle_s, request.head_s))
        while True:
            conn.upstream = link
            if wanted.upload is None:
                await _write(conn, link.transport, request)
                data = await first_bytes(exchange, link)
            else:
                data = await _send_with_upload(exchange, link, request, wanted.upload)
            if data or not link.reused or not wanted.is_replayable:
                break
            # A kept connection that was closed at the other end just now: the request was not
            # looked at, so it may be sent again; once.
            blame(conn)
            link.transport.close()
            link = await _open_link(conn, endpoint, request.timeouts)
        if not data:
            blame(conn)
            raise UpstreamUnanswered("the model's server went away before it answered")
        if exchange.progress is not None and exchange.progress.has_waited:
            await conn.monitor.fairness.turn()  # all of them may be answered at once
        end = data.find(b"\r\n\r\n") + 4
        if end >= 4 and wanted.peer is None and not data.startswith(_ANY_INTERIM):
            head, data = endpoint.read_head(data[:end]), data[end:]  # nearly always
        else:
            head, data = await _read_head(exchange, link, endpoint, data, request)
        may_ask_again = retries.may_fall or not exchange.writer.committed
        if head.status >= 400 and may_ask_again and wanted.is_replayable:
            wait_s = _retry_after(retries, head)
            if wait_s is not None:
                conn.upstream = None
                link.transport.close()
                return RetryAfter(wait_s, head.status)
        if exchange.elsewhere is not None:
            await exchange.hear(READY_VIEW if head.status < 400 else None)
        return UpstreamResponse(
            conn,
            idle_s,
            link,
            head,
            ResponseBody(head, is_asked=wanted.head.method != b"HEAD"),
            data,
            request.asked_usage,
            request.asked_progress,
        )
    except BaseException:
        conn.upstream = None
        if link is not None:
            link.transport.close()
        raise
    finally:
        if gate is not None:
            gate.leave()


def blame(conn: Connection) -> None:
    """Raise if we closed the upstream connection ourselves.

    Raises:
        ClientGone: The client has left.
        RequestCancelled: Somebody has asked for the end.
        RelayError: The supervisor has ended the request.
        UpstreamSilent: The upstream said nothing for too long.
    """
    conn.check()
    if conn.expired:
        raise UpstreamSilent("the model's server said nothing for too long")


async def first_bytes(exchange: Exchange, link: UpstreamConnection) -> bytes:
    """Wait for bytes, and send updates meanwhile; none at the end."""
    progress = exchange.progress
    try:
        if progress is None or not (progress.may_speak or exchange.elsewhere is not None):
            return await link.transport.receive()
        while True:
            with trio.move_on_at(progress.next_deadline()):
                return await link.transport.receive()
            await progress.tell(exchange.elsewhere or READY_VIEW)
    except StreamBroken:
        return b""


class _Attempt:
    """A connection that is not there yet, and may be ended nevertheless."""

    def __init__(self, scope: trio.CancelScope) -> None:
        self.cut = scope.cancel


async def _open_link(
    conn: Connection, endpoint: Endpoint, timeouts: Timeouts
) -> UpstreamConnection:
    """Return a new connection, unless nobody waits for it any more."""
    with trio.CancelScope() as scope:
        conn.upstream = _Attempt(scope)
        try:
            link = await endpoint.open(timeouts)
            if isinstance(link.transport, SocketStream):
                link.transport.watch(conn.monitor.readers)
            return link
        finally:
            conn.upstream = None
    conn.check()
    raise UpstreamUnreachable("cannot reach the model's server")


async def _wait_for_room(exchange: Exchange, gate: AdmissionGate) -> None:
    """Wait until the upstream can be asked, with the client told meanwhile.

    Raises:
        ClientGone: The client has left.
        RequestCancelled: Somebody has asked for the end.
        UpstreamSilent: The upstream has answered nobody for too long.
    """
    conn, progress = exchange.writer.conn, exchange.progress
    conn.wait_for(WaitingFor.UPSTREAM, exchange.request.config.upstream_idle_s)
    place = gate.line_up()
    try:
        with trio.CancelScope() as scope:
            conn.upstream = _Attempt(scope)
            if progress is None or not progress.may_speak:
                await place.wait()
                return
            while True:
                with trio.move_on_at(progress.next_deadline()):
                    await place.wait()
                    return
                await progress.tell(READY_VIEW)
        blame(conn)
        raise UpstreamUnreachable("cannot reach the model's server")
    except BaseException:
        gate.give_up(place)
        raise
    finally:
        conn.upstream = None


async def _write(conn: Connection, transport: UpstreamStream, request: UpstreamRequest) -> None:
    """Send a request; a short one perhaps in a moment, for its answer is waited for next."""
    body = request.body
    try:
        if request.parts:
            for part in (request.head, *request.parts):
                await transport.send(part)
        elif len(body) <= _JOINED_BYTES:
            data = request.head + body
            if not isinstance(transport, SocketStream) or not conn.monitor.sends.take(
                transport, data
            ):
                await transport.send(data)
        else:
            await transport.send(request.head)
            await transport.send(body)
    except StreamBroken:
        pass  # perhaps it has answered all the same, as with 413


async def _send_with_upload(
    exchange: Exchange, link: UpstreamConnection, request: UpstreamRequest, upload: Upload
) -> bytes:
    """Send a request with its upload; return the first bytes.

    A response that comes before its end (an error, as a rule) ends the sending. An upstream that
    is asked whether it takes the upload may refuse it before it has come.
    """
    link.half_asked = True
    failure: ClientGone | RelayError | None = None
    go_on = trio.Event()

    async def send_all() -> None:
        nonlocal failure
        try:
            await link.transport.send(request.head)
            if request.expect_s:
                with trio.move_on_after(request.expect_s):
                    await go_on.wait()
            link.half_asked = not await upload.send(link.transport)
        except StreamBroken:
            pass  # perhaps it has answered all the same
        except (ClientGone, RelayError) as exc:
            failure = exc
            link.transport.cut()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_all)
        data = await first_bytes(exchange, link)
        interim = 0
        while request.expect_s and data.startswith(_ANY_INTERIM) and interim < _MAX_INTERIM:
            head, _, rest = data.partition(b"\r\n\r\n")
            if head == data:  # not all of it has come
                if len(data) > MAX_ANSWER_HEAD_BYTES:
                    break  # who reads the head refuses it
                if not (more := await first_bytes(exchange, link)):
                    break
                data += more
                continue
            interim += 1
            go_on.set()
            data = rest or await first_bytes(exchange, link)
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    if not upload.drained:
        exchange.writer.close = True
    return data


async def _read_head(
    exchange: Exchange,
    link: UpstreamConnection,
    endpoint: Endpoint,
    data: bytes,
    request: UpstreamRequest,
) -> tuple[ResponseHead, bytes]:
    """Return the first final head, and the bytes behind it.

    What another machine tells of its model before that is told to the client.

    Raises:
        Unavailable: The request has waited for its model there for as long as it may.
        UpstreamDied: It went away, or broke the rules of HTTP.
        UpstreamSilent: It said nothing for too long.
    """
    conn, peer, interim = exchange.writer.conn, exchange.request.peer, 0
    since = until = math.inf
    while True:
        end = data.find(b"\r\n\r\n") + 4
        if end >= 4:
            raw, data = data[:end], data[end:]
            if raw.startswith(_ANY_INTERIM):
                interim += 1
                if interim > _MAX_INTERIM:
                    raise UpstreamDied("cannot read the answer: nothing but interim ones comes")
            if peer is not None and raw.startswith(INTERIM):
                view = read_progress(raw, peer.peer)
                if view is not None:
                    since = min(since, conn.monitor.now)
                    is_ready = view.stage == "ready"
                    until = since + (STREAM_HOLD_S if is_ready else hold_limit_s(exchange))
                    idle_s = min(exchange.request.config.upstream_idle_s, request.head_s)
                    conn.deadline = min(until, conn.monitor.now + idle_s)
                    await exchange.hear(view)
            else:
                head = endpoint.read_head(raw)
                if head.status >= 200:
                    return head, data
            if not data:
                data = await first_bytes(exchange, link)
            continue
        if len(data) > MAX_ANSWER_HEAD_BYTES:
            raise UpstreamDied("cannot read the answer: its head is too long")
        more = b""
        if data:
            conn.deadline = conn.monitor.now + exchange.request.config.upstream_idle_s
            more = await first_bytes(exchange, link)
        if not more:
            conn.check()
            if conn.expired and conn.monitor.now >= until and exchange.elsewhere is not None:
                raise too_long(exchange.request)
            blame(conn)
            raise UpstreamDied("the model's server went away before it answered")
        data += more


def _retry_after(retries: Retries, head: ResponseHead) -> float | None:
    """Return the seconds until a retry; None to pass the response on."""
    return retries.after_answer(
        head.status,
        head.fields,
        unix_now=time.time(),
        chance=chance(),
        since_grant_s=trio.current_time() - retries.granted_at,
    )


def chance() -> float:
    """Return a random number from 0.0 to below 1.0, to spread retries."""
    return random.random()  # noqa: S311
