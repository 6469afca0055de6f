"""Gives free memory back to the system when there is little else to do.

The C library keeps what was freed for those who come next, and after many requests that is a
fifth of a process. To give it back takes a third of a millisecond, and with 300 MB in pieces 65 ms
at the most: so it is done in quiet moments, and only after some work. What is freed by little work
may be much: records that another process has written at last.
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

# How long a process works before it is done again, by what it took.
_WORK_TIMES: Final = 50


def give_back() -> None:
    """Give free memory back, where the C library is glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


async def give_back_when_idle(
    give: Callable[[], None] = give_back,
    cpu_s: Callable[[], float] = time.process_time,
    pack: Callable[[], bool] = lambda: False,
) -> None:
    """Give free memory back when work has ended or is little, that of the start as well.

    Runs until cancelled.

    Args:
        give: Gives it back.
        cpu_s: The processor time that this process has taken, in seconds.
        pack: Makes something smaller before that, in a millisecond or less; called until it returns
            that there was nothing.
    """
    before, due_at = cpu_s(), -1.0
    while True:
        await trio.sleep(LOOK_S)
        now = cpu_s()
        if now - before <= _AT_WORK * LOOK_S and now > due_at:
            while pack():
                await trio.lowlevel.checkpoint()
            began = cpu_s()
            give()
            now = cpu_s()
            due_at = now + _WORK_TIMES * (now - began)
        before = now
