"""Bodies that are too long to be read in one go. Steps as in `spans`.

A parser written in C takes a tenth of a second for 64 MiB, and whoever builds objects of 20
million brackets takes seconds and gigabytes. What matters of a body is in its short members: so
there is an *outline* of it, with nothing in the place of its long values, and all that reads
bodies reads that.

What stays unread may be no JSON at all: that is for the model's server to say.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

import msgspec

from .spans import Member, Steps, find_members

# Bytes. Shorter bodies are read as they are, which takes two milliseconds at the most.
LARGE_BYTES: Final = 256 * 1024

# Bytes of an outline, and of one name in it.
_OUTLINE_BYTES: Final = 128 * 1024
_NAME_CHARS: Final = 200

# What stands for a value that was left out.
_NOTHING: Final = {ord('"'): b'""', ord("["): b"[]", ord("{"): b"{}"}

Strip: TypeAlias = Callable[[bytes, Sequence[Member]], Steps[bytes]]
"""Takes our own words out of a body; see `Stripper.strip_large`."""


class LargeBody(NamedTuple):
    """A body and what is known of it.

    Attributes:
        body: All of it.
        outline: An object with the same members, without their long values.
        members: Where these are.
    """

    body: bytes
    outline: bytes
    members: Sequence[Member]


def read_large(body: bytes, strip: Strip) -> Steps[LargeBody]:
    """Read a body, without our own words.

    Raises:
        BadRequest: It is no JSON object.
    """
    members = yield from find_members(body)
    stripped = yield from strip(body, members)
    if stripped is not body:
        body = stripped
        members = yield from find_members(body)
    return LargeBody(body, outline_of(body, members), members)


def outline_of(body: bytes, members: Sequence[Member]) -> bytes:
    """Return an object with the `members` of `body`, without their long values."""
    left = _OUTLINE_BYTES
    parts: list[bytes] = []
    for name, start, end in members:
        if len(name) > _NAME_CHARS:
            continue  # nobody asks for it
        value = body[start:end] if end - start <= left else _NOTHING.get(body[start], b"0")
        parts.append(msgspec.json.encode(name) + b":" + value)
        left -= len(parts[-1])
    return b"{" + b",".join(parts) + b"}"
