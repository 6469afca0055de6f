"""The frames that an API has for us: status, heartbeat, error and end.

`status_stream` decides when a client is notified; a `Dialect` makes the bytes, one module per API.
One dialect serves one client, from the first frame to the last: it numbers events, and knows what
it has begun.
"""

from typing import Any, NamedTuple

import msgspec

from ..accounting.tokens import Usage
from ..errors import RelayError
from ..streams.merge import Merge


class ProgressNumbers(NamedTuple):
    """What a program may be told of a load.

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


class Dialect:
    """What all APIs have in common: as little as may be said. The base of the others.

    Attributes:
        merge: How the upstream's stream is continued; None to pass it byte for byte.
    """

    merge: Merge | None = None

    def opening(self) -> bytes:
        """Return what comes before the first word."""
        return b""

    def line(self, text: str, numbers: ProgressNumbers | None) -> bytes:
        """Return a frame that shows `text`, one whole line with its end."""
        raise NotImplementedError

    def heartbeat(self, numbers: ProgressNumbers | None) -> bytes:
        """Return a frame that only says that the stream lives."""
        raise NotImplementedError

    def event(self, numbers: ProgressNumbers) -> bytes:
        """Return a heartbeat that carries a name, for APIs that have the mode `event`."""
        raise NotImplementedError

    def failure(self, error: RelayError, heard: bytes = b"") -> bytes:
        """Return the last frames of a stream that ends with `error`.

        Args:
            error: Why it ends.
            heard: Frames that were passed to the client as they came, the first and the last
                ones: what the stream calls itself.
        """
        raise NotImplementedError

    def interrupted(self, heard: bytes, usage: Usage, *, asked_usage: bool = False) -> bytes:
        """Return the last frames of a stream that somebody has stopped on purpose.

        It ends in good order, although the model had more to say: what was said so far is the
        answer. Nothing is returned if the stream has ended already.

        Args:
            heard: As in `failure`; they end between two frames. Empty if all that the client got
                are words of this dialect.
            usage: The counts so far; those of the source `none` are not told.
            asked_usage: The client wants a chunk with the counts, where that is a matter of
                asking.
        """
        raise NotImplementedError

    def midway_heartbeat(self, after_id: bool) -> bytes:
        """Return what only says that the stream lives, between two frames of the upstream.

        Args:
            after_id: An ``id`` line went to the client. From then on openai-python takes any
                blank line for the end of an event, and fails at one without data: so the
                comment becomes the first line of the next frame.
        """
        return b": hb\n" if after_id else b": hb\n\n"


def event_frame(kind: str, value: dict[str, Any]) -> bytes:
    """Return an event whose name is also the `type` of its data."""
    data = msgspec.json.encode({"type": kind, **value})
    return b"event: %b\ndata: %b\n\n" % (kind.encode("ascii"), data)
