"""Values -> YAML text that `tree` reads as the same values.

PyYAML writes it from events. Its representer is not used: it goes by YAML 1.1, and `tree` does not.
"""

import io
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final

import yaml
from yaml.emitter import Emitter, ScalarAnalysis

from .tree import typed

# A text that may stand without quotes: it begins like no number, date or macro.
_BARE: Final = re.compile(r"[A-Za-z/_](?:[!-~ ]*[!-~])?")

# Line ends for YAML besides \n: a block of lines would lose which it was.
_OTHER_BREAKS: Final = re.compile("[\x85\u2028\u2029]")

# Digits of a number that is still read as one.
_MAX_DIGITS: Final = 64

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
    stream = io.StringIO()
    emitter = _Emitter(stream)
    emitter.emit(yaml.StreamStartEvent())
    emitter.emit(yaml.DocumentStartEvent(explicit=False))
    for event in _events(members):
        emitter.emit(event)
    emitter.emit(yaml.DocumentEndEvent(explicit=False))
    emitter.emit(yaml.StreamEndEvent())
    return stream.getvalue()


class _Emitter(Emitter):
    def __init__(self, stream: io.StringIO) -> None:
        super().__init__(stream, width=_ENDLESS, allow_unicode=True)
        # Keys and most values repeat: halves the time of 2,000 models.
        self._analyzed = lru_cache(1024)(super().analyze_scalar)

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Indent lists in mappings, too."""
        super().increase_indent(flow, indentless=False)

    def analyze_scalar(self, scalar: str) -> ScalarAnalysis:
        return self._analyzed(scalar)


def _events(value: object) -> Iterator[yaml.Event]:
    match value:
        case Mapping():
            yield yaml.MappingStartEvent(None, None, implicit=True, flow_style=not value)
            for name, member in value.items():
                yield _text(name)
                yield from _events(member)
            yield yaml.MappingEndEvent()
        case list():
            yield yaml.SequenceStartEvent(None, None, implicit=True, flow_style=not value)
            for item in value:
                yield from _events(item)
            yield yaml.SequenceEndEvent()
        case str():
            yield _text(value)
        case _:
            yield yaml.ScalarEvent(None, None, (True, False), _plain(value))


def _text(text: str) -> yaml.Event:
    is_bare = _BARE.fullmatch(text) is not None and typed(text) == text
    style = None if text.isprintable() else '"'
    if isinstance(text, Lines) and not _OTHER_BREAKS.search(text):
        style = "|"
    return yaml.ScalarEvent(None, None, (is_bare, True), text, style=style)


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
