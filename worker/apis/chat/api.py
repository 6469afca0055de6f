"""Chat completions: routes, the end of a stream, finish reasons.

Sources: OpenAI's API reference; llama-server's README (``/completion``: ``stop_type``).
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec

from arriero.protocol.read_json import JsonReader
from arriero.protocol.records import FinishReason, UpstreamKind

from ...errors import RelayError
from ...http.route_declaration import EVENTS, asks, unversioned
from ...streams.sse_frames import DONE, is_line
from ...streams.stream_end import StreamEnd
from ..base.api import Api, piece_members
from ..base.dialect import Dialect, Mode, StreamContext
from ..base.members import list_in, text_in
from ..base.usage import Usage
from .dialect import SHAPE, ChatDialect, error_body
from .usage import read_usage

# A chat in other words; see `turns`.
QUERY_PATH: Final = b"/v1/streaming_query"

# What stands between the beginning of a line and the end marker, or the member of an error frame.
_BEFORE_DONE: Final = frozenset({b"data:", b"data: "})
_BEFORE_ERROR: Final = frozenset({b"data:{", b"data: {", b"data: { "})


def _has_end(frames: bytes) -> bool:
    return (
        frames.endswith(DONE)  # nearly always, and found at once
        or _has_finish_reason(frames)
        or _has_done(frames)
        or is_line(frames, b'"error"', _BEFORE_ERROR)
    )


def _has_finish_reason(frames: bytes) -> bool:
    """Whether there is a whole one; the frame may end within it.

    Quotes are escaped inside of JSON's strings: a finish_reason in the text of a response has a
    backslash before its last quote. (`rfind` takes a quarter of the time of `in` on bytes.)
    """
    for begins in (b'"finish_reason":"', b'"finish_reason": "'):
        at = frames.rfind(begins)
        if at >= 0 and frames.find(b'"', at + len(begins)) > 0:
            return True
    return False


def _has_done(frames: bytes) -> bool:
    return is_line(frames, b"[DONE]", _BEFORE_DONE)


class _StreamOptions(msgspec.Struct):
    include_usage: Any = None


class _Options(msgspec.Struct):
    stream_options: _StreamOptions | None = None


_options = JsonReader(_Options)


class OpenAiApi(Api):
    """The common part of OpenAI's older APIs; streams excepted."""

    family = "openai"
    hints = (
        b'"usage"',
        b'"timings"',
        b'"prompt_progress"',
        b'"finish_reason":"',
        b'"finish_reason": "',
        b'"stop_type"',
        b'"error"',
    )
    pieces = piece_members(
        b'"content"',
        b'"text"',
        b'"reasoning_content"',
        b'"reasoning"',
        b'"tool_calls"',
        b'"function_call"',
        b'"refusal"',
    )
    finish_words: ClassVar[Mapping[str, FinishReason]] = {
        "stop": "stop",
        "length": "length",
        "tool_calls": "tool",
        "function_call": "tool",
        "content_filter": "content_filter",
        "eos": "stop",  # from here on: llama-server's own API
        "word": "stop",
        "limit": "length",
    }

    def dialect(self, context: StreamContext) -> Dialect:
        """Return chunks of a chat."""
        return ChatDialect(model=context.model, ident=context.ident, created=context.created)

    def error_body(self, error: RelayError) -> bytes:
        """Return OpenAI's error object."""
        return error_body(error)

    def read_usage(self, value: dict[str, Any], known: Usage) -> Usage:
        """Read a chunk or a whole response; see `usage`."""
        return read_usage(value, known)

    def finish_word(self, value: dict[str, Any]) -> str | None:
        """Return the last choice's finish reason."""
        found = text_in(value, "stop_type")
        for choice in list_in(value, "choices"):
            if isinstance(choice, dict):
                found = text_in(choice, "finish_reason") or found
        return None if found == "none" else found


class ChatApi(OpenAiApi):
    """Chats."""

    routes = (
        *unversioned(asks("/v1/chat/completions", "Go on with a chat.")),
        asks(
            QUERY_PATH.decode(),
            "Go on with a chat, told as the events of a turn.",
            response=EVENTS,
        ),
    )
    target = stream_target = "/v1/chat/completions"
    stream_end = StreamEnd(_has_end, may_be_cut=True, marker=DONE, has_marker=_has_done)
    modes: ClassVar[frozenset[Mode]] = frozenset({"comment", "heartbeat", "reasoning", "event"})
    chunk = SHAPE
    has_usage_option = True

    def is_spoken_in(self, body: Mapping[str, Any], kind: UpstreamKind) -> bool:
        """Whether a body looks like a chat; any does, at last."""
        return True

    def wants_usage(self, body: bytes) -> bool:
        """Whether ``stream_options`` ask for the usage."""
        found = _options.find(body)  # None: of a shape that only the upstream can judge
        options = found.stream_options if found is not None else None
        return options is not None and bool(options.include_usage)
