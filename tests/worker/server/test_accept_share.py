"""Which worker takes the next connection."""

import os
from collections.abc import Iterator

import pytest

from arriero.protocol.control.running import TABLE_BYTES
from arriero.worker.server.accept_share import HUNG_S, AcceptShares


@pytest.fixture
def fd() -> Iterator[int]:
    fd = os.memfd_create("test")
    os.ftruncate(fd, TABLE_BYTES)
    yield fd
    os.close(fd)


def opened(fd: int | None, worker: int, connections: int = 0) -> AcceptShares:
    shares = AcceptShares(worker, fd)
    shares.open()
    shares.add(connections)
    return shares


def test_a_worker_that_is_alone_takes_all(fd: int) -> None:
    assert opened(None, 1, 1000).is_next()
    assert opened(fd, 1, 1000).is_next()
    assert opened(fd, 1, 1000).least() is None


@pytest.mark.parametrize(
    ("mine", "other", "mine_is_next"),
    [(0, 0, True), (1, 0, False), (0, 1, True), (8, 8, True), (9, 8, False), (9, 9, True)],
)
def test_few_connections_go_to_whoever_has_fewer(
    fd: int, mine: int, other: int, mine_is_next: bool
) -> None:
    one, _ = opened(fd, 1, mine), opened(fd, 2, other)

    assert one.is_next() is mine_is_next


def test_of_many_a_worker_may_have_a_few_more(fd: int) -> None:
    one, other = opened(fd, 1), opened(fd, 64)
    taken = 0
    while taken < 5000:  # each takes as long as it may
        for shares in (one, other):
            while shares.is_next():
                shares.add(1)
                taken += 1
            least, most = sorted((one.connections, other.connections))
            assert most <= 1.2 * least + 1


def test_who_takes_none_is_not_waited_for(fd: int) -> None:
    one, other = opened(fd, 1, 5), opened(fd, 2)
    assert not one.is_next()

    other.close()

    assert one.is_next()
    other.open()
    assert not one.is_next()


def test_who_does_not_move_is_given_up_until_it_moves(fd: int) -> None:
    one, hung, third = opened(fd, 1, 5), opened(fd, 2, 3), opened(fd, 3, 5)

    one.note_wait(0.0)
    assert not one.is_next()
    one.note_wait(HUNG_S)
    assert one.is_next()
    assert one.least() == 5  # that of the third is still looked at

    hung.add(1)
    assert not one.is_next()
    assert third.connections == 5


def test_who_took_what_was_left_to_it_begins_anew(fd: int) -> None:
    one, _ = opened(fd, 1, 5), opened(fd, 2, 4)
    one.note_wait(0.0)
    one.note_taken()

    one.note_wait(HUNG_S)

    assert not one.is_next()
