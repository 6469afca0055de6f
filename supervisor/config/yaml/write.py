"""Values -> YAML text that `tree` reads as the same values.

Its structure is written here, which takes a tenth of the time that PyYAML's emitter takes: that
writes the texts that need more than quotes. Its representer is not used: it goes by YAML 1.1, and
`tree` does not.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

import yaml

from .tree import typed

# A text that may stand without quotes: it begins like no number, date or macro.
_BARE: Final = re.compile(r"[A-Za-z/_](?:[!-~ ]*[!-~])?")

# Line ends for YAML besides \n: a block of lines would lose which it was.
_OTHER_BREAKS: Final = re.compile("[\x85\u2028\u2029]")

# Digits of a number that is still read as one.
_MAX_DIGITS: Final = 64

# What makes such a text mean more: the end of a key, or the beginning of a comment.
_MEANS_MORE: Final = re.compile(r":(?: |\Z)| #")

# Characters of a key that does not stand on a line with its value; YAML allows 1024.
_LONG_KEY: Final = 128

_ENDLESS: Final = 2**31 - 1  # characters of a line


class Lines(str):
    """A text that is written as a block of lines, where YAML can."""

    __slots__ = ()


def write_yaml(members: Mapping[str, object]) -> str:
    """Return `members` as a YAML document: one line for each value, lists and mappings indented.

    Args:
        members: Texts without halves of characters, numbers that JSON has, truth values and None;
            lists and mappings with texts for keys hold more of them.
    """
    if not members:
        return "{}\n"
    parts: list[str] = []
    _members(members, "", parts)
    return "".join(parts)


def _members(members: Mapping[str, object], indent: str, parts: list[str]) -> None:
    """Add each with its key, at `indent`."""
    for name, member in members.items():
        key = _text(name)
        if len(name) < _LONG_KEY and "\n" not in name:
            parts.append(f"{indent}{key}:")
            _after_key(member, f"{indent}  ", parts)
        else:
            parts.append(f"{indent}? {key}\n")
            parts.append(f"{indent}:")
            _after_mark(member, f"{indent}  ", parts)


def _items(items: Iterable[object], indent: str, parts: list[str]) -> None:
    for item in items:
        parts.append(f"{indent}-")
        _after_mark(item, f"{indent}  ", parts)


def _after_key(value: object, indent: str, parts: list[str]) -> None:
    """Add what follows a colon; what it holds stands at `indent`."""
    if value and isinstance(value, Mapping):
        parts.append("\n")
        _members(value, indent, parts)
    elif value and isinstance(value, list):
        parts.append("\n")
        _items(value, indent, parts)
    else:
        parts.append(f" {_one(value, indent)}\n")


def _after_mark(value: object, indent: str, parts: list[str]) -> None:
    """Add what follows a dash: what holds more begins on the same line."""
    first = len(parts)
    if value and isinstance(value, Mapping):
        _members(value, indent, parts)
    elif value and isinstance(value, list):
        _items(value, indent, parts)
    else:
        parts.append(f" {_one(value, indent)}\n")
        return
    parts[first] = " " + parts[first][len(indent) :]


def _one(value: object, indent: str) -> str:
    """Return what has no parts; further lines stand at `indent`."""
    match value:
        case Lines() if not _OTHER_BREAKS.search(value):
            return _by_library(value, "|").replace("\n  ", f"\n{indent}")
        case str():
            return _text(value)
        case Mapping():
            return "{}"
        case list():
            return "[]"
        case _:
            return _plain(value)


@lru_cache(4096)  # keys and most values repeat
def _text(text: str) -> str:
    is_bare = _BARE.fullmatch(text) is not None and typed(text) == text
    if is_bare and not _MEANS_MORE.search(text):
        return text
    if text.isascii() and text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return _by_library(text, None if text.isprintable() else '"')


def _by_library(text: str, style: str | None) -> str:
    """Return a text as PyYAML writes it; further lines are indented by two blanks."""
    events = (
        yaml.StreamStartEvent(),
        yaml.DocumentStartEvent(explicit=False),
        yaml.MappingStartEvent(None, None, implicit=True, flow_style=False),
        yaml.ScalarEvent(None, None, (True, True), "a"),
        yaml.ScalarEvent(None, None, (False, True), text, style=style),
        yaml.MappingEndEvent(),
        yaml.DocumentEndEvent(explicit=False),
        yaml.StreamEndEvent(),
    )
    written: str = yaml.emit(events, width=_ENDLESS, allow_unicode=True)
    return written.removeprefix("a: ").removesuffix("\n")


def _plain(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() if len(str(value)) > _MAX_DIGITS:
            return hex(value)
        case _:
            return str(value)
