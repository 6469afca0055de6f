import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.errors import BadRequest, RelayError, TooLarge
from arriero.worker.http.chunked import MAX_CHUNKS, ChunkedBody, chunk
from tests.worker.growth import assert_linear

LIMIT = 1000


def read(data: bytes) -> tuple[bytes, ChunkedBody]:
    reader = ChunkedBody(LIMIT)
    return reader.push(data), reader


def test_chunks_are_put_together_and_the_next_request_is_left() -> None:
    body, reader = read(b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nPOST")

    assert (body, reader.complete, reader.rest) == (b"abc0123456789", True, b"POST")


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=5), st.lists(st.integers(0, 300)))
def test_a_body_is_the_same_wherever_it_is_cut(pieces: list[bytes], places: list[int]) -> None:
    data = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\nnext"
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    reader = ChunkedBody(LIMIT)
    body = rest = b""

    for start, end in itertools.pairwise(edges):
        if reader.complete:
            rest += data[start:end]
        else:
            body += reader.push(data[start:end])

    assert body == b"".join(pieces)
    assert reader.rest + rest == b"next"


@pytest.mark.parametrize(
    "data",
    [
        b"3\nabc\r\n",
        b"3\r\nabcd\r\n",
        b"-3\r\nabc\r\n",
        b"0x3\r\nabc\r\n",
        b" 3\r\nabc\r\n",
        b"\r\n",
        b"g\r\n",
        b"123456789\r\n",
        b"3;\x00\r\nabc\r\n",
        b"0\r\nX: y\n\r\n",
        b"0\r\nX: \0\r\n\r\n",
        b"1;" + b"x" * 5000,
        b"0\r\n" + b"X: y\r\n" * 4000,
    ],
)
def test_what_is_no_chunked_body_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequest):
        read(data)


def test_the_limit_is_kept_before_the_bytes_come() -> None:
    assert len(read(b"3e8\r\n" + b"x" * 1000)[0]) == 1000
    with pytest.raises(TooLarge):
        read(b"3e9\r\n")
    with pytest.raises(TooLarge):
        read(b"3e8\r\n" + b"x" * 1000 + b"\r\n1\r\n")


def test_nothing_of_a_body_is_kept() -> None:
    reader = ChunkedBody(10**9)
    reader.push(b"5f5e100\r\n")
    middle = b"x" * 10**6

    assert reader.push(middle) is middle
    for _ in range(99):
        reader.push(middle)
    assert not reader.complete
    assert reader.push(b"\r\n0\r\n\r\n") == b""
    assert reader.complete


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_any_bytes_are_read_or_refused(pieces: list[bytes]) -> None:
    reader = ChunkedBody(LIMIT)
    try:
        for piece in pieces:
            reader.push(piece)
    except RelayError:
        pass


def read_all(data: bytes, limit: int = 10**9) -> tuple[bytes, int]:
    """Return the body, and into how many steps the work was divided."""
    reader = ChunkedBody(limit)
    body = reader.push(data)
    steps = 1
    while reader.has_more:
        body += reader.push(b"")
        steps += 1
    return body, steps


def test_many_small_chunks_are_read_in_steps() -> None:
    count = 10 * MAX_CHUNKS
    body, steps = read_all(b"1\r\nx\r\n" * count)
    assert (body, steps) == (b"x" * count, 11)


@pytest.mark.parametrize(
    "piece",
    [b"1\r\nx\r\n", b"1;a=b\r\nx\r\n", b"00000001 \t \r\nx\r\n", b"400\r\n%b\r\n" % bytes(1024)],
)
def test_each_byte_is_looked_at_once(piece: bytes) -> None:
    def read_at_once(count: int) -> None:
        read_all(piece * count)

    def read_byte_by_byte(count: int) -> None:
        reader = ChunkedBody(10**9)
        for byte in piece * (count // 8):
            reader.push(bytes((byte,)))

    assert_linear(read_at_once, 20_000 // (len(piece) // 6))
    assert_linear(read_byte_by_byte, 20_000 // (len(piece) // 6))


def test_a_body_may_not_be_hardly_anything_but_extensions() -> None:
    read_all(b"1;%b\r\nx\r\n" % (b"e" * 10) * 1000)
    read_all(b"1;%b\r\nx\r\n" % (b"e" * 4000) * 4)
    with pytest.raises(BadRequest, match="hardly anything but extensions"):
        read_all(b"1;%b\r\nx\r\n" % (b"e" * 4000) * 5)
    with pytest.raises(BadRequest, match="hardly anything but extensions"):
        read_all(b"1;%b\r\nx\r\n" % (b"e" * 40) * 1000)


def test_a_chunk_has_its_size_in_hexadecimal() -> None:
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
