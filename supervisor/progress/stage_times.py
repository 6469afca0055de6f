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

from ..text.entries import read_entries, write_entries

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


class Durations:
    """Learned stage times by fingerprint, the most recently learned last."""

    VERSION: Final = 1

    def __init__(self) -> None:
        self._times: dict[str, StageTimes] = {}

    def __len__(self) -> int:
        return len(self._times)

    def __repr__(self) -> str:
        return f"<Durations of {len(self)} commands>"

    def get(self, fingerprint: str) -> StageTimes | None:
        """Return the known times of that command."""
        return self._times.get(fingerprint)

    def learn(self, fingerprint: str, observed: StageTimes) -> None:
        """Take the times of one start that succeeded.

        The oldest entry goes when there are too many.
        """
        before = self._times.pop(fingerprint, observed)
        self._times[fingerprint] = StageTimes(
            starting_s=_mean(before.starting_s, observed.starting_s),
            loading_s=_mean(before.loading_s, observed.loading_s),
            warming_s=_mean(before.warming_s, observed.warming_s),
        )
        self._drop_oldest()

    def encode(self) -> bytes:
        """Return all of it as JSON."""
        return write_entries("times", self.VERSION, self._times)

    @classmethod
    def decode(cls, data: bytes) -> "Durations":
        """Read what `encode` wrote. An entry that can't be true is left out.

        Raises:
            ValueError: It is something else altogether. Nothing else is raised.
        """
        durations = cls()
        durations._times = read_entries(
            data, "times", cls.VERSION, _possible, most=MAX_ENTRIES, subject="learned durations"
        )
        return durations

    def _drop_oldest(self) -> None:
        while len(self._times) > MAX_ENTRIES:
            del self._times[next(iter(self._times))]


def _possible(raw: msgspec.Raw) -> StageTimes | None:
    found = _stored_times.read(raw)
    try:
        return StageTimes(
            starting_s=found.starting_s, loading_s=found.loading_s, warming_s=found.warming_s
        )
    except ValueError:
        return None


def _mean(before: float, newest: float) -> float:
    # Milliseconds are enough, and make a file that people can read.
    return round(before + NEWEST_COUNTS * (newest - before), 3)
