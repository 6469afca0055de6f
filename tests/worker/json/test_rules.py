"""Rules for bodies: conditions, and what is changed where they hold."""

import json
from typing import Any

import msgspec
import pytest

from arriero.protocol.worker_config import BodyRule
from arriero.worker.errors import BadRequest
from arriero.worker.json.rules import Asked, BodyRules, apply_rules
from arriero.worker.json.spans import finish


def rule(**said: Any) -> BodyRule:
    """A rule as the configuration has it."""
    for name in ("body", "default", "set"):
        members = said.get(name, {})
        said[name] = {k: msgspec.Raw(json.dumps(v).encode()) for k, v in members.items()}
    said["headers"] = tuple(said.get("headers", {}).items())
    return BodyRule(**said)


def applied(
    body: bytes,
    *rules: BodyRule,
    names: tuple[str, ...] = ("alias", "qwen3"),
    path: str = "/v1/chat/completions",
    **fields: str,
) -> bytes:
    """What a request with these fields (``User_Agent``) is left with."""
    named = [(name.lower().replace("_", "-"), value) for name, value in fields.items()]
    asked = Asked(names, path, lambda: named)
    return finish(apply_rules(BodyRules(rules).for_request(asked), body))


MARK = {"set": {"hit": 1}}


@pytest.mark.parametrize(
    ("asks", "fits"),
    [
        ({}, True),
        ({"model": "qwen*"}, True),
        ({"model": "ali?s"}, True),
        ({"model": "*"}, True),
        ({"model": "qwen"}, False),
        ({"model": "Qwen3"}, False),
        ({"path": "/v1/chat/*"}, True),
        ({"path": "/v1/[ce]*"}, True),
        ({"path": "/v1/embeddings"}, False),
        ({"headers": {"USER-agent": "*cline*"}}, True),
        ({"headers": {"User-Agent": "cline"}}, False),
        ({"headers": {"X-None": "*"}}, False),
        ({"headers": {"User-Agent": "*", "X-Team": "red"}}, True),
        ({"headers": {"User-Agent": "*", "X-Team": "blue"}}, False),
        ({"body": {"effort": "low"}}, True),
        ({"body": {"effort": "l*"}}, True),
        ({"body": {"effort": "high"}}, False),
        ({"body": {"effort": ["high", "low"]}}, True),
        ({"body": {"effort": ["high", None]}}, False),
        ({"body": {"n": 1}}, True),
        ({"body": {"n": 1.0}}, True),
        ({"body": {"n": True}}, False),
        ({"body": {"n": "1"}}, False),
        ({"body": {"stream": True}}, True),
        ({"body": {"stream": 1}}, False),
        ({"body": {"tools": "*"}}, True),
        ({"body": {"missing": "*"}}, False),
        ({"body": {"missing": None}}, True),
        ({"body": {"nothing": None}}, True),
        ({"body": {"tools": None}}, False),
        ({"body": {"a.b.0.c": 5}}, True),
        ({"body": {"a.b.1.c": 5}}, False),
        ({"body": {"a.b.x": 5}}, False),
        ({"body": {"effort.x": None}}, True),
        ({"body": {"a": {"b": [{"c": 5}]}}}, True),
        ({"body": {"twice": 2}}, True),  # the last one is what most readers take
        ({"body": {"long": "x*"}}, False),
        ({"body": {"long": "*"}}, True),
        ({"model": "qwen*", "path": "*", "body": {"n": 2}}, False),
    ],
)
def test_all_that_is_asked_for_has_to_fit(asks: dict[str, Any], fits: bool) -> None:
    body = (
        b'{"effort": "low", "n": 1, "stream": true, "tools": [], "nothing": null, "twice": 1,'
        b' "a": {"b": [{"c": 5}]}, "twice": 2, "long": "%b"}' % (b"x" * 5000)
    )

    found = applied(body, rule(**asks, **MARK), User_Agent="Cline/3", X_Team="red")

    assert found == (body[:-1] + b',"hit":1}' if fits else body)
    assert fits or found is body  # byte for byte, and not even copied


@pytest.mark.parametrize(
    ("does", "left"),
    [
        ({"set": {"a": 2, "n.m": "x"}}, b'{ "a" : 2, "b":[1.50],"n":{"m":"x"} }'),
        ({"default": {"a": 2, "c": 3}}, b'{ "a" : 1.0, "b":[1.50],"c":3 }'),
        ({"default": {"n.m": 1}}, b'{ "a" : 1.0, "b":[1.50],"n":{"m":1} }'),
        ({"remove": ("a",)}, b'{ "b":[1.50] }'),
        ({"remove": ("a",), "default": {"a": 3}}, b'{ "a" : 3, "b":[1.50] }'),
        ({"move": {"a": "c"}}, b'{ "b":[1.50],"c":1.0 }'),
        ({"move": {"a": "b"}}, b'{ "b":1.0 }'),
        ({"move": {"b.0": "n.m"}}, b'{ "a" : 1.0, "b":[],"n":{"m":1.50} }'),
        ({"move": {"a": "c"}, "default": {"c": 9}}, b'{ "b":[1.50],"c":1.0 }'),
        ({"move": {"x": "a"}}, b'{ "a" : 1.0, "b":[1.50] }'),
        ({"move": {"a": "t", "b": "a", "t": "b"}}, b'{"a":[1.50],"b":1.0 }'),
    ],
)
def test_what_is_changed_keeps_the_bytes_of_the_rest(does: dict[str, Any], left: bytes) -> None:
    body = b'{ "a" : 1.0, "b":[1.50] }'
    assert json.loads(applied(body, rule(**does))) == json.loads(left)
    if "t" not in does.get("move", {}).values():
        assert applied(body, rule(**does)) == left


def test_each_rule_sees_what_those_before_it_have_left() -> None:
    found = applied(
        b"{}",
        rule(body={"a": None}, set={"a": 1}),
        rule(body={"a": None}, set={"b": 1}),
        rule(body={"a": 1}, set={"c": 1}),
    )
    assert json.loads(found) == {"a": 1, "c": 1}


def test_what_does_not_fit_into_the_body_is_refused() -> None:
    with pytest.raises(BadRequest, match="within 'a'"):
        applied(b'{"a":5}', rule(set={"a.b": 1}))


def test_a_pattern_takes_no_time_that_grows_fast() -> None:
    body = json.dumps({"a": "a" * 4000}).encode()
    assert applied(body, rule(body={"a": "*a" * 40 + "b"}, **MARK)) is body
