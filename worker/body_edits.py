r"""Changes single members of a JSON text and leaves all other bytes as they are. Deciding.

Order, blanks, the spelling of numbers (12345678901234567890, 1.0) and of texts (\u00e9) are the
client's: a body that is parsed and written anew would be another one.

Rule 1: no edit needed, the same object back.
Rule 2: what is edited was read as a JSON object before (`naming.read_body`), and names one model
(`check_one_model`). Anything else is refused, never mangled.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from .errors import BadRequest

_STRING: Final = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_KEY: Final = re.compile(rb"[ \t\r\n]*(%b)[ \t\r\n]*:[ \t\r\n]*" % _STRING, re.DOTALL)
_SIMPLE: Final = re.compile(rb"%b|[^\s,{}\[\]\"]+" % _STRING, re.DOTALL)
# The next bracket, whatever stands before it. Nothing is tried twice, which takes half the time.
_BRACKET: Final = re.compile(rb"(?:[^\"{}\[\]]++|%b)*+([{}\[\]])" % _STRING, re.DOTALL)
_NEXT: Final = re.compile(rb"[ \t\r\n]*([,}])")
_OPEN: Final = re.compile(rb"[ \t\r\n]*\{")
_EMPTY: Final = re.compile(rb"[ \t\r\n]*\}")

# How a key may be written that reads "model": any letter of it may be an escape.
_MODEL: Final = re.compile(
    rb'"(?:m|\\u006[dD])(?:o|\\u006[fF])(?:d|\\u0064)(?:e|\\u0065)(?:l|\\u006[cC])"'
)


class Member(NamedTuple):
    """One member of an object: where its value is, from `start` up to `end`."""

    name: str
    start: int
    end: int


class Edited(NamedTuple):
    """A body after its edits.

    Attributes:
        body: The same object as before if nothing was to be changed.
        asked_usage: The usage was asked for in the client's name: the chunk that brings it has to
            be taken out of the answer.
        asked_progress: The same, for the progress of the prompt.
    """

    body: bytes
    asked_usage: bool = False
    asked_progress: bool = False


def edit(
    body: bytes, *, model: str | None = None, usage: bool = False, progress: bool = False
) -> Edited:
    """Return `body` with what its upstream has to be told.

    Args:
        body: A JSON object.
        model: Name to put in the place of the one that is there, if one is there.
        usage: Ask a stream for its usage (``stream_options.include_usage``).
        progress: Ask llama-server for the progress of the prompt (``return_progress``).

    Raises:
        BadRequest: It is no JSON object.
    """
    if model is None and not usage and not progress:
        return Edited(body)
    there = list(members(body))
    wishes: dict[str, bytes] = {}
    if model is not None and _last(body, there, "model") is not None:
        wishes["model"] = msgspec.json.encode(model)
    options = _with_usage(body, there) if usage else None
    if options is not None:
        wishes["stream_options"] = options
    if progress and _last(body, there, "return_progress") != b"true":
        wishes["return_progress"] = b"true"
    return Edited(_set(body, there, wishes), options is not None, "return_progress" in wishes)


def check_one_model(body: bytes) -> None:
    """Check that there is one ``model`` at most: of several, each reader takes another one.

    Raises:
        BadRequest: There are more.
    """
    # A body has the word once, nearly always; only if it has it again, where is looked at.
    escaped = body.find(b"\\u00") >= 0
    count = len(_MODEL.findall(body)) if escaped else body.count(b'"model"')
    if count > 1 and sum(member.name == "model" for member in members(body)) > 1:
        raise BadRequest("cannot tell which model is meant: the body has 'model' more than once")


def set_members(body: bytes, values: Mapping[str, bytes]) -> bytes:
    """Return the JSON object `body` with each member in `values` set to that JSON text.

    What is there already in these words stays; what is there twice is set twice; what is not
    there is appended.

    Raises:
        BadRequest: `body` is no JSON object.
    """
    return _set(body, list(members(body)), values)


def _set(body: bytes, there: Sequence[Member], values: Mapping[str, bytes]) -> bytes:
    parts: list[bytes] = []
    done = 0
    missing = dict(values)
    for name, start, end in there:
        missing.pop(name, None)
        value = values.get(name)
        if value is not None and not _same(body[start:end], value):
            parts += (body[done:start], value)
            done = end
    if missing:
        close = body.rindex(b"}")
        last = len(body[:close].rstrip(b" \t\r\n"))  # so that blanks stay before the brace
        added = b",".join(msgspec.json.encode(name) + b":" + missing[name] for name in missing)
        parts += (body[done:last], b"," if there else b"", added)
        done = last
    return b"".join((*parts, body[done:])) if parts else body


def _same(found: bytes, value: bytes) -> bool:
    """Whether both say the same; texts may be written in several ways."""
    if found == value or not found.startswith(b'"'):
        return found == value
    try:
        return bool(msgspec.json.decode(found) == msgspec.json.decode(value))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def _with_usage(body: bytes, there: Sequence[Member]) -> bytes | None:
    """Return ``stream_options`` with the wish for usage; None if that changes nothing."""
    found = _last(body, there, "stream_options")
    if found is None or found == b"null":
        return b'{"include_usage":true}'
    if not found.startswith(b"{"):
        return None  # nonsense: its upstream has its own words for that
    options = set_members(found, {"include_usage": b"true"})
    return None if options is found else options


def _last(body: bytes, there: Sequence[Member], name: str) -> bytes | None:
    """Return the value of `name`; of several, the one that most readers take."""
    found = [body[start:end] for known, start, end in there if known == name]
    return found[-1] if found else None


def members(body: bytes) -> Iterator[Member]:
    """Give the members of the JSON object `body`, those inside of other values left out.

    Raises:
        BadRequest: It is no JSON object.
    """
    opened = _OPEN.match(body)
    if opened is None:
        raise _no_object()
    position = opened.end()
    if _EMPTY.match(body, position) is not None:
        return
    while True:
        key = _KEY.match(body, position)
        if key is None:
            raise _no_object()
        end = _end_of_value(body, key.end())
        yield Member(_text(key[1]), key.end(), end)
        after = _NEXT.match(body, end)
        if after is None:
            raise _no_object()
        if after[1] == b"}":
            if body[after.end() :].strip(b" \t\r\n"):
                raise _no_object()
            return
        position = after.end()


def _end_of_value(body: bytes, start: int) -> int:
    if body[start : start + 1] not in (b"{", b"["):
        simple = _SIMPLE.match(body, start)
        if simple is None:
            raise _no_object()
        return simple.end()
    depth = 0
    end = start
    while (found := _BRACKET.match(body, end)) is not None:
        end = found.end()
        if found[1] in b"{[":
            depth += 1
        else:
            depth -= 1
            if depth == 0:
                return end
    raise _no_object()


def _no_object() -> BadRequest:
    return BadRequest("cannot read the body as JSON: it is not one whole object")


def _text(key: bytes) -> str:
    if b"\\" not in key:
        return key[1:-1].decode("utf-8", "replace")
    try:
        return msgspec.json.decode(key, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""  # half of a surrogate pair, say: whatever it is, it is no name of ours
