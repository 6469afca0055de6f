"""Facts by command, the most recently seen last, and their file. Losing it costs a line, no start.

Kept as JSON.
"""

import logging
from pathlib import Path
from typing import Final

import msgspec

from arriero.protocol.read_json import BadJson, JsonReader
from arriero.protocol.worker_config import SeenFacts

from ..host.state_file import load_state, save_state

log = logging.getLogger(__name__)

FACTS_FILE_NAME: Final = "facts.json"

# Commands that are remembered: as many as there are learned durations. A file of some 60 kB.
MAX_ENTRIES: Final = 500


class _StoredFacts(msgspec.Struct):
    """The file: newest entry last."""

    v: int = 0
    facts: dict[str, msgspec.Raw] = {}


_stored = JsonReader(_StoredFacts)
_stored_one = JsonReader(SeenFacts)


class SeenModels:
    """What was seen of models, by the fingerprints of their commands.

    Args:
        path: The file. It is read once; blocks for a small one.
    """

    VERSION: Final = 1

    def __init__(self, path: Path) -> None:
        self._path = path
        self._facts: dict[str, SeenFacts] = load_state(path, "facts", _nothing, _decoded, log)

    def __len__(self) -> int:
        return len(self._facts)

    def get(self, fingerprint: str) -> SeenFacts | None:
        """Return what is known of the model of that command."""
        return self._facts.get(fingerprint)

    def learn(self, fingerprint: str, facts: SeenFacts) -> bool:
        """Keep what a server has told; return whether that is news. Blocks for one small file.

        The oldest entry goes when there are too many.
        """
        if facts == SeenFacts() or self._facts.get(fingerprint) == facts:
            return False
        self._facts.pop(fingerprint, None)
        self._facts[fingerprint] = facts
        while len(self._facts) > MAX_ENTRIES:
            del self._facts[next(iter(self._facts))]
        stored = {"v": self.VERSION, "facts": self._facts}
        data = msgspec.json.format(msgspec.json.encode(stored), indent=1) + b"\n"
        save_state(self._path, "facts", data, log)
        return True


def _nothing() -> dict[str, SeenFacts]:
    return {}


def _decoded(data: bytes) -> dict[str, SeenFacts]:
    """Read the file; an entry that cannot be read is left out.

    Raises:
        ValueError: It is something else altogether.
    """
    try:
        stored = _stored.read(data)
    except BadJson as exc:
        raise ValueError(f"cannot read what was seen of models: {exc}") from exc
    if stored.v != SeenModels.VERSION:
        raise ValueError(f"cannot read what was seen of models, of version {stored.v}")
    read = {name: _stored_one.find(raw) for name, raw in stored.facts.items()}
    found = {name: facts for name, facts in read.items() if facts is not None}
    return dict(list(found.items())[-MAX_ENTRIES:])
