"""How much may be kept."""

import pytest

from arriero.supervisor.page_cache.warm_tier import room_for

GIB = 1024**3


@pytest.mark.parametrize(
    ("limit", "locked", "spare", "reserve", "free", "room"),
    [
        (24, 0, 50, 4, None, 24),
        (24, 0, 20, 4, None, 16),
        (24, 16, 4, 4, None, 16),  # what is locked is not spare any more
        (24, 16, 1, 4, None, 13),  # others have come: some of it goes
        (24, 16, -9, 4, None, 3),
        (24, 2, -9, 4, None, 0),
        (24, 0, None, 4, None, 24),  # it cannot be seen
        (24, 0, 50, 4, 10, 10),  # the rest is reserved for models
        (24, 24, 50, 4, 0, 0),
    ],
)
def test_how_much_may_be_kept(
    limit: int, locked: int, spare: int | None, reserve: int, free: int | None, room: int
) -> None:
    found = room_for(
        limit * GIB,
        locked * GIB,
        None if spare is None else spare * GIB,
        reserve * GIB,
        None if free is None else free * GIB,
    )
    assert found == room * GIB


def test_room_is_counted_in_steps() -> None:
    rooms = {room_for(24 * GIB, 0, 10 * GIB + more, GIB, None) for more in range(0, 10**7, 10**5)}
    assert rooms == {9 * GIB}
    assert room_for(1000, 0, 10 * GIB, GIB, None) == 1000
