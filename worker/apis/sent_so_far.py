"""What a client has heard of a stream that we have to end: read from its frames.

Whoever ends a stream in good order has to know what is open in it. Nothing is noted while the
stream runs: its first and its last frames say enough, and are read when they are needed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from ..accounting.tokens import mapping_in
from ..streams.merge import read_object
from ..streams.sse_events import EventReader


@dataclass(slots=True)
class ChatState:
    """A chat or a text completion.

    Attributes:
        head: `id`, `created` and `model` of its chunks; empty if there was none.
        open: Choices that go on, in their order; one if nobody has said.
        has_usage: The chunk with the counts was there.
        over: Its end was there: the end marker, or an error.
    """

    head: dict[str, Any] = field(default_factory=dict)
    open: list[int] = field(default_factory=lambda: [0])
    has_usage: bool = False
    over: bool = False


def read_chat(frames: bytes) -> ChatState:
    """Return what `frames` say of their chat."""
    heard = ChatState()
    goes_on: dict[int, bool] = {}
    for data, value in _values(frames):
        if data == b"[DONE]" or value.get("error"):
            heard.over = True
        if not isinstance(choices := value.get("choices"), list):
            continue
        heard.head |= {
            name: value[name] for name in _HEAD if isinstance(value.get(name), _HEAD[name])
        }
        heard.has_usage |= not choices and isinstance(value.get("usage"), dict)
        for choice in choices:
            if isinstance(choice, dict) and isinstance(index := choice.get("index", 0), int):
                goes_on[index] = goes_on.get(index, True) and choice.get("finish_reason") is None
    if goes_on:
        heard.open = sorted(index for index, open_ in goes_on.items() if open_)
    return heard


# What all chunks of one answer repeat, and its type.
_HEAD: Final[dict[str, type]] = {"id": str, "created": int, "model": str}


@dataclass(slots=True)
class MessageState:
    """One of Anthropic's messages.

    Attributes:
        begun: Something of it was there; pings are nothing.
        open: Index of the block that goes on, as the client counts; None between two.
        has_reason: The reason why it ends was there.
        over: Its end was there, or an error.
    """

    begun: bool = False
    open: int | None = None
    has_reason: bool = False
    over: bool = False


def read_message(frames: bytes) -> MessageState:
    """Return what `frames` say of their message."""
    heard = MessageState()
    for _, value in _values(frames):
        match value.get("type"):
            case "message_stop" | "error":
                heard.over = True
            case "message_start":
                heard.begun = True
            case "message_delta":
                heard.begun = True
                heard.has_reason |= mapping_in(value, "delta").get("stop_reason") is not None
            case "content_block_start" | "content_block_delta":
                heard.begun = True
                index = value.get("index")
                heard.open = index if isinstance(index, int) else None
            case "content_block_stop":
                heard.begun = True
                heard.open = None
    return heard


@dataclass(slots=True)
class ResponseState:
    """A response.

    Attributes:
        response: All that was said of it as a whole.
        begun: Something of it was there.
        next_number: What its next event has as its number.
        over: Its end was there, or an error.
    """

    response: dict[str, Any] = field(default_factory=dict)
    begun: bool = False
    next_number: int = 0
    over: bool = False


def read_response(frames: bytes) -> ResponseState:
    """Return what `frames` say of their response."""
    heard = ResponseState()
    for _, value in _values(frames):
        kind = value.get("type")
        kind = kind if isinstance(kind, str) else ""
        if kind in _RESPONSE_ENDS or value.get("error"):
            heard.over = True
        heard.begun |= kind.startswith("response.")
        heard.response |= mapping_in(value, "response")
        if isinstance(number := value.get("sequence_number"), int):
            heard.next_number = number + 1
    return heard


_RESPONSE_ENDS: Final = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "error"}
)


def _values(frames: bytes) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Give the data of all events, and what is in it if that is a JSON object."""
    for event in EventReader().push(frames):
        yield event.data, read_object(event) or {}
