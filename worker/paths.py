"""Path of a request -> which door answers it, and in which form. Deciding; no I/O."""

from enum import Enum
from typing import Final


class Form(Enum):
    """The shape of the answers of a model route: what may be said while a client waits."""

    CHAT = "chat"  # chat.completion.chunk: has a channel for reasoning
    COMPLETION = "completion"  # text_completion: has none
    PLAIN = "plain"  # never a stream of ours: nothing is said before the answer


# POST routes that name a model in a JSON body. The rest of the world's list (messages, responses,
# rerank, audio, images, infill, ...) goes here, a line each, with its own Form where it streams.
MODEL_ROUTES: Final[dict[bytes, Form]] = {
    b"/v1/chat/completions": Form.CHAT,
    b"/v1/completions": Form.COMPLETION,
    b"/v1/embeddings": Form.PLAIN,
}
