r"""Changes single members of a JSON text and leaves all other bytes as they are.

Order, blanks, the spelling of numbers (12345678901234567890, 1.0) and of texts (\u00e9) are the
client's: a body that is parsed and written anew would be another one.

Rule 1: no edit needed, the same object back.
Rule 2: what is edited was read as a JSON object before (`model_names.read_body`), and names one
model (`check_one_model`). Anything else is refused, never mangled.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from arriero.protocol.read_json import json_value

from ..errors import BadRequest
from .spans import Member, find_members, finish

# How a key may be written that reads "model": any letter of it may be an escape.
_MODEL: Final = re.compile(
    rb'"(?:m|\\u006[dD])(?:o|\\u006[fF])(?:d|\\u0064)(?:e|\\u0065)(?:l|\\u006[cC])"'
)


_OPEN: Final = re.compile(rb"[ \t\r\n]*+\{")

# Bytes of a value that is one of those that are asked for or set here.
_LONG_BYTES: Final = 64 * 1024


class Edited(msgspec.Struct, frozen=True):
    """A body after its edits.

    Attributes:
        body: The same object as before if nothing was to be changed. Of a long one it is that in
            any case: see `parts`.
        asked_usage: The usage was asked for in the client's name: the chunk that brings it has to
            be taken out of the answer.
        asked_progress: The same, for the progress of the prompt.
        parts: What is to be sent of a long body that was changed: copying it would take long.
    """

    body: bytes
    asked_usage: bool = False
    asked_progress: bool = False
    parts: Sequence[bytes | memoryview] = ()

    @property
    def length(self) -> int:
        """Bytes that are sent."""
        return sum(map(len, self.parts)) if self.parts else len(self.body)


def edit(
    body: bytes,
    *,
    model: str | None = None,
    usage: bool = False,
    progress: bool = False,
    members: Sequence[Member] | None = None,
) -> Edited:
    """Return `body` with what its upstream has to be told.

    Args:
        body: A JSON object.
        model: Name to put in the place of the one that is there, if one is there.
        usage: Ask a stream for its usage (``stream_options.include_usage``).
        progress: Ask llama-server for the progress of the prompt (``return_progress``).
        members: Of a long body: where its members are.

    Raises:
        BadRequest: It is no JSON object.
    """
    if model is None and not usage and not progress:
        return Edited(body)
    there = finish(find_members(body)) if members is None else members
    wishes: dict[str, bytes] = {}
    if model is not None and _last(body, there, "model") is not None:
        wishes["model"] = msgspec.json.encode(model)
    options = _with_usage(body, there) if usage else None
    if options is not None:
        wishes["stream_options"] = options
    if progress and _last(body, there, "return_progress") != b"true":
        wishes["return_progress"] = b"true"
    asked = options is not None, "return_progress" in wishes
    if members is None:
        return Edited(_set(body, there, wishes), *asked)
    return Edited(body, *asked, _parts(memoryview(body), there, wishes))


def check_one_model(body: bytes) -> None:
    """Check that there is one ``model`` at most: of several, each reader takes another one.

    Raises:
        BadRequest: There are more.
    """
    # A body has the word once, nearly always; only if it has it again, where is looked at.
    escaped = body.find(b"\\u00") >= 0
    count = len(_MODEL.findall(body)) if escaped else body.count(b'"model"')
    if count > 1 and _models(body) > 1:
        raise BadRequest("cannot tell which model is meant: the body has 'model' more than once")


def _models(body: bytes) -> int:
    return sum(member.name == "model" for member in finish(find_members(body)))


def set_members(body: bytes, values: Mapping[str, bytes]) -> bytes:
    """Return the JSON object `body` with each member in `values` set to that JSON text.

    What is there already in these words stays; what is there twice is set twice; what is not
    there is appended.

    Raises:
        BadRequest: `body` is no JSON object.
    """
    return _set(body, finish(find_members(body)), values)


def _set(body: bytes, there: Sequence[Member], values: Mapping[str, bytes]) -> bytes:
    parts = _parts(body, there, values)
    return b"".join(parts) if parts else body


def _parts(
    body: bytes | memoryview, there: Sequence[Member], values: Mapping[str, bytes]
) -> list[bytes | memoryview]:
    """Return the body with its edits, in parts; none if nothing changes."""
    parts: list[bytes | memoryview] = []
    done = 0
    missing = dict(values)
    for name, start, end in there:
        missing.pop(name, None)
        value = values.get(name)
        if value is not None and not (
            end - start <= _LONG_BYTES and _same(bytes(body[start:end]), value)
        ):
            parts += (body[done:start], value)
            done = end
    if missing:
        # behind the last value, so that blanks stay before the brace
        last = there[-1].end if there else _OPEN.match(body).end()  # type: ignore[union-attr]
        added = b",".join(msgspec.json.encode(name) + b":" + missing[name] for name in missing)
        parts += (body[done:last], b"," if there else b"", added)
        done = last
    if parts:
        parts.append(body[done:])
    return parts


def _same(found: bytes, value: bytes) -> bool:
    """Whether both say the same; texts may be written in several ways."""
    if found == value or not found.startswith(b'"'):
        return found == value
    return json_value(found) == json_value(value)


def _with_usage(body: bytes, there: Sequence[Member]) -> bytes | None:
    """Return ``stream_options`` with the wish for usage; None if that changes nothing."""
    found = _last(body, there, "stream_options")
    if found is None or found == b"null":
        return b'{"include_usage":true}'
    if not found.startswith(b"{") or len(found) >= _LONG_BYTES:
        return None  # nonsense: its upstream has its own words for that
    options = set_members(found, {"include_usage": b"true"})
    return None if options is found else options


def _last(body: bytes, there: Sequence[Member], name: str) -> bytes | None:
    """Return the value of `name`; of several, the one that most readers take.

    Of one that is too long to be any of those that are asked for there is only the beginning.
    """
    found = [member for member in there if member.name == name]
    if not found:
        return None
    _, start, end = found[-1]
    return body[start : min(end, start + _LONG_BYTES)]
