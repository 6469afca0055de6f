"""A command of the configuration -> the arguments of a program, without a shell.

Source of the rules: llama-swap, whose files are to work unchanged (comment lines, continuation
lines, POSIX quoting; an unclosed quote runs to the end).
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

# Words that need no quotes; ${PORT} is more easily seen without.
_BARE: Final = re.compile(r"(?:[\w./:=,@%+~^-]|\$\{\w+\})+", re.ASCII)

_QUOTING: Final = re.compile(r"['\"\\]")
_BETWEEN_BLANKS: Final = re.compile(r"[^ \t\n]+")


def without_comments(command: str) -> str:
    """Drop the lines that begin with ``#``; a ``#`` further on is an ordinary character."""
    if "#" not in command:
        return command
    return "\n".join(line for line in _lines(command) if not line.lstrip().startswith("#"))


def split_command(command: str) -> tuple[str, ...]:
    """Return the arguments in `command`, none if there are none. Never fails."""
    return tuple(_words(_joined(without_comments(command))))


def join_command(words: Iterable[str]) -> str:
    """Return a command that `split_command` splits into `words`, whatever they are.

    A line end within a word stands alone between its quotes. So no line begins with ``#`` (it would
    be dropped), none ends in a backslash (it would be joined with the next), and no carriage return
    stands before a line end (it would be dropped, too).
    """
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    if _BARE.fullmatch(word):
        return word
    inside = word.replace("'", r"'\''").replace("\n", "''\n''")
    return f"'{inside}'"


def _lines(text: str) -> list[str]:
    """Split at line ends only.

    `str.splitlines` would split at ten other characters as well.
    """
    return text.replace("\r\n", "\n").split("\n")


def _joined(text: str) -> str:
    """Join each line that ends in a backslash with the next one."""
    if "\\" not in text:
        return "\n".join(_lines(text)).rstrip("\n")
    lines = [""]
    for line in _lines(text):
        stripped = line.strip()
        if stripped.endswith("\\"):
            lines[-1] += stripped[:-1] + " "
        else:
            lines[-1] += line
            lines.append("")
    return "\n".join(lines).rstrip("\n")


def _words(text: str) -> Iterator[str]:
    if not _QUOTING.search(text):  # as in most commands: ten times as fast
        yield from _BETWEEN_BLANKS.findall(text)
        return
    word: list[str] | None = None
    quote = ""
    chars = iter(text)
    for char in chars:
        if quote == "'":
            if char == "'":
                quote = ""
            else:
                _grow(word).append(char)
        elif quote == '"':
            if char == '"':
                quote = ""
            elif char == "\\":
                escaped = next(chars, "")
                if escaped == "\n":
                    continue
                if escaped not in '$`"\\':
                    _grow(word).append("\\")
                _grow(word).append(escaped)
            else:
                _grow(word).append(char)
        elif char in " \t\n":
            if word is not None:
                yield "".join(word)
                word = None
        else:
            word = [] if word is None else word
            if char in "'\"":
                quote = char
            elif char == "\\":
                word.append(next(chars, ""))
            else:
                word.append(char)
    if word is not None:
        yield "".join(word)


def _grow(word: list[str] | None) -> list[str]:
    assert word is not None  # a quote opens a word
    return word
