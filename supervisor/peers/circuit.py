"""Whether another machine is asked at all. Pure.

1. closed: it is. What cannot be reached opens it at once; of errors in a row, some do.
2. open: it is not, for a pause that doubles up to a limit. What is told meanwhile of requests that
   were on their way changes nothing.
3. half-open: the pause is over. One request may try; what becomes of it closes or opens it.

A question by ourselves that is answered ends the pause: it closes what could not be reached, but
says nothing of why requests failed. If these go on to fail the next pause is a longer one: only a
request that is answered, or some time without failures, begins anew.
"""

import math
from typing import Final, Literal, TypeAlias

import msgspec

from arriero.protocol.values import CircuitPhase

Failure: TypeAlias = Literal["unreachable", "silent", "error"]
"""`unreachable`: no connection, or that has ended; `silent`: nothing came in time, perhaps from a
model that has much to read; `error`: what came says that it failed."""


class CircuitLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of a circuit; seconds.

    Attributes:
        errors: So many in a row open it.
        first_s: The first pause.
        longest_s: The longest one.
        trial_s: Until the next request may try, if nothing was told of the one before.
    """

    errors: int = 3
    first_s: float = 1.0
    longest_s: float = 60.0
    trial_s: float = 30.0


CIRCUIT_LIMITS: Final = CircuitLimits()

# Share of a pause by which it is shorter for some: those who wait do not come back all at once.
_JITTER: Final = 0.25

# Pauses double no further: past that, any limit is reached.
_MOST_DOUBLED: Final = 30


class Circuit:
    """Whether one machine, or one model there, is asked.

    Attributes:
        why: Of the last failure, in words; empty if nothing has failed since it was closed.
        opened: How often it has opened.
        until: When its pause is over, if it is not closed.
    """

    def __init__(self, limits: CircuitLimits = CIRCUIT_LIMITS) -> None:
        self.why = ""
        self.opened = 0
        self.until = 0.0
        self._limits = limits
        self._is_open = False
        self._is_lost = False  # it could not be reached
        self._errors = 0  # in a row
        self._pauses = 0  # in a row
        self._closed_at = -math.inf  # by a question
        self._trial_until = 0.0

    def phase(self, now: float) -> CircuitPhase:
        """Return where it stands."""
        if not self._is_open:
            return "closed"
        return "half-open" if now >= self.until else "open"

    def is_usable(self, now: float) -> bool:
        """Whether a request may be sent: all may, or one may try."""
        return not self._is_open or (now >= self.until and now >= self._trial_until)

    def sent(self, now: float) -> None:
        """Note that a request is sent: if it tries, no other one does meanwhile."""
        if self._is_open and now >= self.until:
            self._trial_until = now + self._limits.trial_s

    def failed(self, failure: Failure, why: str, now: float, chance: float) -> None:
        """Note a failure.

        Args:
            failure: Of which kind it is.
            why: In words.
            now: The time.
            chance: From 0 to below 1, to spread the pauses.
        """
        if self._is_open and now < self.until:
            return  # it was on its way when the circuit opened
        self.why = why
        self._errors += 1
        is_lost = failure == "unreachable"
        if not self._is_open and not is_lost and self._errors < self._limits.errors:
            return
        if not self._is_open:
            self.opened += 1
            if now - self._closed_at > self._limits.longest_s:
                self._pauses = 0
        self._is_open = True
        self._is_lost = is_lost
        pause_s = self._limits.first_s * 2.0 ** min(self._pauses, _MOST_DOUBLED)
        self._pauses += 1
        self.until = now + min(self._limits.longest_s, pause_s) * (1 - _JITTER * chance)
        self._trial_until = 0.0

    def succeeded(self, now: float) -> None:
        """Note a request that was answered."""
        if self._is_open and now < self.until:
            return  # it was on its way when the circuit opened
        self._close()
        self._pauses = 0

    def answered(self, now: float) -> None:
        """Note that a question by ourselves was answered."""
        if self._is_open and self._is_lost:
            self._close()
            self._closed_at = now
        elif self._is_open:
            self.until = min(self.until, now)

    def _close(self) -> None:
        self._is_open = self._is_lost = False
        self._errors = 0
        self._trial_until = 0.0
        self.why = ""
