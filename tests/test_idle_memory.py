"""Free memory is given back when there is nothing else to do."""

from pathlib import Path

import pytest
import trio

from arriero.idle_memory import LOOK_S, give_back, give_back_when_idle


@pytest.mark.parametrize(
    ("shares", "given_after"),
    [
        ([0.0, 0.0, 0.0], [1]),  # after the start
        ([0.9, 0.5, 0.02, 0.0], [3]),
        ([0.0, 0.9, 0.9, 0.0, 0.0, 0.3, 0.0], [1, 4, 7]),
        ([0.0, 0.01, 0.0, 0.001], [1, 2, 4]),  # a little is enough
        ([0.9, 0.9, 0.2], []),
    ],
)
async def test_it_is_given_back_after_work_when_there_is_little(
    shares: list[float], given_after: list[int], autojump_clock: trio.testing.MockClock
) -> None:
    given: list[int] = []

    def looks() -> int:
        return round(trio.current_time() / LOOK_S)

    with trio.move_on_after((len(shares) + 0.5) * LOOK_S):
        await give_back_when_idle(
            lambda: given.append(looks()), lambda: LOOK_S * sum(shares[: looks()])
        )

    assert given == given_after


async def test_all_is_packed_before_with_turns_for_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    done: list[str] = []
    left = [3]

    def pack() -> bool:
        done.append("pack")
        left[0] -= 1
        return left[0] > 0

    async def other() -> None:
        await trio.sleep(LOOK_S)
        for _ in range(3):
            done.append("other")
            await trio.lowlevel.checkpoint()

    with trio.move_on_after(1.5 * LOOK_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            nursery.start_soon(lambda: give_back_when_idle(lambda: done.append("give"), pack=pack))

    assert [it for it in done if it != "other"] == ["pack"] * 3 + ["give"]
    assert "other" in done[done.index("pack") : done.index("give")]


async def test_it_takes_a_small_share_of_all_work(autojump_clock: trio.testing.MockClock) -> None:
    used, given = 0.0, 0

    def give() -> None:
        nonlocal used, given
        used += 0.05  # a large heap in pieces
        given += 1

    def cpu_s() -> float:
        nonlocal used
        used += 0.02 * LOOK_S
        return used

    with trio.move_on_after(1000.5 * LOOK_S):
        await give_back_when_idle(give, cpu_s)

    assert given > 1
    assert given * 0.05 < used / 40


def test_what_is_free_between_pieces_in_use_is_given_back() -> None:
    pieces: list[bytearray | None] = [bytearray(20_000) for _ in range(5000)]
    for number in range(len(pieces)):
        if number % 10:
            pieces[number] = None
    before = resident_kb()

    give_back()

    assert resident_kb() < before - 50_000


def resident_kb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
