"""Request up, answer down, as it comes. Doing.

One task reads from the upstream and writes to the client, one read at a time: a client that is
slow slows the upstream down, and nothing is buffered beyond one read (and the frame that is not
complete yet, and a short answer whose numbers go before it).
"""

import math
from collections.abc import Callable

import msgspec
import trio

from .call import AnswerCut, Call, Splitter
from .errors import (
    ClientGone,
    RelayError,
    UpstreamAnsweredError,
    UpstreamDied,
    UpstreamSilent,
    UpstreamTruncated,
)
from .eventstream import MessageSplitter
from .headers import MAX_ANSWER_HEAD_BYTES, AnswerBody, AnswerHead, plain_copy
from .outgoing import Outgoing
from .passage import Passage
from .sentry import Beat, Connection, Waits
from .sse import EndWatcher, FrameSplitter, chunk, first_boundary
from .upstream import Endpoint, Link, Unreachable
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

# A JSON answer up to this size is read before it is passed on: what it used stands in its head.
_MAX_READ_BYTES = 1024 * 1024

# After the grant nothing is said about the model any more; a stream that was begun has its
# heartbeats until the upstream's first byte.
_READY_VIEW = View("ready")


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
    outgoing: Outgoing,
    again_after: Callable[[AnswerHead], float | None],
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
        AskAgain: It wants to be asked later, and may be.
        UpstreamDied: It went away before its answer began, or broke the rules of HTTP.
        UpstreamSilent: It said nothing for too long.
        AnswerCut: It went away in the middle of an answer whose error cannot be told otherwise.
    """
    conn = call.conn
    link = endpoint.take_idle() or await _open(conn, endpoint, outgoing.connect_s)
    kept = False
    try:
        conn.check()  # what was wished before there was anything to cut
        conn.upstream = link
        conn.wait_for(Waits.UPSTREAM, min(call.config.upstream_idle_s, outgoing.head_s))
        data = await _ask(call, link, outgoing)
        if not data and link.reused and call.is_replayable:
            # A kept connection that was closed at the other end just now: the request was not
            # looked at, so it may be sent again; once.
            _blame(conn)
            link.wire.close()
            conn.upstream = link = await _open(conn, endpoint, outgoing.connect_s)
            data = await _ask(call, link, outgoing)
        head, data = await _read_head(call, link, endpoint, data)
        if head.status >= 400 and not call.committed and call.is_replayable:
            wait_s = again_after(head)
            if wait_s is not None:
                raise AskAgain(wait_s)
        call.see_head(head)
        answer = AnswerBody(head)
        if call.committed and not call.stream:
            await _relay_after_blanks(call, link, head, answer, data)
        elif call.committed:
            await _relay_late(call, link, outgoing, head, answer, data)
        elif head.status == 200 and (head.is_stream or head.is_event_stream):
            await _relay_stream(call, link, outgoing, head, answer, data)
        elif _is_short_json(head):
            await _relay_json(call, link, head, answer, data)
        else:
            await relay_plain(call, link, head, answer, data)
        kept = answer.complete and answer.keep_alive and not link.half_asked
    finally:
        conn.upstream = None
        if kept:
            endpoint.keep(link)
        else:
            link.wire.close()


class _Attempt:
    """A connection that is not there yet, and may be ended nevertheless."""

    def __init__(self, scope: trio.CancelScope) -> None:
        self.cut = scope.cancel


async def _open(conn: Connection, endpoint: Endpoint, connect_s: float) -> Link:
    """Return a new connection; see `Endpoint.open`. The attempt ends when nobody waits for it."""
    with trio.CancelScope() as scope:
        conn.upstream = _Attempt(scope)
        try:
            return await endpoint.open(connect_s)
        finally:
            conn.upstream = None
    conn.check()
    raise Unreachable("cannot reach the model's server")


def _blame(conn: Connection) -> None:
    """Say why an upstream connection ended, if it was not the upstream."""
    conn.check()
    if conn.expired:
        raise UpstreamSilent("the model's server said nothing for too long")


async def _ask(call: Call, link: Link, outgoing: Outgoing) -> bytes:
    """Send the request and return the first bytes of the answer; none if there are none."""
    wire = link.wire
    if call.upload is not None:
        return await _ask_with_upload(call, link, outgoing)
    body = outgoing.body
    try:
        if len(body) <= _JOINED_BYTES:
            await wire.send(outgoing.head + body)
        else:
            await wire.send(outgoing.head)
            await wire.send(body)
    except WireBroken:
        pass  # perhaps it has answered all the same, as with 413
    return await _first_bytes(call, link)


async def _ask_with_upload(call: Call, link: Link, outgoing: Outgoing) -> bytes:
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
        except WireBroken:
            pass  # perhaps it has answered all the same
        except (ClientGone, RelayError) as exc:
            failure = exc
            link.wire.cut()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        data = await _first_bytes(call, link)
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    if not upload.drained:
        call.close = True
    return data


async def _first_bytes(call: Call, link: Link) -> bytes:
    """Wait for bytes; meanwhile the client hears what it is to hear."""
    try:
        if not call.speaks:
            return await link.wire.receive()
        while True:
            with trio.move_on_at(call.next_deadline()):
                return await link.wire.receive()
            await call.tell(_READY_VIEW)
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
            if not data:
                data = await _first_bytes(call, link)
            continue
        if len(data) > MAX_ANSWER_HEAD_BYTES:
            raise UpstreamDied("cannot read the answer: its head is too long")
        more = await _next(call, link) if data else b""
        if not more:
            _blame(call.conn)
            raise UpstreamDied("the model's server went away before it answered")
        data += more


async def _next(call: Call, link: Link, *, batch: bool = False, until: float = math.inf) -> bytes:
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
    conn.deadline = min(conn.sentry.now + call.config.upstream_idle_s, until)
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


# --- answers that are not streams of events ------------------------------------------------------


def _is_short_json(head: AnswerHead) -> bool:
    return head.is_json and (head.length is None or head.length <= _MAX_READ_BYTES)


def _framing(call: Call, head: AnswerHead) -> tuple[bytes, bool]:
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
    call: Call, link: Link, head: AnswerHead, answer: AnswerBody, data: bytes
) -> None:
    """Pass a short JSON answer on, with what it used in its head."""
    body = answer.feed(data) if data else b""
    while not answer.complete:
        if len(body) > _MAX_READ_BYTES:
            await relay_plain(call, link, head, answer, b"", body)
            return
        more = await _next(call, link)
        if not more:
            if answer.until_close and not link.reset and not call.conn.expired:
                break
            _blame(call.conn)
            # nothing was sent: a clear word is better than a cut
            raise UpstreamDied("the model's server went away in the middle of its answer")
        body += answer.feed(more)
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
    link: Link,
    head: AnswerHead,
    answer: AnswerBody,
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
            raise AnswerCut from exc
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
        data = await _next(call, link)
        if not data:
            if not answer.until_close or link.reset or conn.expired or conn.cancelled:
                raise AnswerCut
            answer.complete = True


def _last_chunk(answer: AnswerBody) -> bytes:
    return b"0\r\n%b\r\n" % b"".join(answer.trailers)


async def _relay_after_blanks(
    call: Call, link: Link, head: AnswerHead, answer: AnswerBody, data: bytes
) -> None:
    """Pass JSON on to a client that has got blanks before: an error can only be told by a cut."""
    if head.status != 200 or not head.is_json:
        raise AnswerCut
    conn = call.conn
    while True:
        try:
            body = answer.feed(data) if data else b""
        except UpstreamDied as exc:
            raise AnswerCut from exc
        call.account.keeper.bytes_out += len(body)
        out = (chunk(body) if body else b"") if call.head.http11 else body
        if answer.complete and call.head.http11:
            out += _last_chunk(answer)
        if out:
            await conn.send(out)
        if answer.complete:
            return
        data = await _next(call, link)
        if not data:
            raise AnswerCut


# --- streams of events ---------------------------------------------------------------------------


async def _relay_stream(
    call: Call,
    link: Link,
    outgoing: Outgoing,
    head: AnswerHead,
    answer: AnswerBody,
    data: bytes,
) -> None:
    """Pass whole frames on, byte for byte; one read becomes one chunk becomes one write."""
    conn = call.conn
    http11 = call.head.http11
    passage = call.open_passage(usage=outgoing.asked_usage, progress=outgoing.asked_progress)
    splitter = call.splitter(passage, head)
    passes = isinstance(splitter, FrameSplitter)
    watcher = EndWatcher(call.form) if call.form.has_end else None
    ending = _Ending(call, splitter, watcher, passage)
    keeper = call.account.keeper
    out = b""
    if not call.begun:
        out = call.build_stream_head(head)
    beat = call.start_beat(passage, splitter)
    stall_s = call.config.upstream_stall_s
    now = trio.current_time()
    read_at = -math.inf
    while True:
        was_whole = splitter.at_boundary
        try:
            frames = splitter.push(answer.feed(data)) if data else b""
        except UpstreamDied:
            await call.end_stream(ending.tail(clean=False))
            return
        if frames:
            if passes and splitter.at_boundary:
                if was_whole:
                    frames = passage.take(frames, now)
                else:  # the end of a frame that was too long to be read
                    end = first_boundary(frames)
                    frames = frames[:end] + passage.take(frames[end:], now)
            if watcher is not None:
                watcher.look(frames)
            keeper.bytes_out += len(frames)
            if frames:
                out += chunk(frames) if http11 else frames
        if answer.complete:
            if isinstance(splitter, MessageSplitter) and (rest := splitter.give_up()):
                out += chunk(rest) if http11 else rest
                await conn.send(out)
                out = b""
            tail = ending.tail(clean=True)
            keeper.bytes_out += len(tail)
            if http11:
                out += (chunk(tail) if tail else b"") + call.last_chunk(answer.trailers)
            else:
                out += tail
        last_read_at, read_at = read_at, now
        if out:
            await conn.send(out)
            if answer.complete:
                return
            out = b""
            read_at = trio.current_time()
            if beat is not None:
                beat.wrote_at = read_at
        is_fast = len(data) < _SMALL_BYTES and read_at - last_read_at < _FAST_S
        stalls_at = passage.data_at + stall_s
        if beat is not None:
            beat.may = True
        if call.prefill is not None and not call.account.has_token:
            data = await _next_with_prefill(call, link, stalls_at, beat)
        else:
            data = await _next(call, link, batch=is_fast, until=stalls_at)
        now = trio.current_time()
        if beat is not None:
            beat.may = False
        if not data:
            if conn.cancelled:
                await call.end_stream(ending.cancelled())
                return
            clean = answer.until_close and not link.reset and not conn.expired
            if isinstance(splitter, MessageSplitter) and (rest := splitter.give_up()):
                await conn.send(chunk(rest) if http11 else rest)
            await call.end_stream(ending.tail(clean=clean))
            return


async def _next_with_prefill(call: Call, link: Link, until: float, beat: Beat | None) -> bytes:
    """Wait for bytes; meanwhile the client hears how far its prompt is, as it has asked for."""
    prefill = call.prefill
    assert prefill is not None
    while True:
        with trio.move_on_at(prefill.next_deadline()):
            return await _next(call, link, until=until)
        now = trio.current_time()
        words = prefill.on_time(now)
        if words:
            if beat is not None:
                beat.may = False  # a client that is slow may get these in two pieces
            await call.conn.send(chunk(words) if call.head.http11 else words)
            if beat is not None:
                beat.may = True
                beat.wrote_at = now


class _Ending:
    """How one stream ends."""

    def __init__(
        self,
        call: Call,
        splitter: Splitter,
        watcher: EndWatcher | None,
        passage: Passage,
    ) -> None:
        """Build it.

        Args:
            call: Whose answer it is.
            splitter: May keep an incomplete frame.
            watcher: Has seen all frames that were sent; None when nobody knows how such a stream
                ends.
            passage: May have a last word.
        """
        self._call = call
        self._splitter = splitter
        self._watcher = watcher
        self._passage = passage

    def tail(self, *, clean: bool) -> bytes:
        """Return what is still to be sent of a stream that has ended.

        Args:
            clean: The upstream ended its answer in good order.

        Raises:
            AnswerCut: The stream is not whole, and no frame can say so.
        """
        call, splitter, watcher = self._call, self._splitter, self._watcher
        now = trio.current_time()
        call.account.keeper.last_byte(now)
        rest = splitter.rest
        if rest and isinstance(splitter, FrameSplitter) and splitter.at_boundary:
            call.account.take_frames(rest + b"\n\n", now)
        if watcher is None:
            if clean:
                return rest
            raise AnswerCut
        if clean and rest and watcher.takes_rest:
            watcher.look(rest)
        if clean and isinstance(splitter, MessageSplitter) and splitter.damage is not None:
            return b""  # nobody knows how such a stream ends: it is the client's to judge
        # what a turn is told of its answer may look like the end of a chat
        is_whole = watcher.seen if call.turns is None else call.turns.is_complete
        if is_whole:
            return (rest if clean else b"") + call.finish_turn()
        if not splitter.at_boundary:
            raise AnswerCut
        word = self._passage.end(now)
        error: UpstreamDied | UpstreamSilent
        if call.conn.expired:
            error = UpstreamSilent("the model's server said nothing for too long")
        elif clean:
            error = UpstreamTruncated("the model's server ended its answer before it was complete")
        else:
            error = UpstreamDied("the model's server went away in the middle of its answer")
        return word + call.failure(error, watcher.heard)

    def cancelled(self) -> bytes:
        """Return the good end of a stream that somebody has cancelled.

        Raises:
            AnswerCut: A frame was begun, or nobody knows how such a stream ends.
        """
        if self._watcher is None or not self._splitter.at_boundary:
            self._call.account.keeper.was_cancelled()
            raise AnswerCut
        return self._call.interrupted(self._watcher.heard)


# --- answers to a stream that was begun early ----------------------------------------------------


async def _relay_late(
    call: Call,
    link: Link,
    outgoing: Outgoing,
    head: AnswerHead,
    answer: AnswerBody,
    data: bytes,
) -> None:
    """Pass on what can still be passed on: frames. Anything else becomes an error frame."""
    if head.status == 200 and head.is_stream:
        if not data and not answer.complete:
            data = await _first_bytes(call, link)
            if not data:
                _blame(call.conn)
        await _relay_stream(call, link, outgoing, head, answer, data)
        return
    body = answer.feed(data) if data else b""
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
