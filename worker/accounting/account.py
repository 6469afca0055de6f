"""The account of one request while it runs: its numbers, read from a copy of its answer.

Of everything that passes only a copy is read here; nothing is changed.
"""

from typing import Final

from arriero.protocol.records import RequestRecord

from ..apis.base.api import Api
from ..apis.base.usage import Usage
from ..streams.aws_event_stream import EventStreamMessage
from .record import RecordKeeper
from .response_reader import ResponseFacts, ResponseReader
from .usage_headers import answer_fields, declaration, request_id_field, trailers

# Bytes of a stream that are read together: a hundred pieces at once cost a third of what they cost
# one by one, between all else that is done for each.
_MAX_UNREAD_BYTES: Final = 64 * 1024

# Of a path that is remembered.
_MAX_PATH_BYTES: Final = 400


class Account:
    """What is known of one request.

    Args:
        request_id: The same as in ``X-Request-Id``.
        path: Of the request, without the query.
        api: The API that is spoken.
        now: When it came, on the caller's clock.
        t: The same as Unix time.

    Attributes:
        keeper: Its record so far.
        has_token: A piece of the answer has come.
        is_told: The supervisor has heard, or will hear, of its end.
        request_id_line: The field that every answer has.
    """

    __slots__ = (
        "_reader",
        "_unread",
        "_unread_bytes",
        "has_token",
        "is_told",
        "keeper",
        "request_id",
        "request_id_line",
    )

    def __init__(self, *, request_id: str, path: bytes, api: Api, now: float, t: float) -> None:
        self.request_id = request_id
        self.request_id_line = request_id_field(request_id)
        self.keeper = RecordKeeper(
            request_id=request_id,
            t=t,
            now=now,
            path=path[:_MAX_PATH_BYTES].decode("latin-1"),
            api=api,
        )
        self._reader = ResponseReader(api)
        self.has_token = False
        self.is_told = False
        self._unread: list[bytes] = []
        self._unread_bytes = 0

    @property
    def usage(self) -> Usage:
        """The tokens, as far as they are known."""
        return self._read_to_end().usage

    def _facts(self) -> ResponseFacts:
        return self._read_to_end().facts

    def _read_to_end(self) -> ResponseReader:
        if self._unread:
            self._reader.take_last(self._take_unread())
        return self._reader

    # --- what passes ---------------------------------------------------------------------------

    def take_frames(self, frames: bytes, now: float) -> None:
        """Read whole server-sent events: at once up to the first token, then in a while."""
        if not self.has_token:
            frames = frames[self._reader.take_first(frames) :]
            if self._reader.pieces:
                self._first_token(now)
        if not frames:
            return
        self._unread.append(frames)
        self._unread_bytes += len(frames)
        if self._unread_bytes > _MAX_UNREAD_BYTES:
            self._reader.take_frames(self._take_unread())

    def take_message(self, message: EventStreamMessage, now: float) -> None:
        """Read a message of Amazon's event stream."""
        self._reader.take_message(message)
        if not self.has_token and self._reader.pieces:
            self._first_token(now)

    def take_body(self, body: bytes, now: float) -> None:
        """Read an answer that is no stream."""
        self._reader.take_body(body)
        self._first_token(now)

    def take_field(self, name: bytes, value: bytes) -> None:
        """Read a field in the head of an answer; `name` in small letters."""
        self._reader.take_field(name, value)

    def _first_token(self, now: float) -> None:
        self.has_token = True
        self.keeper.first_token(now)

    def _take_unread(self) -> bytes:
        frames = b"".join(self._unread)
        self._unread.clear()
        self._unread_bytes = 0
        return frames

    # --- what is told --------------------------------------------------------------------------

    def answer_lines(self) -> bytes:
        """Return the fields of an answer that is no stream, and was read."""
        usage = self.usage
        return answer_fields(usage, self.keeper.cost(usage))

    def trailer_declaration(self) -> bytes:
        """Return the field that declares what comes after a stream."""
        return declaration(priced=self.keeper.prices is not None)

    def trailer_lines(self) -> bytes:
        """Return the fields after a stream; how it ended was noted before."""
        facts = self._facts()
        outcome, _ = self.keeper.outcome(facts)
        cost = self.keeper.cost(facts.usage)
        return trailers(facts.usage, cost, outcome, priced=self.keeper.prices is not None)

    def close(self, now: float) -> RequestRecord:
        """Return the record of a request that was over at `now`."""
        return self.keeper.finish(now, self._facts())
