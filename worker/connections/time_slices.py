"""Work that takes long, so that nobody has to wait for it.

The loop goes round: whoever can go on does so once in each round, and then it looks who else can.
One connection that works for a millisecond delays nobody; a hundred of them would. So work that
strangers can make long is done in steps, and in each round only one of these, whoever's it is.
"""

from time import perf_counter
from typing import Final, TypeVar

import trio

from ..json.spans import Steps

T = TypeVar("T")

# Steps of one piece of work are taken together for as long as this.
_ROUND_S: Final = 0.001


class TimeSlices:
    """Gives turns to those that have long work, one in each round of the loop, in their order."""

    def __init__(self) -> None:
        self._lock = trio.Lock()

    async def turn(self) -> None:
        """Wait for a turn: what is done until the next wait may take a millisecond or two."""
        async with self._lock:  # the next one wakes in the next round
            pass

    async def run(self, steps: Steps[T]) -> T:
        """Do all of `steps`, some in each turn, and return their result.

        Cancelling ends the work between two steps.
        """
        try:
            while True:
                await self.turn()
                until = perf_counter() + _ROUND_S
                while perf_counter() < until:
                    next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            steps.close()
