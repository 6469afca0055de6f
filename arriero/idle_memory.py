"""Gives free memory back to the system, once after each time of work.

The C library keeps what was freed for those who come next, and after many requests that is a
fifth of a process. To give it back takes a third of a millisecond, and with 300 MB in pieces 65 ms
at the most: so it is done when there is nothing else to do.
"""

import ctypes
import time
from collections.abc import Callable
from typing import Final

import trio

# Seconds between two looks.
LOOK_S: Final = 2.0

# Share of a processor with which a process is at work. With 200 models that do nothing the
# supervisor takes 0.03.
_AT_WORK: Final = 0.1


def give_back() -> None:
    """Give free memory back, where the C library is glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


async def give_back_when_idle(
    give: Callable[[], None] = give_back, cpu_s: Callable[[], float] = time.process_time
) -> None:
    """Give free memory back when work has ended, that of the start as well.

    Runs until cancelled.

    Args:
        give: Gives it back.
        cpu_s: The processor time that this process has taken, in seconds.
    """
    before, was_at_work = cpu_s(), True
    while True:
        await trio.sleep(LOOK_S)
        now = cpu_s()
        is_at_work = now - before > _AT_WORK * LOOK_S
        if was_at_work and not is_at_work:
            give()
            now = cpu_s()
        before, was_at_work = now, is_at_work
