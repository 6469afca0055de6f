"""The commands that stand on the pages, as they would be typed."""

import re
import shlex
from collections.abc import Iterator
from pathlib import PurePath
from typing import NamedTuple

from tests.paths import ROOT

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in (ROOT, ROOT / "docs", ROOT / "deploy")
    for path in folder.glob("*.md")
)

_FENCE = re.compile(
    r"^(?P<mark><!-- test: \w+ -->\n)?```(?P<language>\S*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_INLINE = re.compile(r"`((?:sudo (?:-u \w+ )?)?(?:[~/][\w./~-]*/)?(?:arriero|make)\s[^`]+)`")
_SEPARATORS = {"&&", "||", ";", "|", "&"}


class Fence(NamedTuple):
    """A fenced block; `is_script`: another test runs it as a whole."""

    language: str
    text: str
    is_script: bool


class Command(NamedTuple):
    """A simple command: no pipe, no redirection. Without sudo, of which `as_other` tells."""

    words: tuple[str, ...]
    as_other: bool = False

    @property
    def program(self) -> str:
        """Its name, wherever it lies."""
        return PurePath(self.words[0]).name

    def __str__(self) -> str:
        return shlex.join(self.words)


def fences(page: str) -> list[Fence]:
    """Return the fenced blocks of a page, in order."""
    return [
        Fence(found["language"], found["text"], found["mark"] is not None)
        for found in _FENCE.finditer(page)
    ]


def inline_commands(page: str) -> list[Command]:
    """Return the commands of arriero and make that stand in the text."""
    text = _FENCE.sub("", page)
    return [
        command
        for found in _INLINE.findall(text)
        for command in commands(" ".join(found.replace("\\|", "|").split()))
        if command.program in {"arriero", "make"}
    ]


def commands(script: str) -> list[Command]:
    """Return the simple commands of some lines of shell."""
    found = []
    for line in _whole_lines(script):
        words: list[str] = []
        tokens = shlex.shlex(line, posix=True, punctuation_chars=True)
        tokens.whitespace_split = True
        for token in (*tokens, ";"):
            if token in _SEPARATORS:
                if words:
                    found.append(_command(words))
                words = []
            elif token in {">", ">>"}:
                words.append(">")
            elif words[-1:] == [">"]:
                words.pop()  # the file goes, too: what is written is for the test to see
            else:
                words.append(token)
    return found


def _whole_lines(script: str) -> Iterator[str]:
    """Yield lines with what belongs to them: after a backslash, or within quotes."""
    line = ""
    for part in script.splitlines(keepends=True):
        line += part
        if line.endswith("\\\n"):
            line = line[:-2] + " "
            continue
        try:
            shlex.split(line, comments=True)
        except ValueError:
            continue
        yield line
        line = ""
    assert not line, f"not closed: {line}"


def _command(words: list[str]) -> Command:
    if words[0] != "sudo":
        return Command(tuple(words))
    rest = words[3:] if words[1] == "-u" else words[1:]
    return Command(tuple(rest), as_other=True)
