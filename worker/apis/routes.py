"""All APIs, and the path of a request -> its API.

Adding an API: a module, and a row in `APIS`.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from arriero.protocol.records import UpstreamKind

from ..http.route_declaration import ANY_METHOD, Access, NamedIn, RouteDeclaration
from .base.api import Api
from .bedrock import BedrockApi
from .chat.api import ChatApi
from .completions import CompletionsApi
from .gemini import GeminiApi
from .management.declared import PAGE_ACCESS
from .messages.api import CountTokensApi, MessagesApi
from .ollama.api import OllamaApi, OllamaEmbeddingsApi
from .plain import PlainApi
from .responses.api import ResponsesApi

BEDROCK: Final = BedrockApi()
CHAT: Final = ChatApi()
COMPLETIONS: Final = CompletionsApi()
COUNT_TOKENS: Final = CountTokensApi()
GEMINI: Final = GeminiApi()
MESSAGES: Final = MessagesApi()
OLLAMA: Final = OllamaApi()
OLLAMA_EMBEDDINGS: Final = OllamaEmbeddingsApi()
PLAIN: Final = PlainApi()
RESPONSES: Final = ResponsesApi()

# In the order in which a body without a path of its own is held against them.
APIS: Final[tuple[Api, ...]] = (
    RESPONSES,
    COMPLETIONS,
    GEMINI,
    BEDROCK,
    MESSAGES,
    COUNT_TOKENS,
    OLLAMA,
    OLLAMA_EMBEDDINGS,
    PLAIN,
    CHAT,
)

# Where the body alone says which API is spoken; see `Routes.of_body`.
BY_BODY: Final = b"/"
BY_BODY_ROUTE: Final = RouteDeclaration(
    path=BY_BODY.decode(), summary="Whatever API the body speaks.", access="infer", named_in="body"
)

# What is passed on under these has its model before it in the path, or one that is given.
UPSTREAM: Final = b"/upstream/"
COMFYUI: Final = b"/comfyui"
_COMFYUI_MODEL: Final = "comfyui_auto"
_ANY_METHOD: Final = tuple(it.encode() for it in ANY_METHOD)

# A part of a path that is empty, or begins with a dot; some servers take a backslash for a slash.
_INDIRECT: Final = re.compile(rb"[/\\][./\\]")


class Route(NamedTuple):
    """The meaning of a path.

    Attributes:
        api: The API that is spoken.
        model: The model's name, if the path has it; else it is `named_in` something.
        streams: Whether a stream is wanted; None if the body says it.
        forward_path: Where it goes upstream, if that is another path.
        named_in: Where the model is named; in the path: the rest is passed on whatever it is.
        starts: The model is started if need be.
        is_counted: A request has a record of what it used.
        access: Who is answered; see `RouteDeclaration`.
    """

    api: Api
    model: str | None = None
    streams: bool | None = None
    forward_path: bytes | None = None
    named_in: NamedIn = "body"
    starts: bool = True
    is_counted: bool = True
    access: Access = "admin"


class Routes:
    """The routes of some APIs.

    Attributes:
        declared: All of them, as they are declared.
        paths: POST routes whose body names the model, but for `BY_BODY`.
    """

    def __init__(self, apis: Iterable[Api]) -> None:
        self._apis = tuple(apis)
        self.declared = (*(it for api in self._apis for it in api.routes), BY_BODY_ROUTE)
        self.paths = tuple(path for api in self._apis for path in api.paths)
        self._posts = {
            path: Route(api, forward_path=forward, access=access)
            for api in self._apis
            for path, forward, access in _asked_in_body(api)
        } | {BY_BODY: Route(CHAT, access=BY_BODY_ROUTE.access)}
        self._pages = {
            it.path.encode(): api for api in self._apis for it in api.routes if it.named_in is None
        }
        self._named = [
            (api, api.named_path, _access_named(api))
            for api in self._apis
            if api.named_path is not None
        ]
        self._exact: dict[tuple[bytes, bytes], Route] = {}
        self._by_beginning: dict[bytes, list[tuple[re.Pattern[bytes], bytes, Route]]] = {}
        for method, declared, route in _asked_in_query(self._apis):
            if declared.is_exact:
                self._exact[method, declared.path.encode()] = route
            else:
                begins = declared.path.partition("{")[0].encode()
                one = (declared.pattern, method, route)
                self._by_beginning.setdefault(begins, []).append(one)

    def find(self, path: bytes, method: bytes = b"POST") -> Route | None:
        """Return the route of a request; None if it asks no model.

        Args:
            path: Without the query.
            method: Of the request.
        """
        if method == b"POST":
            route = self._posts.get(path)
            if route is not None:
                return route
            for api, named, access in self._named:
                found = named.pattern.fullmatch(path)
                if found is not None:
                    model = unquote_to_bytes(found[2]).decode("utf-8", "replace")
                    return Route(api, model, found[4] == named.stream_verb, access=access)
        if path == b"/health":  # asked more often than all that follow
            return None
        route = self._exact.get((method, path))
        return route if route is not None else self._find_other(path, method)

    def _find_other(self, path: bytes, method: bytes) -> Route | None:
        if method in _ANY_METHOD and path.startswith(UPSTREAM):
            return Route(PLAIN, named_in="path", is_counted=False)
        if (
            method in _ANY_METHOD
            and path.startswith(COMFYUI)
            and path[len(COMFYUI) :][:1] in (b"", b"/")
        ):
            rest = path[len(COMFYUI) :]
            return Route(
                PLAIN,
                _COMFYUI_MODEL,
                forward_path=rest,
                named_in="path",
                starts=rest == b"/",
                is_counted=False,
                access="infer",
            )
        for begins, routes in self._by_beginning.items():
            if path.startswith(begins):
                for pattern, wanted, route in routes:
                    if wanted == method and pattern.fullmatch(path) is not None:
                        return route
        return None

    def access_under_upstream(self, method: bytes, path: bytes) -> Access:
        """Return who may ask a model's server for `path`.

        That is who may ask for it here. What it has besides could do anything; and so could a path
        that is another one for servers that take dots, slashes and escapes out of it.
        """
        if _INDIRECT.search(unquote_to_bytes(path)) is not None:
            return "admin"
        route = self.find(path, method)
        if route is not None:
            return route.access if route.named_in != "path" else "admin"
        return PAGE_ACCESS.get((method, path), "admin")

    def methods_at(self, path: bytes) -> frozenset[str]:
        """Return the methods for which a path asks a model."""
        return frozenset(it.decode() for it in _ANY_METHOD if self.find(path, it) is not None)

    def api_of_errors(self, path: bytes) -> Api:
        """Return the API of errors at `path`, for all methods."""
        route = self.find(path)
        if route is not None:
            return route.api
        asked_here = self._pages.get(path)
        if asked_here is not None:
            return asked_here
        for api in self._apis:
            if path.startswith(api.error_prefixes):
                return api
        return PLAIN

    def with_model(self, path: bytes, model: str) -> bytes:
        """Return `path` with its model's name, if any, replaced."""
        for _, named, _ in self._named:
            found = named.pattern.fullmatch(path)
            if found is not None:
                return found[1] + quote(model, safe="").encode() + found[3]
        return path

    def of_body(self, value: object, kind: UpstreamKind = "unknown") -> Api:
        """Return the API of a body, for paths that do not tell.

        Args:
            value: The decoded JSON; anything but an object counts as a chat.
            kind: The upstream, if that is known: a body with `messages` is ambiguous.
        """
        if not isinstance(value, dict):
            return CHAT
        return next((api for api in self._apis if api.is_spoken_in(value, kind)), CHAT)


def _access_named(api: Api) -> Access:
    """Return who is answered on paths that name the model: for all of an API it is the same."""
    return next((it.access for it in api.routes if it.named_in == "path"), "admin")


def _asked_in_body(api: Api) -> Iterator[tuple[bytes, bytes | None, Access]]:
    """Give each path whose body names the model, where it goes if elsewhere, and for whom."""
    for declared in api.routes:
        if declared.named_in == "body":
            yield declared.path.encode(), declared.forward.encode() or None, declared.access


def _asked_in_query(
    apis: Iterable[Api],
) -> Iterator[tuple[bytes, RouteDeclaration, Route]]:
    """Give method, declaration and meaning of each route whose query names the model."""
    for api in apis:
        for declared in api.routes:
            if declared.named_in == "query":
                for name in declared.methods:
                    route = Route(
                        api,
                        named_in="query",
                        starts=declared.starts,
                        is_counted=name == "POST",
                        access=declared.access,
                    )
                    yield name.encode(), declared, route
                    if name == "GET":
                        yield b"HEAD", declared, route


ROUTES: Final = Routes(APIS)
