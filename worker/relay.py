"""Request up, answer down, as it comes. Doing.

One task reads from the upstream and writes to the client, one read at a time: a client that is
slow slows the upstream down, and nothing is buffered beyond one read (and the frame that is not
complete yet).
"""

import math

import msgspec
import trio

from .call import LAST_CHUNK, Call
from .errors import (
    ClientGone,
    UpstreamAnsweredError,
    UpstreamDied,
    UpstreamSilent,
    UpstreamTruncated,
)
from .headers import MAX_ANSWER_HEAD_BYTES, AnswerBody, AnswerHead, upstream_request
from .merging import MergingSplitter
from .sentry import UPSTREAM_S, Connection, Waits
from .sse import EndWatcher, FrameSplitter, chunk
from .upstream import Endpoint, Link
from .waiting import View
from .wire import WireBroken

# Bodies up to this size are sent together with the head: copying is cheaper than a system call.
_JOINED_BYTES = 64 * 1024

# A stream of small pieces that follow each other faster than `_FAST_S` is read only every
# `_BATCH_S`: as with the interrupts of a network card, few large reads cost a fraction of many
# small ones. No model writes two thousand tokens a second to one client; replays, caches and load
# tests do. Measured with 16 streams of 200 chunks at full speed: 0.85 of nginx's streams/s
# without, 1.15 with it. Larger pieces gain nothing from waiting.
_FAST_S = 0.0005
_BATCH_S = 0.002
_SMALL_BYTES = 2048

# How much of an error that comes too late is read.
_MAX_LATE_ERROR_BYTES = 256 * 1024

# After the grant nothing is said about the model any more; a stream that was begun has its
# heartbeats until the upstream's first byte.
_READY_VIEW = View("warming")


class AnswerCut(Exception):
    """The answer cannot be completed, and only a cut connection can say so."""


async def relay(call: Call, endpoint: Endpoint) -> None:
    """Send the request of `call` to `endpoint` and its answer to the client.

    Raises:
        ClientGone: The client has left; the upstream connection is closed by then.
        Unreachable: Nobody listens there. Nothing of the answer was sent.
        UpstreamDied: It went away before its answer began, or broke the rules of HTTP.
        UpstreamSilent: It said nothing for too long.
        AnswerCut: It went away in the middle of an answer whose error cannot be told otherwise.
    """
    conn = call.conn
    request = upstream_request(
        call.head,
        call.body,
        peer=conn.peer,
        base_path=endpoint.base_path,
        reads_frames=call.stream,
    )
    link = endpoint.take_idle() or await endpoint.open()
    kept = False
    try:
        conn.upstream = link
        conn.wait_for(Waits.UPSTREAM, UPSTREAM_S)
        data = await _ask(call, link, request)
        if not data and link.reused:
            # A kept connection that was closed at the other end just now: the request was not
            # looked at, so it may be sent again; once.
            _blame(conn)
            link.wire.close()
            conn.upstream = link = await endpoint.open()
            data = await _ask(call, link, request)
        head, data = await _read_head(call, link, endpoint, data)
        if head.plain is not None and len(data) == head.length and call.is_plain:
            # the whole answer has come at once, and nothing has to be said about it
            call.begun = True
            kept = head.keep_alive
            await conn.send(head.plain + data)
            return
        answer = AnswerBody(head)
        if call.committed:
            await _relay_late(call, link, head, answer, data)
        elif head.is_stream and head.status == 200:
            await _relay_stream(call, link, head, answer, data)
        else:
            await _relay_plain(call, link, head, answer, data)
        kept = answer.complete and answer.keep_alive
    finally:
        conn.upstream = None
        if kept:
            endpoint.keep(link)
        else:
            link.wire.close()


def _blame(conn: Connection) -> None:
    """Say why an upstream connection ended, if it was not the upstream."""
    if conn.gone:
        raise ClientGone
    if conn.expired:
        raise UpstreamSilent("the model's server said nothing for too long")


async def _ask(call: Call, link: Link, request: bytes) -> bytes:
    """Send the request and return the first bytes of the answer; none if there are none."""
    wire = link.wire
    body = call.body
    try:
        if len(body) <= _JOINED_BYTES:
            await wire.send(request + body)
        else:
            await wire.send(request)
            await wire.send(body)
    except WireBroken:
        pass  # perhaps it has answered all the same, as with 413
    try:
        if call.committed:
            return await _receive_with_heartbeats(call, link)
        return await wire.receive()
    except WireBroken:
        return b""


async def _read_head(
    call: Call, link: Link, endpoint: Endpoint, data: bytes
) -> tuple[AnswerHead, bytes]:
    """Return the first head that is no interim one, and what has come of the body."""
    while True:
        end = data.find(b"\r\n\r\n") + 4
        if end >= 4:
            head = endpoint.read_head(data[:end])
            data = data[end:]
            if head.status >= 200:
                return head, data
            continue
        if len(data) > MAX_ANSWER_HEAD_BYTES:
            raise UpstreamDied("cannot read the answer: its head is too long")
        more = await _next(call, link) if data else b""
        if not more:
            _blame(call.conn)
            raise UpstreamDied("the model's server went away before it answered")
        data += more


async def _next(call: Call, link: Link, *, batch: bool = False) -> bytes:
    """Return the next bytes of the answer; none when the connection ended, or was reset.

    Args:
        call: Whose answer it is.
        link: Where it comes from.
        batch: Let some more come first.

    Raises:
        ClientGone: It was ended because the client has left.
    """
    conn = call.conn
    conn.deadline = conn.sentry.now + UPSTREAM_S
    try:
        if batch:
            await trio.sleep(_BATCH_S)
            data = await link.wire.receive_now()
        else:
            data = await link.wire.receive()
    except WireBroken:
        data = b""
        link.reset = True
    if not data and conn.gone:
        raise ClientGone
    return data


async def _receive_with_heartbeats(call: Call, link: Link) -> bytes:
    """Wait for bytes; meanwhile the client of a stream that was begun hears that it lives."""
    assert call.waiting is not None
    while True:
        with trio.move_on_at(call.waiting.next_deadline()):
            return await link.wire.receive()
        await call.tell(_READY_VIEW)


# --- answers that are not streams of events ------------------------------------------------------


async def _relay_plain(
    call: Call, link: Link, head: AnswerHead, answer: AnswerBody, data: bytes
) -> None:
    """Pass an answer on, framed as it came: by its length, or in chunks."""
    conn = call.conn
    chunked = False
    framing = b""
    if head.bodyless:
        pass
    elif head.length is not None and not head.chunked:
        framing = b"Content-Length: %d\r\n" % head.length
    elif call.head.http11:
        chunked = True
        framing = b"Transfer-Encoding: chunked\r\n"
    else:
        call.close = True
    out = head.build(framing=framing, extra=call.mode_field, close=call.close)
    call.begun = True
    while True:
        try:
            body = answer.feed(data) if data else b""
        except UpstreamDied as exc:
            raise AnswerCut from exc
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
        out = b""
        data = await _next(call, link)
        if not data:
            if not answer.until_close or link.reset or conn.expired:
                raise AnswerCut
            answer.complete = True


def _last_chunk(answer: AnswerBody) -> bytes:
    if not answer.trailers:
        return LAST_CHUNK
    return b"0\r\n%b\r\n" % b"".join(answer.trailers)


# --- streams of events ---------------------------------------------------------------------------


async def _relay_stream(
    call: Call, link: Link, head: AnswerHead, answer: AnswerBody, data: bytes
) -> None:
    """Pass whole frames on, byte for byte; one read becomes one chunk becomes one write."""
    conn = call.conn
    http11 = call.head.http11
    splitter = call.splitter()
    watcher = None if call.form.is_plain else EndWatcher(call.form)
    last_read_at = -math.inf
    out = b""
    if not call.begun:
        out = head.build(
            framing=b"Transfer-Encoding: chunked\r\n" if http11 else b"",
            extra=call.mode_field + head.stream_lines,
            close=call.close,
        )
        call.begun = True
    while True:
        try:
            frames = splitter.push(answer.feed(data)) if data else b""
        except UpstreamDied:
            await call.end_stream(_end_of_stream(call, splitter, watcher, clean=False))
            return
        if frames:
            if watcher is not None:
                watcher.look(frames)
            out += chunk(frames) if http11 else frames
        if answer.complete:
            tail = _end_of_stream(call, splitter, watcher, clean=True)
            if http11:
                out += (chunk(tail) if tail else b"") + _last_chunk(answer)
            else:
                out += tail
        if out:
            await conn.send(out)
            if answer.complete:
                return
        out = b""
        read_at = trio.current_time()
        is_fast = len(data) < _SMALL_BYTES and read_at - last_read_at < _FAST_S
        data = await _next(call, link, batch=is_fast)
        last_read_at = read_at
        if not data:
            clean = answer.until_close and not link.reset and not conn.expired
            await call.end_stream(_end_of_stream(call, splitter, watcher, clean=clean))
            return


def _end_of_stream(
    call: Call,
    splitter: FrameSplitter | MergingSplitter,
    watcher: EndWatcher | None,
    *,
    clean: bool,
) -> bytes:
    """Return what is still to be sent of a stream that has ended.

    Args:
        call: Whose answer it is.
        splitter: May keep an incomplete frame.
        watcher: Has seen all frames that were sent; None when nobody knows how such a stream ends.
        clean: The upstream ended its answer in good order.

    Raises:
        AnswerCut: The stream is not whole, and no frame can say so.
    """
    rest = splitter.rest
    if watcher is None:
        if clean:
            return rest
        raise AnswerCut
    if clean and rest and watcher.takes_rest:
        watcher.look(rest)
    if watcher.seen:
        return rest if clean else b""
    if not splitter.at_boundary:
        raise AnswerCut
    error: UpstreamDied
    if clean:
        error = UpstreamTruncated("the model's server ended its answer before it was complete")
    else:
        error = UpstreamDied("the model's server went away in the middle of its answer")
    return call.failure(error, watcher.heard)


# --- answers to a stream that was begun early ----------------------------------------------------


async def _relay_late(
    call: Call, link: Link, head: AnswerHead, answer: AnswerBody, data: bytes
) -> None:
    """Pass on what can still be passed on: frames. Anything else becomes an error frame."""
    if head.status == 200 and head.is_stream:
        if not data and not answer.complete:
            try:
                data = await _receive_with_heartbeats(call, link)
            except WireBroken:
                link.reset = True
            if not data:
                _blame(call.conn)
        await _relay_stream(call, link, head, answer, data)
        return
    body = answer.feed(data)
    while not answer.complete and len(body) < _MAX_LATE_ERROR_BYTES:
        data = await _next(call, link)
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
    try:
        found = msgspec.json.decode(body)
        error = found.get("error") if isinstance(found, dict) else None
        if isinstance(error, str) and error:
            message = error
        elif isinstance(error, dict):
            message = str(error.get("message") or message)
            kind = str(error.get("type") or kind)
            code = str(error["code"]) if error.get("code") is not None else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # text, or half a body: the status has to do
    return UpstreamAnsweredError(
        message, upstream_status=status, kind=kind, code=code or f"http_{status}"
    )
