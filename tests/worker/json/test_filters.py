"""Members that the configuration removes and sets; the rest keeps its bytes."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.worker.errors import BadRequest
from arriero.worker.json.filters import BodyChanges
from tests.examples import examples

BODY = (
    b'{ "model":"m", "temperature" : 0.70, '
    b'"options": {"top_k":40,"deep":{"a":1.0}}, "stop":["x","y"] }'
)


def changed(body: bytes, *removed: str, **settings: Any) -> bytes:
    """Return `body` without `removed`, and with what is set: a__b is a.b."""
    return changes(removed, {name.replace("__", "."): it for name, it in settings.items()})(body)


def changes(removed: tuple[str, ...], *settings: dict[str, Any]) -> Callable[[bytes], bytes]:
    texts = [{k: msgspec.Raw(json.dumps(v).encode()) for k, v in it.items()} for it in settings]
    return BodyChanges(removed, *texts).apply_at_once


def test_nothing_to_change_is_the_same_object() -> None:
    assert changed(BODY, "nobody", "options.nobody", "nobody.at.all", "stop.9") == BODY
    assert changed(BODY, "nobody") is BODY
    assert not BodyChanges(())


@pytest.mark.parametrize(
    ("removed", "gone"),
    [
        ("temperature", b', "temperature" : 0.70'),
        ("model", b'"model":"m", '),
        ("stop", b', "stop":["x","y"]'),
        ("options.top_k", b'"top_k":40,'),
        ("options.deep.a", b'"a":1.0'),
        ("stop.0", b'"x",'),
    ],
)
def test_what_is_removed_takes_its_comma_along(removed: str, gone: bytes) -> None:
    assert BODY.count(gone) == 1
    assert changed(BODY, removed) == BODY.replace(gone, b"")


def test_what_is_set_takes_the_place_of_what_is_there() -> None:
    assert changed(b'{"a": 1, "b":2}', a="x") == b'{"a": "x", "b":2}'
    assert changed(b'{"a": {"x":1}}', a={"y": 2}) == b'{"a": {"y": 2}}'  # as a whole
    assert changed(b'{"a": 1 , "a":2}', a=3) == b'{"a": 3 , "a":3}'
    assert changed(b'{"a":[1,2]}', a__1=5) == b'{"a":[1,5]}'


def test_what_is_not_there_is_added() -> None:
    assert changed(b"{}", a=1) == b'{"a":1}'
    assert changed(b'{ "b":1 }', a=1) == b'{ "b":1,"a":1 }'
    assert changed(b'{"b":1}', kwargs__thinking=False) == b'{"b":1,"kwargs":{"thinking":false}}'
    assert changed(b'{"kwargs":null}', kwargs__x=1) == b'{"kwargs":{"x":1}}'
    assert changed(b'{"a":[1]}', a__7=5) == b'{"a":[1,5]}'


def test_removing_comes_before_setting_and_what_is_longer_after_that() -> None:
    assert changed(b'{"a":{"x":1,"y":2}}', "a", a__x=5) == b'{"a":{"x":5}}'
    assert changes((), {"a": {"x": 1}, "a.y": 2})(b"{}") == b'{"a":{"x": 1,"y":2}}'


def test_later_settings_count_more() -> None:
    assert changes((), {"a": 1, "b": 1}, {"b": 2})(b'{"b":0}') == b'{"b":2,"a":1}'


@pytest.mark.parametrize("body", [b'{"a":5}', b'{"a":"text"}', b'{"a":true}'])
def test_nothing_is_set_within_a_number_or_text(body: bytes) -> None:
    with pytest.raises(BadRequest, match="within 'a': the body has no object there"):
        changed(body, a__b=1)
    assert changed(body, "a.b") == body


def test_a_list_has_no_names() -> None:
    with pytest.raises(BadRequest, match="'stop'"):
        changed(BODY, stop__first=1)


NAMES = st.sampled_from(["a", "b", "c"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=3)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(".".join)


def removed_from(value: dict[str, Any], path: str) -> None:
    first, _, rest = path.partition(".")
    if not rest:
        value.pop(first, None)
    elif isinstance(value.get(first), dict):
        removed_from(value[first], rest)


@settings(max_examples=examples(100, 1000), deadline=None)
@given(OBJECTS, st.lists(PATHS, max_size=3), st.sampled_from([None, 1, "\t"]))
def test_removing_is_what_a_dictionary_does(
    value: dict[str, Any], paths: list[str], indent: int | str | None
) -> None:
    body = json.dumps(value, indent=indent).encode()
    try:
        found = changes(tuple(paths))(body)
    except BadRequest:  # a list is on the way
        return
    for path in paths:
        removed_from(value, path)
    assert json.loads(found) == value


@settings(max_examples=examples(100, 1000), deadline=None)
@given(OBJECTS, st.dictionaries(NAMES, VALUES, max_size=3))
def test_setting_is_what_a_dictionary_does(value: dict[str, Any], new: dict[str, Any]) -> None:
    assert json.loads(changes((), new)(json.dumps(value).encode())) == value | new
