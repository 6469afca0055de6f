"""Budgets and readings -> room."""

import pytest

from arriero.supervisor.memory.devices import Budget, DeviceReading, default_reserve, rooms

MIB, GIB = 1024**2, 1024**3


def limit(
    budget: Budget | None, reading: DeviceReading | None, foreign: int = 0, *, finds: bool = True
) -> int | None:
    found = rooms(
        {} if budget is None else {"gpu0": budget},
        {} if reading is None else {"gpu0": reading},
        {"gpu0": foreign},
        finds=finds,
    )
    return found["gpu0"].limit if found else None


FOUND = DeviceReading(24 * GIB, 0)


def test_what_is_found_has_a_reserve_and_others_count() -> None:
    assert limit(None, FOUND) == 24 * GIB - 512 * MIB
    assert limit(None, FOUND, 4 * GIB) == 20 * GIB - 512 * MIB
    assert limit(None, FOUND, finds=False) is None


def test_a_declared_total_is_a_budget() -> None:
    budget = Budget(16 * GIB)
    assert limit(budget, None) == 16 * GIB
    assert limit(budget, FOUND, 4 * GIB) == 16 * GIB  # there is enough besides
    assert limit(budget, FOUND, 20 * GIB) == 4 * GIB  # others leave less than that
    assert limit(Budget(16 * GIB, 2 * GIB), FOUND, finds=False) == 14 * GIB


def test_a_declared_reserve_alone_is_of_what_is_found() -> None:
    assert limit(Budget(None, 2 * GIB), FOUND) == 22 * GIB
    assert limit(Budget(None, 2 * GIB), None) is None


def test_room_is_never_negative() -> None:
    assert limit(None, FOUND, 30 * GIB) == 0


@pytest.mark.parametrize(
    ("device", "total", "reserve"),
    [
        ("gpu0", 24 * GIB, 512 * MIB),
        ("gpu0", 512 * MIB, 256 * MIB),
        ("ram", 4 * GIB, 512 * MIB),
        ("ram", 64 * GIB, 64 * GIB // 20),
        ("ram", 512 * GIB, 4 * GIB),
    ],
)
def test_the_default_reserve(device: str, total: int, reserve: int) -> None:
    assert default_reserve(device, total) == reserve
