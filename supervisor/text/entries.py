"""Named entries of one version, as JSON: the form of files that may get lost.

`{"v": 1, "sizes": {"name": ..., ...}}`, the newest entry last.
"""

from collections.abc import Mapping
from typing import ClassVar, Generic, Self, TypeVar

import msgspec

from arriero.protocol.read_json import BadJson, JsonReader

Entry = TypeVar("Entry")

_members = JsonReader(dict[str, msgspec.Raw])
_version = JsonReader(int)


class NamedEntries(Generic[Entry]):
    """Entries by name, the one that was put last at the end. A subclass says what one is.

    Attributes:
        FIELD: The member of the file that has the entries.
        VERSION: Of the file.
        MOST: Entries that are remembered.
        SUBJECT: What they are, for errors.
    """

    FIELD: ClassVar[str]
    VERSION: ClassVar[int] = 1
    MOST: ClassVar[int]
    SUBJECT: ClassVar[str]

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)}>"

    @staticmethod
    def read(raw: msgspec.Raw) -> Entry | None:
        """Return one entry of a file; None if it cannot be true.

        Raises:
            BadJson: It is none. Nothing else is raised.
        """
        raise NotImplementedError

    def get(self, name: str) -> Entry | None:
        """Return the entry of that name."""
        return self._entries.get(name)

    def put(self, name: str, entry: Entry) -> None:
        """Take an entry in the place of what was; the oldest goes when there are too many."""
        self._entries.pop(name, None)
        self._entries[name] = entry
        while len(self._entries) > self.MOST:
            del self._entries[next(iter(self._entries))]

    def encode(self) -> bytes:
        """Return all of it as JSON."""
        stored: Mapping[str, object] = {"v": self.VERSION, self.FIELD: self._entries}
        return msgspec.json.format(msgspec.json.encode(stored), indent=1) + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read the newest entries of what `encode` wrote, without those that cannot be true.

        Raises:
            ValueError: It is something else altogether. Nothing else is raised.
        """
        try:
            members = _members.read(data)
            version = _version.read(members["v"]) if "v" in members else 0
            raws = _members.read(members[cls.FIELD]) if cls.FIELD in members else {}
        except BadJson as exc:
            raise ValueError(f"cannot read {cls.SUBJECT}: {exc}") from exc
        if version != cls.VERSION:
            raise ValueError(f"cannot read {cls.SUBJECT} of version {version}")
        entries = {}
        for name, raw in raws.items():
            try:
                entry = cls.read(raw)
            except BadJson:
                continue
            if entry is not None:
                entries[name] = entry
        found = cls()
        found._entries = dict(list(entries.items())[-cls.MOST :])
        return found
