import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor.processes.line_splitter import MAX_LINE_BYTES, LineSplitter


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"one\ntwo\n", [b"one", b"two"]),
        (b"dos\r\nunix\n", [b"dos", b"unix"]),
        (b"10%\r20%\rdone\n", [b"10%", b"20%", b"done"]),
        (b"\n\n", [b"", b""]),
        (b"no end", [b"no end"]),
        (b"\x0b\x0c\x1c\x85 stay\n", [b"\x0b\x0c\x1c\x85 stay"]),
    ],
)
def test_wherever_the_bytes_are_cut_the_lines_are_the_same(data: bytes, lines: list[bytes]) -> None:
    for at in range(len(data) + 1):
        cutter = LineSplitter()

        assert [*cutter.feed(data[:at]), *cutter.feed(data[at:]), *cutter.finish()] == lines


def test_a_line_without_end_is_passed_on_in_pieces() -> None:
    cutter = LineSplitter()

    pieces = [piece for _ in range(10) for piece in cutter.feed(b"x" * 5000)]

    assert [len(piece) for piece in pieces] == [MAX_LINE_BYTES] * (50_000 // MAX_LINE_BYTES)
    assert len(cutter.finish()[0]) == 50_000 % MAX_LINE_BYTES


@given(st.lists(st.binary(max_size=20_000), max_size=5))
def test_no_line_is_longer_than_the_limit_and_nothing_but_line_ends_is_lost(
    chunks: list[bytes],
) -> None:
    cutter = LineSplitter()

    lines = [line for chunk in chunks for line in cutter.feed(chunk)] + cutter.finish()

    assert all(len(line) <= MAX_LINE_BYTES for line in lines)
    assert b"".join(lines) == b"".join(chunks).replace(b"\r", b"").replace(b"\n", b"")
