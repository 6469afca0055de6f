"""Who has to go when there are too many, and when nobody is let in."""

import pytest

from arriero.supervisor.control.crowding import MAX_OF_ONE, MOST, ControlClient, may_enter, too_many


def crowd(**counts: int) -> list[ControlClient]:
    pids = [int(name[1:]) for name, count in counts.items() for _ in range(count)]
    return [ControlClient(fd, pid) for fd, pid in enumerate(pids, 10)]


def left(visitors: list[ControlClient]) -> dict[int, int]:
    gone = set(too_many(visitors))
    stay = [visitor.pid for visitor in visitors if visitor not in gone]
    return {pid: stay.count(pid) for pid in sorted(set(stay))}


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({}, {}),
        ({"p1": 1, "p2": MAX_OF_ONE}, {1: 1, 2: MAX_OF_ONE}),
        ({"p1": 1, "p2": MAX_OF_ONE + 5}, {1: 1, 2: MAX_OF_ONE}),
        # together they are too many: nobody who has few loses one
        ({"p1": 1, "p2": 2, **{f"p{n}": MAX_OF_ONE for n in range(3, 7)}}, {1: 1, 2: 2}),
    ],
)
def test_the_greediest_go_first(counts: dict[str, int], expected: dict[int, int]) -> None:
    found = left(crowd(**counts))

    assert {pid: found[pid] for pid in expected} == expected
    assert sum(found.values()) <= MOST
    assert all(count <= MAX_OF_ONE for count in found.values())


def test_those_who_came_last_go() -> None:
    visitors = crowd(p1=MAX_OF_ONE + 3)

    assert too_many(visitors[::-1]) == visitors[-3:]


def test_everybody_stays_when_each_has_one() -> None:
    assert left(crowd(**{f"p{n}": 1 for n in range(1, 1000)})).keys() == set(range(1, 1000))


@pytest.mark.parametrize(
    ("used", "limit", "is_open", "expected"),
    [
        (30, 1024, True, True),
        (896, 1024, True, True),
        (897, 1024, True, False),
        (896, 1024, False, False),
        (832, 1024, False, True),
        (50, 64, True, True),
        (57, 64, True, False),
        (10_000, 1_048_576, True, True),
        (5, 3, True, False),
    ],
)
def test_the_door_is_closed_while_few_descriptors_are_left(
    used: int, limit: int, is_open: bool, expected: bool
) -> None:
    assert may_enter(used=used, limit=limit, is_open=is_open) is expected
