"""Frames for a client, in the form of its API.

`progress.status_stream` decides when a frame is sent; a `Dialect` makes its bytes. One dialect
serves one client, from the first frame to the last: it numbers events, and knows what it has begun.
"""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from ...errors import RelayError
from ...streams.merge import Merge, read_object
from ...streams.sse_events import EventReader
from .usage import Usage

Mode: TypeAlias = Literal["off", "comment", "heartbeat", "reasoning", "event"]
"""Mode of progress for a waiting client. Wire format, section 1."""


class ProgressNumbers(NamedTuple):
    """Progress of a load, for programs.

    Attributes:
        phase: As in `model_view.Stage`.
        percent: Share of the whole start that is done, or None.
        elapsed_s: Since the request came.
        queue_position: Models that get their turn earlier, or None when it is not queued.
    """

    phase: str
    percent: int | None
    elapsed_s: float
    queue_position: int | None


class StreamContext(NamedTuple):
    """The stream for which a dialect is made.

    Attributes:
        mode: Mode of progress; decides whether the upstream's stream is merged.
        model: Name as the client wrote it.
        ident: 24 hexadecimal digits, the same in all frames for this client.
        created: Unix time, in whole seconds.
        body: The request, for APIs that repeat some of it.
    """

    mode: Mode
    model: str
    ident: str
    created: int
    body: bytes


class Dialect:
    """The frames of one API; the base of the others.

    Attributes:
        merge: How the upstream's stream is continued; None to pass it byte for byte.
    """

    merge: Merge | None = None

    def opening(self) -> bytes:
        """Return the frames that come before the first line."""
        return b""

    def line(self, text: str, numbers: ProgressNumbers | None) -> bytes:
        """Return a frame that shows `text`, a line with its end."""
        raise NotImplementedError

    def heartbeat(self, numbers: ProgressNumbers | None) -> bytes:
        """Return a frame without content: the stream lives."""
        raise NotImplementedError

    def event(self, numbers: ProgressNumbers) -> bytes:
        """Return a heartbeat with a name, for the mode `event`."""
        raise NotImplementedError

    def failure(self, error: RelayError, sent_so_far: bytes = b"") -> bytes:
        """Return the last frames of a stream that fails.

        Args:
            error: Why it ends.
            sent_so_far: Frames that were passed to the client as they came, the first and the
                last ones: they hold the stream's id.
        """
        raise NotImplementedError

    def interrupted(self, sent_so_far: bytes, usage: Usage, *, asked_usage: bool = False) -> bytes:
        """Return the last frames of a stream that was cancelled.

        It ends in good order, although the model had more to say: the text so far is the response.
        Nothing is returned if the stream has ended already.

        Args:
            sent_so_far: As in `failure`; they end between two frames. Empty if the client got
                frames of this dialect only.
            usage: The counts so far; those of the source `none` are left out.
            asked_usage: The client wants a chunk with the counts, where that is a matter of
                asking.
        """
        raise NotImplementedError

    def midway_heartbeat(self, after_id: bool) -> bytes:
        """Return a heartbeat between two frames of the upstream.

        Args:
            after_id: An ``id`` line went to the client. From then on openai-python takes any
                blank line for the end of an event, and fails at one without data: so the
                comment becomes the first line of the next frame.
        """
        return b": hb\n" if after_id else b": hb\n\n"


class ResponseEnd(NamedTuple):
    """What is known when a response has ended.

    Attributes:
        usage: The counts.
        unix_time: When that was.
        elapsed_s: Since the request came.
        waited_s: Of these: it has waited for its model.
    """

    usage: Usage
    unix_time: float
    elapsed_s: float
    waited_s: float


class TranslatingDialect(Dialect):
    """A dialect through which all frames of the upstream go, whatever the mode.

    Attributes:
        content_type: Of the response.
    """

    merge: Merge
    content_type: bytes

    @property
    def is_complete(self) -> bool:
        """Whether the upstream's response has ended, well or badly."""
        raise NotImplementedError

    def finish(self, end: ResponseEnd) -> bytes:
        """Return the last frames after a good end of the upstream."""
        raise NotImplementedError


class SilentDialect(Dialect):
    """Frames for the end of a stream only.

    The base of the APIs that only peers speak: nobody waits for a peer to load, and none of their
    streams has an empty frame. Gemini's are server-sent events, but google-genai takes any line
    that is not ``data: `` for JSON, comments too, and fails at it
    (`HttpResponse._iter_response_stream`).
    """

    def line(self, text: str, numbers: ProgressNumbers | None) -> bytes:
        """Return nothing."""
        return b""

    def heartbeat(self, numbers: ProgressNumbers | None) -> bytes:
        """Return nothing."""
        return b""

    def event(self, numbers: ProgressNumbers) -> bytes:
        """Return nothing."""
        return b""

    def midway_heartbeat(self, after_id: bool) -> bytes:
        """Return nothing."""
        return b""


def event_frame(kind: str, value: dict[str, Any]) -> bytes:
    """Return an event with its name as `type` of its data."""
    data = msgspec.json.encode({"type": kind, **value})
    return b"event: %b\ndata: %b\n\n" % (kind.encode("ascii"), data)


def events_in(frames: bytes) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Give the data of each event, and the JSON object in it.

    The object is empty if the data are something else.

    A stream that we end in good order is read this way: nothing is noted while it runs, since its
    first and last frames say which parts of it are open.
    """
    for event in EventReader().push(frames):
        yield event.data, read_object(event) or {}
