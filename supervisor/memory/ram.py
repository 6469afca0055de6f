"""Reads main memory, with the limits of control groups.

Source: proc(5), /proc/meminfo; Linux, admin-guide/cgroup-v2 ("memory.max", "memory.stat") and
cgroup-v1/memory.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from .devices import DeviceReading

_KIB: Final = 1024

# More folders than any control group is deep.
_MAX_DEPTH: Final = 64


def read_ram(root: Path = Path("/")) -> DeviceReading | None:
    """Return the main memory that this process may use; None if it cannot be read.

    Used is what cannot be had: pages of files that can be dropped are not in it. Of several
    limits (the machine's, those of the control groups that this process is in) the one with the
    least left counts. Blocks for a few small files.

    Args:
        root: Where ``proc`` and ``sys`` are.
    """
    try:
        fields = _fields(root / "proc/meminfo")
        total = fields[b"MemTotal"] * _KIB
        left = fields[b"MemAvailable"] * _KIB
    except (OSError, KeyError, ValueError):
        return None
    for limit, used in _groups(root):
        total = min(total, limit)
        left = min(left, limit - used)
    return DeviceReading(total, max(0, total - left))


def _groups(root: Path) -> Iterator[tuple[int, int]]:
    """Give limit and use of each control group around this process that has a limit."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield from _around(root / "sys/fs/cgroup", path, "memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            yield from _around(
                root / "sys/fs/cgroup/memory",
                path,
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
            )


def _around(top: Path, path: str, limit_name: str, used_name: str) -> Iterator[tuple[int, int]]:
    inner = PurePosixPath(path.lstrip("/"))
    for place in [inner, *inner.parents][:_MAX_DEPTH]:
        folder = top / place
        try:
            limit = int((folder / limit_name).read_text())  # "max" is no number: no limit
            used = int((folder / used_name).read_text())
            stat = _fields(folder / "memory.stat")
        except (OSError, ValueError):
            continue  # a container sees its own groups under the top alone
        prefix = b"total_" if b"total_inactive_file" in stat else b""
        droppable = sum(stat.get(prefix + kind, 0) for kind in (b"inactive_file", b"active_file"))
        yield limit, max(0, used - droppable)


def _fields(path: Path) -> dict[bytes, int]:
    """Read lines of a name and a number."""
    found = {}
    for line in path.read_bytes().splitlines():
        words = line.replace(b":", b" ").split()
        if len(words) >= 2:
            found[words[0]] = int(words[1])
    return found
