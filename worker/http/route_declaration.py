"""`RouteDeclaration`: one route, as it is declared; nothing else says that it is there.

What is dispatched, what is answered without a key, what a 404 names, /openapi.json and
docs/http-api.md are made from these.
"""

import re
from typing import Final, Literal, TypeAlias

import msgspec

from arriero.protocol.worker_config import Scope

from ..errors import RelayError

NamedIn: TypeAlias = Literal["body", "query", "path"]
"""Where a request names its model. A body is JSON or a form; a query goes before a body."""

Access: TypeAlias = Literal["open", "key"] | Scope
"""Who is answered: everybody; or, if there are keys in the configuration, who shows one, whatever
it is good for; or one with that scope."""

JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"
HTML: Final = "text/html; charset=utf-8"
EVENTS: Final = "text/event-stream"
FORM: Final = "multipart/form-data"

ANY_METHOD: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

# A name in braces: one part of a path, or with dots all that is left of it.
_PLACE: Final = re.compile(r"\{(\w+)(\.\.\.)?\}")


class RouteDeclaration(msgspec.Struct, frozen=True, kw_only=True):
    """One route.

    Attributes:
        path: Without a query. ``{name}`` stands for one part of it, ``{name...}`` for several.
        summary: What it does, in a few words.
        methods: Its methods; GET answers HEAD as well.
        access: Who is answered; nobody but administrators, where nothing is said.
        is_visited: A link of another site may lead here: it is looked at, and starts nothing.
        named_in: Where the model is named that is asked; None: no model is asked.
        starts: That model is started if need be.
        forward: The path at the model's server, if it is another one.
        request: The shape of its body; or a media type; None without one.
        response: The shape of its answer, which is JSON; or a media type.
        also: Other media types of its answer, for who accepts them.
        query: The shape of its query; None without one.
        errors: What it may refuse besides what any request may be refused for.
    """

    path: str
    summary: str
    methods: tuple[str, ...] = ("POST",)
    access: Access = "admin"
    is_visited: bool = False
    named_in: NamedIn | None = None
    starts: bool = True
    forward: str = ""
    request: type | str | None = None
    response: type | str = JSON
    also: tuple[str, ...] = ()
    query: type[msgspec.Struct] | None = None
    errors: tuple[type[RelayError], ...] = ()

    @property
    def is_exact(self) -> bool:
        """Whether its path is one path only."""
        return "{" not in self.path

    @property
    def pattern(self) -> re.Pattern[bytes]:
        """Its paths."""
        parts = []
        end = 0
        for found in _PLACE.finditer(self.path):
            parts += [re.escape(self.path[end : found.start()]), ".+" if found[2] else "[^/]+"]
            end = found.end()
        parts.append(re.escape(self.path[end:]))
        return re.compile("".join(parts).encode(), re.DOTALL)


def asks(
    path: str, summary: str, *, forward: str = "", request: str = JSON, response: str = JSON
) -> RouteDeclaration:
    """Declare a POST whose body names the model that is asked.

    Args:
        path: See `RouteDeclaration`, like all the others.
        summary: The same.
        forward: The same.
        request: The same.
        response: The same.
    """
    return RouteDeclaration(
        path=path,
        summary=summary,
        access="infer",
        named_in="body",
        forward=forward,
        request=request,
        response=response,
    )


def unversioned(route: RouteDeclaration) -> tuple[RouteDeclaration, ...]:
    """Return `route`, a path of ``/v1``, and the two other ways in which clients write it.

    Without ``/v1``: their base URL lacks it. With ``/v`` in its place, for servers that have no
    version in their paths: these get it without (llama-swap's way to say so).
    """
    name = route.path.removeprefix("/v1")
    replaced = msgspec.structs.replace
    return (
        route,
        replaced(route, path=name, forward=route.path),
        replaced(route, path=f"/v{name}", forward=name),
    )
