import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.errors import BadRequest
from arriero.worker.json.edit import Edited, check_one_model, edit, set_members
from arriero.worker.json.spans import find_members, finish

# Everything that a JSON writer would spell in another way.
ODD = (
    b' {\r\n\t"zeta" : 12345678901234567890,"model":"m", "a":1.0 ,"b":1E5,'
    b'"c":"<\\u00e9\\/\xc3\xa9",'
    b'"d":[{"model":"x", "stream_options":{}}, -0.0], "stream":true,"e":{} } \n'
)


def test_without_an_edit_the_body_is_the_same_object() -> None:
    assert edit(ODD) == Edited(ODD)
    assert edit(ODD).body is ODD
    assert edit(ODD, model="m").body is ODD


def test_the_same_name_in_other_letters_is_no_edit() -> None:
    body = b'{"model":"\\u006d"}'
    assert edit(body, model="m").body is body
    assert edit(body, model="n").body == b'{"model":"n"}'


def test_blanks_may_be_anywhere() -> None:
    body = b'\r\n{\t"model"\r\n:\t\r\n"m"\t,\n"a"\t:\n[\t]\n}\t'
    assert edit(body, model="n").body == body.replace(b'"m"', b'"n"')


def test_a_new_name_is_no_wish_of_ours() -> None:
    body = b'{"model":"m","stream_options":{"include_usage":true},"return_progress":true}'
    edited = edit(body, model="n", usage=True, progress=True)
    assert edited == Edited(body.replace(b'"m"', b'"n"'))


@pytest.mark.parametrize(
    ("wish", "edited"),
    [
        ({"model": "qwen"}, ODD.replace(b'"model":"m"', b'"model":"qwen"')),
        ({"progress": True}, ODD.replace(b"{} } \n", b'{},"return_progress":true } \n')),
        (
            {"usage": True},
            ODD.replace(b"{} } \n", b'{},"stream_options":{"include_usage":true} } \n'),
        ),
        (
            {"model": "q", "usage": True, "progress": True},
            ODD.replace(b'"model":"m"', b'"model":"q"').replace(
                b"{} } \n",
                b'{},"stream_options":{"include_usage":true},"return_progress":true } \n',
            ),
        ),
    ],
)
def test_an_edit_changes_nothing_else(wish: dict[str, Any], edited: bytes) -> None:
    assert edit(ODD, **wish).body == edited


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"model":"m"}', b'{"model":"m","stream_options":{"include_usage":true}}'),
        (b'{"stream_options":null}', b'{"stream_options":{"include_usage":true}}'),
        (b'{"stream_options":{}}', b'{"stream_options":{"include_usage":true}}'),
        (b'{"stream_options":{ }}', b'{"stream_options":{"include_usage":true }}'),
        (
            b'{"stream_options": {"x" : 1.0} }',
            b'{"stream_options": {"x" : 1.0,"include_usage":true} }',
        ),
        (
            b'{"stream_options":{"include_usage": false, "x":[1]}}',
            b'{"stream_options":{"include_usage": true, "x":[1]}}',
        ),
        (
            b'{"stream_options":{"include\\u005fusage":0}}',
            b'{"stream_options":{"include\\u005fusage":true}}',
        ),
        (b"{}", b'{"stream_options":{"include_usage":true}}'),
        (  # of two, the last one is what readers take
            b'{"stream_options":{"include_usage":true},"stream_options":{}}',
            b'{"stream_options":{"include_usage":true},"stream_options":{"include_usage":true}}',
        ),
    ],
)
def test_the_wish_for_usage_is_merged(before: bytes, after: bytes) -> None:
    assert edit(before, usage=True) == Edited(after, asked_usage=True)


@pytest.mark.parametrize(
    "body",
    [
        b'{"stream_options":{"include_usage":true}}',
        b'{"stream_options" : { "x":1, "include_usage" : true } }',
        b'{"stream_options":"all"}',  # its upstream has its own words for that
        b'{"stream_options":[1]}',
    ],
)
def test_a_client_that_asked_for_usage_is_left_alone(body: bytes) -> None:
    edited = edit(body, usage=True)
    assert edited.body is body
    assert not edited.asked_usage


@pytest.mark.parametrize(
    ("before", "after", "asked"),
    [
        (b'{"a":1}', b'{"a":1,"return_progress":true}', True),
        (b'{"return_progress":false}', b'{"return_progress":true}', True),
        (b'{"return_progress": true}', b'{"return_progress": true}', False),
    ],
)
def test_a_client_that_speaks_llama_server_is_known(
    before: bytes, after: bytes, asked: bool
) -> None:
    assert edit(before, progress=True) == Edited(after, asked_progress=asked)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b"}',
        b'{"model":"a","x":{"y":[]},"model":"a"}',
        b'{"model":"a","mod\\u0065l":"b"}',
        b'{"\\u006d\\u006f\\u0064\\u0065\\u006C":"a","model":1}',
    ],
)
def test_two_models_are_an_error(body: bytes) -> None:
    with pytest.raises(BadRequest, match="'model' more than once"):
        check_one_model(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"model","x":{"model":"a"},"messages":[{"model":"b"}]}',
        b'{"model":"a","x":"\\"model\\": \\u00e9"}',
        b'{"model":"a","mod\\u0065":"b"}',
        b'{"x":1}',
    ],
)
def test_one_model_is_none_too_many(body: bytes) -> None:
    check_one_model(body)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"a"}', b'{"a":}', b'{"a":1', b'{"a":1 "b":2}', b'{"a":[1}', b'{"a":"x}',
     b'{"a":1}{"b":2}', b'{"a":1},', b"nul"],
)  # fmt: skip
def test_what_is_no_object_is_refused_and_not_mangled(body: bytes) -> None:
    with pytest.raises(BadRequest, match="not one whole object"):
        set_members(body, {"model": b"1"})


def test_a_member_that_is_there_twice_is_set_twice() -> None:
    assert set_members(b'{"a":1,"b":2,"a":3}', {"a": b"0"}) == b'{"a":0,"b":2,"a":0}'


def test_a_large_body_is_edited() -> None:
    text = json.dumps({"role": "user", "content": 'say "x" \\ {[' * 100, "n": [1, {"k": "v"}]})
    body = b'{"model":"m","messages":[%b]}' % b",".join([text.encode()] * 2000)

    edited = edit(body, model="q", usage=True, progress=True).body

    assert edited.startswith(b'{"model":"q","messages":[{"role"')
    assert json.loads(edited)["return_progress"] is True


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8) | st.sampled_from(["model", '"}', "\\", "{["]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=10,
)  # fmt: skip
_OBJECTS = st.dictionaries(
    st.text(max_size=5) | st.sampled_from(["model", "stream_options", "return_progress"]), _JSON
)
_STYLES = st.fixed_dictionaries(
    {"ensure_ascii": st.booleans(), "indent": st.sampled_from([None, 0, 2])}
)


@given(_OBJECTS, _STYLES, st.text(max_size=5))
def test_any_object_keeps_what_was_not_edited(
    value: dict[str, Any], style: dict[str, Any], model: str
) -> None:
    body = json.dumps(value, **style).encode()

    edited = edit(body, model=model, usage=True, progress=True).body

    meant = value | {"return_progress": True}
    if "model" in value:
        meant["model"] = model
    options = value.get("stream_options")
    if isinstance(options, dict):
        meant["stream_options"] = options | {"include_usage": True}
    elif options is None:
        meant["stream_options"] = {"include_usage": True}
    assert json.loads(edited) == meant
    assert edit(edited, model=model, usage=True, progress=True).body is edited


@given(_OBJECTS, _STYLES, st.text(max_size=5))
def test_a_body_whose_members_are_known_is_edited_in_parts(
    value: dict[str, Any], style: dict[str, Any], model: str
) -> None:
    body = json.dumps(value, **style).encode()
    there = finish(find_members(body))

    found = edit(body, model=model, usage=True, progress=True, members=there)

    whole = edit(body, model=model, usage=True, progress=True)
    assert found.body is body
    assert b"".join(found.parts or (found.body,)) == whole.body
    assert found.length == whole.length == len(whole.body)
    assert found.asked_usage == whole.asked_usage
    assert found.asked_progress == whole.asked_progress


@given(st.binary(max_size=60) | st.text('{}[]",:\\ a1', max_size=40).map(str.encode))
def test_whatever_the_bytes_are_only_a_bad_request_comes_of_them(body: bytes) -> None:
    try:
        edited = edit(body, model="m", usage=True, progress=True).body
    except BadRequest:
        return
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return  # it was refused before
    assert isinstance(msgspec.json.decode(edited), dict)
