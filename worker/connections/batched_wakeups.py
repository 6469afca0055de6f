"""Wakes many tasks, a few at a time.

trio runs all that is runnable before it looks at sockets again. If thousands who waited for one
model were woken in one turn of the loop, everybody else would wait until the last of them has done
its step.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

import trio

# Tasks that are woken in one turn of the loop. Each has a millisecond of work or less: to say that
# its model is ready, or that it is not, and to begin what follows.
_AT_ONCE: Final = 8


class BatchedWakeups:
    """Calls what it is given, in that order, a few in each turn of the loop."""

    def __init__(self) -> None:
        self._calls: deque[Callable[[], None]] = deque()
        self._some = trio.Event()

    def soon(self, call: Callable[[], None]) -> None:
        """Call `call` in one of the next turns; it only wakes a task."""
        self._calls.append(call)
        self._some.set()

    async def run(self) -> None:
        """Call until cancelled."""
        while True:
            await self._some.wait()
            self._some = trio.Event()
            while self._calls:
                for _ in range(min(_AT_ONCE, len(self._calls))):
                    self._calls.popleft()()
                await trio.lowlevel.checkpoint()
