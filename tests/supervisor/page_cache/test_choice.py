"""Which files are kept: a table."""

import random
import zlib
from typing import Any

import pytest

from arriero.supervisor.page_cache.choice import MAX_KEPT, KeepCandidate, choose
from arriero.supervisor.page_cache.loaded_files import LoadedFile

GIB = 1024**3


def file(name: str, size: int = GIB) -> LoadedFile:
    return LoadedFile(f"/m/{name}", (1, zlib.crc32(name.encode()), size))


def model(name: str, gib: float, *, use: float = 1.0, **more: Any) -> KeepCandidate:
    return KeepCandidate(
        model=name, files=(file(name, int(gib * GIB)),), use=use, slowest_s=gib, **more
    )


A, B = model("a", 10), model("b", 10)


@pytest.mark.parametrize(
    ("candidates", "gib", "chosen"),
    [
        ([A, B], 24, "a b"),
        ([A, B], 0, ""),
        ([model("a", 10, use=1), model("b", 10, use=2)], 24, "b a"),
        ([model("a", 10, use=1), model("b", 10, use=2)], 12, "b"),
        ([model("never", 2, use=0)], 24, "never"),  # there is room that nobody else wants
        ([model("never", 2, use=0), model("a", 23)], 24, "a"),
        ([model("larger", 25)], 24, ""),
        ([model("larger", 25), B], 24, "b"),
        # The one that runs is there already: what is kept is what has to be started next.
        ([model("a", 10, use=3, runs=True), B], 12, "b"),
        ([model("a", 10, use=5, runs=True), B], 12, "a"),
        ([model("pinned", 10, use=9, runs=True, stays=True)], 24, ""),
        # A slow disk: a start from there is worth more.
        ([model("ssd", 10), KeepCandidate(model="nas", files=(file("n", 10 * GIB),), use=1.0,
                                          slowest_s=200.0)], 12, "nas"),
        # Used more for each byte, but in the way of one that is worth much more.
        ([model("embedder", 1, use=2), model("large", 24, use=1)], 24, "large"),
        ([model("embedder", 1, use=2), model("large", 24, use=1)], 25, "embedder large"),
        ([KeepCandidate(model="nothing", files=())], 24, ""),
    ],
)  # fmt: skip
def test_what_is_kept(candidates: list[KeepCandidate], gib: int, chosen: str) -> None:
    found = choose(candidates, gib * GIB)

    assert [one.model for one in found] == chosen.split()


def test_equal_ones_do_not_take_turns() -> None:
    files = {one.model: {found.identity for found in one.files} for one in (A, B)}
    a_little_more = model("b", 10, use=1.3)
    much_more = model("b", 10, use=2)

    assert [one.model for one in choose([A, a_little_more], 12 * GIB, files["a"])] == ["a"]
    assert [one.model for one in choose([A, much_more], 12 * GIB, files["a"])] == ["b"]


def test_a_shared_file_counts_once() -> None:
    base = file("base", 10 * GIB)
    twins = [
        KeepCandidate(model=name, files=(base, file(name, GIB)), use=1.0, slowest_s=5.0)
        for name in ("one", "two")
    ]
    assert [one.model for one in choose(twins, 12 * GIB)] == ["one", "two"]


def test_what_cannot_be_kept_is_left_out() -> None:
    unusable = {found.identity for found in A.files}
    assert [one.model for one in choose([A, B], 24 * GIB, unusable=unusable)] == ["b"]


def test_no_more_files_than_can_be_open() -> None:
    parts = tuple(file(f"part{number}", 1) for number in range(MAX_KEPT))
    split = KeepCandidate(model="split", files=parts, use=19.0, slowest_s=1.0)
    too_many = KeepCandidate(model="x", files=(*parts, file("more", 1)), use=99.0, slowest_s=1.0)

    assert [one.model for one in choose([split, too_many, A], 24 * GIB)] == ["split"]


def test_never_more_than_the_budget() -> None:
    dice = random.Random(5)
    for _ in range(300):
        pool = [file(f"f{n}", dice.randint(1, 9) * GIB) for n in range(6)]
        models = [
            KeepCandidate(
                model=f"m{n}",
                files=tuple(dice.sample(pool, dice.randint(0, 3))),
                use=dice.choice([0, 1, 5]),
                slowest_s=dice.choice([None, 1.0, 30.0]),
                runs=dice.random() < 0.3,
            )
            for n in range(5)
        ]
        budget = dice.randint(0, 20) * GIB
        kept = {one.identity for one in dice.sample(pool, 2)}
        chosen = choose(models, budget, kept)
        taken = {one.identity for found in chosen for one in found.files}

        assert sum(size for _, _, size in taken) <= budget
        fits = [one for one in models if one.files and one.size <= budget]
        assert bool(chosen) == bool(fits)
