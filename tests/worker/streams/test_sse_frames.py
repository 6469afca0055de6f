import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.streams.sse_frames import (
    FrameSplitter,
    first_boundary,
    frames_with,
    last_boundary,
)
from tests.worker.apis.recorded import cut

ENDS = [b"\n", b"\r\n", b"\r"]

# A blank line: two line ends in a row, whichever they are.
BLANK = re.compile(rb"(?>\r\n|\r|\n)(?>\r\n|\r|\n)")

lines = st.text("abc: ", min_size=1, max_size=8).map(str.encode)
frames = st.builds(
    lambda text, ends, blank: b"".join(map(b"".join, zip(text, ends, strict=False))) + blank,
    st.lists(lines, min_size=1, max_size=3),
    st.lists(st.sampled_from(ENDS), min_size=3, max_size=3),
    st.sampled_from([b"\n", b"\r\n"]),
)


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"", 0),
        (b"data: a\n", 0),
        (b"data: a\n\n", 9),
        (b"data: a\n\ndata", 9),
        (b"data: a\r\n\r\ndata", 11),
        (b"data: a\r\n\r", 10),
        (b"data: a\r\rdata", 9),
        (b"data: a\n\r\ndata", 10),
        (b"data: a\r\n\ndata", 10),
        (b"data: a\r\ndata: b\r\n", 0),
        (b"\n\nx\n\ny", 5),
    ],
)
def test_a_frame_ends_with_a_blank_line_of_any_line_ends(data: bytes, end: int) -> None:
    assert last_boundary(data) == end


@given(st.lists(frames, max_size=6), st.binary(max_size=5), st.lists(st.integers(0, 200)))
def test_frames_pass_byte_for_byte_wherever_the_stream_is_cut(
    whole: list[bytes], tail: bytes, places: list[int]
) -> None:
    data = b"".join(whole) + tail.replace(b"\r", b"").replace(b"\n", b"")
    splitter = FrameSplitter()

    out = [splitter.push(piece) for piece in cut(data, places) if piece]

    assert b"".join(out) + splitter.rest == data
    for piece in filter(None, out):
        assert piece.endswith((b"\n\n", b"\n\r\n", b"\r\r", b"\r\n\r\n", b"\n\r", b"\r\n"))
    assert BLANK.search(splitter.rest.lstrip(b"\n")) is None


def test_a_frame_that_is_not_complete_is_kept_back() -> None:
    splitter = FrameSplitter()

    assert splitter.push(b"data: a\n\ndata: ") == b"data: a\n\n"
    assert splitter.push(b"b\n") == b""
    assert splitter.push(b"\ndata: c\n") == b"data: b\n\n"
    assert splitter.rest == b"data: c\n"


def test_a_frame_above_the_limit_is_passed_raw_until_the_next_boundary() -> None:
    splitter = FrameSplitter(limit_bytes=10)

    assert splitter.push(b"data: 123456") == b"data: 123456"
    assert (splitter.at_boundary, splitter.oversize) == (False, 1)
    assert splitter.push(b"789\n") == b"789\n"
    assert (splitter.at_boundary, splitter.oversize) == (False, 1)
    assert splitter.push(b"\ndata: b") == b"\n"
    assert (splitter.at_boundary, splitter.oversize) == (True, 1)
    assert splitter.push(b"\n\n") == b"data: b\n\n"
    assert splitter.oversize == 1


@given(
    st.lists(
        st.sampled_from([b"data: a\n", b"data: hint\n", b"data: other\r\n", b"\n", b"\r\n", b"\r"])
        | st.text("abhint\r\n", max_size=6).map(str.encode),
        max_size=20,
    )
)
def test_frames_with_a_hint_are_found_as_if_each_was_looked_at(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    expected, start = [], 0
    while start < len(data):
        end = first_boundary(data, start)
        if b"hint" in data[start:end] or b"other" in data[start:end]:
            expected.append(data[start:end].lstrip(b"\r\n"))
        start = end

    found = list(frames_with(data, (b"hint", b"other")))

    assert [frame.lstrip(b"\r\n") for frame in found] == expected
