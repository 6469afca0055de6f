"""Path of a request -> which door answers it, and in which form."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from arriero.protocol.records import UpstreamKind


class Form(StrEnum):
    """The shape of the answers of a model route: what may be said while a client waits."""

    CHAT = "chat"  # chat.completion.chunk: has a channel for reasoning
    COMPLETION = "completion"  # text_completion: has none
    MESSAGES = "messages"  # Anthropic's: blocks of thinking
    RESPONSES = "responses"  # OpenAI's newer one: items of reasoning
    PLAIN = "plain"  # never a stream of ours: nothing is said before the answer
    COUNT = "count"  # the same, with Anthropic's errors
    GEMINI = "gemini"  # Google's: only peers speak it
    BEDROCK = "bedrock"  # Amazon's, Converse: only peers speak it; its streams are binary

    @property
    def is_plain(self) -> bool:
        """Whether nothing is ever said before the answer."""
        return self in _SILENT

    @property
    def has_end(self) -> bool:
        """Whether it is known what the end of its streams looks like, and of their errors."""
        return self is not Form.PLAIN and self is not Form.COUNT

    @property
    def is_anthropic(self) -> bool:
        """Whether errors have Anthropic's shape."""
        return self is Form.MESSAGES or self is Form.COUNT


_SILENT: Final = frozenset({Form.PLAIN, Form.COUNT, Form.GEMINI, Form.BEDROCK})


class Route(NamedTuple):
    """What a path says.

    Attributes:
        form: Shape of the answers.
        model: The model's name, if the path has it; else the body names it.
        streams: Whether a stream is wanted; None if the body says it.
        forward_path: Where it goes upstream, if that is another path.
    """

    form: Form
    model: str | None = None
    streams: bool | None = None
    forward_path: bytes | None = None


# POST routes that name a model in a body: JSON, or a form (audio/transcriptions, images/edits).
MODEL_ROUTES: Final[dict[bytes, Form]] = {
    b"/v1/chat/completions": Form.CHAT,
    b"/v1/completions": Form.COMPLETION,
    b"/v1/messages": Form.MESSAGES,
    b"/v1/messages/count_tokens": Form.COUNT,
    b"/v1/responses": Form.RESPONSES,
    b"/v1/embeddings": Form.PLAIN,
    b"/v1/rerank": Form.PLAIN,
    b"/v1/reranking": Form.PLAIN,
    b"/rerank": Form.PLAIN,
    b"/reranking": Form.PLAIN,
    b"/infill": Form.PLAIN,
    b"/completion": Form.PLAIN,
    b"/v/chat/completions": Form.CHAT,
    b"/v/completions": Form.COMPLETION,
    b"/v/messages": Form.MESSAGES,
    b"/v/messages/count_tokens": Form.COUNT,
    b"/v/responses": Form.RESPONSES,
    b"/v/embeddings": Form.PLAIN,
    b"/v/rerank": Form.PLAIN,
    b"/v/reranking": Form.PLAIN,
    b"/v1/audio/speech": Form.PLAIN,
    b"/v1/audio/voices": Form.PLAIN,
    b"/v1/images/generations": Form.PLAIN,
    b"/sdapi/v1/txt2img": Form.PLAIN,
    b"/sdapi/v1/img2img": Form.PLAIN,
    b"/audioapi/v1/tasks/run": Form.PLAIN,
    b"/v1/audio/transcriptions": Form.PLAIN,
    b"/v1/images/edits": Form.PLAIN,
    b"/v1/streaming_query": Form.CHAT,  # in other words: see turn_request
}

# Beginnings that stay at home: for servers that have no version in their paths, or no such folder.
_DROPPED: Final = (b"/v/", b"/audioapi/")


def _forward_path(path: bytes) -> bytes | None:
    return next((path[len(it) - 1 :] for it in _DROPPED if path.startswith(it)), None)


# Where the body alone says which API is spoken; see `form_of_body`.
BY_BODY: Final = b"/"

_ROUTES: Final[Mapping[bytes, Route]] = {
    path: Route(form, forward_path=_forward_path(path)) for path, form in MODEL_ROUTES.items()
} | {BY_BODY: Route(Form.CHAT)}

# Paths with a model's name, which may hold slashes and colons, escaped or not. Sources: Google's
# "Gemini API reference"; Amazon's "Bedrock API reference", Converse and ConverseStream.
_NAMING: Final[tuple[tuple[Form, bytes, re.Pattern[bytes]], ...]] = (
    (
        Form.GEMINI,
        b"streamGenerateContent",
        re.compile(
            rb"(/v1(?:alpha|beta)?/models/)(.+)"
            rb"(:(generateContent|streamGenerateContent|countTokens|(?:batchE|e)mbedContents?))",
            re.DOTALL,
        ),
    ),
    (Form.BEDROCK, b"-stream", re.compile(rb"(/model/)(.+)(/converse(-stream)?)", re.DOTALL)),
)


def find_route(path: bytes) -> Route | None:
    """Return what `path`, which has no query, says to a POST; None if it is no model route."""
    route = _ROUTES.get(path)
    if route is not None:
        return route
    for form, streams, pattern in _NAMING:
        found = pattern.fullmatch(path)
        if found is not None:
            model = unquote_to_bytes(found[2]).decode("utf-8", "replace")
            return Route(form, model, found[4] == streams)
    return None


# Beginnings of paths where errors have Anthropic's shape even if nothing is there.
_ANTHROPIC_PATHS: Final = b"/v1/messages/"


def error_form(path: bytes) -> Form:
    """Return the form of errors at `path`, whatever the method."""
    route = find_route(path)
    if route is not None:
        return route.form
    return Form.MESSAGES if path.startswith(_ANTHROPIC_PATHS) else Form.PLAIN


def with_model(path: bytes, model: str) -> bytes:
    """Return `path` with another model's name in it, if there is one in it."""
    for _, _, pattern in _NAMING:
        found = pattern.fullmatch(path)
        if found is not None:
            return found[1] + quote(model, safe="").encode() + found[3]
    return path


# Where each API is asked. "{}" is the place of the model's name; the second one is for streams.
_TARGETS: Final[Mapping[Form, tuple[str, ...]]] = {
    Form.CHAT: ("/v1/chat/completions",) * 2,
    Form.COMPLETION: ("/v1/completions",) * 2,
    Form.MESSAGES: ("/v1/messages",) * 2,
    Form.RESPONSES: ("/v1/responses",) * 2,
    Form.GEMINI: (
        "/v1beta/models/{}:generateContent",
        "/v1beta/models/{}:streamGenerateContent?alt=sse",
    ),
    Form.BEDROCK: ("/model/{}/converse", "/model/{}/converse-stream"),
}


def target_of(form: Form, model: str, *, stream: bool) -> bytes:
    """Return path and query at which an upstream is asked in the API of `form`.

    Raises:
        KeyError: The form is that of many paths (`PLAIN`) or of none that streams (`COUNT`).
    """
    return _TARGETS[form][stream].format(quote(model, safe="")).encode()


def form_of_body(value: object, kind: UpstreamKind = "unknown") -> Form:
    """Return the API that a body looks like, for paths that do not tell.

    Args:
        value: The decoded JSON; anything but an object counts as a chat.
        kind: What will answer, if that is known: a body with `messages` says little of itself.
    """
    if not isinstance(value, dict):
        return Form.CHAT
    chats = "messages" in value
    if "input" in value and not chats:
        return Form.RESPONSES
    if "prompt" in value and not chats:
        return Form.COMPLETION
    if "contents" in value:
        return Form.GEMINI
    if chats and kind == "bedrock":
        return Form.BEDROCK
    if chats and (kind == "anthropic" or "system" in value):
        return Form.MESSAGES
    return Form.CHAT
