"""Requests for turn events, and the query that becomes a chat.

A chat request asks with a header field, ``X-Stream-Format: turn-events``. A query (``POST
/v1/streaming_query``) wants them always; it becomes a chat request of one or two messages. There is
no memory here: a `conversation_id` is said again, and brings nothing back.

`Accept` is not asked: many clients put ``text/plain`` into it for every request.
"""

from collections.abc import Iterable
from enum import Enum
from typing import Any, Final

import msgspec

from arriero.protocol.read_json import BadJson, JsonReader

from ...errors import BadRequest

# The field never goes upstream.
FIELD: Final = b"x-stream-format"
_WORD: Final = b"turn-events"


class TurnFormat(Enum):
    """Form of the events for a client; values of `media_type`."""

    EVENTS = "application/json"
    TEXT = "text/plain"

    @property
    def content_type(self) -> bytes:
        """`Content-Type` of the response."""
        kind = b"text/plain" if self is TurnFormat.TEXT else b"text/event-stream"
        return kind + b"; charset=utf-8"


_FORMATS: Final = {
    "application/json": TurnFormat.EVENTS,
    "text/event-stream": TurnFormat.EVENTS,  # what it is, in truth
    "text/plain": TurnFormat.TEXT,
}


def turn_format(fields: Iterable[tuple[bytes, bytes]]) -> TurnFormat | None:
    """Return the form of a chat stream's turn events; None without them.

    Args:
        fields: All of them, names in small letters. The value is ``turn-events`` in any case,
            perhaps with a parameter: ``turn-events; media_type=text/plain``. The first one counts.

    Raises:
        BadRequest: The parameter names something else than text or events.
    """
    value = next((value for name, value in fields if name == FIELD), b"")
    word, *parameters = value.lower().split(b";")
    if word.strip() != _WORD:
        return None
    for parameter in parameters:
        name, _, media_type = parameter.partition(b"=")
        if name.strip() == b"media_type":
            return _format_of(media_type.strip(b' \t"').decode("utf-8", "replace"))
    return TurnFormat.EVENTS


class _Query(msgspec.Struct, frozen=True, kw_only=True):
    query: str
    model: str | None = None
    system_prompt: str | None = None
    conversation_id: str | None = None
    media_type: str | None = None
    attachments: list[Any] | None = None


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a query.

    Attributes:
        query: What the user asks.
        model: Name of the model, or None: the caller decides then.
        system_prompt: Instructions for the model, or None.
        conversation_id: The client's own; None if it has none.
        format: Form of the response.
    """

    query: str
    model: str | None
    system_prompt: str | None
    conversation_id: str | None
    format: TurnFormat

    def chat_body(self, model: str) -> bytes:
        """Return the chat request with the same content for `model`."""
        messages = [{"role": "user", "content": self.query}]
        if self.system_prompt is not None:
            messages.insert(0, {"role": "system", "content": self.system_prompt})
        # the last event has the counts of tokens
        options = {"include_usage": True}
        return msgspec.json.encode(
            {"model": model, "messages": messages, "stream": True, "stream_options": options}
        )


_query: Final = JsonReader(_Query)


def read_query(body: bytes) -> Query:
    """Read the body of a query; unknown members are left out.

    Raises:
        BadRequest: It is no JSON object, asks nothing, or asks for what cannot be done.
    """
    try:
        found = _query.read(body)
    except BadJson as exc:
        raise BadRequest(f"cannot read the body as a query: {exc}") from exc
    if not found.query:
        raise BadRequest("cannot ask the model: 'query' is empty")
    if found.attachments:
        raise BadRequest("cannot pass 'attachments' on: put their text into 'query'")
    return Query(
        query=found.query,
        model=found.model or None,
        system_prompt=found.system_prompt or None,
        conversation_id=found.conversation_id or None,
        format=_format_of(found.media_type or "application/json"),
    )


def _format_of(media_type: str) -> TurnFormat:
    found = _FORMATS.get(media_type.strip().lower())
    if found is None:
        raise BadRequest(
            f"cannot answer with media_type '{media_type[:40]}': "
            "say 'application/json' for events, or 'text/plain'"
        )
    return found
