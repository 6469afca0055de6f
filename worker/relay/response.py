"""Passes the upstream's response on to the client.

One task reads from the upstream and writes to the client: nothing is buffered beyond one read (and
the frame that is not complete yet, and a short response whose numbers go before it).
"""

import trio

from arriero.protocol.read_json import json_object

from ..accounting.response_reader import read_head_field, read_response
from ..accounting.usage_headers import usage_lines
from ..apis.base.translation import Translation
from ..errors import BadRequest, UpstreamAnsweredError, UpstreamDied, UpstreamRefused
from ..http.chunked import chunk
from ..json.large_body import LARGE_BYTES, outline_of
from ..json.spans import find_members
from ..upstreams.heads import ResponseBody, ResponseHead, plain_copy
from ..upstreams.pool import Endpoint
from .exchange import Exchange
from .response_writer import ResponseCut, ResponseWriter
from .send import UpstreamResponse, blame, first_bytes
from .stream_response import relay_stream

# How much of an error that comes too late is read.
_MAX_LATE_ERROR_BYTES = 256 * 1024

# A response that is translated. A hundred embeddings of the longest kind have a tenth of that.
_MAX_TRANSLATED_BYTES = 16 * 1024 * 1024

# A JSON response up to this size is read before it is passed on: what it used stands in its head.
_MAX_READ_BYTES = 1024 * 1024


async def relay(exchange: Exchange, endpoint: Endpoint, response: UpstreamResponse) -> None:
    """Pass `response` on; its connection is given back to `endpoint`, or closed.

    Raises:
        ClientGone: The client has left; the upstream connection is closed by then.
        RequestCancelled: Somebody has asked for the end, before anything was sent.
        UpstreamDied: It went away in the middle of the response, or broke the rules of HTTP.
        UpstreamSilent: It said nothing for too long.
        ResponseCut: It went away in the middle of a response whose error cannot be told otherwise.
    """
    head = response.head
    committed, stream = exchange.writer.committed, exchange.request.stream
    kept = False
    try:
        note_head(exchange, head)
        translation = exchange.request.translation
        if translation is not None and not (stream and head.status == 200 and head.is_stream):
            await relay_translated(exchange, response, translation)
        elif exchange.request.head.method == b"HEAD":
            await _relay_head(exchange, head)
        elif committed and not stream:
            await _relay_after_blanks(exchange, response)
        elif committed:
            await _relay_late(exchange, response)
        elif head.status == 200 and (head.is_stream or head.is_event_stream):
            await relay_stream(exchange, response)
        elif head.is_json and (head.length is None or head.length <= _MAX_READ_BYTES):
            await _relay_json(exchange, response)
        else:
            await relay_plain(exchange, response)
        kept = response.is_reusable
    finally:
        response.conn.upstream = None
        if kept:
            endpoint.keep(response.link, response.conn.monitor.clock())
        else:
            response.link.transport.close()


def note_head(exchange: Exchange, head: ResponseHead) -> None:
    """Note in the account what the head of the upstream's response says."""
    exchange.writer.conn.answered_head = head
    if not exchange.writer.committed:
        exchange.account.status = head.status
    exchange.account.content_type = head.content_type
    for name, value in head.counts:
        read_head_field(exchange.account, name, value)


# --- responses that are not streams of events ----------------------------------------------------


def _framing(writer: ResponseWriter, head: ResponseHead) -> tuple[bytes, bool]:
    """Return the framing line, and whether the body is chunked."""
    if head.bodyless:
        return b"", False
    if head.length is not None and not head.chunked:
        return b"Content-Length: %d\r\n" % head.length, False
    if writer.request.head.http11:
        return b"Transfer-Encoding: chunked\r\n", True
    writer.close = True
    return b"", False


async def _relay_head(exchange: Exchange, head: ResponseHead) -> None:
    """Pass on what a GET would have begun with."""
    writer = exchange.writer
    framing, _ = _framing(writer, head)
    await writer.conn.send(writer.head(head, framing=framing))


async def _relay_json(exchange: Exchange, response: UpstreamResponse) -> None:
    """Pass a short JSON response on, with its usage in the head."""
    writer, account = exchange.writer, exchange.account
    head, body = response.head, response.body
    data = body.feed(response.data) if response.data else b""
    response.data = b""
    if not body.complete:  # nothing was sent: a clear word is better than a cut
        data, is_whole = await _read_on(response, data, _MAX_READ_BYTES)
        if not is_whole:
            await relay_plain(exchange, response, data)
            return
    now = writer.conn.monitor.clock()
    if head.status == 200:
        account.last_byte_at = now
    read_response(account, plain_copy(head, data) if head.encoding else data, now)
    framing, chunked = _framing(writer, head)
    out = writer.head(head, framing=framing, more=usage_lines(account))
    account.bytes_out += len(data)
    if chunked:
        data = (chunk(data) if data else b"") + _last_chunk(body)
    if writer.close:
        await writer.conn.send(out + data)
    else:
        await writer.conn.send_last(out + data, account.client_left)


async def relay_plain(exchange: Exchange, response: UpstreamResponse, data: bytes = b"") -> None:
    """Pass a response on, framed as it came.

    Args:
        exchange: Of the request.
        response: The upstream's.
        data: Bytes of the body that came before those that were not looked at.
    """
    writer, account, body = exchange.writer, exchange.account, response.body
    framing, chunked = _framing(writer, response.head)
    out = writer.head(response.head, framing=framing)
    raw = response.data
    while True:
        try:
            data += body.feed(raw) if raw else b""
        except UpstreamDied as exc:
            raise ResponseCut from exc
        account.bytes_out += len(data)
        if chunked:
            if data:
                out += chunk(data)
            if body.complete:
                out += _last_chunk(body)
        else:
            out += data
        if out:
            await writer.conn.send(out)
        if body.complete:
            return
        out = data = b""
        raw = await response.next_bytes()
        if not raw:
            if not response.ended_well:
                raise ResponseCut
            body.complete = True


def _last_chunk(body: ResponseBody) -> bytes:
    return b"0\r\n%b\r\n" % b"".join(body.trailers)


async def _relay_after_blanks(exchange: Exchange, response: UpstreamResponse) -> None:
    """Pass JSON on to a client that was sent blanks before.

    An error can only be told by a cut.
    """
    if response.head.status != 200 or not response.head.is_json:
        raise ResponseCut
    writer, body, raw = exchange.writer, response.body, response.data
    http11 = exchange.request.head.http11
    while True:
        try:
            data = body.feed(raw) if raw else b""
        except UpstreamDied as exc:
            raise ResponseCut from exc
        exchange.account.bytes_out += len(data)
        out = writer.framed(data) if data else b""
        if body.complete and http11:
            out += _last_chunk(body)
        if out:
            await writer.conn.send(out)
        if body.complete:
            return
        raw = await response.next_bytes()
        if not raw:
            raise ResponseCut


# --- responses to a stream that was begun early --------------------------------------------------


async def _relay_late(exchange: Exchange, response: UpstreamResponse) -> None:
    """Pass frames on; any other response becomes an error frame."""
    body = response.body
    if response.head.status == 200 and response.head.is_stream:
        if not response.data and not body.complete:
            response.data = await first_bytes(exchange, response.link)
            if not response.data:
                blame(response.conn)
        await relay_stream(exchange, response)
        return
    data = body.feed(response.data) if response.data else b""
    while not body.complete and len(data) < _MAX_LATE_ERROR_BYTES:
        more = await response.next_bytes()
        if not more:
            break
        data += body.feed(more)
    raise late_error(response.head.status, data)


# --- responses in the words of another API --------------------------------------------------------


async def relay_translated(
    exchange: Exchange, response: UpstreamResponse, translation: Translation
) -> None:
    """Pass on a response that is no stream, translated.

    Raises:
        ClientGone: The client has left.
        UpstreamRefused: It is an error.
        UpstreamDied: It is not whole, too long, or makes no sense.
    """
    writer, account, head = exchange.writer, exchange.account, response.head
    data = await _whole_body(response)
    if head.status != 200:
        told = late_error(head.status, data)
        raise UpstreamRefused(
            told.message, upstream_status=head.status, kind=told.kind, code=told.code
        )
    if head.encoding:
        raise UpstreamDied("the model's server has compressed its answer, unasked")
    fairness = writer.conn.monitor.fairness
    now = account.last_byte_at = trio.current_time()
    if len(data) <= LARGE_BYTES:
        read_response(account, data, now)
    else:
        try:
            members = await fairness.run(find_members(data))
        except BadRequest as exc:
            raise UpstreamDied("the model's server has answered with something else") from exc
        read_response(account, outline_of(data, members), now)
    out = await fairness.run(translation.response(data, writer.ending()))
    if writer.translator is not None:
        out += b"\n"
    account.bytes_out += len(out)
    if writer.committed:
        await writer.conn.send(writer.framed(out))
        await writer.end_stream(b"")
        return
    head_lines = writer.head(
        head,
        framing=b"Content-Length: %d\r\n" % len(out),
        more=usage_lines(account),
        content_type=None if writer.translator is None else writer.translator.content_type,
    )
    await writer.conn.send(head_lines + out)


async def answer_nothing(exchange: Exchange) -> None:
    """Answer a request that asks nothing; its model is as it was wanted.

    Raises:
        ClientGone: The client has left.
    """
    writer, translation = exchange.writer, exchange.request.translation
    assert translation is not None
    exchange.account.last_byte_at = trio.current_time()
    await writer.conn.send(writer.early(translation.nothing(writer.ending())))
    await writer.end_stream(b"")


async def _whole_body(response: UpstreamResponse) -> bytes:
    """Return the body of a response.

    Raises:
        ClientGone: The client has left.
        UpstreamDied: It is not whole, or too long.
    """
    begun = response.body.feed(response.data) if response.data else b""
    response.data = b""
    data, is_whole = await _read_on(response, begun, _MAX_TRANSLATED_BYTES)
    if not is_whole:
        raise UpstreamDied(f"cannot translate an answer of more than {_MAX_TRANSLATED_BYTES} bytes")
    return data


async def _read_on(response: UpstreamResponse, begun: bytes, most: int) -> tuple[bytes, bool]:
    """Return what there is of a body, and whether that is all: it goes on after `most` bytes.

    Raises:
        ClientGone: The client has left.
        UpstreamDied: It ends too early.
    """
    body, kept = response.body, bytearray(begun)
    while not body.complete:
        if len(kept) > most:
            return bytes(kept), False
        more = await response.next_bytes()
        if not more:
            if response.ended_well:
                break
            blame(response.conn)
            raise UpstreamDied("the model's server went away in the middle of its answer")
        kept += body.feed(more)
    return bytes(kept), True


def late_error(status: int, body: bytes) -> UpstreamAnsweredError:
    """Return the error for a begun stream whose upstream sends none.

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
