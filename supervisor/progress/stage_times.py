"""Durations of the stages of earlier starts, by command.

Kept as JSON; `stage_times_file` reads and writes it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from arriero.digests import sha256
from arriero.protocol.read_json import JsonReader

from ..text.entries import NamedEntries

# Commands that are remembered. Ten times as many as a large configuration has models, and yet a
# file of some 60 kB: old commands fall out by themselves.
MAX_ENTRIES: Final = 500

# What the newest start counts against all before it. One half follows a new disk or a new driver
# within three starts, and one start that was disturbed costs no more than the next two.
NEWEST_COUNTS: Final = 0.5

# Longest stage that is believed, in seconds: a day. Longer is a broken file or a broken clock.
LONGEST_S: Final = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTimes:
    """Duration of each stage of a start, in seconds.

    Attributes:
        starting_s: From the process to its first tensor.
        loading_s: From the first tensor to the last.
        warming_s: From the last tensor to ready.
    """

    starting_s: float
    loading_s: float
    warming_s: float

    def __post_init__(self) -> None:
        for seconds in (self.starting_s, self.loading_s, self.warming_s):
            if not (math.isfinite(seconds) and 0.0 <= seconds <= LONGEST_S):
                raise ValueError(f"cannot take {seconds} as the seconds of a stage")

    @property
    def total_s(self) -> float:
        """Seconds of the whole start."""
        return self.starting_s + self.loading_s + self.warming_s


def fingerprint(command: Sequence[str]) -> str:
    """Return a short name for `command`.

    Give it the command as configured, before the port of this one start is put in, or nothing
    will ever be found again.
    """
    # Length first, so that ["a b"] and ["a", "b"] differ.
    text = "".join(f"{len(part)}:{part}" for part in command)
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


class _StoredTimes(msgspec.Struct):
    starting_s: float
    loading_s: float
    warming_s: float


_stored_times = JsonReader(_StoredTimes)


class Durations(NamedEntries[StageTimes]):
    """Learned stage times by fingerprint, the most recently learned last."""

    FIELD = "times"
    MOST = MAX_ENTRIES
    SUBJECT = "learned durations"

    @staticmethod
    def read(raw: msgspec.Raw) -> StageTimes | None:
        """Return the times of one command; None if no start takes so long."""
        found = _stored_times.read(raw)
        try:
            return StageTimes(
                starting_s=found.starting_s, loading_s=found.loading_s, warming_s=found.warming_s
            )
        except ValueError:
            return None

    def learn(self, fingerprint: str, observed: StageTimes) -> None:
        """Take the times of one start that succeeded."""
        before = self.get(fingerprint) or observed
        mean = StageTimes(
            starting_s=_mean(before.starting_s, observed.starting_s),
            loading_s=_mean(before.loading_s, observed.loading_s),
            warming_s=_mean(before.warming_s, observed.warming_s),
        )
        self.put(fingerprint, mean)


def _mean(before: float, newest: float) -> float:
    # Milliseconds are enough, and make a file that people can read.
    return round(before + NEWEST_COUNTS * (newest - before), 3)
