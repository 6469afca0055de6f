import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.protocol.read_json import BadJson, JsonReader, json_object, json_value


class Named(msgspec.Struct):
    name: str | None = None


named = JsonReader(Named)

BROKEN = [
    b"",
    b"{",
    b'{"name": 1',
    b'{"name": "\xff"}',
    b'{"name": "\\ud800"}',
    b'{"a": ' + b"[" * 100_000,
    b"{} {}",
]
PIECES = st.sampled_from([b"{", b"}", b"[", b"]", b'"', b"name", b":", b",", b"1", b"\\u", b"\xff"])


@pytest.mark.parametrize("data", BROKEN, ids=lambda data: repr(data[:20]))
def test_broken_text_has_no_value(data: bytes) -> None:
    assert json_value(data) is None
    assert json_object(data) is None
    assert named.find(data) is None
    with pytest.raises(BadJson):
        named.read(data)


@pytest.mark.parametrize("data", [b"[]", b"1", b'"{}"', b"null", b"true"])
def test_other_values_are_no_object(data: bytes) -> None:
    assert json_object(data) is None
    assert named.find(data) is None


def test_error_says_where() -> None:
    with pytest.raises(BadJson, match=r"^Expected `str \| null`, got `int` - at `\$\.name`$"):
        named.read(b'{"name": 1}')


def test_last_of_equal_members_counts() -> None:
    data = b'{"name": "a", "name": "b"}'

    assert json_object(data) == {"name": "b"}
    assert named.read(data) == Named("b")


@given(st.lists(PIECES, max_size=30).map(b"".join) | st.binary(max_size=30))
def test_any_bytes_are_a_value_or_bad_json(data: bytes) -> None:
    json_value(data)
    found = named.find(data)
    try:
        assert named.read(data) == found
    except BadJson:
        assert found is None
