"""Ctrl-C and its like: all blocks are left in order, and no process is forgotten."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_held = False
_came = False


def install() -> None:
    """From now on each of these signals is a KeyboardInterrupt, and the next ones are nothing.

    What is done then is bounded in time, and shall not be disturbed.
    """
    for number in _SIGNALS:
        signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _came
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    _came = True
    if not _held:
        raise KeyboardInterrupt


@contextmanager
def held() -> Generator[None, None, None]:
    """Let the block end first: what it starts has to be known to who ends it.

    Raises:
        KeyboardInterrupt: At the end of the block, if a signal came in it.
    """
    global _held
    _held = True
    try:
        yield
    finally:
        _held = False
    if _came:
        raise KeyboardInterrupt
