"""What processors, memory and network of the machine do, as the kernel tells it.

Source: proc(5), /proc/stat, /proc/meminfo, /proc/loadavg and /proc/pid/net/dev.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from arriero.protocol.machine import NetworkUse, SystemSample

from ..memory.ram import read_fields

_KIB_PER_MIB: Final = 1024

# Network interfaces that are told of: a machine with containers has one for each.
_MAX_INTERFACES: Final = 64

# Places in a line of a core in /proc/stat. The times of guests, at its end, are in those of users.
_IDLE: Final = 3
_IO_WAIT: Final = 4
_GUEST: Final = 8

# Places in a line of /proc/net/dev.
_RECEIVED: Final = 0
_SENT: Final = 8


class _CoreTime(NamedTuple):
    """Ticks since the machine was started."""

    busy: int
    all: int


class SystemSampler:
    """Takes samples, one after the other.

    Args:
        root: Where ``proc`` is.
    """

    def __init__(self, root: Path) -> None:
        self._proc = root / "proc"
        self._before: dict[str, _CoreTime] = {}

    def sample(self, now: datetime) -> SystemSample:
        """Return what the machine does at `now`; use of the cores since the call before.

        Blocks for a millisecond.

        Raises:
            OSError, ValueError, KeyError: The kernel does not tell.
        """
        memory = read_fields(self._proc / "meminfo")
        total, available = memory[b"MemTotal"], memory[b"MemAvailable"]
        swap = memory.get(b"SwapTotal", 0)
        one, five, fifteen, *_ = (self._proc / "loadavg").read_text().split()
        return SystemSample(
            timestamp=now,
            cpu_util_per_core=tuple(self._core_use()),
            mem_total_mb=total // _KIB_PER_MIB,
            mem_used_mb=max(0, total - available) // _KIB_PER_MIB,
            mem_free_mb=available // _KIB_PER_MIB,
            swap_total_mb=swap // _KIB_PER_MIB,
            swap_used_mb=(swap - memory.get(b"SwapFree", 0)) // _KIB_PER_MIB,
            load_avg_1=float(one),
            load_avg_5=float(five),
            load_avg_15=float(fifteen),
            net_io=tuple(_interfaces(self._proc))[:_MAX_INTERFACES],
        )

    def _core_use(self) -> Iterator[float]:
        """Give the percent of each core that is on; 0 for one that was not there before."""
        before, self._before = self._before, dict(_core_times(self._proc))
        for name, now in self._before.items():
            then = before.get(name, now)
            passed = now.all - then.all
            busy = min(max(0, now.busy - then.busy), passed)  # what is waited for may count down
            yield round(100 * busy / passed, 1) if passed > 0 else 0.0


def _core_times(proc: Path) -> Iterator[tuple[str, _CoreTime]]:
    for line in (proc / "stat").read_text().splitlines():
        name, *words = line.split()
        if name.startswith("cpu") and name != "cpu":
            ticks = [int(word) for word in words[:_GUEST]]
            yield name, _CoreTime(sum(ticks) - ticks[_IDLE] - ticks[_IO_WAIT], sum(ticks))


def _interfaces(proc: Path) -> Iterator[NetworkUse]:
    found = {}
    for line in (proc / "self/net/dev").read_text().splitlines():
        name, colon, counters = line.rpartition(":")  # an alias has a colon in its name
        if colon:
            found[name.strip()] = counters.split()
    for name, words in sorted(found.items()):
        if name != "lo":
            yield NetworkUse(
                name=name, bytes_recv=int(words[_RECEIVED]), bytes_sent=int(words[_SENT])
            )
