"""Draws with curses, and reads keys.

curses draws differences only, knows all terminals, and leaves the screen as it was.
"""

import curses
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from ..find_sockets import CommandFailed
from .rows import ScreenRow, Style

# Milliseconds after which an escape is the key Esc, and not the begin of another one.
_ESCAPE_MS: Final = 25

_KEYS: Final = {
    curses.KEY_UP: "up",
    curses.KEY_DOWN: "down",
    curses.KEY_PPAGE: "pgup",
    curses.KEY_NPAGE: "pgdn",
    curses.KEY_HOME: "home",
    curses.KEY_END: "end",
    curses.KEY_ENTER: "enter",
    curses.KEY_BACKSPACE: "backspace",
}
_CHARS: Final = {
    "\n": "enter",
    "\r": "enter",
    "\t": "tab",
    "\x1b": "esc",
    "\x7f": "backspace",
    "\x08": "backspace",
}

_COLOURS: Final[dict[Style, int]] = {
    "good": curses.COLOR_GREEN,
    "busy": curses.COLOR_YELLOW,
    "bad": curses.COLOR_RED,
    "asleep": curses.COLOR_BLUE,
    "bar": curses.COLOR_CYAN,
}


class Painter:
    """The terminal; see `open_painter`."""

    def __init__(self, window: "curses.window", *, colours: bool) -> None:
        self._window = window
        self._size = (0, 0)
        self._styles: dict[Style, int] = {
            "": curses.A_NORMAL,
            "dim": curses.A_DIM,
            "head": curses.A_BOLD,
            "bad": curses.A_BOLD,
        }
        if colours:
            for number, (style, colour) in enumerate(_COLOURS.items(), 1):
                curses.init_pair(number, colour, -1)
                self._styles[style] = curses.color_pair(number)

    def size(self) -> tuple[int, int]:
        """Return columns and lines, as they are now."""
        try:
            found = os.get_terminal_size(1)
        except OSError:
            found = os.terminal_size((80, 24))
        size = (found.columns or 80, found.lines or 24)
        if size != self._size:
            self._size = size
            curses.resizeterm(size[1], size[0])
            self._window.clear()
        return size

    def draw(self, rows: Sequence[ScreenRow]) -> None:
        """Draw rows that fit."""
        self._window.erase()
        for line, one in enumerate(rows[: self._size[1]]):
            self._window.move(line, 0)
            chosen = curses.A_REVERSE if one.is_chosen else curses.A_NORMAL
            for span in one.spans:
                # In the last column of the last line the cursor has no place to go to: curses
                # draws it and complains.
                with suppress(curses.error):
                    style = self._styles.get(span.style, curses.A_NORMAL)
                    self._window.addstr(span.text, style | chosen)
        self._window.refresh()

    def pressed(self) -> list[str]:
        """Return the keys that were pressed since."""
        found = []
        for _ in range(100):
            try:
                key = self._window.get_wch()
            except curses.error:
                break
            if isinstance(key, int):
                name = _KEYS.get(key)
            else:
                name = _CHARS.get(key, key if key.isprintable() else None)
            if name is not None:
                found.append(name)
        return found


@contextmanager
def open_painter(environ: Mapping[str, str]) -> Generator[Painter, None, None]:
    """Have the whole terminal while the block runs; it is as it was afterwards.

    Raises:
        CommandFailed: This terminal cannot be drawn on.
    """
    name = environ.get("TERM", "")
    try:
        curses.setupterm(name or "unknown", 1)  # initscr would end this process
    except curses.error as exc:
        raise _no_terminal(name, str(exc)) from exc
    if not curses.tigetstr("cup"):
        raise _no_terminal(name, "it cannot move its cursor")
    curses.set_escdelay(_ESCAPE_MS)
    window = curses.initscr()
    try:
        curses.noecho()
        curses.cbreak()
        window.keypad(True)
        window.nodelay(True)
        with suppress(curses.error):
            curses.curs_set(0)
        colours = not environ.get("NO_COLOR") and curses.has_colors()
        if colours:
            curses.start_color()
            curses.use_default_colors()
        yield Painter(window, colours=colours)
    finally:
        with suppress(curses.error):
            curses.curs_set(1)
        window.keypad(False)
        curses.nocbreak()
        curses.echo()
        curses.endwin()


def _no_terminal(name: str, why: str) -> CommandFailed:
    return CommandFailed(
        f"cannot draw on the terminal {name!r}: {why}; set TERM to one that is known, such as "
        "xterm, or see `arriero top --json` and `arriero status`"
    )
