"""Requests in Ollama's API -> chats, completions and embeddings. Steps as in `spans`.

What is sent upstream is written anew, of texts that are copied and never decoded.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from ...errors import BadRequest, TooLarge
from ...json.large_body import LARGE_BYTES, outline_of
from ...json.spans import Span, Steps, find_members, joined
from ..base.dialect import ResponseEnd, StreamContext
from ..base.keep_alive import read_keep_alive
from ..base.translation import Translation
from .fields import (
    NOT_SAID,
    RequestFields,
    format_member,
    option_members,
    read_fields,
    thinking_members,
)
from .lines import OllamaLines, Shape, durations
from .messages import MessageTranslator, Part, is_empty, joined_messages, with_images
from .whole import nothing_said, whole_embeddings, whole_response

MAX_TRANSLATED_BYTES: Final = 16 * 1024 * 1024
"""Of a request; most of a long one are images."""

CHAT_PATH: Final = b"/api/chat"
GENERATE_PATH: Final = b"/api/generate"
EMBED_PATH: Final = b"/api/embed"
EMBEDDINGS_PATH: Final = b"/api/embeddings"


class ChatTranslation(Translation):
    """A chat or a generation."""

    shape: Shape

    def __init__(
        self,
        shape: Shape,
        *,
        model: str,
        stream: bool,
        keep_s: float | None,
        target: str = "",
        body: bytes = b"",
    ) -> None:
        super().__init__(model=model, stream=stream, keep_s=keep_s, target=target, body=body)
        self.shape = shape

    def dialect(self, context: StreamContext) -> OllamaLines:
        """Return what translates the stream."""
        return OllamaLines(self.shape, context.model, context.created)

    def response(self, body: bytes, end: ResponseEnd) -> Steps[bytes]:
        """Return a whole response, translated; see `whole_response`."""
        yield
        return whole_response(self.shape, self.model, body, end)

    def nothing(self, end: ResponseEnd) -> bytes:
        """Return the answer to nothing: the model is loaded, or need not be kept."""
        reason = "unload" if self.keep_s == 0 else "load"
        return nothing_said(self.shape, self.model, reason, end) + b"\n"


class EmbeddingsTranslation(Translation):
    """Embeddings."""

    def __init__(
        self, *, only_first: bool, model: str, keep_s: float | None, body: bytes = b""
    ) -> None:
        super().__init__(
            model=model, stream=False, keep_s=keep_s, target="/v1/embeddings", body=body
        )
        self._only_first = only_first

    def dialect(self, context: StreamContext) -> OllamaLines:
        """Return what translates a stream; there never is one."""
        return OllamaLines("generation", context.model, context.created)

    def response(self, body: bytes, end: ResponseEnd) -> Steps[bytes]:
        """Return a whole response, translated; see `whole_embeddings`."""
        return whole_embeddings(self.model, body, end, only_first=self._only_first)

    def nothing(self, end: ResponseEnd) -> bytes:
        """Return no embeddings."""
        if self._only_first:
            return b'{"embedding":[]}'
        return msgspec.json.encode({"model": self.model, "embeddings": [], **durations(end)})


def translate(path: bytes, body: bytes, meant: Callable[[str], str]) -> Steps[Translation]:
    """Return a request, translated; see `Api.translate`.

    Raises:
        BadRequest: It makes no sense, or cannot be said in another API.
        TooLarge: It is too long to be translated.
    """
    if len(body) > MAX_TRANSLATED_BYTES:
        raise TooLarge(f"cannot translate a body of more than {MAX_TRANSLATED_BYTES} bytes")
    members = yield from find_members(body)
    # what is short is read as a whole, so that its mistakes are told
    outline = body if len(body) <= LARGE_BYTES else outline_of(body, members)
    request = _Request(path, body, read_fields(outline), {it[0]: Span(*it[1:]) for it in members})
    return (yield from request.translate(meant))


class _Request:
    """One request that is being translated."""

    def __init__(
        self, path: bytes, body: bytes, fields: RequestFields, spans: Mapping[str, Span]
    ) -> None:
        self._path = path
        self._body = body
        self._fields = fields
        self._spans = spans

    def translate(self, meant: Callable[[str], str]) -> Steps[Translation]:
        model = self._model(meant)
        keep_s = self._keep_s()
        if self._path in {EMBED_PATH, EMBEDDINGS_PATH}:
            return (yield from self._embeddings(model, keep_s))
        fields = self._fields
        stream = fields.stream is None or fields.stream
        shape: Shape = "chat" if self._path == CHAT_PATH else "generation"
        asked = "messages" if shape == "chat" else "prompt"
        if self._is_empty(asked) and (shape == "chat" or self._is_empty("images")):
            return ChatTranslation(shape, model=model, stream=stream, keep_s=keep_s)
        target = "/v1/chat/completions"
        if shape == "chat":
            start = self._spans["messages"].start
            messages = yield from MessageTranslator().translate(self._body, start)
            said: Iterable[Part] = (b',"messages":', *joined_messages(messages))
        elif self._check_generation():
            target = "/v1/completions"
            said = (b',"prompt":', self._written("prompt"))
        else:
            said = (b',"messages":', *joined_messages((yield from self._generation())))
        parts = [b'{"model":', msgspec.json.encode(model), *said, *self._common(shape)]
        body = yield from joined([*parts, b',"stream":true}' if stream else b"}"])
        return ChatTranslation(
            shape, model=model, stream=stream, keep_s=keep_s, target=target, body=body
        )

    def _model(self, meant: Callable[[str], str]) -> str:
        return meant(self._fields.model or self._fields.name or "")

    def _keep_s(self) -> float | None:
        written = self._fields.keep_alive
        return None if written is NOT_SAID else read_keep_alive(bytes(written))

    def _written(self, name: str) -> Part:
        span = self._spans.get(name)
        return b"" if span is None else memoryview(self._body)[span.start : span.end]

    def _is_empty(self, name: str) -> bool:
        return is_empty(self._written(name))

    def _common(self, shape: Shape) -> list[Part]:
        """Return the members that all chats have, each after a comma."""
        fields = self._fields
        parts: list[Part] = [*option_members(fields.options or {})]
        parts.append(format_member(bytes(self._written("format"))))
        if not fields.raw:
            parts.append(thinking_members(fields.think))
        if shape == "chat" and not self._is_empty("tools"):
            parts += [b',"tools":', self._written("tools")]
        return parts

    def _check_generation(self) -> bool:
        """Return whether the prompt is the model's own, without a template.

        Raises:
            BadRequest: Something is asked for that cannot be done.
        """
        fields = self._fields
        if not self._is_empty("suffix"):
            raise BadRequest("cannot fill in before a 'suffix' here: POST /infill does that")
        if not self._is_empty("template"):
            raise BadRequest("cannot use a 'template': the model's own one is used")
        if not self._is_empty("context"):
            raise BadRequest("cannot use a 'context': ask /api/chat, with all messages")
        if fields.raw and not (self._is_empty("images") and self._is_empty("format")):
            raise BadRequest("cannot use 'images' or 'format' with 'raw'")
        return bool(fields.raw)

    def _generation(self) -> Steps[list[list[Part]]]:
        messages: list[list[Part]] = []
        if not self._is_empty("system"):
            messages.append([b'{"role":"system","content":', self._written("system"), b"}"])
        content: list[Part] = [self._written("prompt") or b'""']
        if not self._is_empty("images"):
            content = yield from with_images(content[0], self._written("images"))
        messages.append([b'{"role":"user","content":', *content, b"}"])
        return messages

    def _embeddings(self, model: str, keep_s: float | None) -> Steps[Translation]:
        only_first = self._path == EMBEDDINGS_PATH
        asked = "prompt" if only_first else "input"
        if self._is_empty(asked):
            return EmbeddingsTranslation(only_first=only_first, model=model, keep_s=keep_s)
        parts = [b'{"model":', msgspec.json.encode(model), b',"input":', self._written(asked)]
        if not self._is_empty("dimensions"):
            parts += [b',"dimensions":', self._written("dimensions")]
        body = yield from joined([*parts, b"}"])
        return EmbeddingsTranslation(only_first=only_first, model=model, keep_s=keep_s, body=body)
