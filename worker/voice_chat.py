"""Chat and text completions: chunks without an answer. Deciding; wire format, sections 4 and 5.

The upstream's stream follows byte for byte: two ids in one stream are accepted by all clients, so
nothing of it has to be rewritten.
"""

import msgspec

from .errors import RelayError
from .sse import error_frames
from .voice import Numbers, Voice


class ChatVoice(Voice):
    """Speaks in chunks of a chat."""

    _ident = b"chatcmpl-swap-"
    _object = b"chat.completion.chunk"

    def __init__(self, *, model: str, ident: str, created: int) -> None:
        self._prefix = b'{"id":"%b%b","object":"%b","created":%d,"model":%b,"choices":[{' % (
            self._ident,
            ident.encode("ascii"),
            self._object,
            created,
            msgspec.json.encode(model),
        )

    def line(self, text: str, numbers: Numbers | None) -> bytes:
        """Return `text` as reasoning: the one channel that is never taken for an answer."""
        return self._chunk(b'{"reasoning_content":%b}' % msgspec.json.encode(text), numbers)

    def heartbeat(self, numbers: Numbers | None) -> bytes:
        """Return a chunk that adds nothing."""
        return self._chunk(b"{}", numbers)

    def event(self, numbers: Numbers) -> bytes:
        """Return a heartbeat with a name.

        Its data is a complete chunk: clients that ignore the name are not surprised.
        """
        return b"event: swap_progress\n" + self.heartbeat(numbers)

    def failure(self, error: RelayError, heard: bytes = b"") -> bytes:
        """Return the error object alone in its frame, and the end marker."""
        return error_frames(error)

    def _chunk(self, delta: bytes, numbers: Numbers | None) -> bytes:
        return b'data: %b"index":0,"delta":%b,"finish_reason":null}]%b}\n\n' % (
            self._prefix,
            delta,
            member(numbers),
        )


class CompletionVoice(ChatVoice):
    """Speaks in chunks of a text completion, which have no channel for reasoning."""

    _ident = b"cmpl-swap-"
    _object = b"text_completion"

    def _chunk(self, delta: bytes, numbers: Numbers | None) -> bytes:
        # without `text` callers get None instead of a string
        return b'data: %b"text":"","index":0,"logprobs":null,"finish_reason":null}]%b}\n\n' % (
            self._prefix,
            member(numbers),
        )


def member(numbers: Numbers | None) -> bytes:
    """Return the last member of a chunk, with the comma before it."""
    if numbers is None:
        return b""
    return b',"swap_progress":' + msgspec.json.encode(numbers._asdict())
