"""The last lists of peers on disk: a peer that is away at a start has its models all the same.

Losing the file costs these names until their machines answer, no start.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from arriero.digests import sha256
from arriero.protocol.read_json import JsonReader

from ..host.atomic_file import read_file
from ..host.state_file import save_state
from .state import KeptList
from .told import MAX_MODELS, is_name

log = logging.getLogger(__name__)

# Ten peers with a thousand models each, with names of a hundred bytes, are one.
_MAX_FILE_BYTES: Final = 8 * 1024 * 1024


class _KeptEntry(msgspec.Struct):
    of: str
    listed_at: float
    models: list[str]


class _ListsFile(msgspec.Struct):
    peers: dict[str, _KeptEntry]


_files = JsonReader(_ListsFile)


def load_lists(path: Path, urls: Mapping[str, str]) -> dict[str, KeptList]:
    """Return the lists in `path` by peer, as far as they are of these URLs. Blocks.

    Args:
        path: The file.
        urls: URLs of the peers that are watched.
    """
    try:
        data = read_file(path, _MAX_FILE_BYTES)
        entries = {} if data is None else _files.read(data).peers
    except (OSError, ValueError) as exc:
        log.warning("peers.unreadable path=%s reason=%s", path, exc)
        return {}
    return {
        peer: KeptList(
            models=tuple(dict.fromkeys(filter(is_name, entry.models)))[:MAX_MODELS],
            listed_at=entry.listed_at,
        )
        for peer, url in urls.items()
        if (entry := entries.get(peer)) is not None and entry.of == _digest(url)
    }


def save_lists(path: Path, lists: Mapping[str, KeptList], urls: Mapping[str, str]) -> None:
    """Write the lists to `path`; if that cannot be, the log has the reason. Blocks."""
    entries = {
        peer: _KeptEntry(_digest(urls[peer]), kept.listed_at or 0.0, list(kept.models))
        for peer, kept in lists.items()
        if peer in urls
    }
    save_state(path, "peers", msgspec.json.encode(_ListsFile(entries)), log)


def _digest(url: str) -> str:
    """Return the name of `url` on disk: it may hold a key."""
    return sha256(url.encode()).hexdigest()
