"""One client connection: reads requests and chooses the door for each. Doing.

The *relay door* takes POST on the model routes, straight from here. The *page door* takes
everything else, with all bytes that were read so far, and keeps the connection. The limits and
the rules against smuggling are applied here, to the heads of both.
"""

import logging
import socket
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from .call import error_answer
from .chunked import ChunkedBody
from .errors import BadRequest, ClientGone, HeadTooLarge, RelayError, TooLarge
from .head import MAX_HEAD_BYTES, RequestHead, parse_head
from .keys import check_key
from .paths import MODEL_ROUTES, Form
from .relay import AnswerCut
from .sentry import BODY_S, HEAD_S, IDLE_S, Connection, Waits
from .serving import Service

log = logging.getLogger(__name__)

# Bytes of a body, which is kept in memory until it is answered. Images in a long conversation
# come to some ten MiB.
MAX_BODY_BYTES = 64 * 1024 * 1024

_BODY_READ_BYTES = 256 * 1024

_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

PageDoor: TypeAlias = Callable[[socket.socket, bytes], Awaitable[None]]
"""Takes over a connection and what was read from it."""


async def serve_connection(conn: Connection, service: Service, page_door: PageDoor) -> None:
    """Answer the requests of one connection until it ends. It is closed afterwards.

    Cancelling cuts it, which a client does not take for the end of an answer.
    """
    wire = conn.wire
    service.sentry.connections.add(conn)
    last_raw = b""
    last_head = RequestHead()
    form: Form | None = None
    try:
        while True:
            raw = await _read_head(conn)
            if raw is None:
                break
            if raw == _HTTP2_PREFACE:
                await _to_page_door(conn, service, page_door, raw)
                return
            if raw == last_raw:  # clients that keep a connection repeat themselves
                head = last_head
            else:
                head = last_head = parse_head(raw)
                last_raw = raw
            form = MODEL_ROUTES.get(head.path)
            if form is None or head.method != b"POST":
                _refuse_large(head)
                await _to_page_door(conn, service, page_door, raw)
                return
            if service.names.config.api_keys:
                check_key(service.names.config.api_keys, head.method, head.path, head.keys)
            body = await _read_body(conn, head)
            if not await service.answer(conn, head, form, body) or service.finishing:
                if conn.buffer:
                    await wire.linger()  # pipelined bytes must not wipe the answer
                break
            conn.wait_for(Waits.IDLE, IDLE_S)
    except RelayError as error:  # about the request itself: nobody knows where the next one begins
        await _refuse(conn, error, form or Form.PLAIN)
    except AnswerCut:
        log.warning("answer.cut peer=%s", conn.peer.decode("latin-1"))
        wire.reset()
    except ClientGone:
        pass
    finally:
        service.sentry.connections.discard(conn)
        wire.close()


async def _to_page_door(
    conn: Connection, service: Service, page_door: PageDoor, raw: bytes
) -> None:
    service.sentry.connections.discard(conn)
    await page_door(conn.wire.release(), raw + conn.buffer)


async def _refuse(conn: Connection, error: RelayError, form: Form) -> None:
    try:
        conn.wait_for(Waits.CLIENT, HEAD_S)
        await conn.send(error_answer(error, close=True, form=form))
        await conn.wire.linger()
    except ClientGone:
        pass


async def _read_head(conn: Connection) -> bytes | None:
    """Return the next head with its blank line; None at the end of the connection.

    Raises:
        RelayError: It is too long, comes too slowly, or is no HTTP.
        ClientGone: The connection broke.
    """
    data = conn.buffer
    if not data:
        data = await conn.receive()
        if not data:
            return None
    if data[:2] == b"\r\n":
        data = data.lstrip(b"\r\n")  # left over by sloppy clients (RFC 9112, 2.2)
    end = data.find(b"\r\n\r\n")
    if end < 0:
        conn.wait_for(Waits.REQUEST, HEAD_S)
        while end < 0:
            if len(data) > MAX_HEAD_BYTES:
                raise HeadTooLarge(f"cannot take a head of more than {MAX_HEAD_BYTES} bytes")
            if data and not 65 <= data[0] <= 90:
                raise BadRequest("cannot read the request: this is no HTTP")
            more = await conn.receive()
            if not more:
                return None
            searched = max(0, len(data) - 3)
            data += more
            end = data.find(b"\r\n\r\n", searched)
    end += 4
    if end > MAX_HEAD_BYTES:
        raise HeadTooLarge(f"cannot take a head of more than {MAX_HEAD_BYTES} bytes")
    conn.buffer = data[end:]
    return data[:end]


def _refuse_large(head: RequestHead) -> None:
    if head.length is not None and head.length > MAX_BODY_BYTES:
        raise TooLarge(f"cannot take a body of more than {MAX_BODY_BYTES} bytes")


async def _read_body(conn: Connection, head: RequestHead) -> bytes:
    """Return the whole body.

    Raises:
        RelayError: It is too long, comes too slowly, or is wrongly chunked.
        ClientGone: The client left in the middle of it.
    """
    _refuse_large(head)
    buffer = conn.buffer
    length = head.length
    if length is not None and len(buffer) == length:  # nearly always
        conn.buffer = b""
        return buffer
    if head.continues and not buffer:
        await conn.send(_CONTINUE)
    if length is None:
        return await _read_chunked(conn)
    if len(buffer) > length:
        conn.buffer = buffer[length:]
        return buffer[:length]
    body = bytearray(buffer)
    conn.buffer = b""
    while (missing := length - len(body)) > 0:
        conn.wait_for(Waits.REQUEST, BODY_S)
        data = await conn.receive(min(missing, _BODY_READ_BYTES))
        if not data:
            raise ClientGone
        body += data
    return bytes(body)


async def _read_chunked(conn: Connection) -> bytes:
    reader = ChunkedBody(MAX_BODY_BYTES)
    reader.push(conn.buffer)
    conn.buffer = b""
    while not reader.complete:
        conn.wait_for(Waits.REQUEST, BODY_S)
        data = await conn.receive(_BODY_READ_BYTES)
        if not data:
            raise ClientGone
        reader.push(data)
    conn.buffer = reader.rest
    return bytes(reader.body)
