"""Values -> YAML text that `tree` reads as the same values."""

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final

from .tree import typed

# A text without quotes: nothing in it, before or after it means anything to YAML.
_BARE: Final = re.compile(r"[A-Za-z/_](?:[!-~ ]*[!-~])?")
_MEANS_SOMETHING: Final = re.compile(r": | #|:$")

# A key that is longer stands after a question mark. YAML takes 1,024 characters for a short one.
_SHORT_KEY: Final = 1000

# Digits of a number that is still read as one.
_MAX_DIGITS: Final = 64


def write_yaml(members: Mapping[str, object]) -> str:
    """Return `members` as a YAML document: one line for each value, lists and mappings indented.

    Args:
        members: Texts without halves of characters, numbers that JSON has, truth values and None;
            lists and mappings with texts for keys hold more of them.
    """
    return "".join(f"{line}\n" for line in _mapping(members))


def _mapping(members: Mapping[str, object]) -> Iterator[str]:
    for name, value in members.items():
        key = _text(name)
        if len(key) > _SHORT_KEY:
            yield f"? {key}"
            key = ""
        yield from _member(f"{key}:", value)


def _list(items: Sequence[object]) -> Iterator[str]:
    for item in items:
        yield from _member("-", item)


def _member(before: str, value: object) -> Iterator[str]:
    match value:
        case Mapping() if value:
            yield before
            yield from (f"  {line}" for line in _mapping(value))
        case list() if value:
            yield before
            yield from (f"  {line}" for line in _list(value))
        case _:
            yield f"{before} {_single(value)}"


def _single(value: object) -> str:
    match value:
        case str():
            return _text(value)
        case bool():
            return str(value).lower()
        case None:
            return "null"
        case int():
            digits = str(value)
            return digits if len(digits) <= _MAX_DIGITS else hex(value)
        case float():
            return repr(value)
        case Decimal():
            return str(value)
        case list():
            return "[]"
        case _:
            return "{}"


def _text(text: str) -> str:
    if _BARE.fullmatch(text) and not _MEANS_SOMETHING.search(text) and typed(text) == text:
        return text
    if text.isprintable():
        quoted = text.replace("'", "''")
        return f"'{quoted}'"
    return '"' + "".join(map(_in_double_quotes, text)) + '"'


def _in_double_quotes(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if char == "\n":
        return "\\n"
    return char if char.isprintable() else f"\\U{ord(char):08x}"
