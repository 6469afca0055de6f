"""Request up, answer down, as it comes.

One task reads from the upstream and writes to the client: nothing is buffered beyond one read (and
the frame that is not complete yet, and a short answer whose numbers go before it).
"""

from collections.abc import Callable

import trio

from arriero.protocol.read_json import json_object

from ..connections.connection import WaitingFor
from ..errors import UpstreamAnsweredError, UpstreamDied
from ..http.chunked import chunk
from ..upstreams.heads import ResponseBody, ResponseHead, plain_copy
from ..upstreams.pool import Endpoint, UpstreamConnection, UpstreamUnanswered
from ..upstreams.request import UpstreamRequest
from .exchange import Call, ResponseCut
from .stream_response import relay_stream
from .upstream_request import (
    ask,
    blame,
    first_bytes,
    next_bytes,
    open_link,
    read_head,
    wait_for_room,
)

# How much of an error that comes too late is read.
_MAX_LATE_ERROR_BYTES = 256 * 1024

# A JSON answer up to this size is read before it is passed on: what it used stands in its head.
_MAX_READ_BYTES = 1024 * 1024


class AskAgain(Exception):
    """The upstream has asked for patience before anything was sent to the client.

    Attributes:
        wait_s: Seconds until it may be asked again.
    """

    def __init__(self, wait_s: float) -> None:
        super().__init__(wait_s)
        self.wait_s = wait_s


async def relay(
    call: Call,
    endpoint: Endpoint,
    outgoing: UpstreamRequest,
    again_after: Callable[[ResponseHead], float | None],
) -> None:
    """Send `outgoing` to `endpoint` and its answer to the client.

    Args:
        call: Whose request it is.
        endpoint: Where it goes.
        outgoing: What is sent.
        again_after: Says after how many seconds the upstream is asked again that has answered
            with such a head; None: its answer is passed on.

    Raises:
        ClientGone: The client has left; the upstream connection is closed by then.
        RequestCancelled: Somebody has asked for the end, before anything was sent.
        Unreachable: Nobody listens there. Nothing of the answer was sent.
        Unanswered: It went away without a byte of an answer. Nothing of one was sent.
        AskAgain: It wants to be asked later, and may be.
        UpstreamDied: It went away in the head of its answer, or broke the rules of HTTP.
        UpstreamSilent: It said nothing for too long.
        ResponseCut: It went away in the middle of an answer whose error cannot be told otherwise.
    """
    conn = call.conn
    gate = endpoint.gate if call.peer is None else None
    if gate is not None and not gate.enter_now():
        await wait_for_room(call, gate)
    link: UpstreamConnection | None = None
    kept = False
    try:
        link = endpoint.take_idle() or await open_link(conn, endpoint, outgoing.connect_s)
        conn.check()  # what was wished before there was anything to cut
        conn.upstream = link
        conn.wait_for(WaitingFor.UPSTREAM, min(call.config.upstream_idle_s, outgoing.head_s))
        data = await ask(call, link, outgoing)
        if not data and link.reused and call.is_replayable:
            # A kept connection that was closed at the other end just now: the request was not
            # looked at, so it may be sent again; once.
            blame(conn)
            link.wire.close()
            conn.upstream = link = await open_link(conn, endpoint, outgoing.connect_s)
            data = await ask(call, link, outgoing)
        if not data:
            blame(conn)
            raise UpstreamUnanswered("the model's server went away before it answered")
        if call.has_waited:  # all of them may be answered at once
            await conn.monitor.fairness.turn()
        head, data = await read_head(call, link, endpoint, data)
        if gate is not None:
            gate.leave()
            gate = None
        if head.status >= 400 and not call.committed and call.is_replayable:
            wait_s = again_after(head)
            if wait_s is not None:
                raise AskAgain(wait_s)
        call.see_head(head)
        answer = ResponseBody(head)
        if call.committed and not call.stream:
            await _relay_after_blanks(call, link, head, answer, data)
        elif call.committed:
            await _relay_late(call, link, outgoing, head, answer, data)
        elif head.status == 200 and (head.is_stream or head.is_event_stream):
            await relay_stream(call, link, outgoing, head, answer, data)
        elif _is_short_json(head):
            await _relay_json(call, link, head, answer, data)
        else:
            await relay_plain(call, link, head, answer, data)
        kept = answer.complete and answer.keep_alive and not link.half_asked
    finally:
        conn.upstream = None
        if link is not None:
            if kept:
                endpoint.keep(link)
            else:
                link.wire.close()
        if gate is not None:
            gate.leave()


# --- answers that are not streams of events ------------------------------------------------------


def _is_short_json(head: ResponseHead) -> bool:
    return head.is_json and (head.length is None or head.length <= _MAX_READ_BYTES)


def _framing(call: Call, head: ResponseHead) -> tuple[bytes, bool]:
    """Return the line that tells how the body ends, and whether it goes out in chunks."""
    if head.bodyless:
        return b"", False
    if head.length is not None and not head.chunked:
        return b"Content-Length: %d\r\n" % head.length, False
    if call.head.http11:
        return b"Transfer-Encoding: chunked\r\n", True
    call.close = True
    return b"", False


async def _relay_json(
    call: Call, link: UpstreamConnection, head: ResponseHead, answer: ResponseBody, data: bytes
) -> None:
    """Pass a short JSON answer on, with what it used in its head."""
    body = answer.feed(data) if data else b""
    kept = bytearray() if answer.complete else bytearray(body)
    while not answer.complete:
        if len(kept) > _MAX_READ_BYTES:
            await relay_plain(call, link, head, answer, b"", bytes(kept))
            return
        more = await next_bytes(call, link)
        if not more:
            if answer.until_close and not link.reset and not call.conn.was_cut:
                break
            blame(call.conn)
            # nothing was sent: a clear word is better than a cut
            raise UpstreamDied("the model's server went away in the middle of its answer")
        kept += answer.feed(more)
    body = bytes(kept) or body
    now = trio.current_time()
    if head.status == 200:
        call.account.keeper.last_byte(now)
    call.account.take_body(plain_copy(head, body), now)
    framing, chunked = _framing(call, head)
    extra = call.extra_lines(head) + call.account.answer_lines()
    out = call.build_head(head, framing=framing, extra=extra)
    call.begun = True
    call.account.keeper.bytes_out += len(body)
    if chunked:
        body = (chunk(body) if body else b"") + _last_chunk(answer)
    await call.conn.send(out + body)


async def relay_plain(
    call: Call,
    link: UpstreamConnection,
    head: ResponseHead,
    answer: ResponseBody,
    data: bytes,
    body: bytes = b"",
) -> None:
    """Pass an answer on, framed as it came: by its length, or in chunks.

    Args:
        call: Whose answer it is.
        link: Where it comes from.
        head: Of the answer.
        answer: Finds the body.
        data: Bytes that came and were not looked at.
        body: Bytes of the body that came before these.
    """
    conn = call.conn
    framing, chunked = _framing(call, head)
    out = call.build_head(head, framing=framing, extra=call.extra_lines(head))
    call.begun = True
    while True:
        try:
            body += answer.feed(data) if data else b""
        except UpstreamDied as exc:
            raise ResponseCut from exc
        call.account.keeper.bytes_out += len(body)
        if chunked:
            if body:
                out += chunk(body)
            if answer.complete:
                out += _last_chunk(answer)
        else:
            out += body
        if out:
            await conn.send(out)
        if answer.complete:
            return
        out = body = b""
        data = await next_bytes(call, link)
        if not data:
            if not answer.until_close or link.reset or conn.was_cut:
                raise ResponseCut
            answer.complete = True


def _last_chunk(answer: ResponseBody) -> bytes:
    return b"0\r\n%b\r\n" % b"".join(answer.trailers)


async def _relay_after_blanks(
    call: Call, link: UpstreamConnection, head: ResponseHead, answer: ResponseBody, data: bytes
) -> None:
    """Pass JSON on to a client that has got blanks before: an error can only be told by a cut."""
    if head.status != 200 or not head.is_json:
        raise ResponseCut
    conn = call.conn
    while True:
        try:
            body = answer.feed(data) if data else b""
        except UpstreamDied as exc:
            raise ResponseCut from exc
        call.account.keeper.bytes_out += len(body)
        out = (chunk(body) if body else b"") if call.head.http11 else body
        if answer.complete and call.head.http11:
            out += _last_chunk(answer)
        if out:
            await conn.send(out)
        if answer.complete:
            return
        data = await next_bytes(call, link)
        if not data:
            raise ResponseCut


# --- answers to a stream that was begun early ----------------------------------------------------


async def _relay_late(
    call: Call,
    link: UpstreamConnection,
    outgoing: UpstreamRequest,
    head: ResponseHead,
    answer: ResponseBody,
    data: bytes,
) -> None:
    """Pass on what can still be passed on: frames. Anything else becomes an error frame."""
    if head.status == 200 and head.is_stream:
        if not data and not answer.complete:
            data = await first_bytes(call, link)
            if not data:
                blame(call.conn)
        await relay_stream(call, link, outgoing, head, answer, data)
        return
    body = answer.feed(data) if data else b""
    while not answer.complete and len(body) < _MAX_LATE_ERROR_BYTES:
        data = await next_bytes(call, link)
        if not data:
            break
        body += answer.feed(data)
    raise late_error(head.status, body)


def late_error(status: int, body: bytes) -> UpstreamAnsweredError:
    """Return what an upstream's answer that is no stream means to a stream that was begun.

    Its own error object is kept where it has one; `type` and `code` are made strings, because a
    number makes some clients try again.
    """
    message, kind, code = f"the model's server answered {status}", "upstream_error", None
    error = (json_object(body) or {}).get("error")  # of text or half a body the status has to do
    if isinstance(error, str) and error:
        message = error
    elif isinstance(error, dict):
        message = str(error.get("message") or message)
        kind = str(error.get("type") or kind)
        code = str(error["code"]) if error.get("code") is not None else None
    return UpstreamAnsweredError(
        message, upstream_status=status, kind=kind, code=code or f"http_{status}"
    )
