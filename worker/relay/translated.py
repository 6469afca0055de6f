"""Responses that are no streams, told in the words of another API; and errors that come late."""

from typing import Final

import trio

from arriero.protocol.read_json import json_object

from ..accounting.response_reader import read_response
from ..accounting.usage_headers import usage_lines
from ..apis.base.translation import Translation
from ..errors import BadRequest, UpstreamAnsweredError, UpstreamDied, UpstreamRefused
from ..json.large_body import LARGE_BYTES, outline_of
from ..json.spans import find_members
from .exchange import Exchange
from .send import UpstreamResponse, blame

# Of a response. A hundred embeddings of the longest kind have a tenth of that.
_MAX_TRANSLATED_BYTES: Final = 16 * 1024 * 1024


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
    body = response.body
    kept = bytearray(body.feed(response.data) if response.data else b"")
    response.data = b""
    while not body.complete:
        if len(kept) > _MAX_TRANSLATED_BYTES:
            raise UpstreamDied(
                f"cannot translate an answer of more than {_MAX_TRANSLATED_BYTES} bytes"
            )
        more = await response.next_bytes()
        if not more:
            if response.ended_well:
                break
            blame(response.conn)
            raise UpstreamDied("the model's server went away in the middle of its answer")
        kept += body.feed(more)
    return bytes(kept)


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
