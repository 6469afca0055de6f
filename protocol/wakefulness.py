"""Whether whoever judges the silence of others was awake itself.

A process may stand still: it is stopped, its machine is paused or swaps, or one of its own calls
takes long. On waking up, everybody seems to have been silent, and every limit to have passed; but
what others have said meanwhile is there and was not read yet. So time in which this process stood
still counts for nobody.
"""

import math
from dataclasses import dataclass

# Seconds between two looks at the clock at the most.
LOOK_S = 0.5

# Seconds from one look to the next after which this process stood still. Four looks are missing by
# then; a machine that is merely busy does not get there.
GAP_S = 2.0


@dataclass(slots=True)
class Wakefulness:
    """Knows when this process stood still. To be asked at least every `LOOK_S` seconds.

    Attributes:
        looked_at: When it was asked last, as a monotonic clock counts.
        woke_at: The end of the last time in which it stood still.
        slept_s: All those times together.
    """

    looked_at: float
    woke_at: float = -math.inf
    slept_s: float = 0.0
    _told: float = -math.inf

    def look(self, now: float) -> float:
        """Note that this process runs; return how long it stood still until now, mostly 0."""
        gap_s = now - self.looked_at
        self.looked_at = now
        if gap_s <= GAP_S:
            return 0.0
        self.woke_at = now
        self.slept_s += gap_s
        return gap_s

    def awake_s(self, now: float) -> float:
        """Return the time on a clock that stands still together with this process."""
        self.look(now)
        self._told = max(self._told, now - self.slept_s)  # rounding must not take it back
        return self._told

    def silent_s(self, heard_at: float, now: float) -> float:
        """Return for how long nothing was heard while this process could hear.

        After it stood still everybody has the whole time again: what was said is read first.
        """
        self.look(now)
        return now - max(heard_at, self.woke_at)
