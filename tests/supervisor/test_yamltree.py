import contextlib
import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor import yamltree
from arriero.supervisor.yamltree import Node, Scalar, YamlError, parse_yaml, typed

LOADERS = [yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)]


@pytest.fixture(params=LOADERS, autouse=True, ids=["python", "c"])
def _loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both of PyYAML's parsers: not every machine has the one in C."""
    monkeypatch.setattr(yamltree, "_Loader", request.param)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7), ("-7", -7), ("+7", 7), ("0", 0), ("1_000", 1000), ("0x1F", 31), ("0b11", 3),
        ("0o17", 15), ("017", 15), ("08", 8.0), ("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5),
        (".inf", math.inf), ("true", True), ("False", False), ("null", None), ("~", None),
        ("", None),
        ("yes", "yes"), ("on", "on"), ("off", "off"), ("1:30", "1:30"), ("1.2.3", "1.2.3"),
        ("2024-01-01", "2024-01-01"), ("0x_", "0x_"), ("9" * 5000, "9" * 5000), ("1s", "1s"),
    ],
)  # fmt: skip
def test_an_unquoted_text_means_what_yaml_1_2_says(text: str, value: Scalar) -> None:
    found = typed(text)
    assert found == value
    assert type(found) is type(value)


def test_every_value_knows_where_it_stands() -> None:
    root = parse_yaml("a: 1\nb:\n  - x\n  - {c: 'y'}\n")
    assert root is not None
    assert root.member("a") == Node(1, 1, 4, "1", is_plain=True)
    second = root.member("b")
    assert second is not None
    assert isinstance(second.value, list)
    assert (second.value[1].line, second.value[1].column) == (4, 5)
    assert second.value[1].member("c") == Node("y", 4, 9, "y", is_plain=False)


def test_what_stands_in_a_mapping_is_stronger_than_what_is_merged_into_it() -> None:
    root = parse_yaml("x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\nz: {<<: [*x, *y], c: 3}\n")
    assert root is not None
    merged = root.member("z")
    assert merged is not None
    assert {name: node.value for name, _, node in merged.items()} == {"a": 1, "b": 1, "c": 3}


def test_the_size_counts_aliases_as_often_as_they_are_used() -> None:
    root = parse_yaml("a: &a [1, 2]\nb: [*a, *a]\n")
    assert root is not None
    assert [node.size for _, _, node in root.items()] == [3, 7]
    assert root.size == 1 + 2 + 3 + 7


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: !include x", "the tag !include means nothing here"),
        ("a: !!python/object:os.system {}", "means nothing here"),
        ("? [a]\n: b", "a key has to be a single value"),
        ("a: 1\na: 2", "the key 'a' stands here a second time (first in line 1)"),
        ("<<: 5", "<< wants a mapping"),
        ('a: "\\UFFFFFFFF"', "this is not YAML"),
        ("- " * 100, "nested deeper than 64"),
        ("*a", "there is no anchor &a before this"),
    ],
)
def test_what_is_no_tree_is_one_error(text: str, told: str) -> None:
    with pytest.raises(YamlError) as caught:
        parse_yaml(text)
    assert told in str(caught.value)


@given(st.text(alphabet="ab:-?[]{}&*!|>'\"%@`#,<\n \t\\", max_size=40))
def test_any_text_gives_a_tree_or_one_error(text: str) -> None:
    for loader in LOADERS:
        with contextlib.suppress(YamlError), pytest.MonkeyPatch.context() as patch:
            patch.setattr(yamltree, "_Loader", loader)
            parse_yaml(text)
