"""All APIs, and the path of a request -> its API.

Adding an API: a module, and a row in `APIS`.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from arriero.protocol.records import UpstreamKind

from .base.api import Api
from .bedrock import BedrockApi
from .chat.api import ChatApi
from .completions import CompletionsApi
from .gemini import GeminiApi
from .messages.api import CountTokensApi, MessagesApi
from .plain import PlainApi
from .responses.api import ResponsesApi

BEDROCK: Final = BedrockApi()
CHAT: Final = ChatApi()
COMPLETIONS: Final = CompletionsApi()
COUNT_TOKENS: Final = CountTokensApi()
GEMINI: Final = GeminiApi()
MESSAGES: Final = MessagesApi()
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
    PLAIN,
    CHAT,
)

# Where the body alone says which API is spoken; see `Routes.of_body`.
BY_BODY: Final = b"/"

# Beginnings that stay at home: for servers that have no version in their paths, or no such folder.
_DROPPED: Final = (b"/v/", b"/audioapi/")


class Route(NamedTuple):
    """The meaning of a path.

    Attributes:
        api: The API that is spoken.
        model: The model's name, if the path has it; else the body names it.
        streams: Whether a stream is wanted; None if the body says it.
        forward_path: Where it goes upstream, if that is another path.
    """

    api: Api
    model: str | None = None
    streams: bool | None = None
    forward_path: bytes | None = None


class Routes:
    """The routes of some APIs.

    Attributes:
        paths: POST routes whose body names the model, but for `BY_BODY`.
    """

    def __init__(self, apis: Iterable[Api]) -> None:
        self._apis = tuple(apis)
        self.paths = tuple(path for api in self._apis for path in api.paths)
        self._routes = {
            path: Route(api, forward_path=_forward_path(path))
            for api in self._apis
            for path in api.paths
        } | {BY_BODY: Route(CHAT)}
        self._named = [(api, api.named_path) for api in self._apis if api.named_path is not None]

    def find(self, path: bytes) -> Route | None:
        """Return the route of a POST; None without a model.

        Args:
            path: Without the query.
        """
        route = self._routes.get(path)
        if route is not None:
            return route
        for api, named in self._named:
            found = named.pattern.fullmatch(path)
            if found is not None:
                model = unquote_to_bytes(found[2]).decode("utf-8", "replace")
                return Route(api, model, found[4] == named.stream_verb)
        return None

    def api_of_errors(self, path: bytes) -> Api:
        """Return the API of errors at `path`, for all methods."""
        route = self.find(path)
        if route is not None:
            return route.api
        for api in self._apis:
            if api.error_prefix is not None and path.startswith(api.error_prefix):
                return api
        return PLAIN

    def with_model(self, path: bytes, model: str) -> bytes:
        """Return `path` with its model's name, if any, replaced."""
        for _, named in self._named:
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


def _forward_path(path: bytes) -> bytes | None:
    return next((path[len(it) - 1 :] for it in _DROPPED if path.startswith(it)), None)


ROUTES: Final = Routes(APIS)
