"""Facts by command, the most recently seen last, and their file. Losing it costs a line, no start.

Kept as JSON.
"""

import logging
from pathlib import Path
from typing import Final

import msgspec

from arriero.protocol.read_json import JsonReader
from arriero.protocol.worker_config import SeenFacts

from ..host.state_file import load_state, save_state
from ..text.entries import NamedEntries

log = logging.getLogger(__name__)

FACTS_FILE_NAME: Final = "facts.json"

# Commands that are remembered: as many as there are learned durations. A file of some 60 kB.
MAX_ENTRIES: Final = 500


_stored_facts = JsonReader(SeenFacts)


class FactsByCommand(NamedEntries[SeenFacts]):
    """Facts by the fingerprints of commands."""

    FIELD = "facts"
    MOST = MAX_ENTRIES
    SUBJECT = "what was seen of models"

    @staticmethod
    def read(raw: msgspec.Raw) -> SeenFacts:
        """Return the facts of one model."""
        return _stored_facts.read(raw)


class SeenModels:
    """What was seen of models, by the fingerprints of their commands.

    Args:
        path: The file. It is read once; blocks for a small one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._facts = load_state(path, "facts", FactsByCommand, FactsByCommand.decode, log)

    def __len__(self) -> int:
        return len(self._facts)

    def get(self, fingerprint: str) -> SeenFacts | None:
        """Return what is known of the model of that command."""
        return self._facts.get(fingerprint)

    def learn(self, fingerprint: str, facts: SeenFacts) -> bool:
        """Keep what a server has told; return whether that is news. Blocks for one small file."""
        if facts == SeenFacts() or self._facts.get(fingerprint) == facts:
            return False
        self._facts.put(fingerprint, facts)
        save_state(self._path, "facts", self._facts.encode(), log)
        return True
