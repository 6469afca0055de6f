"""Reservations, memory that comes back late, and held devices."""

import math

from arriero.supervisor.memory.devices import DeviceRoom
from arriero.supervisor.memory.ledger import RETURN_LIMIT_S, Ledger

GIB = 1024**3


def room(device: str = "gpu0", foreign: float = 0, *, measured: bool = True) -> DeviceRoom:
    limit = int((10 - foreign) * GIB)
    return DeviceRoom(device, 10 * GIB, 0, int(foreign * GIB), limit, measured)


def ledger_of(*rooms: DeviceRoom) -> Ledger:
    return Ledger({one.device: one for one in rooms})


def test_reservations_add_up_and_replace_each_other() -> None:
    ledger = ledger_of(room())
    ledger.reserve("a", 1, {"gpu0": 3 * GIB})
    ledger.reserve("b", 1, {"gpu0": 2 * GIB})
    ledger.reserve("a", 1, {"gpu0": 4 * GIB})
    assert ledger.used["gpu0"] == 6 * GIB
    assert ledger.held_by("a") == {"gpu0": 4 * GIB}


def test_the_same_reservation_again_changes_nothing() -> None:
    ledger = ledger_of(room())
    ledger.reserve("a", 1, {"gpu0": GIB})
    version = ledger.version
    ledger.reserve("a", 1, {"gpu0": GIB})
    assert ledger.version == version


def test_what_is_late_is_that_of_one_start_on_one_host() -> None:
    ledger = ledger_of(room())
    ledger.reserve("a", 7, {"gpu0": GIB})
    ledger.end("a", 10)
    assert [(one.model, one.host, one.swap) for one in ledger.departed()] == [("a", "local", 7)]


def test_main_memory_is_back_at_once_that_of_a_gpu_when_it_is_seen() -> None:
    ledger = ledger_of(room(), room("ram"))
    ledger.reserve("a", 1, {"gpu0": 3 * GIB, "ram": GIB})

    ledger.end("a", 10)

    assert [dict(one.amounts) for one in ledger.departed()] == [{"gpu0": 3 * GIB}]
    assert ledger.used == {"gpu0": 0, "ram": 0}
    ledger.read({"gpu0": room(), "ram": room("ram")}, 10.1)
    assert list(ledger.departed()) == []


def test_a_device_that_is_not_measured_gives_back_at_once() -> None:
    ledger = ledger_of(room(measured=False))
    ledger.reserve("a", 1, {"gpu0": 3 * GIB})
    ledger.end("a", 10)
    assert list(ledger.departed()) == []


def test_while_memory_is_late_others_use_what_they_used_before() -> None:
    ledger = ledger_of(room(foreign=1))
    ledger.reserve("a", 1, {"gpu0": 4 * GIB})
    ledger.end("a", 10)

    ledger.read({"gpu0": room(foreign=5)}, 10.1)
    assert ledger.devices["gpu0"].foreign == GIB
    assert ledger.limit("gpu0") == 9 * GIB

    ledger.expire(10 + RETURN_LIMIT_S)
    assert ledger.devices["gpu0"].foreign == 5 * GIB
    assert ledger.limit("gpu0") == 5 * GIB


def test_two_that_leave_at_the_same_time_are_both_waited_for() -> None:
    ledger = ledger_of(room(foreign=1))
    for model in "ab":
        ledger.reserve(model, 1, {"gpu0": 3 * GIB})
    ledger.end("a", 10)
    ledger.read({"gpu0": room(foreign=4)}, 10.1)
    ledger.end("b", 11)
    ledger.read({"gpu0": room(foreign=7)}, 11.1)
    assert sorted(one.model for one in ledger.departed()) == ["a", "b"]

    ledger.read({"gpu0": room(foreign=1)}, 11.2)
    assert list(ledger.departed()) == []


def test_a_little_less_than_all_will_do() -> None:
    ledger = ledger_of(room(foreign=1))
    ledger.reserve("a", 1, {"gpu0": 4 * GIB})
    ledger.end("a", 10)
    ledger.read({"gpu0": room(foreign=1.3)}, 10.1)
    assert list(ledger.departed()) == []


def test_a_held_device_has_nothing_to_give() -> None:
    ledger = ledger_of(room())
    ledger.hold("gpu0", math.inf)
    assert (ledger.limit("gpu0"), ledger.next_deadline()) == (0, math.inf)
    assert ledger.release("gpu0")
    assert not ledger.release("gpu0")
    assert ledger.limit("gpu0") == 10 * GIB


def test_a_hold_expires() -> None:
    ledger = ledger_of(room())
    ledger.hold("gpu0", 60)
    ledger.expire(59)
    assert ledger.limit("gpu0") == 0
    ledger.expire(ledger.next_deadline())
    assert ledger.limit("gpu0") == 10 * GIB
