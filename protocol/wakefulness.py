"""Time in which this process itself stood still.

A process may stand still: it is stopped, its machine is paused or swaps, or one of its own calls
takes long. On waking up, every peer seems to have been silent, and every limit to have passed; but
their messages have arrived meanwhile and are not read yet. So time in which this process stood
still is not counted.
"""

import math

import msgspec

# Seconds between two looks at the clock at the most.
LOOK_S = 0.5

# Seconds from one look to the next after which this process stood still. Four looks are missing by
# then; a machine that is merely busy does not get there.
GAP_S = 2.0


class Wakefulness(msgspec.Struct):
    """Notices when this process stood still.

    To be asked at least every `LOOK_S` seconds.

    Attributes:
        looked_at: When it was asked last, as a monotonic clock counts.
        woke_at: The end of the last time in which it stood still.
        slept_s: All those times together.
    """

    looked_at: float
    woke_at: float = -math.inf
    slept_s: float = 0.0
    _shown: float = -math.inf

    def look(self, now: float) -> float:
        """Note that this process runs; return how long it stood still."""
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
        self._shown = max(self._shown, now - self.slept_s)  # rounding must not take it back
        return self._shown

    def silent_s(self, heard_at: float, now: float) -> float:
        """Return the seconds of silence while this process could receive.

        After it stood still every peer has the whole time again: what has arrived is read first.
        """
        self.look(now)
        return now - max(heard_at, self.woke_at)
