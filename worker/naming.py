"""Body of a request -> the model that it names, and whether it wants a stream. Deciding; no I/O.

Only two members of the body are looked at (a third by those that wait); the rest is never built as
Python objects and goes upstream byte for byte.
"""

import difflib
import re
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from arriero.protocol.routes import ModelRoute, WorkerConfig

from .errors import BadRequest, UnknownModel
from .stripping import Stripper

# Characters of a name that are repeated back in an error.
_SHOWN_CHARS = 120

# Names among which a likely one is looked for: difflib takes about 10 us for each.
_MOST_NAMES_COMPARED = 500


class Asked(NamedTuple):
    """What a body asks for."""

    model: str
    stream: bool


class _Members(msgspec.Struct):
    model: str | None = None
    stream: bool | None = None


_decoder = msgspec.json.Decoder(_Members)


def read_body(body: bytes) -> Asked:
    """Find the model's name and the wish for a stream in `body`.

    Raises:
        BadRequest: It is no JSON object, names no model, or has one of the wrong type.
    """
    try:
        members = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadRequest(f"cannot read the body as JSON: {exc}") from exc
    if not members.model:
        raise BadRequest("cannot tell which model is meant: the body has no 'model'")
    return Asked(members.model, bool(members.stream))


class _Thinking(msgspec.Struct):
    type: str | None = None


class _ThinkingMember(msgspec.Struct):
    thinking: _Thinking | None = None


_thinking_decoder = msgspec.json.Decoder(_ThinkingMember)


def asks_for_thinking(body: bytes) -> bool:
    """Whether a request to Anthropic's API wants blocks of thinking (`enabled`, `adaptive`)."""
    try:
        thinking = _thinking_decoder.decode(body).thinking
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False  # of a shape that only the upstream can judge
    return thinking is not None and thinking.type not in (None, "disabled")


class Names:
    """All names by which models are known; a real id goes before an alias.

    Attributes:
        config: What the names were read from.
        strip: Takes our own words out of what clients send back.
    """

    def __init__(self, config: WorkerConfig) -> None:
        self.config = config
        self.strip = Stripper((config.marker,)).strip
        self._routes: dict[str, ModelRoute] = {}
        for route in config.models:
            for alias in route.aliases:
                self._routes.setdefault(alias, route)
        self._routes.update({route.model: route for route in config.models})

    def find(self, name: str) -> ModelRoute:
        """Return the route of the model that is called `name`.

        Raises:
            UnknownModel: There is none; the message says which names look like it.
        """
        route = self._routes.get(name)
        if route is None:
            raise UnknownModel(_not_found(name, self._routes))
        return route


def _not_found(name: str, known: Iterable[str]) -> str:
    candidates = [other for other in known if abs(len(other) - len(name)) <= len(name) + 4]
    shown = name if len(name) <= _SHOWN_CHARS else name[:_SHOWN_CHARS] + "..."
    likely = difflib.get_close_matches(
        name[:_SHOWN_CHARS], candidates[:_MOST_NAMES_COMPARED], n=3, cutoff=0.5
    )
    message = f"cannot find a model named '{shown}'"
    if likely:
        message += "; did you mean " + " or ".join(f"'{other}'" for other in likely) + "?"
    return message


_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]', re.DOTALL)
_VALUE = re.compile(rb'\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*")', re.DOTALL)


def rename(body: bytes, name: str) -> bytes:
    """Return `body` with the value of its top-level `model` replaced by `name`.

    All other bytes stay. `body` has been read by `read_body` before, so it is JSON and has a
    `model`; when it has several, all are replaced, since readers differ in which one they take.
    """
    value = msgspec.json.encode(name)
    depth = 0
    position = 0
    done = 0
    parts: list[bytes] = []
    while (token := _TOKEN.search(body, position)) is not None:
        position = token.end()
        first = body[token.start()]
        if first in b"{[":
            depth += 1
        elif first in b"}]":
            depth -= 1
        elif depth == 1 and (found := _VALUE.match(body, position)) is not None:
            # a string before a colon is a key; its value is a string as well
            if _text(token[0]) == "model":
                parts += (body[done : found.start(1)], value)
                done = found.end(1)
                if body.find(b"model", done) < 0 and body.find(b"\\u", done) < 0:
                    break  # no second one can follow: spare the rest of a long body
            position = found.end(1)
    return b"".join((*parts, body[done:]))


def _text(token: bytes) -> str:
    if b"\\" not in token:
        return token[1:-1].decode("utf-8", "replace")
    try:
        return msgspec.json.decode(token, type=str)
    except msgspec.DecodeError:  # half of a surrogate pair, say: whatever it is, it is not "model"
        return ""
