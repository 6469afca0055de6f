"""Ollama's API: routes, errors; all else is a chat's. Source: Ollama's API reference."""

from collections.abc import Callable
from typing import Any, ClassVar, Final

import msgspec

from arriero.protocol.read_json import JsonReader

from ...errors import RelayError, UnknownModel
from ...http.route_declaration import RouteDeclaration, asks
from ...json.spans import Steps
from ...streams.stream_end import StreamEnd
from ..base.dialect import Dialect, Mode, StreamContext
from ..base.translation import Translation
from ..chat.api import OpenAiApi
from .lines import OllamaLines, error_body
from .request import CHAT_PATH, EMBED_PATH, EMBEDDINGS_PATH, GENERATE_PATH, translate
from .shown import OllamaModels, OllamaShown, OllamaShowQuery

_LINES: Final = OllamaLines.content_type.decode()

TAGS: Final = RouteDeclaration(
    path="/api/tags",
    summary="The models, as Ollama lists them.",
    methods=("GET",),
    access="key",
    response=OllamaModels,
)
PS: Final = RouteDeclaration(
    path="/api/ps",
    summary="The models that run, the same way.",
    methods=("GET",),
    access="read",
    response=OllamaModels,
)
SHOW: Final = RouteDeclaration(
    path="/api/show",
    summary="What is known of a model, the same way.",
    access="key",
    request=OllamaShowQuery,
    response=OllamaShown,
    errors=(UnknownModel,),
)


class _TemplateOptions(msgspec.Struct):
    enable_thinking: Any = None


class _TemplateMembers(msgspec.Struct):
    chat_template_kwargs: _TemplateOptions | None = None


_thinking: Final = JsonReader(_TemplateMembers)


class _TranslatedApi(OpenAiApi):
    """What both have in common."""

    is_translated = True

    def translate(
        self, path: bytes, body: bytes, meant: Callable[[str], str]
    ) -> Steps[Translation]:
        """Return a request in the words of the chat's API; see `request`."""
        return translate(path, body, meant)

    def error_body(self, error: RelayError) -> bytes:
        """Return Ollama's error object."""
        return error_body(error)


class OllamaEmbeddingsApi(_TranslatedApi):
    """Embeddings, which have no stream; and what is asked of no model."""

    routes = (
        asks(EMBED_PATH.decode(), "Embed texts, as with Ollama."),
        asks(EMBEDDINGS_PATH.decode(), "Embed one text, as with Ollama before."),
        TAGS,
        PS,
        SHOW,
    )
    # what only Ollama itself can do: its clients read its errors
    error_prefixes = (
        b"/api/pull",
        b"/api/push",
        b"/api/create",
        b"/api/copy",
        b"/api/delete",
        b"/api/blobs/",
    )


class OllamaApi(_TranslatedApi):
    """Chats and generations."""

    routes = (
        asks(CHAT_PATH.decode(), "Go on with a chat, as with Ollama.", response=_LINES),
        asks(GENERATE_PATH.decode(), "Answer a prompt, as with Ollama.", response=_LINES),
    )
    stream_end = StreamEnd(lambda lines: b'"done":true' in lines)
    modes: ClassVar[frozenset[Mode]] = frozenset({"heartbeat", "reasoning"})

    def wants_thinking(self, body: bytes) -> bool:
        """Whether the client has not asked for the contrary; the body is translated."""
        found = _thinking.find(body)
        options = found.chat_template_kwargs if found is not None else None
        return options is None or options.enable_thinking is not False

    def dialect(self, context: StreamContext) -> Dialect:
        """Return the lines of a chat."""
        return OllamaLines("chat", context.model, context.created)
