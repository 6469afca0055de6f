"""The last lines of a log come back as they were, packed or not."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from arriero.protocol.control.models import LogsLine
from arriero.supervisor.text.line_ring import PIECE_BYTES, LineRing

# With halves of characters, which no encoding has.
ANY_TEXT = st.text(st.characters(exclude_categories=()))


def line(text: str, t: float = 0.0, model: str = "", stream: str = "stderr") -> LogsLine:
    return LogsLine(t=t, model=model, stream=stream, line=text)


def kept(ring: LineRing) -> list[LogsLine]:
    return [*reversed(ring)][::-1]


def pack_all(ring: LineRing) -> int:
    count = 0
    while ring.pack():
        count += 1
    return count


@given(
    st.lists(st.builds(line, ANY_TEXT, st.floats(0, 2e9), ANY_TEXT, ANY_TEXT), max_size=30),
    st.integers(0, 30),
)
def test_lines_come_back_as_they_were(lines: list[LogsLine], most: int) -> None:
    ring = LineRing(most, 10**6)
    for added in lines:
        ring.append(added)

    assert kept(ring) == lines[-most:] if most else not kept(ring)
    assert len(ring) == min(most, len(lines))


def test_what_is_packed_is_read_and_dropped_like_the_rest() -> None:
    ring, lines = LineRing(10**6, 10**9), [line(f"request {n} " * 30, n) for n in range(2000)]
    for added in lines[:1000]:
        ring.append(added)
    assert pack_all(ring) == 1000 * len(lines[500].line) // PIECE_BYTES
    for added in lines[1000:]:
        ring.append(added)

    assert kept(ring) == lines
    for _ in range(700):
        ring.drop_oldest()
    assert kept(ring) == lines[700:]
    pack_all(ring)
    assert kept(ring) == lines[700:]
    while len(ring):
        ring.drop_oldest()
    assert ring.size_bytes == 0
    assert not kept(ring)


def test_its_size_is_bounded_and_lines_are_dropped_one_by_one() -> None:
    ring = LineRing(10**6, 3 * PIECE_BYTES)
    lengths = []
    for n in range(3000):
        ring.append(line("x" * 100, n))
        lengths.append(len(ring))

    assert 3 * PIECE_BYTES - 200 < ring.size_bytes <= 3 * PIECE_BYTES
    assert all(0 <= later - earlier <= 1 for earlier, later in pairwise(lengths))
    assert [it.t for it in kept(ring)] == [*range(3000 - len(ring), 3000)]


def test_one_that_is_longer_than_all_may_be_is_left_out() -> None:
    ring = LineRing(10, 1000)
    ring.append(line("x" * 2000))

    assert len(ring) == ring.size_bytes == 0
    ring.append(line("y"))
    assert [it.line for it in kept(ring)] == ["y"]


def test_it_is_read_while_lines_are_added() -> None:
    ring = LineRing(5, 10**6)
    for n in range(5):
        ring.append(line(f"{n}"))
    reading = reversed(ring)
    assert next(reading).line == "4"
    ring.append(line("5"))

    assert [next(reading).line for _ in range(3)] == ["3", "2", "1"]
