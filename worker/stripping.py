"""Takes our own words out of what clients send back. Deciding; wire format, section 10.

Most clients store what they were shown and send it with the next turn. In tool loops the model
would read it, and the prompt cache would miss: what it is sent has to be what it would have been
sent without any progress.

Rule 1: a body without our marks goes on as it is, byte for byte, and is not even parsed.
Rule 2: only where clients were seen to put our words are they looked for. A user who quotes a log,
a tool's result, code: all of that stays.
Rule 3: a text is searched, never matched with a pattern that can look at the same bytes twice: it
is written by strangers.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from .errors import BadRequest
from .json_spans import Member, Span, Steps, find_items, is_light, is_there, joined

# Signs the block of thinking in which Anthropic's clients were told.
SIGNATURE: Final = "swap-progress-v1"

# Begins the id of the item in which clients of the Responses API were told.
ITEM_PREFIX: Final = "rs_swapprogress_"

# Where clients keep what came as reasoning.
_REASONING: Final = ("reasoning_content", "reasoning", "reasoning_text", "thinking")
_TEXT_PARTS: Final = ("text", "output_text", "input_text")

# Clients that know no reasoning write it into the text, between these.
_TAGS: Final = ("think", "assistant_thinking")
_BLANKS: Final = re.compile(r"\s*")

# Pairs of these in one text that are looked at; what follows stays as it is.
_MOST_TAGS: Final = 10_000

_HISTORIES: Final = ("messages", "input")

_REMOVED: Final = object()

# Of a long body: the longest message that is read, and the longest history that is looked at.
_LIGHT_BYTES: Final = 4 * 1024**2
_MOST_ITEMS: Final = 50_000

# Bytes of a message for which nothing else is done in the same step.
_LONG_BYTES: Final = 4096


class Stripper:
    """Knows by which marks our own words are found."""

    def __init__(self, markers: Iterable[str]) -> None:
        """Build it.

        Args:
            markers: What lines of progress begin with, or began with earlier.
        """
        known = tuple(dict.fromkeys(marker for marker in markers if marker))
        marks = [msgspec.json.encode(marker)[1:-1] for marker in known]
        marks += [SIGNATURE.encode(), ITEM_PREFIX.encode()]
        self._marks = marks
        self._markers = known

    def strip(self, body: bytes) -> bytes:
        """Return `body` without our words; the same object if there are none in it.

        What is no JSON object is returned as it is: upstream has its own words for that.
        """
        # One `find` for each mark takes a twentieth of the time of one pattern for all: long
        # conversations come with every request, and nearly none has a mark.
        for mark in self._marks:
            if body.find(mark) >= 0:
                break
        else:
            return body
        request = _decode(body)
        if not isinstance(request, dict):
            return body
        changed = False
        for name in _HISTORIES:
            items = request.get(name)
            if isinstance(items, list):
                kept = [self._item(item) for item in items]
                kept = [item for item in kept if item is not _REMOVED]
                if kept != items:
                    request[name] = kept
                    changed = True
        return msgspec.json.encode(request) if changed else body

    def strip_large(self, body: bytes, members: Sequence[Member]) -> Steps[bytes]:
        """Return the same for a long body, whose `members` are known.

        An item is read if it has one of our marks, and not all of them are built at once. One that
        would take long to be read stays as it is.
        """
        for mark in self._marks:
            if (yield from is_there(body, mark)):
                break
        else:
            return body
        view = memoryview(body)
        parts: list[bytes | memoryview] = []
        done = 0
        for name, start, end in members:
            if name in _HISTORIES and body[start : start + 1] == b"[":
                kept = yield from self._items(body, start)
                if kept is not None:
                    parts += (view[done:start], *kept)
                    done = end
        return (yield from joined((*parts, view[done:]))) if parts else body

    def _items(self, body: bytes, start: int) -> Steps[list[bytes | memoryview] | None]:
        """Return a list of messages without our words, in parts; None if that changes nothing."""
        try:
            items = yield from find_items(body, start, _MOST_ITEMS)
        except BadRequest:
            return None
        view = memoryview(body)
        kept: list[bytes | memoryview] = []
        changed = False
        for number, span in enumerate(items or ()):
            if number % 256 == 0 or span.end - span.start > _LONG_BYTES:
                yield
            new: bytes | memoryview | None = view[span.start : span.end]
            if self._has_mark(body, span) and is_light(body, *span):
                yield
                item = _decode(body[span.start : span.end])
                clean = self._item(item)
                if clean is _REMOVED or clean != item:
                    changed = True
                    new = None if clean is _REMOVED else msgspec.json.encode(clean)
            if new is not None:
                kept += (b",", new)
        return [b"[", *kept[1:], b"]"] if changed else None

    def _has_mark(self, body: bytes, span: Span) -> bool:
        if span.end - span.start > _LIGHT_BYTES:
            return False
        return any(body.find(mark, *span) >= 0 for mark in self._marks)

    def _item(self, item: object) -> object:
        """Return a message, or an item of Responses, without our words."""
        if not isinstance(item, dict):
            return item
        if item.get("type") in ("reasoning", "item_reference"):
            ident = item.get("id")
            ours = isinstance(ident, str) and ident.startswith(ITEM_PREFIX)
            return _REMOVED if ours else item
        role: str = item.get("role", "")
        if role not in ("assistant", "user"):
            return item
        clean = dict(item)
        if role == "assistant":
            self._reasoning(clean)
        content = clean.get("content")
        if isinstance(content, str):
            found = self._text(content, role)
            clean["content"] = "" if found is _REMOVED else found
        elif isinstance(content, list):
            kept = [self._part(part, role) for part in content]
            clean["content"] = [part for part in kept if part is not _REMOVED]
        if clean == item:
            return item
        return _REMOVED if _is_empty(clean) else clean

    def _reasoning(self, message: dict[str, Any]) -> None:
        for name in _REASONING:
            value = message.get(name)
            if isinstance(value, str) and (rest := self._without_lines(value)) != value:
                if rest:
                    message[name] = rest
                else:
                    del message[name]

    def _part(self, part: object, role: str) -> object:
        if not isinstance(part, dict):
            return part
        kind = part.get("type")
        if kind == "thinking" and role == "assistant":
            if part.get("signature") == SIGNATURE:
                return _REMOVED
            value = part.get("thinking")
            if isinstance(value, str) and (rest := self._without_lines(value)) != value:
                return part | {"thinking": rest} if rest else _REMOVED
        elif kind in _TEXT_PARTS and isinstance(value := part.get("text"), str):
            found = self._text(value, role)
            if found is _REMOVED:
                return _REMOVED
            if found != value:
                return part | {"text": found}
        return part

    def _text(self, text: str, role: str) -> object:
        """Return what stays of a text that the client shows; `_REMOVED` if that is nothing."""
        rest = self._without_lines(text)
        if rest is text and "<" not in text:
            return text
        if role == "assistant" and not rest:
            return _REMOVED
        clean = self._without_wrapped(text)
        return clean or _REMOVED

    def _without_lines(self, text: str) -> str:
        """Return `text` without the lines that begin with a marker; the same object without any."""
        for marker in self._markers:
            text = _without_lines(text, marker)
        return text

    def _without_wrapped(self, text: str) -> str:
        """Return `text` without our lines between tags, and without tags that hold nothing else.

        Tags do not nest: the first end belongs to the first beginning.
        """
        parts: list[str] = []
        done = 0
        begins = {tag: text.find(f"<{tag}>") for tag in _TAGS}
        for _ in range(_MOST_TAGS):
            there = [(at, tag) for tag, at in begins.items() if at >= 0]
            if not there:
                break
            begin, tag = min(there)
            inside_at = begin + len(tag) + 2
            end = text.find(f"</{tag}>", inside_at)
            if end < 0:
                del begins[tag]  # for none of those that follow, either
                continue
            inside = text[inside_at:end]
            rest = self._without_lines(inside)
            blanks = _BLANKS.match(text, end + len(tag) + 3)
            assert blanks is not None
            if rest is not inside:
                parts.append(text[done:begin])
                if rest.strip():
                    parts += (f"<{tag}>", rest, text[end : blanks.end()])
                done = blanks.end()
            for other, at in begins.items():
                if 0 <= at < blanks.end():
                    begins[other] = text.find(f"<{other}>", blanks.end())
        return "".join((*parts, text[done:])) if parts else text


def _without_lines(text: str, marker: str) -> str:
    at = text.find(marker)
    parts: list[str] = []
    done = 0
    while at >= 0:
        if at and text[at - 1] != "\n":
            at = text.find(marker, at + 1)
            continue
        parts.append(text[done:at])
        done = text.find("\n", at) + 1 or len(text)
        at = text.find(marker, done)
    return "".join((*parts, text[done:])) if done else text


def _decode(data: bytes) -> object:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # whatever it is, it is for the upstream


def _is_empty(message: dict[str, Any]) -> bool:
    """Whether nothing is left in a message: no words, no calls of tools, no reasoning."""
    used = ("content", "tool_calls", "function_call", *_REASONING)
    return not any(message.get(name) for name in used)
