import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.protocol.routes import ModelRoute, WorkerConfig
from arriero.worker.errors import BadRequest, UnknownModel
from arriero.worker.naming import Asked, Names, asks_for_thinking, read_body, rename

QWEN = ModelRoute(model="qwen3", aliases=("gpt-4", "gemma"))
GEMMA = ModelRoute(model="gemma")


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        (b'{"model":"m"}', Asked("m", stream=False)),
        (b'{"model":"m","stream":true}', Asked("m", stream=True)),
        (b'{"stream":null,"x":[{"model":3}],"model":"m"}', Asked("m", stream=False)),
        (b' {"model" : "\\u006d"}\n', Asked("m", stream=False)),
    ],
)
def test_only_model_and_stream_are_read(body: bytes, asked: Asked) -> None:
    assert read_body(body) == asked


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"m"',
        b"{}",
        b'{"model":""}',
        b'{"model":null}',
        b'{"model":1}',
        b'{"model":"m","stream":"yes"}',
        b'{"model":"\xff"}',
        b'{"model":"m"}x',
    ],
)
def test_a_body_without_a_model_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match=r"^cannot"):
        read_body(body)


@given(st.binary())
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(BadRequest):
        read_body(body)


@pytest.mark.parametrize(
    ("body", "asks"),
    [
        (b'{"thinking":{"type":"enabled","budget_tokens":1024}}', True),
        (b'{"thinking":{"type":"adaptive"}}', True),
        (b'{"thinking":{"type":"disabled"}}', False),
        (b'{"thinking":{}}', False),
        (b'{"thinking":null}', False),
        (b'{"thinking":true}', False),
        (b'{"thinking":{"type":7}}', False),
        (b'{"messages":[{"thinking":{"type":"enabled"}}]}', False),
        (b"{", False),
    ],
)
def test_thinking_is_asked_for_at_the_top_and_not_disabled(body: bytes, asks: bool) -> None:
    assert asks_for_thinking(body) is asks


def test_an_id_goes_before_an_alias() -> None:
    names = Names(WorkerConfig(generation=1, models=(QWEN, GEMMA)))

    assert names.find("gemma") is GEMMA
    assert names.find("gpt-4") is QWEN
    assert names.find("qwen3") is QWEN


def test_an_unknown_name_is_told_what_looks_like_it() -> None:
    names = Names(WorkerConfig(generation=1, models=(QWEN, GEMMA)))

    with pytest.raises(UnknownModel) as caught:
        names.find("qwen")

    assert caught.value.message == "cannot find a model named 'qwen'; did you mean 'qwen3'?"


@pytest.mark.parametrize(
    ("body", "renamed"),
    [
        (b'{"model":"a"}', b'{"model":"b"}'),
        (b'{ "x":1, "model"\n: "a" }', b'{ "x":1, "model"\n: "b" }'),
        (b'{"m":{"model":"a"},"model":"a"}', b'{"m":{"model":"a"},"model":"b"}'),
        (b'{"t":"\\"model\\":\\"a\\"","model":"a"}', b'{"t":"\\"model\\":\\"a\\"","model":"b"}'),
        (b'{"x":"model","model":"a"}', b'{"x":"model","model":"b"}'),
        (b'{"l":["model","x"],"model":"a"}', b'{"l":["model","x"],"model":"b"}'),
        (b'{"model":"a","model":"c"}', b'{"model":"b","model":"b"}'),
        (b'{"mod\\u0065l":"a"}', b'{"mod\\u0065l":"b"}'),
    ],
)
def test_only_the_value_of_the_top_level_model_is_replaced(body: bytes, renamed: bytes) -> None:
    assert rename(body, "b") == renamed


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["model", "x"]), inner, max_size=2)
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(max_size=3), json_values, max_size=3),
    st.text(min_size=1, max_size=6),
    st.booleans(),
)
def test_renaming_changes_nothing_else(
    members: dict[str, Any], name: str, model_first: bool
) -> None:
    model = {"model": 'a"\\'}
    before = model | members if model_first else members | model
    before["model"] = 'a"\\'
    body = json.dumps(before, indent=1).encode()

    after = rename(body, name.encode("utf-8", "replace").decode())

    assert json.loads(after) == before | {"model": name.encode("utf-8", "replace").decode()}
    assert read_body(after).model
