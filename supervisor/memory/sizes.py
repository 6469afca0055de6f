"""Bytes per device, and where a size comes from."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

import msgspec

Amounts: TypeAlias = Mapping[str, int]
"""Device -> bytes. What is not named is not used."""

SizeSource: TypeAlias = Literal["declared", "learned", "estimated", "unknown"]

RAM: Final = "ram"

NOTHING: Final[Amounts] = MappingProxyType({})


class ModelSize(msgspec.Struct, frozen=True):
    """The size of a model.

    Attributes:
        amounts: Device -> bytes. Of an unknown size the numbers mean nothing: the devices are those
            that it may use, and none means all of them.
        source: Where that comes from. `unknown` is not zero: such a model runs alone on its devices
            until it is learned.
    """

    amounts: Amounts
    source: SizeSource


UNKNOWN: Final = ModelSize(NOTHING, "unknown")


def added(*parts: Amounts) -> dict[str, int]:
    """Return the sum of `parts`."""
    total: dict[str, int] = {}
    for part in parts:
        for device, count in part.items():
            total[device] = total.get(device, 0) + count
    return total


def largest(*parts: Amounts) -> dict[str, int]:
    """Return for each device the most that one of `parts` has."""
    most: dict[str, int] = {}
    for part in parts:
        for device, count in part.items():
            most[device] = max(most.get(device, 0), count)
    return most


def bytes_text(count: int) -> str:
    """Return `count` as people read it: ``6.1 GiB``, ``512 MiB``."""
    if count >= 1024**3:
        return f"{count / 1024**3:.1f} GiB"
    return f"{count / 1024**2:.0f} MiB"


def amounts_text(amounts: Amounts) -> str:
    """Return `amounts` as people read them; the device is left out if it is the only one."""
    if len(amounts) == 1:
        return bytes_text(next(iter(amounts.values())))
    return ", ".join(f"{bytes_text(amounts[name])} of {name}" for name in in_order(amounts))


def in_order(devices: Iterable[str]) -> list[str]:
    """Return `devices` in the order in which they are shown: gpu0, gpu1, ..., ram."""
    return sorted(devices, key=lambda name: (name == RAM, len(name), name))
