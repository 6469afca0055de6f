"""Rules for bodies, as the configuration has them."""

import pytest

from arriero.supervisor.config.dump import dump
from arriero.supervisor.config.worker_config import route_table
from tests.supervisor.config.reading import parse, problems

RULE = """
rules:
  - model: qwen*
    headers: {X-Team: red}
    body: {effort: [low, ~], n: 1.0}
    move: {a: b}
    remove: [c]
    default: {d: {e: 1}}
    set: {f.g: "${x}"}
  - {path: /v1/*, set: {h: null}}
macros: {x: 5}
models: {qwen: {cmd: "run ${PORT}"}}
"""


def test_rules_reach_the_workers_in_order_and_are_written_again() -> None:
    config = parse(RULE)

    first, second = route_table(config).rules
    assert (first.model, first.path, first.headers) == ("qwen*", "", (("X-Team", "red"),))
    assert {name: bytes(raw) for name, raw in first.body.items()} == {
        "effort": b'["low",null]',
        "n": b"1.0",
    }
    assert (first.move, first.remove) == ({"a": "b"}, ("c",))
    assert bytes(first.default["d"]) == b'{"e":1}'
    assert bytes(first.set["f.g"]) == b"5"
    assert (second.path, bytes(second.set["h"])) == ("/v1/*", b"null")
    assert parse(dump(config)) == config


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("{model: a}", "rules.0: there is nothing to do; write set, default, remove or move"),
        ("{set: {model: x}}", "rules.0.set: model cannot be changed by a rule"),
        ("{remove: [stream]}", "rules.0.remove: stream cannot be changed by a rule"),
        ("{move: {a: model.b}}", "rules.0.move: model cannot be changed by a rule"),
        ("{default: {stream.x: 1}}", "rules.0.default: stream cannot be changed by a rule"),
        ("{sets: {a: 1}}", "rules.0: unknown key 'sets'; did you mean 'set'?"),
        ("{headers: {'a b': x}, set: {a: 1}}", "cannot be the name of a header field"),
        ("{set: [a]}", "rules.0.set: found a list"),
        ("x", "rules.0: found the text 'x'"),
    ],
)
def test_a_rule_that_makes_no_sense_is_told(rule: str, told: str) -> None:
    found = problems(f"rules: [{rule}]\nmodels: {{a: {{cmd: 'run ${{PORT}}'}}}}")
    assert any(told in problem for problem in found), found
