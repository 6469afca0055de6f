"""How slowly the body of a request may come.

A limit for the time between two reads alone lets a client send a byte now and then, for ever.
"""

import math
from typing import Final

# In `Limits.body_s` of waiting for the client so many bytes have to come.
BODY_BYTES: Final = 30_000

# Seconds of waiting for a body that is kept in memory: 64 MiB come over a line of 600 kbit/s.
TOTAL_S: Final = 900.0


class BodyPace:
    """Tells how long may still be waited for one body.

    Args:
        body_s: Seconds of waiting for the next `BODY_BYTES`.
        total_s: Seconds of waiting for all of it.

    Attributes:
        left_s: So long may the next bytes take.
    """

    __slots__ = ("_body_s", "_bytes", "_total_s", "left_s")

    def __init__(self, body_s: float, total_s: float = math.inf) -> None:
        self._body_s = body_s
        self._total_s = total_s
        self._bytes = 0
        self.left_s = min(body_s, total_s)

    def came(self, count: int, waited_s: float) -> None:
        """Take note of so many bytes, for which was waited so long."""
        self._total_s -= waited_s
        self._bytes += count
        left_s = self.left_s - waited_s
        if self._bytes >= BODY_BYTES:
            self._bytes = 0
            left_s = self._body_s
        self.left_s = max(0.0, min(left_s, self._total_s))
