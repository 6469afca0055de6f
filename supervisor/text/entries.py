"""Named entries of one version, as JSON: the form of files that may get lost.

`{"v": 1, "sizes": {"name": ..., ...}}`, the newest entry last.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec

from arriero.protocol.read_json import BadJson, JsonReader

Entry = TypeVar("Entry")

_members: Final = JsonReader(dict[str, msgspec.Raw])
_version: Final = JsonReader(int)


def write_entries(field: str, version: int, entries: Mapping[str, object]) -> bytes:
    """Return `entries` as JSON, in the member `field`."""
    stored = {"v": version, field: entries}
    return msgspec.json.format(msgspec.json.encode(stored), indent=1) + b"\n"


def read_entries(
    data: bytes,
    field: str,
    version: int,
    read: Callable[[msgspec.Raw], Entry | None],
    *,
    most: int,
    subject: str,
) -> dict[str, Entry]:
    """Return what `write_entries` wrote: the newest `most` entries, without those that are None.

    Args:
        data: The file.
        field: As it was written.
        version: The same.
        read: Gives one entry, or None if it cannot be true; it raises nothing else than BadJson.
        most: Entries that are taken.
        subject: What they are, for the error.

    Raises:
        ValueError: It is something else altogether. Nothing else is raised.
    """
    try:
        members = _members.read(data)
        found = _version.read(members["v"]) if "v" in members else 0
        raws = _members.read(members[field]) if field in members else {}
    except BadJson as exc:
        raise ValueError(f"cannot read {subject}: {exc}") from exc
    if found != version:
        raise ValueError(f"cannot read {subject} of version {found}")
    entries = {}
    for name, raw in raws.items():
        try:
            entry = read(raw)
        except BadJson:
            continue
        if entry is not None:
            entries[name] = entry
    return dict(list(entries.items())[-most:])
