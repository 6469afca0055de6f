"""Budgets and readings of devices -> the room that models may use."""

from collections.abc import Mapping
from typing import Final

import msgspec

from .sizes import RAM, Amounts

_MIB: Final = 1024**2

# Kept free of models on a device that was found, unless something else is declared. A twentieth of
# main memory leaves the system its caches; 4 GiB are enough for any. On a GPU the driver keeps some
# memory for each process, which no reading tells beforehand: Ollama leaves 457 MiB, llama-server's
# --fit 1 GiB.
_RAM_SHARE: Final = 20
_RAM_RESERVE: Final = (512 * _MIB, 4096 * _MIB)
_GPU_RESERVE: Final = 512 * _MIB


class Budget(msgspec.Struct, frozen=True):
    """A device as declared.

    Attributes:
        total: What models may use of it, with the reserve; None: what is found.
        reserve: What stays free of that; None: nothing of a declared total, and a default of one
            that is found.
    """

    total: int | None = None
    reserve: int | None = None


class DeviceReading(msgspec.Struct, frozen=True):
    """A device as found.

    Attributes:
        total: Its bytes.
        used: Those in use by anybody; None: that cannot be seen.
        name: What it calls itself; for people.
    """

    total: int
    used: int | None = None
    name: str = ""


class DeviceRoom(msgspec.Struct, frozen=True):
    """A device and the room on it for models.

    Attributes:
        device: Its name: ``ram``, ``gpu0``, ...
        total: Its bytes, or the declared ones.
        reserve: What stays free.
        foreign: Used by others than models.
        limit: What all models may have together now: never below 0.
        is_measured: Its use is read: what a process leaves behind is seen.
        name: What it calls itself; for people.
    """

    device: str
    total: int
    reserve: int
    foreign: int
    limit: int
    is_measured: bool
    name: str = ""

    @property
    def budget(self) -> int:
        """What all models may have together if nobody else uses it."""
        return max(0, self.total - self.reserve)


def rooms(
    budgets: Mapping[str, Budget],
    found: Mapping[str, DeviceReading],
    foreign: Amounts,
    *,
    finds: bool,
) -> dict[str, DeviceRoom]:
    """Return the devices that limit models.

    Args:
        budgets: Those that are declared.
        found: Those of the machine.
        foreign: What others than models use of them.
        finds: Devices that are not declared count, too.
    """
    names = [*budgets, *(name for name in found if finds and name not in budgets)]
    result = {}
    for name in names:
        budget, reading = budgets.get(name, Budget()), found.get(name)
        if budget.total is None and reading is None:
            continue  # declared is its reserve alone, and it is not there
        total = budget.total
        if total is None:
            assert reading is not None
            total = reading.total
        reserve = budget.reserve
        if reserve is None:
            reserve = 0 if budget.total is not None else default_reserve(name, total)
        limit, others = total - reserve, 0
        if reading is not None:
            others = foreign.get(name, 0)
            # A declared total is a budget: what others use counts where it leaves less than that.
            spare = reserve if budget.total is None else 0
            limit = min(limit, reading.total - others - spare)
        result[name] = DeviceRoom(
            device=name,
            total=total,
            reserve=reserve,
            foreign=others,
            limit=max(0, limit),
            is_measured=reading is not None and reading.used is not None,
            name="" if reading is None else reading.name,
        )
    return result


def default_reserve(device: str, total: int) -> int:
    """Return what is kept free of a device that was found."""
    if device != RAM:
        return min(_GPU_RESERVE, total // 2)
    least, most = _RAM_RESERVE
    return min(most, max(least, total // _RAM_SHARE), total // 2)
