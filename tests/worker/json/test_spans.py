import contextlib
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.errors import BadRequest
from arriero.worker.json import spans as json_spans
from arriero.worker.json.spans import (
    MAX_MEMBERS,
    find_items,
    find_members,
    finish,
    is_there,
    joined,
)
from tests.worker.growth import assert_linear


@pytest.fixture(scope="module", params=[512, 5], ids=["as it is", "in small steps"], autouse=True)
def steps(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_spans, "_FIRST_BYTES", request.param)
        patch.setattr(json_spans, "_STEP_BYTES", 128 * request.param)
        yield


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9)
    | st.text(max_size=40) | st.sampled_from(["model", '"}', "\\", '\\"' * 30, "{[", "\\\\" * 9]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=20,
)  # fmt: skip
_STYLES = st.fixed_dictionaries(
    {"ensure_ascii": st.booleans(), "indent": st.sampled_from([None, 0, 2])}
)


@given(st.dictionaries(st.text(max_size=5), _JSON, max_size=5), _STYLES)
def test_members_are_where_they_are(value: dict[str, Any], style: dict[str, Any]) -> None:
    body = json.dumps(value, **style).encode()
    found = {
        member.name: json.loads(body[member.start : member.end])
        for member in finish(find_members(body))
    }
    assert found == value


@given(st.lists(_JSON, max_size=6), _STYLES)
def test_items_are_where_they_are(value: list[Any], style: dict[str, Any]) -> None:
    body = b" " + json.dumps(value, **style).encode() + b" x"
    found = finish(find_items(body, 1, most=6))
    assert found is not None
    assert [json.loads(body[span.start : span.end]) for span in found] == value
    assert finish(find_items(b"[0,1,2]", 0, most=2)) is None


@given(st.binary(max_size=60) | st.text('{}[]",:\\ a1', max_size=60).map(str.encode))
def test_whatever_the_bytes_are_only_a_bad_request_comes_of_them(body: bytes) -> None:
    try:
        members = finish(find_members(body))
    except BadRequest:
        members = None
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    assert (members is not None) == isinstance(value, dict)


@given(st.binary(max_size=300), st.binary(min_size=1, max_size=3))
def test_a_word_is_found_wherever_the_steps_end(body: bytes, word: bytes) -> None:
    assert finish(is_there(body, word)) == (word in body)


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_parts_are_joined(parts: list[bytes]) -> None:
    assert finish(joined(parts)) == b"".join(parts)


def test_no_body_has_that_many_members() -> None:
    body = b'{"a":0%b}'
    assert len(finish(find_members(body % (b',"a":0' * (MAX_MEMBERS - 1))))) == MAX_MEMBERS
    with pytest.raises(BadRequest, match="more than 1000 members"):
        finish(find_members(body % (b',"a":0' * MAX_MEMBERS)))


# What makes work, for each byte of it.
HOSTILE = {
    "brackets": (b'{"x":[', b"[],", b"0]}"),
    "deep": (b'{"x":', b"[", b""),
    "deep and back": (b'{"x":[', b"[[[[[[[[]]]]]]]],", b"0]}"),
    "texts": (b'{"x":[', b'"",', b"0]}"),
    "one text": (b'{"x":"', b"a", b'"}'),
    "quotes": (b'{"x":"', b'\\"', b'"}'),
    "backslashes": (b'{"x":"', b"\\\\", b'"}'),
    "escapes": (b'{"x":"', b"\\u00e9", b'"}'),
    "numbers": (b'{"x":[', b"1,", b"0]}"),
    "members": (b'{"x":{', b'"":0,', b'"":0}}'),
    "no end": (b'{"x":[', b'"', b""),
    "blanks": (b'{"x":[', b" ", b"]}"),
    "long members": (b"{", b'"":[%b0],' % (b"[]," * 700), b'"":0}'),
}


@pytest.mark.parametrize("shape", HOSTILE.values(), ids=HOSTILE)
def test_each_byte_is_looked_at_a_bounded_number_of_times(
    shape: tuple[bytes, bytes, bytes],
) -> None:
    begin, piece, end = shape

    def scan(size: int) -> None:
        with contextlib.suppress(BadRequest):
            finish(find_members(begin + piece * (size // len(piece)) + end))

    assert_linear(scan, 200_000)
