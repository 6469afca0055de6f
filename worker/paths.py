"""Path of a request -> which door answers it, and in which form. Deciding; no I/O."""

from enum import Enum
from typing import Final


class Form(Enum):
    """The shape of the answers of a model route: what may be said while a client waits."""

    CHAT = "chat"  # chat.completion.chunk: has a channel for reasoning
    COMPLETION = "completion"  # text_completion: has none
    MESSAGES = "messages"  # Anthropic's: blocks of thinking
    RESPONSES = "responses"  # OpenAI's newer one: items of reasoning
    PLAIN = "plain"  # never a stream of ours: nothing is said before the answer
    COUNT = "count"  # the same, with Anthropic's errors

    @property
    def is_plain(self) -> bool:
        """Whether nothing is ever said before the answer."""
        return self is Form.PLAIN or self is Form.COUNT

    @property
    def is_anthropic(self) -> bool:
        """Whether errors have Anthropic's shape."""
        return self is Form.MESSAGES or self is Form.COUNT


# POST routes that name a model in a JSON body. The rest of the world's list (audio, images, ...)
# goes here, a line each, with its own Form where it streams.
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
}
