r"""Patterns of an operator, looked for in the words of strangers: given up after a while.

Python goes back in a text as often as a pattern lets it: ``(\w+)+$`` takes years for a path of
fifty letters. But every few thousand steps it looks whether a signal has come, so a timer can end
it. An engine that never goes back (RE2) would be one more package for one key of the configuration.

Source: CPython, Modules/_sre/sre_lib.h, `MAYBE_CHECK_SIGNALS`.
"""

import re
import signal
from collections.abc import Sequence
from types import FrameType
from typing import Final

# Seconds of this process's own time for all patterns together, and a margin to the longest step.
_LIMIT_S: Final = 0.02


class _GivenUp(Exception):
    pass


_searching: list[str] = []  # what is looked at now


def finds(patterns: Sequence[re.Pattern[str]], text: str) -> bool | None:
    """Return whether one of `patterns` is found in `text`; None if that takes too long.

    For the main thread.
    """
    if signal.getsignal(signal.SIGVTALRM) is not _give_up:
        signal.signal(signal.SIGVTALRM, _give_up)  # for good: a late signal would end this process
    try:
        _searching.append(text)
        signal.setitimer(signal.ITIMER_VIRTUAL, _LIMIT_S)
        return any(pattern.search(text) is not None for pattern in patterns)
    except _GivenUp:
        return None
    finally:
        _searching.clear()
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _give_up(_signal: int, _frame: FrameType | None) -> None:
    if _searching:
        _searching.clear()  # once
        raise _GivenUp
