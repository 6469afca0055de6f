import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.errors import UpstreamDied
from arriero.worker.streams.merge import MergingSplitter, read_event, read_object, with_data
from arriero.worker.streams.sse_events import MAX_DATA_BYTES, EventReader
from tests.worker.apis.recorded import cut

FRAME = re.compile(rb"[^\r\n]*(?>\r\n|\r|\n)", re.DOTALL)


class Marks:
    """Marks each frame, leaves those with a ``-`` out, and changes those with a ``+``."""

    def begin(self) -> bytes:
        return b"<"

    def edit(self, frame: bytes) -> bytes:
        if b"-" in frame:
            return b""
        return b"(edited)\n\n" if b"+" in frame else frame


def merged(*pieces: bytes) -> bytes:
    splitter = MergingSplitter(Marks())
    return b"".join(splitter.push(piece) for piece in pieces)


@given(st.text("ab-+:\r\n", max_size=40).map(str.encode), st.lists(st.integers(0, 99)))
def test_what_comes_out_does_not_depend_on_the_cut(data: bytes, places: list[int]) -> None:
    assert merged(*cut(data, places)) == merged(data)


@given(st.text("ab:\r\n", max_size=40).map(str.encode), st.lists(st.integers(0, 99)))
def test_frames_that_nobody_changes_pass_byte_for_byte(data: bytes, places: list[int]) -> None:
    out = merged(*cut(data, places))

    assert data.startswith(out.removeprefix(b"<"))
    kept = data[len(out.removeprefix(b"<")) :]
    assert re.search(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)", kept) is None


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n", b"\r\n\n"])
def test_a_frame_that_is_left_out_takes_its_end_along(end: bytes) -> None:
    data = end.join([b"a", b"-", b"+", b"b", b""])

    for place in range(len(data) + 1):
        assert merged(data[:place], data[place:]) == b"<a" + end + b"(edited)\n\nb" + end


def test_a_frame_goes_on_as_soon_as_it_is_complete() -> None:
    splitter = MergingSplitter(Marks())

    assert splitter.push(b"a\r\n\r") == b"<a\r\n\r"
    assert splitter.push(b"\nb\n\nc") == b"\nb\n\n"
    assert splitter.push(b"\n") == b""


def test_a_byte_order_mark_does_not_end_up_in_the_middle() -> None:
    assert merged(b"\xef\xbb", b"\xbfa\n\n\xef\xbb\xbfb\n\n") == b"<a\n\n\xef\xbb\xbfb\n\n"


def test_a_frame_with_an_image_is_merged_as_others_are() -> None:
    """It is longer than what is read where nobody has to change anything."""
    image = b"+" * (MAX_DATA_BYTES + 1)
    frame = b'id: 1\ndata: {"image":"%b"}\n\n' % image
    pieces = [frame[at : at + 65536] for at in range(0, len(frame), 65536)]
    seen: list[bytes] = []

    splitter = MergingSplitter(Marks(), look=seen.append)

    assert b"".join(map(splitter.push, pieces)) == b"<(edited)\n\n"
    assert seen == [frame]
    assert read_object(read_event(frame)) == {"image": image.decode()}


def test_a_frame_that_never_ends_is_given_up() -> None:
    splitter = MergingSplitter(Marks(), limit_bytes=8)

    assert splitter.push(b"12345678") == b""
    with pytest.raises(UpstreamDied, match="more than 8 bytes"):
        splitter.push(b"9")


names = st.text("x :\xe9", max_size=3).map(str.encode)


@given(st.sampled_from([b"", b"event:", b"event: ", b"event", b"data:", b": "]), names, names)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_the_usual_frame_is_read_as_the_standard_says(
    end: bytes, field: bytes, name: bytes, data: bytes
) -> None:
    first = field + name + end if field else b""
    frame = first + b"data:" + data + end + end

    assert [read_event(frame)] == list(EventReader().push(frame))


@pytest.mark.parametrize(
    ("frame", "value"),
    [
        (b"data: {}\n\n", {}),
        (b'event: x\r\ndata:{"a":1}\r\n\r\n', {"a": 1}),
        (b'data: {"a":\ndata: 1}\n\n', {"a": 1}),
        (b"data:  {}\n\n", {}),
        (b"data:\ndata: {}\n\n", {}),
        (b": comment\n\n", None),
        (b"data: [DONE]\n\n", None),
        (b"data: [1]\n\n", None),
        (b"data: {\n\n", None),
        (b'data: {"a":"\xff"}\n\n', None),
        (b"data: " + b'{"a":' * 100_000 + b"\n\n", None),
        (b"\n\n", None),
        (b"\xef\xbb\xbfdata: {}\n\n", None),  # not at the beginning of a stream
    ],
)
def test_only_objects_are_read(frame: bytes, value: Any) -> None:
    assert read_object(read_event(frame)) == value


@pytest.mark.parametrize(
    ("frame", "changed"),
    [
        (b"id: 1\ndata: {}\n: c\n\n", b'id: 1\ndata: {"a":1}\n: c\n\n'),
        (b"data:{}\r\n\r\n", b'data:{"a":1}\r\n\r\n'),
        (b"event: x\rdata: {\rdata: }\r\r", b'event: x\rdata: {"a":1}\r\r'),
        (
            b"id: 1\ndata:{\nretry: 2\ndata: }\r\n: data: c\ndata\ndatax\n\n",
            b'id: 1\ndata:{"a":1}\nretry: 2\n: data: c\ndatax\n\n',
        ),
        (b"data\ndata:\ndata:  {}\n\n", b'data\ndata:{"a":1}\n\n'),
        (b"xdata: y\ndata: {}\n\n", b'xdata: y\ndata: {"a":1}\n\n'),
    ],
)
def test_only_the_data_of_a_frame_is_changed(frame: bytes, changed: bytes) -> None:
    assert read_object(read_event(frame)) == {}
    assert with_data(frame, {"a": 1}) == changed
