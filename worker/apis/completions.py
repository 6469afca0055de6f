"""Text completions: chats without a channel for reasoning."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from arriero.protocol.records import UpstreamKind

from ..http.route_declaration import asks, unversioned
from .base.api import ChunkShape
from .base.dialect import Dialect, Mode, ProgressNumbers, StreamContext
from .chat.api import ChatApi
from .chat.dialect import ChatDialect, member

SHAPE: Final = ChunkShape(
    "cmpl-swap-",
    "text_completion",
    {"text": "", "index": 0, "logprobs": None, "finish_reason": None},
)


class CompletionDialect(ChatDialect):
    """Chunks of a text completion."""

    _shape = SHAPE

    def _chunk(self, delta: bytes, numbers: ProgressNumbers | None) -> bytes:
        # without `text` callers get None instead of a string
        return b'data: %b"text":"","index":0,"logprobs":null,"finish_reason":null}]%b}\n\n' % (
            self._prefix,
            member(numbers),
        )


class CompletionsApi(ChatApi):
    """Text completions."""

    routes = unversioned(asks("/v1/completions", "Complete a text."))
    target = stream_target = "/v1/completions"
    modes: ClassVar[frozenset[Mode]] = frozenset({"comment", "heartbeat", "event"})
    chunk = SHAPE

    def is_spoken_in(self, body: Mapping[str, Any], kind: UpstreamKind) -> bool:
        """Whether there is a prompt in the place of messages."""
        return "prompt" in body and "messages" not in body

    def dialect(self, context: StreamContext) -> Dialect:
        """Return chunks of a text completion."""
        return CompletionDialect(model=context.model, ident=context.ident, created=context.created)
