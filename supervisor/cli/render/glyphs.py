"""Text for one line of a terminal: its width, its characters, bars. No I/O."""

import unicodedata
from collections.abc import Mapping
from typing import Final

import msgspec

from ...text.printable import clean


class Glyphs(msgspec.Struct, frozen=True, kw_only=True):
    """The characters that lines are drawn with.

    Attributes:
        full, rest: A bar, where it is done and where it is not.
        kinds: Parts of a bar that are something else each, from the left.
        more: Stands for what was cut off.
        dot: Between two facts.
        rule: A line.
        is_ascii: The terminal knows no others.
    """

    full: str
    rest: str
    kinds: str
    more: str
    dot: str
    rule: str
    is_ascii: bool = False


UNICODE: Final = Glyphs(full="█", rest="░", kinds="█▓▒", more="…", dot="·", rule="─")
ASCII: Final = Glyphs(full="#", rest=".", kinds="#=-", more="~", dot="|", rule="-", is_ascii=True)


def glyphs_for(environ: Mapping[str, str]) -> Glyphs:
    """Return the characters that a terminal knows, by the variables of its locale.

    Python itself turns the locale ``C`` into ``C.UTF-8`` and tells its children so by ``LC_CTYPE``:
    that says nothing of the terminal. Source: PEP 538.
    """
    language = environ.get("LANG", "")
    kind = environ.get("LC_CTYPE", "")
    if kind == "C.UTF-8" and language in {"", "C", "POSIX"}:
        kind = ""
    chosen = environ.get("LC_ALL") or kind or language
    return UNICODE if chosen.lower().replace("-", "").endswith("utf8") else ASCII


def plain(text: str, glyphs: Glyphs) -> str:
    """Return text of others on one line, harmless to a terminal and with what it knows only."""
    text = clean(text).replace("\t", " ")
    if text.isascii():
        return text
    if glyphs.is_ascii:
        return text.encode("ascii", "replace").decode()
    return text.encode("utf-8", "replace").decode()  # a lone surrogate is no text


def width_of(text: str) -> int:
    """Return how many columns a clean text takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(char: str) -> int:
    if unicodedata.category(char) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(text: str, width: int, glyphs: Glyphs) -> str:
    """Return a clean text, or as much of it as fits into that many columns."""
    if width_of(text) <= width:
        return text
    kept, left = "", width - 1
    for char in text:
        left -= _columns(char)
        if left < 0:
            break
        kept += char
    return f"{kept}{glyphs.more}" if width > 0 else ""


def padded(text: str, width: int, glyphs: Glyphs, *, right: bool = False) -> str:
    """Return a clean text in exactly that many columns."""
    text = cut(text, width, glyphs)
    space = " " * (width - width_of(text))
    return f"{space}{text}" if right else f"{text}{space}"


def bar(fraction: float, width: int, glyphs: Glyphs) -> str:
    """Return a bar of which `fraction` is done; full only when all is."""
    done = width if fraction >= 1 else min(width - 1, int(max(0.0, fraction) * width))
    return glyphs.full * done + glyphs.rest * (width - done)
