"""Sizes of earlier runs, by command.

Kept as JSON; `learned_file` reads and writes it.
"""

from typing import Final

import msgspec

from arriero.protocol.read_json import JsonReader

from ..text.entries import NamedEntries
from .sizes import NOTHING, Amounts, largest

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


class LearnedSizes(NamedEntries[Amounts]):
    """Sizes by fingerprint, the most recently learned last."""

    FIELD = "sizes"
    MOST = MAX_ENTRIES
    SUBJECT = "learned sizes"

    @staticmethod
    def read(raw: msgspec.Raw) -> Amounts | None:
        """Return the size of one command; None if no machine has as much."""
        amounts = _stored_amounts.read(raw)
        can_be = 0 < len(amounts) <= _MAX_DEVICES and all(
            0 <= count <= _MOST for count in amounts.values()
        )
        return amounts if can_be else None

    def learn(self, fingerprint: str, peak: Amounts) -> None:
        """Take the peak of one run; a smaller one than before is believed slowly."""
        before = self.get(fingerprint) or NOTHING
        kept = {device: int(count * _KEPT) for device, count in before.items()}
        self.put(fingerprint, largest(peak, kept))

    def raise_to(self, fingerprint: str, least: Amounts) -> None:
        """Take that the size is at least `least`: there was not enough for it."""
        self.put(fingerprint, largest(self.get(fingerprint) or NOTHING, least))
