"""Answers of pages, as Quart has them."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Protocol, TypeAlias

import msgspec
from quart import Response, request

from ..apis.management.queries import QueryT, read_query
from ..http.route_declaration import JSON, TEXT, RouteDeclaration

Handler: TypeAlias = Callable[..., Awaitable[Response]]


class AddsRoute(Protocol):
    """Lets a handler answer some routes."""

    def __call__(self, *declared: RouteDeclaration) -> Callable[[Handler], Handler]:
        """Return what adds the handler, which gets what stands in the places of their paths."""


def query_of(shape: type[QueryT]) -> QueryT:
    """Return the query of the request that is answered.

    Raises:
        BadRequest: It has another shape.
    """
    return read_query(shape, request.args.items(multi=True))


def json_answer(value: msgspec.Struct) -> Response:
    """Return `value` as JSON."""
    return Response(msgspec.json.encode(value), content_type=JSON)


def text_answer(text: str) -> Response:
    """Return `text`, which no browser takes for anything else."""
    response = Response(text, content_type=TEXT)
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


async def streamed(kind: str, begin: Callable[[], AsyncGenerator[bytes, None]]) -> Response:
    """Return a response that goes on; what can fail at once is an error of the usual form.

    Args:
        kind: Its media type.
        begin: Gives its pieces.
    """
    fields = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    fields["X-Accel-Buffering"] = "no"
    if request.method == "HEAD":
        return Response(b"", content_type=kind, headers=fields)
    pieces = begin()
    first = await anext(pieces)

    async def all_pieces() -> AsyncGenerator[bytes, None]:
        async with aclosing(pieces):
            if first:
                yield first
            async for piece in pieces:
                yield piece

    response = Response(all_pieces(), content_type=kind, headers=fields)
    response.timeout = None
    return response
