"""Model requests that come over the page door (HTTP/2): the same relay, a slower way. Doing.

A request is written as HTTP/1.1 into one end of a socket pair whose other end is served like any
client's connection. So all rules of the relay door hold, and there is one relay only.
"""

import socket
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import trio
from hypercorn.typing import (
    ASGIFramework,
    ASGIReceiveCallable,
    ASGISendCallable,
    HTTPResponseBodyEvent,
    HTTPResponseStartEvent,
    HTTPResponseTrailersEvent,
    HTTPScope,
    Scope,
)

from .errors import UpstreamDied
from .headers import AnswerBody, parse_answer_head
from .paths import find_route
from .sse import chunk
from .wire import Wire, WireBroken

Serve: TypeAlias = Callable[[socket.socket, bytes], Awaitable[None]]
"""Serves a socket as a client's connection, on behalf of the client with that address."""

# Fields that are this file's to say.
_OWN_FIELDS = frozenset(
    {b"host", b"connection", b"content-length", b"transfer-encoding", b"expect", b"te", b"upgrade"}
)

# Fields that HTTP/2 does not have.
_OF_HTTP_1 = frozenset({b"connection", b"keep-alive", b"transfer-encoding"})


class AsgiDoor:
    """An ASGI app: model requests go to the relay, all others to `pages`."""

    def __init__(self, pages: ASGIFramework, serve: Serve) -> None:
        self._pages = pages
        self._serve = serve

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Answer one request."""
        if (
            scope["type"] == "http"
            and scope["method"] == "POST"
            and find_route(scope["raw_path"]) is not None
        ):
            await self._relay(scope, receive, send)
        else:
            await self._pages(scope, receive, send)

    async def _relay(
        self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        ours, theirs = socket.socketpair()
        wire = Wire(ours)
        client = scope["client"]
        peer = client[0].encode() if client else b""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._serve, theirs, peer)
                nursery.start_soon(_write_request, wire, scope, receive)
                whole = await _read_answer(wire, send, trailers=_takes_trailers(scope))
                nursery.cancel_scope.cancel()
        finally:
            wire.close()
        if not whole:
            scope["state"]["cut"]()


async def _write_request(wire: Wire, scope: HTTPScope, receive: ASGIReceiveCallable) -> None:
    """Write the request; afterwards wait for the client to leave, and pass that on."""
    host = next((value for name, value in scope["headers"] if name == b"host"), b"localhost")
    target = scope["raw_path"]
    if scope["query_string"]:
        target += b"?" + scope["query_string"]
    lines = [
        b"%b: %b\r\n" % (name, value)
        for name, value in scope["headers"]
        if name not in _OWN_FIELDS and not name.startswith(b":")
    ]
    head = b"POST %b HTTP/1.1\r\nHost: %b\r\n%bTransfer-Encoding: chunked\r\n\r\n" % (
        target,
        host,
        b"".join(lines),
    )
    try:
        await wire.send(head)
        while True:
            message = await receive()
            if message["type"] != "http.request":
                wire.cut()
                return
            if message["body"]:
                await wire.send(chunk(bytes(message["body"])))
            if not message["more_body"]:
                await wire.send(b"0\r\n\r\n")
                break
        while (await receive())["type"] != "http.disconnect":
            pass
        wire.cut()
    except WireBroken:
        pass  # refused in the middle of the body: the answer says why


def _takes_trailers(scope: HTTPScope) -> bool:
    """Whether the server can send trailers, and the client has said that it takes them."""
    takes = (b"te", b"trailers") in [(name, value.strip()) for name, value in scope["headers"]]
    return takes and "http.response.trailers" in scope["extensions"]


async def _read_answer(wire: Wire, send: ASGISendCallable, *, trailers: bool) -> bool:
    """Pass the answer on, with its trailers if they are wanted; False when it was cut."""
    try:
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            more = await wire.receive()
            if not more:
                return False
            data += more
        head = parse_answer_head(data[: end + 4])
        if head.status < 200:
            raise UpstreamDied("an interim answer, though none was asked for")
        headers = [field for field in head.fields if field[0] not in _OF_HTTP_1]
        await send(
            HTTPResponseStartEvent(
                type="http.response.start", status=head.status, headers=headers, trailers=trailers
            )
        )
        answer = AnswerBody(head)
        data = data[end + 4 :]
        while True:
            body = answer.feed(data) if data else b""
            if body or answer.complete:
                await send(
                    HTTPResponseBodyEvent(
                        type="http.response.body", body=body, more_body=not answer.complete
                    )
                )
            if answer.complete:
                if trailers:
                    last = [_field(line) for line in answer.trailers]
                    await send(
                        HTTPResponseTrailersEvent(
                            type="http.response.trailers", headers=last, more_trailers=False
                        )
                    )
                return True
            data = await wire.receive()
            if not data:
                return False
    except (WireBroken, UpstreamDied):
        return False


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.rstrip(b"\r\n").partition(b": ")
    return name.lower(), value
