"""Ordered rules for JSON bodies: where all that is asked for fits, members are changed.

What no rule changes keeps its bytes. Each rule sees what those before it have left. Names are paths
as in `filters`: ``a.b`` is b within a, and ``a.0`` the first item of a.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import translate
from typing import Final

import msgspec

from arriero.protocol.read_json import json_value
from arriero.protocol.worker_config import BodyRule

from .filters import BodyChanges
from .spans import Span, Steps, find_items, find_members

# Bytes of a value that is compared: nobody asks for a longer one.
_COMPARED_BYTES: Final = 4 * 1024

# Items of a list among which one is looked for.
_MAX_ITEMS: Final = 10_000

# A pattern for whatever is there.
_ANYTHING: Final = "*"

_Test = Callable[[bytes | None], bool]
"""Whether a value is as a rule wants it; None: there is none."""


class Asked(msgspec.Struct, frozen=True):
    """What a request says besides its body.

    Attributes:
        names: Of its model: as the client wrote it, and the model's id.
        path: Of the request.
        fields: Of its head: lower-case names and values.
    """

    names: tuple[str, ...]
    path: str
    fields: Callable[[], Iterable[tuple[str, str]]] = tuple


class BodyRules:
    """Rules of one configuration; made once and used for many bodies."""

    def __init__(self, rules: Iterable[BodyRule]) -> None:
        self._rules = tuple(_CompiledRule(rule) for rule in rules)

    def for_request(self, asked: Asked) -> "tuple[_CompiledRule, ...]":
        """Return the rules that fit a request, as far as its body does not matter."""
        return tuple(rule for rule in self._rules if rule.fits(asked))


def apply_rules(rules: "Sequence[_CompiledRule]", body: bytes) -> Steps[bytes]:
    """Return `body`, a JSON object, as the rules leave it; the same object if they change nothing.

    Raises:
        BadRequest: It is no JSON object, or has something in the place of an object or a list.
    """
    for rule in rules:
        if (yield from rule.fits_body(body)):
            body = yield from rule.change(body)
    return body


class _CompiledRule:
    """One rule."""

    def __init__(self, rule: BodyRule) -> None:
        self._model = _pattern(rule.model)
        self._path = _pattern(rule.path)
        self._fields = {
            name.lower(): _pattern(value, re.IGNORECASE) for name, value in rule.headers
        }
        self._body = [(path.split("."), _test(raw)) for path, raw in rule.body.items()]
        self._moves = list(rule.move.items())
        self._changes = BodyChanges(rule.remove, rule.set, defaults=rule.default)

    def fits(self, asked: Asked) -> bool:
        """Whether it is for such requests, as far as their bodies do not matter."""
        if not any(map(self._model, asked.names)) or not self._path(asked.path):
            return False
        if not self._fields:
            return True
        there: dict[str, bool] = {}
        for name, value in asked.fields():
            if (fits := self._fields.get(name)) is not None:
                there[name] = there.get(name, False) or fits(value)
        return all(there.get(name, False) for name in self._fields)

    def fits_body(self, body: bytes) -> Steps[bool]:
        """Whether a body is as it asks for."""
        for path, test in self._body:
            if not test((yield from _value_at(body, path))):
                return False
        return True

    def change(self, body: bytes) -> Steps[bytes]:
        """Return `body` with its changes."""
        for start, end in self._moves:
            value = yield from _value_at(body, start.split("."))
            if value is not None:
                moved = BodyChanges((start,), {end: msgspec.Raw(value)})
                body = yield from moved.apply(body)
        return (yield from self._changes.apply(body)) if self._changes else body


def _pattern(text: str, flags: int = 0) -> Callable[[str], bool]:
    """Return what tells whether all of a text is like the pattern `text`; empty: any is."""
    if text in {"", _ANYTHING}:
        return lambda _: True
    match = re.compile(translate(text), flags).match
    return lambda found: len(found) <= _COMPARED_BYTES and match(found) is not None


def _test(raw: msgspec.Raw) -> _Test:
    wanted = msgspec.json.decode(raw)
    if isinstance(wanted, list):
        tests = [_test_one(one) for one in wanted]
        return lambda value: any(test(value) for test in tests)
    return _test_one(wanted)


def _test_one(wanted: object) -> _Test:
    if wanted == _ANYTHING:
        return lambda value: value is not None
    if wanted is None:
        return lambda value: value is None or value == b"null"
    like = _pattern(wanted) if isinstance(wanted, str) else None

    def test(value: bytes | None) -> bool:
        if value is None or len(value) > _COMPARED_BYTES:
            return False
        found = json_value(value)
        if like is not None:
            return isinstance(found, str) and like(found)
        # True is 1 for Python, and something else here
        return found == wanted and isinstance(found, bool) == isinstance(wanted, bool)

    return test


def _value_at(body: bytes, path: Sequence[str]) -> Steps[bytes | None]:
    """Return the value at `path`; of several the last one, as most readers take that."""
    there: bytes | None = body
    for name in path:
        opening = there.lstrip(b" \t\r\n")[:1] if there is not None else b""
        if there is None or opening not in {b"{", b"["}:
            return None
        if opening == b"{":
            members = yield from find_members(there)
            named = [Span(start, end) for found, start, end in members if found == name]
            span = named[-1] if named else None
        else:
            items = yield from find_items(there, there.index(b"["), _MAX_ITEMS)
            is_index = name.isascii() and name.isdigit() and len(name) <= len(str(_MAX_ITEMS))
            number = int(name) if is_index else _MAX_ITEMS
            span = items[number] if items and number < len(items) else None
        there = None if span is None else there[span.start : span.end]
    return there
