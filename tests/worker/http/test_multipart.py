import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.errors import BadRequest
from arriero.worker.http.multipart import (
    MAX_PART_HEAD_BYTES,
    MAX_PARTS,
    MAX_PREAMBLE_BYTES,
    MAX_VALUE_BYTES,
    FieldFound,
    FormFinder,
    read_query,
)

TYPE = b"multipart/form-data; boundary=B-1"
FILE = b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav'


def field(name: str) -> bytes:
    return b'Content-Disposition: form-data; name="%b"' % name.encode()


def form(*parts: tuple[bytes, bytes], boundary: bytes = b"B-1") -> bytes:
    """A form of parts, each with its head (without a line end) and its data."""
    body = b"".join(b"--%b\r\n%b\r\n\r\n%b\r\n" % (boundary, head, data) for head, data in parts)
    return body + b"--%b--\r\n" % boundary


WHOLE = form(
    (field("model"), b"whisper"), (FILE, b"\r\n--B-\r\n\r\n\0\xff"), (field("stream"), b"true")
)


def read(body: bytes, content_type: bytes = TYPE) -> FormFinder:
    finder = FormFinder(content_type)
    finder.push(body)
    return finder


def test_model_and_stream_are_found_with_the_place_of_the_name() -> None:
    finder = read(WHOLE)

    assert finder.model is not None
    assert finder.model.value == "whisper"
    assert WHOLE[finder.model.start : finder.model.end] == b"whisper"
    assert finder.stream
    assert finder.complete


def outcome(pieces: list[bytes]) -> tuple[object, ...]:
    try:
        finder = FormFinder(TYPE)
        for piece in pieces:
            finder.push(piece)
    except BadRequest as exc:
        return (exc.message,)
    return (finder.model, finder.stream, finder.complete)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def test_a_form_is_the_same_when_it_comes_byte_by_byte() -> None:
    assert outcome([WHOLE[i : i + 1] for i in range(len(WHOLE))]) == outcome([WHOLE])


HEADS = st.sampled_from([field("model"), field("stream"), field("x"), FILE, b"", b"A: b", b"oops"])
LUMPS = st.sampled_from(
    [
        b"\r\n",
        b"--",
        b"B-1",
        b"\r\n--B-1",
        b"\r\n--B-1--",
        b"a",
        b"\r",
        b"\xff",
        b"true",
        b"x" * 4200,
    ]
)
DATA = st.lists(LUMPS, max_size=6).map(b"".join)


@given(
    st.lists(st.tuples(HEADS, DATA), max_size=4),
    st.lists(st.tuples(st.integers(0, 400), LUMPS), max_size=2),
    st.lists(st.integers(0, 10_000), max_size=8),
)
def test_a_form_is_the_same_wherever_it_is_cut_even_a_damaged_one(
    parts: list[tuple[bytes, bytes]], damage: list[tuple[int, bytes]], places: list[int]
) -> None:
    body = form(*parts)
    for place, lump in damage:
        body = body[:place] + lump + body[place:]

    assert outcome(cut(body, places)) == outcome([body])


@given(st.binary(max_size=300), st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(body: bytes, content_type: bytes) -> None:
    for kind in (content_type, b"multipart/form-data;" + content_type, TYPE):
        for data in (body, b"--B-1\r\n" + body, b"--B-1\r\n" + field("model") + body):
            with contextlib.suppress(BadRequest):
                read(data, kind)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.binary(max_size=50)), max_size=5), DATA)
def test_the_place_is_right_whatever_is_around_it(
    others: list[tuple[str, bytes]], data: bytes
) -> None:
    parts = [(field(name), value.replace(b"B-1", b"")) for name, value in others]
    body = form((FILE, data.replace(b"B-1", b"")), *parts, (field("model"), b"m"), *parts)

    found = read(body).model

    assert found is not None
    assert (found.value, body[found.start : found.end]) == ("m", b"m")
    assert body[: found.start].endswith(field("model") + b"\r\n\r\n")


@pytest.mark.parametrize(
    "content_type",
    [
        b'multipart/form-data; boundary="B-1"',
        b"Multipart/Form-Data;BOUNDARY=B-1",
        b"multipart/form-data; charset=utf-8; boundary=B-1 ;",
        b'multipart/form-data; boundary="B\\-1"',
    ],
)
def test_a_boundary_may_be_written_in_several_ways(content_type: bytes) -> None:
    assert read(WHOLE, content_type).complete


@pytest.mark.parametrize(
    "boundary", [b"a" * 256, b"----=_Part_1.2", b"a b", b"*#~[x]", b"{|}^`%&$!@<>"]
)
def test_a_boundary_may_have_all_characters_that_are_allowed(boundary: bytes) -> None:
    body = form((field("model"), b"m"), boundary=boundary)

    assert read(body, b'multipart/form-data; boundary="%b"' % boundary).complete


@pytest.mark.parametrize(
    "content_type",
    [
        b"multipart/form-data",
        b"multipart/form-data; boundary=",
        b'multipart/form-data; boundary=""',
        b'multipart/form-data; boundary="B-1',
        b"multipart/form-data; boundary=" + b"a" * 257,
        b"multipart/form-data; boundary=B-1; boundary=B-2",
        b"multipart/form-data; boundary=B-1, multipart/form-data; boundary=B-2",
        b'multipart/form-data; boundary="B-1 "',
        b'multipart/form-data; boundary="B\xff1"',
        b'multipart/form-data; boundary="B\\\r1"',
    ],
)
def test_a_boundary_that_cannot_be_one_is_refused(content_type: bytes) -> None:
    with pytest.raises(BadRequest):
        FormFinder(content_type)


@pytest.mark.parametrize(
    "head",
    [
        b'content-disposition: form-data; name="model"',
        b"Content-Disposition: form-data; name=model \t",
        b'Content-Disposition:form-data;name="mo\\del"',
        b'Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name="model"',
    ],
)
def test_the_name_of_a_field_may_be_written_in_several_ways(head: bytes) -> None:
    found = read(form((head, b"m"))).model

    assert found is not None
    assert found.value == "m"


@pytest.mark.parametrize(
    "head",
    [
        b'Content-Disposition: form-data; name="model"; filename="m"',
        b"Content-Disposition: form-data; name=\"model\"; filename*=UTF-8''m",
        b'Content-Disposition: form-data; name="x"; comment="; name=\\"model\\""',
        b'Content-Disposition: form-data; name="models"',
        b'Content-Disposition: form-data; name="Model"',
        b'X-Content-Disposition: form-data; name="model"',
        b"Content-Disposition: form-data",
        b"",
    ],
)
def test_a_file_and_a_field_of_another_name_name_no_model(head: bytes) -> None:
    finder = read(form((head, b"m")))

    assert finder.complete
    assert finder.model is None


M = field("model")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"preamble" + form((M, b"m")), "begin a line"),
        (b"preamble\n" + form((M, b"m")), "begin a line"),
        (b"x--B-1\r\n\r\n" + form((M, b"m")), "begin a line"),
        (b"x" * (MAX_PREAMBLE_BYTES + 9), "begin"),
        (b"--B-1 \r\n" + M + b"\r\n\r\nm\r\n--B-1--", "behind a boundary"),
        (b"--B-1\n" + M + b"\n\nm\n--B-1--", "behind a boundary"),
        (form((M, b"m\r\n--B-1x")), "behind a boundary"),
        (form((M, b"a"), (M, b"a")), "two fields"),
        (form((M, b"a"), (FILE, b"x" * 9000), (M, b"b")), "two fields"),
        (form((M, b"")), "is empty"),
        (form((M, b"\xff")), "UTF-8"),
        (form((M + b"; name=x", b"m")), "says of itself"),
        (form((M + b'; filename="x', b"m")), "says of itself"),
        (form((M + b"\r\n" + M, b"m")), "twice"),
        (form((M + b"\nA: b", b"m")), "bare line end"),
        (form((b"A: \0\r\n" + M, b"m")), "bare line end"),
        (form((b"no colon\r\n" + M, b"m")), "makes no sense"),
        (form((b"Content-Disposition : form-data", b"m")), "makes no sense"),
        (form((b" folded: x\r\n" + M, b"m")), "makes no sense"),
        (form((M, b"m" * (MAX_VALUE_BYTES + 1))), "that length"),
        (b"--B-1\r\n" + M + b"\r\n\r\n" + b"m" * 5000, "that length"),
        (form((field("stream"), b" " * 5000)), "'stream' of that length"),
        (b"--B-1\r\nA: " + b"x" * 17_000, "head of a part"),
        (form(*[(b"A: b", b"")] * 1001), "1000 parts"),
    ],
)  # fmt: skip
def test_what_two_readers_could_understand_differently_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        read(body)


def test_what_is_just_within_the_limits_is_read() -> None:
    head = M + b"\r\nA: "
    head += b"x" * (MAX_PART_HEAD_BYTES - len(head) - 4)
    parts = [(head, b"m" * MAX_VALUE_BYTES), *[(b"A: b", b"")] * (MAX_PARTS - 1)]

    finder = read(form(*parts))

    assert finder.complete
    assert finder.model is not None
    assert finder.model.value == "m" * MAX_VALUE_BYTES
    with pytest.raises(BadRequest):
        read(form((head + b"x", b"m")))


@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"\r\n",
        b"\r\n\r\n",
        b"preamble\r\n",
        b"a\r\n-- B-1\n" * 99 + b"\r\n",
        b"x" * 60_000 + b"\r\n",
    ],
)
def test_a_preamble_and_whatever_follows_are_passed_over(before: bytes) -> None:
    body = before + form((M, b"m")) + b"--B-1\r\n" + M + b"\r\n\r\nother\r\n--B-1--"
    finder = read(body)

    place = body.index(b"\r\n\r\nm\r\n") + 4
    assert finder.model == FieldFound("m", place, place + 1)
    assert finder.complete


@pytest.mark.parametrize(
    ("value", "stream"), [(b"true", True), (b" True ", True), (b"false", False), (b"", False)]
)
def test_stream_says_yes_or_no(value: bytes, stream: bool) -> None:
    assert read(form((field("stream"), value))).stream is stream
    assert read_query(b"stream=" + value).stream is stream


@pytest.mark.parametrize("before", [b"--B-1\r\n" + FILE + b"\r\n\r\n", WHOLE])
def test_nothing_of_a_file_is_kept_and_nothing_behind_the_end(before: bytes) -> None:
    finder = read(before)

    for _ in range(100):
        finder.push(b"x" * 100_000)

    assert len(finder._pending) < 100


# --- forms that are written like a query ---------------------------------------------------------


def test_a_query_is_read_with_the_place_of_the_name() -> None:
    body = b"a=b&mod%65l=my+model%2F1&stream=true&=&x"

    model, stream = read_query(body)

    assert model is not None
    assert model.value == "my model/1"
    assert body[model.start : model.end] == b"my+model%2F1"
    assert stream


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"model=a&model=a", "two fields"),
        (b"model=", "is empty"),
        (b"model", "is empty"),
        (b"model=%ff", "UTF-8"),
        (b"model=" + b"m" * 5000, "that length"),
        (b"&" * 1001, "1000 fields"),
    ],
)
def test_a_query_that_cannot_be_taken_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        read_query(body)


@given(st.binary(max_size=200))
def test_any_query_is_read_or_refused(data: bytes) -> None:
    try:
        model, _ = read_query(data)
    except BadRequest:
        return
    assert model is None or model.start <= model.end <= len(data)
