"""What was ordered, as the next supervisor reads it: holds end when they would have ended."""

import time
from collections.abc import Generator

import pytest

from arriero.supervisor.host.kept_ring import KeptRing
from arriero.supervisor.lifetime.standing_orders import OrderKeeper, OrderNote, read_orders
from arriero.supervisor.scheduling.orders import StandingOrders


@pytest.fixture
def ring() -> Generator[KeptRing]:
    made = KeptRing("orders", 4096)
    yield made
    made.close()


def test_the_last_orders_are_read(ring: KeptRing) -> None:
    keeper = OrderKeeper(ring, OrderNote(), lambda: 1000.0)
    keeper.choose("night")
    keeper.scale(3, 1)
    keeper.note(StandingOrders((7,), (("gpu0", 1060.0), ("ram", float("inf"))), ("a",)))

    found = read_orders(ring)

    assert (found.unloading, found.profile, found.workers) == ((7,), "night", (3, 1))
    assert found.pins == ("a",)
    until = found.holds["gpu0"]
    assert until is not None
    assert abs(until - time.clock_gettime(time.CLOCK_BOOTTIME) - 60) < 5
    assert found.holds["ram"] is None


@pytest.mark.parametrize("note", [b"", b"{", b'{"unloading": "all"}', b'{"holds": [1]}', b"\xff"])
def test_a_note_that_makes_no_sense_orders_nothing(ring: KeptRing, note: bytes) -> None:
    ring.append(note)
    assert read_orders(ring) == OrderNote()


def test_a_changed_configuration_goes_before_a_scale() -> None:
    note = OrderNote(workers=(3, 1))
    assert [note.wanted_workers(configured) for configured in (1, 2)] == [3, 2]
    assert OrderNote().wanted_workers(2) == 2
