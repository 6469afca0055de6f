"""Everything that is known of one API, behind one interface.

`accounting`, `progress`, `upstreams` and `relay` get an `Api` and know none by its name. An API is
one module (or small package) of `apis`, and one row in `apis.routes`.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, NamedTuple
from urllib.parse import quote

from arriero.protocol.records import FinishReason, UpstreamKind

from ...errors import RelayError
from ...http.cors import Field
from ...http.route_declaration import RouteDeclaration
from ...json.spans import Steps
from ...streams.sse_frames import DONE
from ...streams.stream_end import StreamEnd
from .dialect import Dialect, Mode, StreamContext
from .members import mapping_in, text_in
from .translation import Translation
from .usage import Usage

# Characters of a model's name that are kept; the longest honest ones are paths.
_MAX_NAME_CHARS: Final = 300

# Of the code of an error.
_MAX_CODE_CHARS: Final = 80


class Piece(NamedTuple):
    """A member with text, reasoning or a call: counts as a token.

    Attributes:
        name: In its quotes. Quotes are escaped inside of JSON's strings, so the text of a response
            cannot look like this.
        filled: The same with something in it: not null, not an empty text or list.
    """

    name: bytes
    filled: re.Pattern[bytes]


def piece_members(*names: bytes) -> tuple[Piece, ...]:
    """Return the members with these names, the most frequent first."""
    filled = rb"""\s*:\s*(?:"[^"]|\[\s*\{|\{)"""
    return tuple(Piece(name, re.compile(re.escape(name) + filled)) for name in names)


class NamedPath(NamedTuple):
    """Paths that name the model.

    The name may hold slashes and colons, escaped or not.

    Attributes:
        pattern: Groups: what is before the name; the name; what follows; the verb in that.
        stream_verb: The verb that asks for a stream.
    """

    pattern: re.Pattern[bytes]
    stream_verb: bytes


class ChunkShape(NamedTuple):
    """An empty chunk with room for members of our own.

    Attributes:
        id_prefix: Begins the id of chunks that are ours.
        kind: The `object` of all chunks.
        empty_choice: A choice that adds nothing.
    """

    id_prefix: str
    kind: str
    empty_choice: Mapping[str, object]


class Api(ABC):
    """One API.

    An attribute that is not set: the API has no such thing.

    Attributes:
        family: Its name in records. APIs that count alike have one together.
        routes: Its routes, as they are declared.
        named_path: How those of them are read that name the model themselves.
        error_prefixes: Paths that begin so have its errors, even if nothing is there.
        target, stream_target: Path and query at which an upstream is asked; ``{}`` is the place of
            the model's name.
        stream_end: The end of its streams; None if nobody knows how they end.
        modes: Modes of progress that it has frames for.
        chunk: Shape of its chunks, if they have room for members of our own.
        has_usage_option: Streams report usage only if ``stream_options`` asks for it.
        hints: Bytes of which one is in every event that reports usage, ends a response or tells of
            an error: events without any need not be parsed.
        pieces: Members that count as a token.
        finish_words: Its words for the ends of a response. Any other word is "other".
        model_member: Where the model's name is, in an event or its `response` or `message`.
        is_translated: Requests go upstream in another API; see `translate`.
    """

    family: ClassVar[str]
    routes: ClassVar[tuple[RouteDeclaration, ...]] = ()
    named_path: ClassVar[NamedPath | None] = None
    error_prefixes: ClassVar[tuple[bytes, ...]] = ()
    target: ClassVar[str] = ""
    stream_target: ClassVar[str] = ""
    stream_end: ClassVar[StreamEnd | None] = None
    modes: ClassVar[frozenset[Mode]] = frozenset()
    chunk: ClassVar[ChunkShape | None] = None
    has_usage_option: ClassVar[bool] = False
    hints: ClassVar[tuple[bytes, ...]]
    pieces: ClassVar[tuple[Piece, ...]]
    finish_words: ClassVar[Mapping[str, FinishReason]]
    model_member: ClassVar[str] = "model"
    is_translated: ClassVar[bool] = False

    def __repr__(self) -> str:
        return type(self).__name__

    # --- requests ------------------------------------------------------------------------------

    @property
    def paths(self) -> tuple[bytes, ...]:
        """Return the POST routes whose body names the model: JSON, or a form."""
        return tuple(it.path.encode() for it in self.routes if it.named_in == "body")

    @property
    def is_silent(self) -> bool:
        """Whether no frame of ours ever comes before the response."""
        return not self.modes

    def is_spoken_in(self, body: Mapping[str, Any], kind: UpstreamKind) -> bool:
        """Whether a body looks like this API, where no path tells.

        Args:
            body: The request.
            kind: Kind of the peer; `unknown` if it is none.
        """
        return False

    def wants_thinking(self, body: bytes) -> bool:
        """Whether the client wants reasoning; true where nobody has to ask."""
        return True

    def wants_usage(self, body: bytes) -> bool:
        """Whether the stream is to end with a usage chunk."""
        return False

    def translate(
        self, path: bytes, body: bytes, meant: Callable[[str], str]
    ) -> Steps[Translation]:
        """Return a request in the words of another API, where that `is_translated`.

        Args:
            path: At which the client asks.
            body: What it asks.
            meant: Returns the name that is meant by what a client says.

        Raises:
            BadRequest: It makes no sense, or cannot be said there.
            TooLarge: It is too long to be translated.
        """
        raise NotImplementedError

    def target_for(self, model: str, *, stream: bool) -> bytes:
        """Return the upstream's path and query for `model`."""
        target = self.stream_target if stream else self.target
        return target.format(quote(model, safe="")).encode()

    # --- responses -----------------------------------------------------------------------------

    @abstractmethod
    def dialect(self, context: StreamContext) -> Dialect:
        """Return the frames for one client."""

    @abstractmethod
    def error_body(self, error: RelayError) -> bytes:
        """Return the error's body: one line of JSON."""

    def error_fields(self, error: RelayError) -> tuple[Field, ...]:
        """Return the error's header fields besides those of all APIs."""
        return ()

    @abstractmethod
    def read_usage(self, value: dict[str, Any], known: Usage) -> Usage:
        """Return `known` with the usage in an event or response."""

    @abstractmethod
    def finish_word(self, value: dict[str, Any]) -> str | None:
        """Return the API's word for the end of the response."""

    def finish_reason(self, value: dict[str, Any]) -> FinishReason | None:
        """Return the finish reason in an event or response, if any."""
        word = self.finish_word(value)
        return None if word is None else self.finish_words.get(word, "other")

    def model_name(self, value: dict[str, Any]) -> str | None:
        """Return the model's name in an event or response, if any."""
        found = text_in(value, self.model_member)
        if found is None:
            inner = mapping_in(value, "response") or mapping_in(value, "message")
            found = text_in(inner, self.model_member)
        return None if found is None else found[:_MAX_NAME_CHARS]

    def error_code(self, value: dict[str, Any]) -> str | None:
        """Return the code of the error in this; None without one.

        Servers send errors in the shapes of other APIs as well, so all are looked for.
        """
        error = value.get("error")
        if not error and "response" in value:
            error = mapping_in(value, "response").get("error")
        if value.get("type") == "error" and not error:
            error = value  # Responses
        if not error:
            return None
        found: object = None
        if isinstance(error, dict):
            found = error.get("code") or error.get("status") or error.get("type")
        return str(found)[:_MAX_CODE_CHARS] if isinstance(found, str | int) else "upstream_error"

    def count_pieces(self, frames: bytes) -> int:
        """Return the number of pieces in `frames`, or in one payload.

        Of a line with several names, the most frequent one counts: some servers give the same
        reasoning two names.
        """
        # All of the frames are searched for one name after the other: nearly always they have one
        # only, and it is in each of them.
        frames = frames.removesuffix(DONE)
        there = []
        count = 0
        for name, filled in self.pieces:
            if frames.find(name) < 0:
                continue
            there.append(filled)
            count = len(filled.findall(frames))
            if len(there) == 1 and count >= frames.count(b"\n\n") > 0:
                return count
        if len(there) <= 1:
            return count
        return sum(max(len(it.findall(line)) for it in there) for line in frames.splitlines())
