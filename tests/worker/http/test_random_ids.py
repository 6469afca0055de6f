"""Randomness that is bought in bulk is used once."""

from arriero.worker.http.random_ids import RandomPool


def test_nobody_gets_what_another_one_has() -> None:
    pool = RandomPool()

    taken = [pool.take(count) for count in [24, 16, 8, 24] * 200]

    assert [len(piece) for piece in taken] == [24, 16, 8, 24] * 200
    assert len(set(taken)) == len(taken)


def test_all_of_the_bulk_can_be_taken_at_once() -> None:
    pool = RandomPool()

    pool.take(1)

    assert len(pool.take(4096)) == 4096
    assert len(pool.take(1)) == 1
