from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arriero.supervisor.config.yaml.tree import Node, parse_yaml
from arriero.supervisor.config.yaml.write import Lines, write_yaml
from tests.supervisor.config.strategies import DATA


def read(text: str) -> Any:
    """Return what is in a document; {} if there is nothing."""
    return _data(parse_yaml(text)) or {}


def _data(node: Node | None) -> Any:
    match None if node is None else node.value:
        case list(items):
            return [_data(item) for item in items]
        case dict(members):
            return {name: _data(value) for name, (_, value) in members.items()}
        case other:
            return other


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), DATA))
@example({"yes": ["yes", "no", "null", "~", "1e3", "0x1f", "1:30", "2024-01-01", "${x}", "a\nb\n"]})
def test_any_tree_is_read_as_it_was(members: dict[str, Any]) -> None:
    assert repr(read(write_yaml(members))) == repr(members)  # 1 is neither 1.0 nor true


PIECES = st.sampled_from(
    ["a", "1", ".", "0x", "e", "true", "null", "~", ": ", ":", " #", "#", "- ", "-", "? ", "&",
     "*", "!", "|", ">", "'", '"', "\\", "%", "@", "`", "{", "}", "[", "]", ",", " ", "\n", "\t",
     "\r", "<<", "=", "${x}", "---", "...", "\x85", "\u2028", "\ufeff", "\uf8f0", "\U0001f999",
     "\0"]
)  # fmt: skip


@pytest.mark.parametrize("kind", [str, Lines])
@given(st.lists(PIECES).map("".join))
def test_text_like_anything_else_stays_text(kind: type[str], text: str) -> None:
    tree = {"a": kind(text), text: [kind(text), {text: kind(text)}]}

    assert read(write_yaml(tree)) == tree


def test_lines_are_a_block() -> None:
    assert write_yaml({"a": {"b": Lines("x ${y}\n  z: 1")}}) == (
        "a:\n  b: |-\n    x ${y}\n      z: 1\n"
    )


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain words", "plain words"),
        (
            "llama-server --port ${PORT} -m '/a b.gguf'",
            "llama-server --port ${PORT} -m '/a b.gguf'",
        ),
        ("a: b", "'a: b'"),
        ("a #b", "'a #b'"),
        ("a:", "'a:'"),
        ("it's: so", "'it''s: so'"),
        ("1.0", "'1.0'"),
        ("true", "'true'"),
        ("", "''"),
        ('\u00e9\n\u0085"', '"\u00e9\\n\\N\\""'),
        (1e16, "1e+16"),
        (10**64, "0x" + f"{10**64:x}"),
        ([], "[]"),
        ({}, "{}"),
        (None, "null"),
        (False, "false"),
    ],
)
def test_quotes_stand_where_needed(value: object, written: str) -> None:
    assert write_yaml({"a": value}) == f"a: {written}\n"
    assert read(f"a: {written}\n") == {"a": value}


def test_lists_and_mappings_are_indented() -> None:
    value = {"a": [1, [2], {"b": {}}], "n" * 1001: {"c": 3}}
    lines = ["a:", "  - 1", "  - - 2", "  - b: {}", "? " + "n" * 1001, ": c: 3"]
    assert write_yaml(value).splitlines() == lines
    assert read(write_yaml(value)) == value
