"""Reads a copy of an answer: its usage, its end, its first token.

Rule 1: what goes to the client is not this file's affair; nothing is changed, nothing is raised.
Rule 2: search, do not parse. An event is parsed only if it has bytes that promise something, and
the first one, for the name of the model.
"""

from typing import Any, Final

import msgspec

from arriero.protocol.records import FinishReason

from ..apis.base.api import Api
from ..apis.base.usage import Usage
from ..json.read import light_value
from ..streams.aws_event_stream import EventStreamMessage
from ..streams.sse_events import EventReader
from ..streams.sse_frames import frames_with, last_boundary, split_frames
from .usage import UsageReader

# Events that are parsed whatever they hold, until one of them has named the model.
_FIRST_EVENTS: Final = 3

# What comes last in a stream: the chunk with the usage, and some before it.
_LAST_BYTES: Final = 4096

# Answers of up to this size are kept until all of them is read.
_MAX_LATER_BYTES: Final = 16 * 1024


class ResponseFacts(msgspec.Struct, frozen=True):
    """What is known of an answer.

    Attributes:
        usage: Its tokens; estimated if the answer ended without telling.
        finish_reason: Why the model stopped; None if it did not get to that.
        model: The model's name in the answer.
        error: Code of the error that the answer told of.
    """

    usage: Usage
    finish_reason: FinishReason | None = None
    model: str | None = None
    error: str | None = None


class ResponseReader:
    """Reads one answer, streamed or not.

    Attributes:
        pieces: How many pieces of text, of reasoning or of a call came, up to the last word on the
            usage at least.
    """

    __slots__ = (
        "_api",
        "_error",
        "_finish",
        "_firsts",
        "_hints",
        "_later",
        "_model",
        "_usage",
        "pieces",
    )

    def __init__(self, api: Api) -> None:
        self.pieces = 0
        self._api = api
        self._usage = UsageReader(api)
        self._finish: FinishReason | None = None
        self._model: str | None = None
        self._error: str | None = None
        self._later: dict[str, Any] | None = None  # of which more than the usage is to be read
        self._firsts = _FIRST_EVENTS
        self._hints = api.hints

    @property
    def facts(self) -> ResponseFacts:
        """All that is known so far."""
        if self._later is not None:
            self._note(self._later)
            self._later = None
        return ResponseFacts(self.usage, self._finish, self._model, self._error)

    @property
    def usage(self) -> Usage:
        """The tokens, as far as they are known."""
        return self._usage.estimate(self.pieces)

    def take_field(self, name: bytes, value: bytes) -> None:
        """Take note of a field in the head of the answer; `name` in small letters."""
        self._usage.take_field(name, value)

    def take_first(self, frames: bytes) -> int:
        """Take note of whole server-sent events up to the first piece of the answer.

        Returns:
            Index after the last one that was read.
        """
        end = 0
        for frame in split_frames(frames):
            if self.pieces:
                break
            end += len(frame)
            self.pieces += self._api.count_pieces(frame)
            if self._firsts or any(hint in frame for hint in self._hints):
                self._take_events(frame)
        return end

    def take_last(self, frames: bytes) -> None:
        """Take note of the whole server-sent events with which the answer ends.

        The last few say all, if they say how it ended and what it used.
        """
        tail = last_boundary(frames, 0, max(0, len(frames) - _LAST_BYTES))
        if tail and not self._firsts:
            for frame in frames_with(frames, self._hints, tail):
                self._take_events(frame)
            if self._usage.is_final and self._finish is not None:
                return
        self.take_frames(frames)

    def take_frames(self, frames: bytes) -> None:
        """Take note of whole server-sent events."""
        start = 0
        for frame in split_frames(frames):
            if not self._firsts:
                break
            start += len(frame)
            self._take_events(frame)
        for frame in frames_with(frames, self._hints, start):
            self._take_events(frame)
        if not (self.pieces and self._usage.is_final):
            self.pieces += self._api.count_pieces(frames)

    def _take_events(self, frames: bytes) -> None:
        for event in EventReader().push(frames):
            self._take(event.data)

    def take_message(self, message: EventStreamMessage) -> None:
        """Take note of a message of Amazon's event stream."""
        if message.is_error:
            self._error = message.name or "upstream_error"
            return
        self.pieces += self._api.count_pieces(message.payload)
        if any(hint in message.payload for hint in self._hints):
            self._take(message.payload)

    def take_body(self, body: bytes) -> None:
        """Take note of an answer that is no stream.

        Its client waits for the usage only. Why it ended can be read later, with that of others:
        it takes a fraction of the time then.
        """
        value = light_value(body)
        self._usage.take(value)
        if not isinstance(value, dict):
            return
        if len(body) <= _MAX_LATER_BYTES:
            self._later = value
        else:
            self._note(value)

    def _take(self, data: bytes) -> None:
        self._firsts = max(0, self._firsts - 1)
        value = light_value(data)
        self._usage.take(value)
        if isinstance(value, dict):
            self._note(value)

    def _note(self, value: dict[str, Any]) -> None:
        """Take note of all but the usage."""
        self._finish = self._api.finish_reason(value) or self._finish
        self._error = self._api.error_code(value) or self._error
        model = self._api.model_name(value)
        if model is not None:
            self._model = model
            self._firsts = 0
