"""Which models' files are kept in main memory. Pure.

Worth of a model: how much it was used lately, times the seconds that its slowest start took: what
is known of a start from the cache says nothing about the disk. One that runs is worth less, for it
need not be started; and what is kept already is worth a little more, so that equal ones do not take
turns. All files of a model are kept, or none: a start waits for the last byte.
"""

from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from .loaded_files import Identity, LoadedFile

# Files that are kept, at most: each of them is open.
MAX_KEPT: Final = 256

# What counts for a model that was not used lately: room that nobody else wants is still of use.
_LITTLE_USE: Final = 0.01

# Bytes a second that a start takes, for a model of which no start is known: a slow disk.
_BYTES_PER_S: Final = 0.5e9

_RUNS: Final = 0.25
_KEPT: Final = 1.5


class KeepCandidate(msgspec.Struct, frozen=True, kw_only=True):
    """A model whose files could be kept.

    Attributes:
        model: Its name.
        files: What it loads.
        use: How much it was used lately.
        slowest_s: The longest of its starts; None: none is known.
        runs: It has a process.
        stays: It runs, and never makes room: it is not started again.
    """

    model: str
    files: tuple[LoadedFile, ...]
    use: float = 0.0
    slowest_s: float | None = None
    runs: bool = False
    stays: bool = False

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)

    def worth(self, kept: Collection[Identity]) -> float:
        """Return what keeping its files is worth: seconds, times use."""
        seconds = self.slowest_s
        if seconds is None:
            seconds = 1.0 + self.size / _BYTES_PER_S
        worth = (_LITTLE_USE + self.use) * seconds
        if self.runs:
            worth *= _RUNS
        if all(file.identity in kept for file in self.files):
            worth *= _KEPT
        return worth


def choose(
    candidates: Sequence[KeepCandidate],
    budget: int,
    kept: Collection[Identity] = (),
    unusable: Collection[Identity] = (),
) -> tuple[KeepCandidate, ...]:
    """Return the models whose files are kept, that which is given up last first.

    By worth for each byte; but one model alone, if that is worth more than all of these. A file of
    two models counts once.

    Args:
        candidates: All models.
        budget: Bytes.
        kept: Files that are kept now.
        unusable: Files that cannot be kept.
    """
    worths = {
        one.model: one.worth(kept)
        for one in candidates
        if one.files
        and not one.stays
        and one.size <= budget
        and len(one.files) <= MAX_KEPT
        and not any(file.identity in unusable for file in one.files)
    }
    able = [one for one in candidates if one.model in worths]
    able.sort(key=lambda one: (-worths[one.model] / one.size, one.model))
    chosen: list[KeepCandidate] = []
    taken: set[Identity] = set()
    left = budget
    for one in able:
        new = {file.identity for file in one.files} - taken
        size = sum(identity[2] for identity in new)
        if size <= left and len(taken) + len(new) <= MAX_KEPT:
            chosen.append(one)
            taken |= new
            left -= size
    if len(chosen) < len(able):
        best = max(able, key=lambda one: worths[one.model])
        if worths[best.model] > sum(worths[one.model] for one in chosen):
            return (best,)
    return tuple(chosen)
