"""Removes our progress text from requests. Wire format, section 10.

Most clients store what they were shown and send it with the next turn. In tool loops the model
would read it, and the prompt cache would miss: what it is sent has to be what it would have been
sent without any progress.

Rule 1: a body without our marks goes on as it is, byte for byte, and is not even parsed.
Rule 2: in a turn of the model's every line of ours goes, in whatever member a client has put it,
calls of tools excepted; elsewhere those in tags, quotes and fences. What is left of a log that a
user has pasted, and of calls, stays.
Rule 3: a text is searched, never matched with a pattern that can look at the same bytes twice: it
is written by strangers.
"""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from arriero.protocol.read_json import json_value

from ..errors import BadRequest
from ..json.spans import Member, Span, Steps, find_items, is_light, is_there, joined
from .messages.dialect import SIGNATURE
from .progress_lines import SearchBudget, without_lines
from .responses.dialect import ITEM_PREFIX

# Members that hold what was said: of messages, of items, of their parts. One in which we have left
# all of them empty goes.
_HOLDERS: Final = frozenset(
    {
        *("content", "parts", "text", "refusal", "audio", "output", "input", "source"),
        *("reasoning_content", "reasoning", "reasoning_text", "reasoning_details", "thinking"),
        *("thinking_blocks", "summary", "encrypted_content", "data", "reasoningContent"),
        *("reasoningText", "tool_calls", "function_call", "toolUse", "functionCall"),
    }
)
# Those of them that clients show as content.
_SHOWN: Final = frozenset({"content", "parts", "text"})

# Members that are there even when they are empty; others of a message go.
_KEPT_EMPTY: Final = frozenset({"content", "parts", "summary"})

# What nobody shows: calls of tools, which are code, and what is no text.
_UNREAD: Final = frozenset(
    {
        *("tool_calls", "function_call", "toolUse", "functionCall", "arguments", "role", "type"),
        *("id", "signature", "encrypted_content", "data", "image_url", "url", "thoughtSignature"),
    }
)
_CALLS: Final = ("tool_use", "_call")

# An API wants a result for each call, even an empty one.
_ANSWERS: Final = ("tool_call_id", "call_id", "tool_use_id", "toolUseId")

_MODEL_ROLES: Final = ("assistant", "model")  # a client may write a list where a text belongs

# Histories, and what stands beside them. A list of plain texts is none: such are embedded.
_HISTORIES: Final = ("messages", "input", "contents")
_TEXTS: Final = ("system", "instructions", "prompt", "systemInstruction", "system_instruction")
_MEMBERS: Final = frozenset((*_HISTORIES, *_TEXTS))

# Nothing that a client sends is nested deeper.
_MAX_LEVELS: Final = 12

# What no writer of JSON escapes: bodies are searched for the longest such piece of a marker.
_PLAIN: Final = re.compile(r"[A-Za-z0-9 .:_-]+")
_LEAST_PLAIN: Final = 4

_REMOVED: Final = object()

# Of a long body: the longest message that is read, and the longest history that is looked at.
_LIGHT_BYTES: Final = 4 * 1024**2
_MAX_ITEMS: Final = 50_000

# Bytes of a message for which nothing else is done in the same step.
_LONG_BYTES: Final = 4096


class Stripper:
    """Removes our progress text, which it finds by marks."""

    def __init__(self, markers: Iterable[str]) -> None:
        """Build it.

        Args:
            markers: What lines of progress begin with, or began with earlier.
        """
        known = tuple(dict.fromkeys(marker for marker in markers if marker))
        marks = [mark for marker in known for mark in _marks_of(marker)]
        marks += [SIGNATURE.encode(), ITEM_PREFIX.encode()]
        self._marks = marks
        self._markers = known

    def strip(self, body: bytes) -> bytes:
        """Return `body` without our text; the same object without any.

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
        effort = SearchBudget()
        changed = False
        for name in _MEMBERS.intersection(request):
            value = request[name]
            clean = self._history(value, effort)
            if clean is not value:
                request[name] = clean
                changed = True
        return _encode(request) if changed else body

    def strip_large(self, body: bytes, members: Sequence[Member]) -> Steps[bytes]:
        """Return a long body, whose `members` are known, without it.

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
            if name not in _MEMBERS:
                continue
            if body[start : start + 1] == b"[":
                kept = yield from self._items(body, start)
            else:
                kept = yield from self._whole(body, Span(start, end))
            if kept is not None:
                parts += (view[done:start], *kept)
                done = end
        return (yield from joined((*parts, view[done:]))) if parts else body

    def _items(self, body: bytes, start: int) -> Steps[list[bytes | memoryview] | None]:
        """Return messages without our text, in parts; None if unchanged."""
        try:
            items = yield from find_items(body, start, _MAX_ITEMS)
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
                clean = self._item(item, SearchBudget())
                if clean is not item:
                    changed = True
                    new = None if clean is _REMOVED else _encode(clean)
            if new is not None:
                kept += (b",", new)
        return [b"[", *kept[1:], b"]"] if changed else None

    def _has_mark(self, body: bytes, span: Span) -> bool:
        if span.end - span.start > _LIGHT_BYTES:
            return False
        return any(body.find(mark, *span) >= 0 for mark in self._marks)

    def _whole(self, body: bytes, span: Span) -> Steps[list[bytes | memoryview] | None]:
        """Return a text or object without ours; None if unchanged."""
        yield
        if not (self._has_mark(body, span) and is_light(body, *span)):
            return None
        value = _decode(body[span.start : span.end])
        clean = self._history(value, SearchBudget())
        return None if clean is value else [_encode(clean)]

    def _history(self, value: object, effort: SearchBudget) -> object:
        """Return a history, or a text, without ours."""
        if not isinstance(value, list):
            clean = self._clean(value, effort, from_model=False)
            return "" if clean is _REMOVED else clean
        kept = [self._item(item, effort) for item in value]
        if all(new is old for new, old in zip(kept, value, strict=True)):
            return value
        return [item for item in kept if item is not _REMOVED]

    def _item(self, item: object, effort: SearchBudget) -> object:
        """Return a message or item without our text."""
        if not isinstance(item, dict):
            return item
        kind = item.get("type")
        if kind in ("reasoning", "item_reference"):
            ident = item.get("id")
            if isinstance(ident, str) and ident.startswith(ITEM_PREFIX):
                return _REMOVED
        from_model = kind == "reasoning" or item.get("role") in _MODEL_ROLES
        return self._clean_members(item, effort, from_model=from_model, level=0)

    def _clean(
        self,
        value: object,
        effort: SearchBudget,
        *,
        from_model: bool,
        is_shown: bool = True,
        level: int = 1,
    ) -> object:
        """Return `value` without our text; the same object without any."""
        if isinstance(value, str):
            return without_lines(
                value, self._markers, effort, from_model=from_model, is_shown=is_shown
            )
        if level > _MAX_LEVELS:
            return value
        if isinstance(value, dict):
            return self._clean_members(value, effort, from_model=from_model, level=level)
        if not isinstance(value, list):
            return value
        kept = [
            self._clean(it, effort, from_model=from_model, is_shown=is_shown, level=level + 1)
            for it in value
        ]
        if all(new is old for new, old in zip(kept, value, strict=True)):
            return value
        return [it for it in kept if it is not _REMOVED]

    def _clean_members(
        self, value: dict[str, Any], effort: SearchBudget, *, from_model: bool, level: int
    ) -> object:
        """Return an object without our text; `_REMOVED` if then empty."""
        kind = value.get("type")
        if isinstance(kind, str):
            if kind.endswith(_CALLS):
                return value
            if from_model and kind == "thinking" and value.get("signature") == SIGNATURE:
                return _REMOVED
            from_model = from_model and not kind.endswith("_result")
        clean = value
        for name, old in value.items():
            if name in _UNREAD:
                continue
            is_shown = name in _SHOWN
            new = self._clean(
                old, effort, from_model=from_model, is_shown=is_shown, level=level + 1
            )
            if new is old:
                continue
            if clean is value:
                clean = dict(value)
            if isinstance(new, str) and not new.strip():
                new = ""
            if new is _REMOVED or (not new and level == 0 and name not in _KEPT_EMPTY):
                del clean[name]
            else:
                clean[name] = new
        if clean is value or any(clean.get(name) for name in _HOLDERS):
            return clean
        return clean if any(name in clean for name in _ANSWERS) else _REMOVED


def _marks_of(marker: str) -> list[bytes]:
    """Return the bytes of a marker in JSON, in all spellings."""
    plain = max(_PLAIN.findall(marker), key=len, default="")
    if len(plain) >= _LEAST_PLAIN:
        return [plain.encode()]
    written = msgspec.json.encode(marker)[1:-1]
    lower, upper = (
        "".join(c if _PLAIN.match(c) else f"\\u{ord(c):{form}}" for c in marker).encode()
        for form in ("04x", "04X")
    )
    return [written, written.replace(b"/", b"\\/"), lower, upper]


def _decode(data: bytes) -> object:
    """Return the value of `data`, or None.

    A text may have half a character, as JavaScript cuts it.
    """
    value = json_value(data)
    if value is not None:
        return value
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None  # whatever it is, it is for the upstream


def _encode(value: object) -> bytes:
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()
