"""Memory of the processes of a model, as /proc tells it.

Source: proc(5), /proc/pid/status.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

_KIB: Final = 1024


class ProcessMemory(msgspec.Struct, frozen=True):
    """Main memory of some processes, in bytes.

    Attributes:
        own: Pages that nobody else can give them back: heap, buffers, shared memory.
        files: Pages of files that are mapped: the model, as llama-server maps it by default. They
            can be dropped, but who computes with them needs them where they are.
        locked: Of `files`, those that cannot be dropped (``--mlock``).
    """

    own: int = 0
    files: int = 0
    locked: int = 0

    @property
    def kept(self) -> int:
        """What the kernel counts as used because of them."""
        return self.own + self.locked


def read_memory(pids: Iterable[int], root: Path = Path("/")) -> ProcessMemory:
    """Return the memory of all `pids` together; of those that ended, nothing. Blocks.

    Pages that two of them share count twice: ``smaps`` would tell, and walks all page tables.
    """
    own = files = locked = 0
    for pid in pids:
        try:
            fields = _fields((root / f"proc/{pid}/status").read_bytes())
            mapped = fields[b"RssFile"]
            own += fields[b"RssAnon"] + fields[b"RssShmem"]
            files += mapped
            locked += min(mapped, fields.get(b"VmLck", 0))
        except (OSError, KeyError, ValueError):
            continue  # gone, ending (a zombie has none of these), or another user's
    return ProcessMemory(own, files, locked)


def families(leaders: Mapping[str, int], root: Path = Path("/")) -> dict[str, set[int]]:
    """Return the processes of each model: those in the group or session of its leader. Blocks.

    One walk over /proc for all of them.

    Args:
        leaders: Model -> process id of what was started, which is that of its group, too.
        root: Where ``proc`` is.
    """
    found: dict[str, set[int]] = {model: {pid} for model, pid in leaders.items()}
    model_of = {pid: model for model, pid in leaders.items()}
    if not leaders:
        return found
    for entry in (root / "proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # "pid (name) state ppid pgrp session ..."; the name may hold spaces and parentheses
            words = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            group, session = int(words[2]), int(words[3])
        except (OSError, ValueError, IndexError):
            continue  # it ended while we looked
        model = model_of.get(group) or model_of.get(session)
        if model is not None:
            found[model].add(int(entry.name))
    return found


def _fields(text: bytes) -> dict[bytes, int]:
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(b":")
        if value.endswith(b" kB"):
            found[name] = int(value[:-3]) * _KIB
    return found
