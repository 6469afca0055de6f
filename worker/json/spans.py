"""Where the values of a JSON text are, without reading them.

A body may have 64 MiB, and a parser written in C keeps everybody waiting until it has read all of
it. So these are generators: each step looks at a bounded piece and yields; whoever may take all the
time in the world steps through them at once (`finish`), whoever may not lets others have their turn
in between.

Rule 1: each byte is looked at a bounded number of times, whatever it is.
Rule 2: brackets and texts are told apart, no more. What is between them is not judged: whoever
reads the value in earnest does that. What is no object, or not one whole one, is always noticed.
"""

import io
import re
from array import array
from collections.abc import Generator, Iterable, Iterator
from itertools import accumulate, islice
from typing import Final, NamedTuple, TypeAlias, TypeVar

from arriero.protocol.read_json import JsonReader

from ..errors import BadRequest

T = TypeVar("T")

Steps: TypeAlias = Generator[None, None, T]
"""Work in bounded steps, with its result at the end."""

# Members of one object. An honest request has some dozens.
MAX_MEMBERS: Final = 1000

# Bytes that one step looks at. The first of a value looks at few, because most are short.
_FIRST_BYTES: Final = 512
_STEP_BYTES: Final = 64 * 1024

# The same for what is only searched for, or copied.
_COPIED_BYTES: Final = 512 * 1024

# Values that are built in one go.
_LIGHT_VALUES: Final = 200_000

_STRING: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_KEY: Final = re.compile(rb"[ \t\r\n]*+(%b)[ \t\r\n]*+:[ \t\r\n]*+" % _STRING, re.DOTALL)
# What most members have: a number, a word, a short text.
_SIMPLE: Final = re.compile(rb"%b|[^\s,{}\[\]\"]++" % _STRING, re.DOTALL)
_KEY_TEXT: Final = JsonReader(str)
_NEXT: Final = re.compile(rb"[ \t\r\n]*+([,}\]])")
_OPEN: Final = re.compile(rb"[ \t\r\n]*+[{\[]")
_CLOSE: Final = re.compile(rb"[ \t\r\n]*+[}\]]")
_BLANKS: Final = re.compile(rb"[ \t\r\n]*+")

_FEW: Final = 8
_TO_BRACKET: Final = re.compile(rb"(?:[^\"{}\[\]]++|%b)*+([{}\[\]])" % _STRING, re.DOTALL)
_BRACKET: Final = re.compile(rb"[\[\]{}]")
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_AS_DEPTH: Final = bytes(1 if byte in b"[{" else 255 for byte in range(256))  # 255 is -1


class Span(NamedTuple):
    """Where a value is: from `start` up to `end`."""

    start: int
    end: int


class Member(NamedTuple):
    """One member of an object: where its value is, from `start` up to `end`."""

    name: str
    start: int
    end: int


def finish(steps: Steps[T]) -> T:
    """Take all steps at once and return the result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def find_members(body: bytes) -> Steps[list[Member]]:
    """Return the members of the JSON object `body`, those inside of other values left out.

    Raises:
        BadRequest: It is no JSON object, or has more members than any honest one.
    """
    opened = _OPEN.match(body, 0, _STEP_BYTES)
    if opened is None or body[opened.end() - 1] != ord("{"):
        raise _no_object()
    found: list[Member] = []
    position = opened.end()
    closed = _CLOSE.match(body, position, position + _STEP_BYTES)
    if closed is not None:
        position = closed.end()
    while closed is None:
        key = _KEY.match(body, position, position + _STEP_BYTES)
        if key is None:
            raise _no_object()
        start = key.end()
        simple = _SIMPLE.match(body, start, start + _FIRST_BYTES)
        if simple is not None and simple.end() < start + _FIRST_BYTES:
            end = simple.end()
        else:
            end = yield from _end_of_value(body, start)
        found.append(Member(_text(key[1]), start, end))
        if len(found) > MAX_MEMBERS:
            raise BadRequest(f"cannot take a body of more than {MAX_MEMBERS} members")
        after = _NEXT.match(body, end, end + _STEP_BYTES)
        if after is None:
            raise _no_object()
        position = after.end()
        if after[1] == b"}":
            break
        if after[1] == b"]":
            raise _no_object()
    while position < len(body):
        blanks = _BLANKS.match(body, position, position + _STEP_BYTES)
        if blanks is None or blanks.end() == position:
            raise _no_object()
        position = blanks.end()
        yield
    return found


def find_items(body: bytes, start: int, most: int) -> Steps[list[Span] | None]:
    """Return the items of the JSON list that begins at `start`; None if they are more than `most`.

    Raises:
        BadRequest: It is no whole list.
    """
    found: list[Span] = []
    position = start + 1
    if body[start : start + 1] != b"[":
        raise _no_object()
    if _CLOSE.match(body, position, position + _STEP_BYTES) is not None:
        return found
    while True:
        blanks = _BLANKS.match(body, position, position + _STEP_BYTES)
        begin = blanks.end() if blanks is not None else position
        end = yield from _end_of_value(body, begin)
        found.append(Span(begin, end))
        if len(found) > most:
            return None
        if len(found) % 256 == 0:
            yield
        after = _NEXT.match(body, end, end + _STEP_BYTES)
        if after is None or after[1] == b"}":
            raise _no_object()
        if after[1] == b"]":
            return found
        position = after.end()


def is_there(body: bytes, word: bytes, start: int = 0, end: int | None = None) -> Steps[bool]:
    """Return whether `word` is in `body`, or between two places in it."""
    end = len(body) if end is None else end
    for at in range(start, end, _COPIED_BYTES):
        if body.find(word, at, min(at + _COPIED_BYTES + len(word), end)) >= 0:
            return True
        yield
    return False


def is_light(data: bytes, start: int = 0, end: int | None = None) -> bool:
    """Whether a JSON text, which has some MiB at the most, can be built as objects in one go.

    What takes time, and memory, is how many values there are: ten milliseconds or so for so many.
    """
    end = len(data) if end is None else end
    if end - start <= _STEP_BYTES:
        return True
    return sum(data.count(sign, start, end) for sign in (b",", b"[", b"{")) <= _LIGHT_VALUES


def joined(parts: Iterable[bytes | memoryview]) -> Steps[bytes]:
    """Return all `parts` as one."""
    with io.BytesIO() as whole:
        for part in parts:
            view = memoryview(part)
            for at in range(0, len(view), _COPIED_BYTES):
                whole.write(view[at : at + _COPIED_BYTES])
                yield
        return whole.getvalue()


def _end_of_value(body: bytes, start: int) -> Steps[int]:
    first = body[start : start + 1]
    if first == b'"':
        return (yield from _end_of_string(body, start + 1))
    if first and first in b"{[":
        return (yield from _end_of_brackets(body, start))
    simple = _SIMPLE.match(body, start, start + _STEP_BYTES)
    if simple is None:
        raise _no_object()
    return simple.end()


def _end_of_string(body: bytes, start: int) -> Steps[int]:
    """Return the index after the quote that ends a text; `start` is the first byte in it."""
    for position, piece in _pieces(body, start):
        quote = _without_escapes(piece).find(b'"')
        if quote >= 0:
            return position + quote + 1
        yield
    raise _no_object()


def _end_of_brackets(body: bytes, start: int) -> Steps[int]:
    """Return the index after the bracket that belongs to the one at `start`."""
    end = _end_of_few(body, start)
    if end:
        return end
    depth = 0
    within = 0  # 1 within a text
    for position, piece in _pieces(body, start):
        parts = _without_escapes(piece).split(b'"')
        brackets = b"".join(parts[within::2]).translate(None, _NO_BRACKETS)
        ends = _closing(brackets, depth)
        if ends:
            parts[1 - within :: 2] = map(bytes, map(len, parts[1 - within :: 2]))  # blank
            return position + _place(b'"'.join(parts), ends)
        opened = brackets.count(b"[") + brackets.count(b"{")
        depth += 2 * opened - len(brackets)
        within ^= (len(parts) - 1) & 1
        yield
    raise _no_object()


def _end_of_few(body: bytes, start: int) -> int:
    """Return the same for a short value, as most are; 0 if it is none. That spares some copies."""
    depth = 0
    end = start
    for _ in range(_FEW):
        found = _TO_BRACKET.match(body, end, start + _FIRST_BYTES)
        if found is None:
            return 0
        end = found.end()
        depth += 1 if found[1] in b"{[" else -1
        if depth == 0:
            return end
    return 0


def _closing(brackets: bytes, depth: int) -> int:
    """Return how many of `brackets` it takes until none is open any more; 0 if some always is.

    Args:
        brackets: No other bytes.
        depth: So many are open before them.
    """
    # Pairs side by side change nothing; without them hardly anything is left, as a rule.
    rest = brackets.replace(b"[]", b"").replace(b"{}", b"")
    if depth and rest.count(b"]") + rest.count(b"}") < depth:
        return 0
    try:
        deltas = array("b", brackets.translate(_AS_DEPTH))
        return list(accumulate(deltas, initial=depth)).index(0, 1)
    except ValueError:
        return 0


def _place(text: bytes, count: int) -> int:
    """Return the index after so many brackets, which are there."""
    place = 0
    while len(text) > _FIRST_BYTES:
        half = text[: len(text) // 2]
        there = len(half.translate(None, _NO_BRACKETS))
        if there >= count:
            text = half
        else:
            count -= there
            place += len(half)
            text = text[len(half) :]
    return place + next(islice(_BRACKET.finditer(text), count - 1, None)).end()


def _pieces(body: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """Give what follows `start` in pieces, and where each begins; none ends within an escape."""
    size = _FIRST_BYTES
    while start < len(body):
        piece = body[start : start + size]
        if piece.endswith(b"\\") and (len(piece) - len(piece.rstrip(b"\\"))) % 2:
            piece = piece[:-1]
            if not piece:
                return  # the last byte of all
        yield start, piece
        start += len(piece)
        size = min(size * 4, _STEP_BYTES)


def _without_escapes(piece: bytes) -> bytes:
    """Return `piece` with other bytes, as many, in the place of escaped backslashes and quotes."""
    if piece.find(b"\\") < 0:
        return piece
    return piece.replace(b"\\\\", b"__").replace(b'\\"', b"__")


def _no_object() -> BadRequest:
    return BadRequest("cannot read the body as JSON: it is not one whole object")


def _text(key: bytes) -> str:
    if b"\\" not in key:
        return key[1:-1].decode("utf-8", "replace")
    # None: half of a surrogate pair, say. Whatever it is, it is no name of ours.
    return _KEY_TEXT.find(key) or ""
