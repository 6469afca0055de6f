"""One client connection: reads requests and chooses the door for each.

The *relay door* takes what asks a model, straight from here. The *page door* takes
everything else; its answer ends the connection. A connection that begins as HTTP/2 is taken apart:
each of its streams comes back here as a connection of its own. So the limits, the rules against
smuggling, and those on who may ask (see `admission`) are applied here, to all heads.
"""

import io
import logging
import math
import os
import re
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from arriero.protocol.worker_config import WorkerConfig

from ..accounting.access_line import AccessLine
from ..apis.base.api import Api
from ..apis.error_response import error_answer
from ..apis.management.declared import PAGES
from ..apis.routes import GEMINI, PLAIN, ROUTES, Route
from ..connections.connection import Connection, WaitingFor
from ..errors import (
    BadRequest,
    ClientGone,
    Forbidden,
    HeadTooLarge,
    MovedForNow,
    RelayError,
    TooLarge,
    Unauthorized,
    UnsupportedCoding,
)
from ..http.admission import check_scope
from ..http.auth import NOBODY
from ..http.body_memory import MemoryHold
from ..http.body_pace import TOTAL_S, BodyPace
from ..http.content_coding import decoded
from ..http.cors import answer_lines
from ..http.request_head import MAX_HEAD_BYTES, RequestHead, parse_head
from ..http.request_target import clean_path, model_in_query
from ..http.route_declaration import Access
from ..http.tracing import RANDOM_BYTES, start_trace
from ..relay import handler as serving
from ..relay.context import RelayContext
from ..relay.model_request import way_upstream
from ..relay.response_writer import ResponseCut
from ..ui.asset_door import ASSET_PREFIX, asset_answer
from ..upstreams.heads import origin_form
from ..upstreams.upload import KEPT_BYTES, BodySource, Upload, pass_upload, read_upload, upload_of
from ..websocket.handshake import find_socket, socket_access, wants_socket
from .health import asks_for_health, health_answer
from .late_protocols import answer_late_websocket

log = logging.getLogger(__name__)

# A client that is answered in the middle of its body may send all of it before it reads the
# answer: that is dropped until it has been silent for so long. Seconds of silence, bytes, and
# seconds in all: a hundred megabytes over a slow line.
_LINGER_S = 5.0
_LINGER_BYTES = 1024**3
_LINGER_TOTAL_S = 300.0

# Said besides to those whose body is too long.
_HINT = " ('maxBody' in the configuration)"

_JSON_BEGINS = re.compile(rb"\s{0,4096}+\{")

_BOM = b"\xef\xbb\xbf"

_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\n"

HypercornBridge: TypeAlias = Callable[[Connection, RequestHead, bytes, MemoryHold], Awaitable[None]]
"""Answers a request whose head was read, as it came as well; the connection is over then. Its body
is held meanwhile."""

Http2Door: TypeAlias = Callable[[Connection, bytes], Awaitable[None]]
"""Serves a connection that began with these bytes, until its end."""


async def serve_connection(
    conn: Connection,
    service: RelayContext,
    page_door: HypercornBridge,
    http2_door: Http2Door | None,
    *,
    is_admin_here: bool = True,
) -> None:
    """Answer the requests of one connection until it ends. It is closed afterwards.

    Cancelling cuts it, which a client does not take for the end of an answer.

    Args:
        conn: The connection.
        service: What answering takes.
        page_door: Answers what asks no model.
        http2_door: Answers what begins as HTTP/2; None for a stream of such a connection.
        is_admin_here: What needs the scope `admin` is answered here.
    """
    transport = conn.transport
    service.monitor.connections.add(conn)
    last_raw = b""
    last_head = admitted = RequestHead()
    admission = service.admission
    api: Api = PLAIN
    hold = MemoryHold(service.bodies)
    line: AccessLine | None = None
    end = "whole"
    idle_s = conn.monitor.limits.idle_s
    try:
        while True:
            api = PLAIN  # of the next request nothing is known yet
            if conn.buffer:  # requests that came together must not keep all others waiting
                await service.monitor.fairness.turn()
            raw = await _read_head(conn)
            if raw is None:
                break
            if raw == _HTTP2_PREFACE and http2_door is not None and not conn.requests:
                data, conn.buffer = raw + conn.buffer, b""
                await http2_door(conn, data)
                break
            if raw == last_raw:  # clients that keep a connection repeat themselves
                head = last_head
            else:
                head = last_head = parse_head(raw)
                last_raw = raw
            if service.names.config.log_requests:
                line = AccessLine(conn, head)
            is_socket = head.upgrade is not None and wants_socket(head)
            route = ROUTES.find(head.path, head.method)
            api = route.api if route is not None else ROUTES.api_of_errors(head.path)
            if head is not admitted or admission is not service.admission:
                admission = service.admission
                if route is not None and route.api is GEMINI:
                    admission.take_key_in_query(head)
                conn.caller = admission.check(head, websocket=is_socket)
                if is_socket:
                    access = socket_access(service.names, head)
                else:
                    access = _access(service, head, route)
                check_scope(conn.caller, access, is_admin_here=is_admin_here)
                admitted = head
            if is_socket:
                way = find_socket(service.names_for(conn.caller), head)
                await answer_late_websocket(service, conn, head, way)
                break
            if route is None and (answer := _at_the_door(service, head)) is not None:
                await conn.send(answer)
                conn.requests += 1
                if not head.keep_alive or service.finishing:
                    break
                if line is not None:
                    line.end()
                    line = None
                conn.wait_for(WaitingFor.IDLE, idle_s)
                continue
            if route is None:  # whatever has a door of its own (a preflight, say)
                _lead_to_clean(head)
                _refuse_large(head, service)
                await page_door(conn, head, raw, hold)
                break
            if service.leases.is_crowded:  # a cold model, and everybody asks for it at once
                await service.monitor.fairness.turn()
            if not await _answer(conn, service, head, route, hold) or service.finishing:
                if conn.buffer:
                    await transport.linger()  # pipelined bytes must not wipe the answer
                break
            if line is not None:
                line.end()
                line = None
            conn.wait_for(WaitingFor.IDLE, idle_s)
    except RelayError as error:  # about the request itself: nobody knows where the next one begins
        hold.release()
        if line is None and service.names.config.log_requests:
            line = AccessLine(conn, None)
        await _refuse(conn, error, api, last_head, service.names.config)
    except ResponseCut:
        log.warning("answer.cut peer=%s", conn.peer.decode("latin-1"))
        transport.reset()
        end = "cut"
    except ClientGone:
        end = "gone"
    finally:
        if line is not None:
            line.end(end)
        hold.release()
        service.monitor.connections.discard(conn)
        transport.close()


def _access(service: RelayContext, head: RequestHead, route: Route | None) -> Access:
    """Return what a request needs; pages see to that themselves."""
    if route is None:
        return "open"
    if route.named_in == "path" and route.model is None:
        return way_upstream(service.names, head, route).access
    return route.access


def _at_the_door(service: RelayContext, head: RequestHead) -> bytes | None:
    """Return the answer to what needs no page: health, and files of the page; else None."""
    is_health = asks_for_health(head)
    if not is_health and not head.path.startswith(ASSET_PREFIX):
        return None
    make = health_answer if is_health else asset_answer
    random = service.random.take(RANDOM_BYTES)
    close = not head.keep_alive or service.finishing
    return make(head, service.names.config, random, close=close)


async def _answer(
    conn: Connection, service: RelayContext, head: RequestHead, route: Route, hold: MemoryHold
) -> bool:
    """Read the body of a model request and answer it.

    Returns:
        Whether the connection may carry another request.
    """
    if route.named_in != "body" and _passes_by(head, route):
        return await _answer_upload(conn, service, head, route, pass_upload(conn, head, hold))
    is_read = route.named_in == "body" or (
        route.named_in == "query" and model_in_query(head.target) is None
    )
    kind = b"" if route.named_in == "path" else head.media_type
    if kind == b"multipart/form-data":
        if head.compression is not None:
            raise UnsupportedCoding(
                "cannot read a form that is compressed as a whole; send it as it is"
            )
        upload = await read_upload(conn, head, hold)
        return await _answer_upload(conn, service, head, route, upload)
    has_come = len(conn.buffer)
    if has_come == head.length and has_come <= service.names.config.max_body_bytes:
        hold.grow(has_come)  # nearly always
        body, conn.buffer = conn.buffer, b""
    else:
        body = await _read_body(conn, head, service, hold)
    if is_read and head.compression is not None:
        body = await _decompressed(conn, body, head.compression, service, hold)
        head = head.decompressed()
    if is_read and body[:1] == _BOM[:1]:  # some programs put it before whatever they write
        body = body.removeprefix(_BOM)
    # curl says that of all it posts: JSON is JSON, whatever it is called
    if kind == b"application/x-www-form-urlencoded" and _JSON_BEGINS.match(body) is None:
        upload = upload_of(conn, head, body, hold)
        return await _answer_upload(conn, service, head, route, upload)
    goes_on = await serving.answer(service, conn, head, route, body)
    hold.release()
    return goes_on


def _passes_by(head: RequestHead, route: Route) -> bool:
    """Whether nobody looks at a body, and it is too long to be kept, or may be."""
    is_long = head.length is None or head.length > KEPT_BYTES
    if route.named_in == "path":
        return is_long
    is_form = head.media_type == b"multipart/form-data"
    return (is_long or is_form) and model_in_query(head.target) is not None


async def _decompressed(
    conn: Connection, body: bytes, coding: bytes, service: RelayContext, hold: MemoryHold
) -> bytes:
    """Return `body` as it was before it was compressed.

    Raises:
        RelayError: It is not compressed like that, too long, or there is no memory for it now.
    """
    limit_bytes = service.names.config.max_body_bytes
    conn.wait_for(WaitingFor.SUPERVISOR, math.inf)  # for nobody: it has come
    return await conn.monitor.fairness.run(decoded(body, coding, limit_bytes, hold.grow))


async def _answer_upload(
    conn: Connection, service: RelayContext, head: RequestHead, route: Route, upload: Upload
) -> bool:
    try:
        goes_on = await serving.answer(service, conn, head, route, b"", upload)
    finally:
        await upload.aclose()
    if not upload.drained:
        conn.wait_for(WaitingFor.IDLE, _LINGER_TOTAL_S)
        await conn.transport.linger(_LINGER_S, _LINGER_BYTES, _LINGER_TOTAL_S)
        return False
    return goes_on


async def _refuse(
    conn: Connection, error: RelayError, api: Api, head: RequestHead, config: WorkerConfig
) -> None:
    if isinstance(error, Unauthorized):
        conn.caller = NOBODY  # whoever has asked before on this connection
    lines = b""
    if isinstance(error, Forbidden | Unauthorized):  # the request itself was understood
        request_id = start_trace(head.own, os.urandom(RANDOM_BYTES)).request_id
        lines = b"X-Request-Id: %b\r\n" % request_id.encode("ascii")
    if isinstance(error, Unauthorized) and head.origin is not None:  # and the page may ask
        lines += answer_lines(head.origin, config.cors)
    answer = error_answer(error, close=True, api=api, extra=lines, head=head)
    if head.method == b"HEAD":
        answer = answer[: answer.index(b"\r\n\r\n") + 4]
    try:
        conn.wait_for(WaitingFor.CLIENT, conn.monitor.limits.head_s)
        await conn.send(answer)
        conn.wait_for(WaitingFor.IDLE, _LINGER_TOTAL_S)
        await conn.transport.linger(_LINGER_S, _LINGER_BYTES, _LINGER_TOTAL_S)
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
        conn.wait_for(WaitingFor.REQUEST, conn.monitor.limits.head_s)
        kept = bytearray(data)
        while end < 0:
            if len(kept) > MAX_HEAD_BYTES:
                raise HeadTooLarge(f"cannot take a head of more than {MAX_HEAD_BYTES} bytes")
            if kept and not 65 <= kept[0] <= 90:
                raise BadRequest("cannot read the request: this is no HTTP")
            more = await conn.receive()
            if not more:
                return None
            searched = max(0, len(kept) - 3)
            kept += more
            end = kept.find(b"\r\n\r\n", searched)
        data = bytes(kept)
    end += 4
    if end > MAX_HEAD_BYTES:
        raise HeadTooLarge(f"cannot take a head of more than {MAX_HEAD_BYTES} bytes")
    conn.buffer = data[end:]
    return data[:end]


def _lead_to_clean(head: RequestHead) -> None:
    """Lead who asks for ``//v1//models`` to the path that is meant, if something is there.

    Raises:
        MovedForNow: It is.
    """
    path = head.path
    if (b"//" not in path and b"/." not in path) or head.method == b"OPTIONS":
        return
    clean = clean_path(path)
    is_there = ROUTES.methods_at(clean) or any(it.pattern.fullmatch(clean) for it in PAGES)
    if clean != path and is_there:
        raise MovedForNow(clean + origin_form(head)[len(path) :])


def _refuse_large(head: RequestHead, service: RelayContext) -> None:
    limit_bytes = service.names.config.max_body_bytes
    if head.length is not None and head.length > limit_bytes:
        raise TooLarge(f"cannot take a body of more than {limit_bytes} bytes{_HINT}")


async def _read_body(
    conn: Connection, head: RequestHead, service: RelayContext, hold: MemoryHold
) -> bytes:
    """Return the whole body.

    Raises:
        RelayError: It is too long, comes too slowly, is wrongly chunked, or there is no memory
            for it now.
        ClientGone: The client left in the middle of it.
    """
    limit_bytes = service.names.config.max_body_bytes
    source = BodySource(
        conn, head, limit_bytes, BodyPace(conn.monitor.limits.body_s, TOTAL_S), _HINT
    )
    hold.check(source.length or 0)
    with io.BytesIO() as body:  # gives what it has without a copy, and nothing stays in an error
        while piece := await source.read():
            hold.grow(len(piece))
            body.write(piece)
        return body.getvalue()
