"""Reads main memory, with the limits of control groups.

Source: proc(5), /proc/meminfo; Linux, admin-guide/cgroup-v2 ("memory.max", "memory.stat") and
cgroup-v1/memory.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

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
        fields = read_fields(root / "proc/meminfo")
        total = fields[b"MemTotal"] * _KIB
        left = fields[b"MemAvailable"] * _KIB
    except (OSError, KeyError, ValueError):
        return None
    for group in _groups(root):
        total = min(total, group.limit)
        left = min(left, group.limit - group.used)
    return DeviceReading(total, max(0, total - left))


def spare_ram(locked: int, root: Path = Path("/")) -> int | None:
    """Return the main memory that files could take without harm; None if it cannot be read.

    It is neither used nor mapped: mapped files could be dropped, but are those of models that
    compute with them. Below 0 where they have more than is left. Blocks, as `read_ram`.

    Args:
        locked: Bytes of mapped files that are used already, and do no harm.
        root: Where ``proc`` and ``sys`` are.
    """
    try:
        fields = read_fields(root / "proc/meminfo")
        left = fields[b"MemAvailable"] * _KIB
        spare = left - max(0, fields.get(b"Mapped", 0) * _KIB - locked)
    except (OSError, KeyError, ValueError):
        return None
    for group in _groups(root):
        spare = min(spare, group.limit - group.used - max(0, group.mapped - locked))
    return spare


def pressure_files(root: Path = Path("/")) -> tuple[Path, ...]:
    """Return the files in which the kernel tells how long tasks have waited for memory. Blocks.

    Of the machine, and of the control groups (version 2) that this process is in. Source: Linux,
    accounting/psi.
    """
    found = [root / "proc/pressure/memory"]
    for line in _own_groups(root):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            found += [place / "memory.pressure" for place in _places(root / "sys/fs/cgroup", path)]
    return tuple(file for file in found if file.is_file())


class _ControlGroup(NamedTuple):
    """A control group that limits memory: its limit, use without what can be dropped, and files."""

    limit: int
    used: int
    mapped: int


def _groups(root: Path) -> Iterator[_ControlGroup]:
    """Give each control group around this process that has a limit."""
    for line in _own_groups(root):
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


def _own_groups(root: Path) -> list[str]:
    try:
        return (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []


def _places(top: Path, path: str) -> list[Path]:
    inner = PurePosixPath(path.lstrip("/"))
    return [top / place for place in [inner, *inner.parents][:_MAX_DEPTH]]


def _around(top: Path, path: str, limit_name: str, used_name: str) -> Iterator[_ControlGroup]:
    for folder in _places(top, path):
        try:
            limit = int((folder / limit_name).read_text())  # "max" is no number: no limit
            used = int((folder / used_name).read_text())
            stat = read_fields(folder / "memory.stat")
        except (OSError, ValueError):
            continue  # a container sees its own groups under the top alone
        prefix = b"total_" if b"total_inactive_file" in stat else b""
        droppable = sum(stat.get(prefix + kind, 0) for kind in (b"inactive_file", b"active_file"))
        mapped = stat.get(prefix + (b"mapped_file" if prefix else b"file_mapped"), 0)
        yield _ControlGroup(limit, max(0, used - droppable), mapped)


def read_fields(path: Path) -> dict[bytes, int]:
    """Read lines of a name and a number, as /proc/meminfo has them.

    Raises:
        OSError, ValueError: They cannot be read.
    """
    found = {}
    for line in path.read_bytes().splitlines():
        words = line.replace(b":", b" ").split()
        if len(words) >= 2:
            found[words[0]] = int(words[1])
    return found
