"""Sizes of earlier runs, by command.

Kept as JSON; `learned_file` reads and writes it.
"""

from typing import Final

import msgspec

from arriero.protocol.read_json import JsonReader

from ..text.entries import read_entries, write_entries
from .sizes import Amounts, largest

# Commands that are remembered: as many as there are learned durations. A file of some 60 kB.
MAX_ENTRIES: Final = 500

# Devices of one entry: more than any machine has.
_MAX_DEVICES: Final = 65

# More than any device has; beyond is a broken file.
_MOST: Final = 2**50

# How much of what it had too much an entry keeps from run to run: one long conversation is not
# forgotten at once, and a smaller context is believed after some runs.
_KEPT: Final = 0.9


_stored_amounts = JsonReader(dict[str, int])


class LearnedSizes:
    """Sizes by fingerprint, the most recently learned last."""

    VERSION: Final = 1

    def __init__(self) -> None:
        self._sizes: dict[str, Amounts] = {}

    def __len__(self) -> int:
        return len(self._sizes)

    def __repr__(self) -> str:
        return f"<LearnedSizes of {len(self)} commands>"

    def get(self, fingerprint: str) -> Amounts | None:
        """Return the known size of that command."""
        return self._sizes.get(fingerprint)

    def learn(self, fingerprint: str, peak: Amounts) -> None:
        """Take the peak of one run; a smaller one than before is believed slowly.

        The oldest entry goes when there are too many.
        """
        before = self._sizes.pop(fingerprint, {})
        kept = {device: int(count * _KEPT) for device, count in before.items()}
        self._sizes[fingerprint] = largest(peak, kept)
        self._drop_oldest()

    def replace(self, fingerprint: str, amounts: Amounts) -> None:
        """Take `amounts`, whatever was seen before."""
        self._sizes.pop(fingerprint, None)
        self._sizes[fingerprint] = amounts
        self._drop_oldest()

    def raise_to(self, fingerprint: str, least: Amounts) -> None:
        """Take that the size is at least `least`: there was not enough for it."""
        before = self._sizes.pop(fingerprint, {})
        self._sizes[fingerprint] = largest(before, least)
        self._drop_oldest()

    def encode(self) -> bytes:
        """Return all of it as JSON."""
        return write_entries("sizes", self.VERSION, self._sizes)

    @classmethod
    def decode(cls, data: bytes) -> "LearnedSizes":
        """Read what `encode` wrote. An entry that can't be true is left out.

        Raises:
            ValueError: It is something else altogether. Nothing else is raised.
        """
        sizes = cls()
        sizes._sizes = read_entries(
            data, "sizes", cls.VERSION, _possible, most=MAX_ENTRIES, subject="learned sizes"
        )
        return sizes

    def _drop_oldest(self) -> None:
        while len(self._sizes) > MAX_ENTRIES:
            del self._sizes[next(iter(self._sizes))]


def _possible(raw: msgspec.Raw) -> Amounts | None:
    amounts = _stored_amounts.read(raw)
    can_be = 0 < len(amounts) <= _MAX_DEVICES and all(
        0 <= count <= _MOST for count in amounts.values()
    )
    return amounts if can_be else None
