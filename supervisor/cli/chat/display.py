"""What is written while an answer comes.

Standard output gets the answer and nothing else. What goes on stands on one line of standard error,
which is taken back; on a terminal only.
"""

import os
import re
import sys
import time
from collections.abc import Mapping
from shutil import get_terminal_size
from typing import Final, TextIO

from ...text.printable import clean
from ..render.glyphs import Glyphs, bar, cut, glyphs_for, plain
from .answer import Piece, Thought, WaitStep, Words

# Seconds after which it is said that nothing has come yet.
_PATIENCE_S: Final = 0.3

_BAR_WIDTH: Final = 20
_TURNING: Final = "|/-\\"

_LEFT: Final = re.compile(r"(\d+) s left")
_SO_FAR: Final = re.compile(r"(\d+) s(?! left)")

_ERASE: Final = "\r\x1b[K"
_DIM: Final = "\x1b[2m"
_PLAIN: Final = "\x1b[0m"


def status_text(
    model: str, step: WaitStep | None, waited_s: float, glyphs: Glyphs, width: int
) -> str:
    """Return one line on what is waited for.

    Args:
        model: Its name.
        step: The last word on it; None if there was none.
        waited_s: Since that word, or since the question.
        glyphs: What the terminal knows.
        width: Of the terminal.
    """
    sign = _TURNING[int(waited_s * 10) % len(_TURNING)]
    if step is None:
        text = f"{sign} waiting ({int(waited_s)} s)"
    else:
        caption = plain(aged(step.caption, waited_s), glyphs)
        room = max(5, min(_BAR_WIDTH, width // 4))
        has_bar = step.fraction is not None
        text = f"{bar(step.fraction or 0.0, room, glyphs) if has_bar else sign} {caption}"
    return cut(f"{plain(model, glyphs)} {text}", width - 1, glyphs)


def aged(caption: str, by_s: float) -> str:
    """Return what was said `by_s` seconds ago as it would be said now."""
    passed = int(by_s)
    caption = _SO_FAR.sub(lambda found: f"{int(found[1]) + passed} s", caption)
    return _LEFT.sub(lambda found: f"{max(1, int(found[1]) - passed)} s left", caption)


class AnswerDisplay:
    """Writes one answer after the other.

    Args:
        thinking: Show the model's reasoning; otherwise only that it thinks.
        answers: Write answers as they come.
        environ: Variables of the environment.
    """

    def __init__(self, *, thinking: bool, answers: bool, environ: Mapping[str, str]) -> None:
        self._thinking = thinking
        self._answers = answers
        self._glyphs = glyphs_for(environ)
        is_dumb = environ.get("TERM", "dumb") == "dumb"
        self._out_is_terminal = sys.stdout.isatty()
        self._has_status = sys.stderr.isatty() and not is_dumb
        self._has_colours = self._has_status and not environ.get("NO_COLOR")
        self._model = ""
        self._step: WaitStep | None = None
        self._since = 0.0
        self._said_status = ""
        self._began_thinking: float | None = None
        self._ended = "\n"  # how what was written last ends

    def begin(self, model: str) -> None:
        """An answer of `model` is to come."""
        self._model = model
        self._step = None
        self._since = time.monotonic()
        self._began_thinking = None
        self._ended = "\n"

    def tick(self) -> None:
        """Nothing came for a moment."""
        now = time.monotonic()
        if self._ended != "\n" or (self._step is None and now - self._since < _PATIENCE_S):
            return
        if self._began_thinking is not None:
            step = WaitStep("thinking (0 s)")
            self._show_status(step, now - self._began_thinking)
        else:
            self._show_status(self._step, now - self._since)

    def show(self, piece: Piece) -> None:
        """Write a piece of the answer."""
        match piece:
            case WaitStep():
                self._step, self._since = piece, time.monotonic()
                self.tick()
            case Thought(text=text):
                if self._began_thinking is None:
                    self._began_thinking = time.monotonic()
                if self._thinking:
                    self._think(text)
                else:
                    self.tick()
            case Words(text=text):
                self._say(text)
            case _:
                pass

    def end(self) -> None:
        """The answer is over, well or not: the next thing that is written begins a line."""
        self._clear_status()
        if self._ended != "\n":
            if self._began_thinking is not None and self._thinking:
                self._err("\n")
            else:
                self._out("\n")
        self._ended = "\n"
        self._began_thinking = None

    def note(self, text: str) -> None:
        """Write a line beside the answer."""
        self.end()
        self._err(f"{clean(text)}\n")

    def _think(self, text: str) -> None:
        self._clear_status()
        text = harmless(text)
        self._err(f"{_DIM}{text}{_PLAIN}" if self._has_colours else text)
        self._ended = text[-1:] or self._ended

    def _say(self, text: str) -> None:
        self._clear_status()
        if self._began_thinking is not None:
            took_s = time.monotonic() - self._began_thinking
            if self._thinking and self._ended != "\n":
                self._err("\n")
            elif not self._thinking and self._has_status and self._answers:
                told = f"(thought for {took_s:.0f} s; --thinking shows it)"
                self._err(f"{_DIM}{told}{_PLAIN}\n" if self._has_colours else f"{told}\n")
            self._began_thinking, self._ended = None, "\n"
            text = text.lstrip("\n")
        if not text:
            return
        if self._answers:
            self._out(harmless(text) if self._out_is_terminal else text)
            self._ended = text[-1]

    def _show_status(self, step: WaitStep | None, waited_s: float) -> None:
        if not self._has_status:
            return
        width = get_terminal_size().columns
        text = status_text(self._model, step, waited_s, self._glyphs, width)
        if text != self._said_status:
            self._said_status = text
            self._err(_ERASE + text)

    def _clear_status(self) -> None:
        if self._said_status:
            self._said_status = ""
            self._err(_ERASE)

    def _out(self, text: str) -> None:
        if self._answers:
            _write(sys.stdout, text)

    def _err(self, text: str) -> None:
        _write(sys.stderr, text)


def harmless(text: str) -> str:
    """Return text of others, with its lines and tabs, and nothing that drives a terminal."""
    return "\n".join(clean(line) for line in text.replace("\r\n", "\n").split("\n"))


def _write(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "replace").decode(encoding))
    stream.flush()


def display_for(*, thinking: bool, answers: bool = True) -> AnswerDisplay:
    """Return a display on this process's terminal."""
    return AnswerDisplay(thinking=thinking, answers=answers, environ=os.environ)
