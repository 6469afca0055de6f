import contextlib
import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor.config.yaml import tree as yamltree
from arriero.supervisor.config.yaml.braces import Braces
from arriero.supervisor.config.yaml.tree import (
    MAX_DEPTH,
    Node,
    Scalar,
    YamlError,
    parse_yaml,
    typed,
)

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


def test_values_are_counted_as_often_as_aliases_use_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yamltree, "MAX_VALUES", 9)
    parse_yaml("[&a [1, 2], *a, 3, 4]")
    with pytest.raises(YamlError, match="more than 9 values"):
        parse_yaml("[&a [1, 2], *a, 3, 4, 5]")


def test_a_billion_laughs_are_refused() -> None:
    lines = ["a0: &a0 [ha, ha, ha]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    with pytest.raises(YamlError, match="more than 1000000 values"):
        parse_yaml("\n".join(lines))


def test_a_text_is_measured_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yamltree, "MAX_BYTES", 10)
    assert parse_yaml("#" * 10) is None
    with pytest.raises(YamlError, match="the file is larger than"):
        parse_yaml("#" * 9 + "ä")


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


def plain(node: Node | None) -> Any:
    if node is None or not isinstance(node.value, list | dict):
        return node and node.value
    if isinstance(node.value, list):
        return [plain(item) for item in node.value]
    return {name: plain(value) for name, _, value in node.items()}


def test_every_value_and_key_knows_its_file() -> None:
    root = parse_yaml("a: [1, {b: c}]\nd: &d x\ne: *d", "c.yaml")
    assert root is not None
    assert str(root).count("source='c.yaml'") == str(root).count("source=") == 11


@pytest.mark.parametrize(
    ("value", "holds"),
    [
        ("&a x", True), ("[&a x]", True), ("{b: {c: [1, &a {}]}}", True), ("{&a b: c}", True),
        ("{<<: &a {b: c}}", True), ("x", False), ("[x]", False), ("*before", False),
        ("[*before]", False), ("{<<: *before}", False), ("[*before, &a x]", True),
    ],
)  # fmt: skip
def test_a_value_knows_whether_an_anchor_is_written_in_it(value: str, holds: bool) -> None:
    root = parse_yaml(f"b: &before {{x: &x 1}}\nv: {value}")
    found = root and root.member("v")
    assert found is not None
    assert found.holds_anchor is holds


def test_aliases_bring_the_depth_of_what_they_stand_for() -> None:
    half = MAX_DEPTH // 2
    nest = (
        "a: &a " + "[" * half + "]" * half + "\nb: " + "[" * (half - 1) + "%s*a" + "]" * (half - 1)
    )
    parse_yaml(nest % "")
    with pytest.raises(YamlError, match="nested deeper than 64") as caught:
        parse_yaml((nest + "]") % "[")
    assert (caught.value.line, caught.value.column) == (2, 3 + half)  # the innermost


# Deeper than what the parser itself takes, since PyYAML 6.0.4, in as few characters as it looks
# ahead; with a macro, whose braces the parser does not get to see.
BRACKETS = {
    "[": ("a: ${x}\nb: " + "[" * 2000, 67),
    "{": ("a: ${x}\nb: " + "{" * 2000, 67),
    "[?": ("a: ${x}\nb: " + "[? " * 2000, None),
    "- ": ("- " * 2000, 129),
}


@pytest.mark.parametrize(("text", "column"), BRACKETS.values(), ids=BRACKETS)
def test_what_is_too_deep_is_said_by_us_and_where(text: str, column: int | None) -> None:
    with pytest.raises(YamlError, match=r"^values are nested deeper than 64$") as caught:
        parse_yaml(text)
    if column is not None:
        assert (caught.value.line, caught.value.column) == (text.count("\n") + 1, column)


def test_another_mistake_before_it_is_told_first() -> None:
    with pytest.raises(YamlError, match=r"^this is not YAML: ") as caught:
        parse_yaml("a: [1, 2]]\nb: " + "[" * 2000)
    assert caught.value.line == 1


@pytest.mark.parametrize("merges", ["*m{}", "[*m{}]", "[*m0, *m{}]"])
def test_merges_add_no_depth(merges: str) -> None:
    lines = ["m0: &m0 {x: {y: 1}}"]
    lines += [f"m{n}: &m{n} {{<<: {merges.format(n - 1)}}}" for n in range(1, 2 * MAX_DEPTH)]
    root = parse_yaml("\n".join(lines))
    assert plain(root)[f"m{2 * MAX_DEPTH - 1}"] == {"x": {"y": 1}}


def test_merges_bring_the_depth_of_what_they_stand_for() -> None:
    deep = "x: &x " + "{a: " * 62 + "1" + "}" * 62 + "\n"
    parse_yaml(deep + "y: [{<<: *x}]")
    with pytest.raises(YamlError, match="nested deeper than 64"):
        parse_yaml(deep + "y: [[{<<: *x}]]")


# --- ${name} --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[${env.KEY}, ${ctx}]", ["${env.KEY}", "${ctx}"]),
        ("{a: ${x}, ${k}: [b${x}c]}", {"a": "${x}", "${k}": ["b${x}c"]}),
        ("{a: ${x}}", {"a": "${x}"}),
        ("[${a}${b}, $${c}, $$${d}, ${}]", ["${a}${b}", "$${c}", "$$${d}", "${}"]),
        ("[${a:-b}, ${größe}]", ["${a:-b}", "${größe}"]),
        ("a: ${x} y ${", {"a": "${x} y ${"}),
        ("${a: b}", {"${a": "b}"}),
        ("['${a}', \"\\t${a}\", \"${a\\x7d\"]", ["${a}", "\t${a}", "${a}"]),
        ("[{k: '${a'}, {k: \"${a\"}]", [{"k": "${a"}, {"k": "${a"}]),
        ("a: |\n  ${x} {\n  }\nb: >\n  ${x}\n  y", {"a": "${x} {\n}\n", "b": "${x} y"}),
        ("[a, # ${x} ] ${\n b] # ${y}", ["a", "b"]),
        ("a: \uf8f0${x}\uf8f1", {"a": "\uf8f0${x}\uf8f1"}),
        (r'["\uF8F0", "\U0000f8f1", ${x}]', ["\uf8f0", "\uf8f1", "${x}"]),
        (r'["${x} \x5cuf8\x66\x30"]', [r"${x} \uf8f0"]),
    ],
)  # fmt: skip
def test_a_macro_is_text_wherever_it_stands(text: str, value: object) -> None:
    root = parse_yaml(text)
    assert plain(root) == value


def test_what_stands_after_a_macro_keeps_its_column() -> None:
    root = parse_yaml("[${env.KEY}, x]\n")
    assert root is not None
    assert root.value == [Node("${env.KEY}", 1, 2, "${env.KEY}", True), Node("x", 1, 14, "x", True)]


@pytest.mark.parametrize(
    "text", ["[${a b}]", "[${a,b}]", "[${a]", "[${a$b}]", "[${a${b}}]", "{${a: 1}}"]
)
def test_what_is_no_macro_is_not_made_one(text: str) -> None:
    with pytest.raises(YamlError, match="this is not YAML"):
        parse_yaml(text)


def test_where_a_text_leaves_no_stand_in_a_macro_in_a_list_is_a_mistake() -> None:
    taken = "".join(chr(code) for code in range(0xF8F0, 0xF8FE))  # all but two
    assert plain(parse_yaml(f"[${{x}}, {taken}]")) == ["${x}", taken]
    taken += "\uf8fe"
    assert plain(parse_yaml(f"a: ${{x}} {taken}")) == {"a": f"${{x}} {taken}"}
    with pytest.raises(YamlError, match="this is not YAML"):
        parse_yaml(f"[${{x}}] # {taken}")


@pytest.mark.parametrize("text", ["a: [!t${x}]", r'a: "${x\}"'])
def test_a_mistake_shows_the_braces_that_were_written(text: str) -> None:
    with pytest.raises(YamlError) as caught:
        parse_yaml(text)
    assert "f8f" not in ascii(str(caught.value))


class _NothingHidden(Braces):
    """YAML as it was before: without a word about macros."""

    def __init__(self, text: str) -> None:
        super().__init__("")


_TOKENS = [
    "${a}", "${", "$$", "$", "{", "}", "[", "]", ",", ":", ": ", "\n", "\n  ", "- ", '"', "'", "#",
    " #", "|\n", ">\n", "&x ", "*x", "!t", "\\", "a", "?", "? ", " ", "\uf8f0", "---\n", "%", "@",
]  # fmt: skip


@pytest.mark.parametrize("loader", LOADERS)
@given(st.lists(st.sampled_from(_TOKENS), max_size=12).map("".join))
def test_what_is_yaml_without_macros_is_the_same_tree_with_them(loader: type, text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yamltree, "_Loader", loader)
        found = _tree_or_error(text)
        patch.setattr(yamltree, "Braces", _NothingHidden)
        before = _tree_or_error(text)
    assert found == before or isinstance(before, YamlError)
    for code in range(0xF8F1, 0xF900):
        assert chr(code) not in repr(found)
        assert f"{code:x}" not in repr(found)


def _tree_or_error(text: str) -> Node | YamlError | None:
    try:
        return parse_yaml(text)
    except YamlError as exc:
        return exc


@given(st.text(alphabet="ab:-?[]{}$&*!|>'\"%@`#,<\n \t\\", max_size=40))
def test_any_text_gives_a_tree_or_one_error(text: str) -> None:
    for loader in LOADERS:
        with contextlib.suppress(YamlError), pytest.MonkeyPatch.context() as patch:
            patch.setattr(yamltree, "_Loader", loader)
            parse_yaml(text)
