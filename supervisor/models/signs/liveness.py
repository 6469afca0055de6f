"""Liveness of a model's process that sends nothing.

Busy is not dead: a long prompt is silent for many minutes, and a busy server may not even answer
its check. So a process hangs only if *all* signs of life are missing for long: it is asked, and no
byte comes on any connection; it does not answer its check; and none of its processes uses any
processor time, or waits for some, or for a disk. One sign of any kind, and the count begins anew.

Time counts only while the supervisor is awake itself: between two looks never more than
`LONGEST_STEP` times what was planned. A supervisor that was frozen for an hour has seen nothing of
that hour.
"""

from typing import Final

import msgspec

# How much longer than planned a pause between two looks counts, at the most.
LONGEST_STEP: Final = 2.0

# Share of one core that a process uses that does nothing: threads that look at their queues now
# and then, and the connections that our own questions open. One that works uses many times that.
IDLE_SHARE: Final = 0.01

# Share of the time from which on waiting for a processor is why it is silent: others take them all.
# The few moments of one that hangs take some waiting, too, on a busy machine.
STARVING_SHARE: Final = 0.25

# Whose processor time cannot be seen (it runs in a container, say) hangs after so many times as
# long: two signs prove less than three.
UNSEEN_FACTOR: Final = 5.0

# A share of the limit passes in silence before anything is asked: an answer that takes a moment
# costs nothing. Then there are so many questions until the end.
_QUIET_SHARE: Final = 0.25
_QUESTIONS: Final = 5

# Fewest questions without an answer: one may be bad luck.
_LEAST_QUESTIONS: Final = 2


class ResourceUse(msgspec.Struct, frozen=True):
    """Resources used by all processes of a start so far.

    Attributes:
        cpu_s: Seconds of processor time.
        waited_s: Seconds that they were ready to run, and others did.
        major_faults: Times that they waited for a page from a disk.
    """

    cpu_s: float
    waited_s: float = 0.0
    major_faults: int = 0


class Pulse(msgspec.Struct):
    """The signs of life of one process.

    Attributes:
        looked_at: When it was looked at last.
        silent_s: How long there has been no sign of life since it was asked; 0.0 unless it was.
        still_s: How long its requests have got no further.
    """

    looked_at: float
    silent_s: float = 0.0
    still_s: float = 0.0
    _is_asked: bool = False
    _unanswered: int = 0
    _asked_at_s: float = 0.0  # of the silence
    _effort: ResourceUse | None = None
    _effort_at: float = 0.0

    def look(self, now: float, planned_s: float, *, is_asked: bool, is_heard: bool) -> None:
        """Take the reports of workers.

        Args:
            now: Time of this look.
            planned_s: How long after the last one it was to be.
            is_asked: Requests run on it, or have run since then.
            is_heard: It sent something since then.
        """
        step_s = min(max(0.0, now - self.looked_at), LONGEST_STEP * planned_s)
        self.looked_at = now
        self.still_s += step_s
        if is_heard:
            self.got_further()
            return
        if self._is_asked:
            self.silent_s += step_s
        self._is_asked = self._is_asked or is_asked

    def got_further(self) -> None:
        """Note that one of its requests has made progress."""
        self.still_s = 0.0
        self.lives()

    def lives(self) -> None:
        """Note a sign of life.

        Workers report anew whether it has requests.
        """
        self.silent_s = self._asked_at_s = 0.0
        self._unanswered = 0
        self._is_asked = False
        self._effort = None

    def wants_question(self, limit_s: float) -> bool:
        """Return whether it is time to query it; `limit_s` 0 is never."""
        if not limit_s or self.silent_s < limit_s * _QUIET_SHARE:
            return False
        pause_s = limit_s * (1 - _QUIET_SHARE) / _QUESTIONS
        return not self._unanswered or self.silent_s >= self._asked_at_s + pause_s

    def was_questioned(self, now: float, *, has_answered: bool, effort: ResourceUse | None) -> None:
        """Take the outcome of a query.

        Args:
            now: When the answer came, or had not come in time.
            has_answered: It gave any answer at all.
            effort: Used by its processes so far; None if that cannot be seen.
        """
        if has_answered or self._worked(now, effort):
            self.lives()
            self._effort, self._effort_at = effort, now
            return
        self._unanswered += 1
        self._asked_at_s = self.silent_s
        if self._effort is None:  # what it does is measured from the first question on
            self._effort, self._effort_at = effort, now

    def _worked(self, now: float, effort: ResourceUse | None) -> bool:
        before = self._effort
        if effort is None or before is None:
            return False
        passed_s = now - self._effort_at
        return (
            effort.major_faults > before.major_faults
            or effort.cpu_s - before.cpu_s > IDLE_SHARE * passed_s
            or effort.waited_s - before.waited_s > STARVING_SHARE * passed_s
            or effort.cpu_s < before.cpu_s  # a process has ended: something goes on
        )

    def is_hung(self, limit_s: float, *, is_seen: bool) -> bool:
        """Return whether all signs of life are missing for `limit_s`; 0 is never.

        Args:
            limit_s: How long.
            is_seen: Its processes are those that can be looked at.
        """
        if not limit_s or self._unanswered < _LEAST_QUESTIONS:
            return False
        return self.silent_s >= limit_s * (1.0 if is_seen else UNSEEN_FACTOR)
