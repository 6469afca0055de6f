# ruff: noqa: E501  one case, one line
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor.config import merge as config_merge
from arriero.supervisor.config.merge import merge
from arriero.supervisor.config.schema.reader import MAX_PROBLEMS
from arriero.supervisor.config.yaml.tree import MAX_DEPTH, Node, YamlError, parse_yaml


def tree(text: str, source: str = "a.yaml") -> Node:
    root = parse_yaml(text, source)
    assert root is not None
    return root


def plain(node: Node) -> Any:
    if isinstance(node.value, list):
        return [plain(item) for item in node.value]
    return {name: plain(value) for name, _, value in node.items()} or (
        {} if isinstance(node.value, dict) else node.value
    )


def merged(*texts: str) -> Any:
    root, conflicts = merge(
        [tree(text, f"{name}.yaml") for name, text in zip("abc", texts, strict=False)]
    )
    assert conflicts == ()
    assert root is not None
    return plain(root)


def conflicts(*texts: str) -> list[str]:
    root, found = merge(
        [tree(text, f"{name}.yaml") for name, text in zip("abc", texts, strict=False)]
    )
    assert root is not None
    return [str(problem) for problem in found]


# --- what goes together ---------------------------------------------------------------------------


def test_no_tree_is_none() -> None:
    assert merge([]) == (None, ())


def test_a_single_tree_is_returned_as_it_is() -> None:
    alone = tree("models: {a: {cmd: x}}")
    root, found = merge([alone])
    assert root is alone
    assert found == ()


@pytest.mark.parametrize(
    ("texts", "together"),
    [
        (("a: 1", "b: 2"), {"a": 1, "b": 2}),
        (("ui: {activity: {x: 1}}", "ui: {activity: {y: 2}}"), {"ui": {"activity": {"x": 1, "y": 2}}}),
        (("models: {a: {cmd: x}}", "models: {b: {cmd: y}}"), {"models": {"a": {"cmd": "x"}, "b": {"cmd": "y"}}}),
        (("apiKeys: [b]", "apiKeys: [a, b]", "apiKeys: [c]"), {"apiKeys": ["b", "a", "b", "c"]}),
        (("hooks: {on_startup: {preload: [a]}}", "hooks: {on_startup: {preload: [b]}}"), {"hooks": {"on_startup": {"preload": ["a", "b"]}}}),
        (("macros: {a: 1}", "macros: {b: '${a}'}"), {"macros": {"a": 1, "b": "${a}"}}),
        (("routing: {router: {settings: {groups: {a: {}}}}}", "routing: {router: {use: group, settings: {groups: {b: {}}}}}"),
         {"routing": {"router": {"use": "group", "settings": {"groups": {"a": {}, "b": {}}}}}}),
        (("routing: {scheduler: {priority: {a: 1}}}", "routing: {scheduler: {priority: {b: 2}}}"), {"routing": {"scheduler": {"priority": {"a": 1, "b": 2}}}}),
        (("ttl: 60", "ttl: 60"), {"ttl": 60}),
        (("a: 'x'", 'a: "x"', "a: x"), {"a": "x"}),
        (("a: null", "a: null"), {"a": None}),
    ],
)  # fmt: skip
def test_files_add_up(texts: tuple[str, ...], together: Any) -> None:
    assert merged(*texts) == together


@pytest.mark.parametrize("value", ["5", "{x: 1}", "[1]", "null", "''", "false", "0"])
@pytest.mark.parametrize("is_first", [True, False])
def test_what_is_left_empty_yields_to_what_is_not(value: str, is_first: bool) -> None:
    texts = ("models:", f"models: {value}")
    assert merged(*(texts if is_first else reversed(texts))) == plain(tree(f"models: {value}"))


def test_keys_and_macros_keep_the_order_in_which_they_appear_first() -> None:
    together = merged("{macros: {b: 1}, ttl: 1}", "{a: 1, macros: {a: 2, b: 1, c: 3}}")
    assert list(together) == ["macros", "ttl", "a"]
    assert list(together["macros"]) == ["b", "a", "c"]


def test_every_value_still_knows_its_file_and_its_line() -> None:
    root, _ = merge(
        [tree("models:\n  a: 1\nk: [1]", "a.yaml"), tree("k: [2]\nmodels:\n\n  b: 2", "b.yaml")]
    )
    assert root is not None
    models, numbers = root.member("models"), root.member("k")
    assert models is not None
    assert numbers is not None
    assert isinstance(numbers.value, list)
    assert [(key.source, key.line, value.source, value.line) for _, key, value in models.items()] == [
        ("a.yaml", 2, "a.yaml", 2), ("b.yaml", 4, "b.yaml", 4),
    ]  # fmt: skip
    assert [(item.source, item.line) for item in numbers.value] == [("a.yaml", 3), ("b.yaml", 1)]


def test_the_trees_are_left_as_they_are() -> None:
    trees = [
        tree("{a: {b: 1}, c: [1], models: {m: 1}}"),
        tree("{a: {d: 2}, c: [2], models: {n: 1}}"),
    ]
    before = [plain(one) for one in trees]
    merge(trees)
    assert [plain(one) for one in trees] == before


def test_sizes_add_up_and_anchors_of_any_file_count() -> None:
    root, _ = merge([tree("defs: {x: 1}\nk: [1]"), tree("defs: {y: &y [2]}\nk: [2, 3]\nother: {}")])
    assert root is not None
    defs, other = root.member("defs"), root.member("other")
    assert defs is not None
    assert other is not None
    assert (defs.holds_anchor, other.holds_anchor) == (True, False)
    assert (defs.size, root.size) == (6, 15)


# --- what does not --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["models", "groups", "matrix", "profiles", "selectors", "peers"])
def test_a_repeated_name_is_an_error_that_names_both_files(name: str) -> None:
    assert conflicts(f"{name}:\n  qwen: {{a: 1}}", f"\n\n{name}:\n  qwen: {{a: 1}}") == [
        f"b.yaml:4:3: {name}.qwen: 'qwen' is in a.yaml:2 already; what {name!r} names is written"
        " in one file; remove or rename one of them"
    ]


@pytest.mark.parametrize("name", ["groups", "matrix"])
def test_a_repeated_name_in_the_settings_of_the_router_is_an_error(name: str) -> None:
    text = f"routing: {{router: {{settings: {{{name}: {{one: {{}}}}}}}}}}"
    (found,) = conflicts(text, text)
    assert f"routing.router.settings.{name}.one: 'one' is in a.yaml:1 already" in found


def test_only_at_the_top_are_models_given_once() -> None:
    assert merged("x: {models: {a: 1}}", "x: {models: {a: 1}}") == {"x": {"models": {"a": 1}}}


def test_a_name_in_three_files_is_two_errors() -> None:
    texts = ["models: {a: 1}"] * 3
    assert [found[:15] for found in conflicts(*texts)] == ["b.yaml:1:10: mo", "c.yaml:1:10: mo"]


@pytest.mark.parametrize(
    ("one", "other"),
    [("5", "6"), ("1.10", "1.1"), ("5", "'5'"), ("true", "'true'"), ("null", "5"), ("''", "x"), ("1", "true")],
)  # fmt: skip
def test_two_values_of_one_key_are_an_error_that_does_not_tell_them(one: str, other: str) -> None:
    assert conflicts(f"store:\n  path: {one}", f"store: {{path: {other}}}") == [
        "b.yaml:1:15: store.path: found another value than in a.yaml:2; keep one of them"
    ]


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ("5", "[5]", "found a list, but a.yaml:1 has a single value"),
        ("[5]", "{a: 5}", "found a mapping, but a.yaml:1 has a list"),
        ("{a: 5}", "5", "found a single value, but a.yaml:1 has a mapping"),
        ("{}", "[]", "found a list, but a.yaml:1 has a mapping"),
        ("{a: 5}", "~", "found a single value, but a.yaml:1 has a mapping"),
    ],
)
def test_different_kinds_of_values_are_an_error(one: str, other: str, told: str) -> None:
    assert conflicts(f"k: {one}", f"k: {other}") == [f"b.yaml:1:4: k: {told}; keep one of them"]


@pytest.mark.parametrize("value", ["[a]", "a"])
def test_where_names_are_given_lists_and_single_values_do_not_add_up(value: str) -> None:
    (found,) = conflicts(f"models: {value}", f"models: {value}")
    assert "write a mapping" in found


def test_all_conflicts_are_told_and_the_earlier_file_is_kept() -> None:
    root, found = merge([
        tree("{a: 1, b: {c: x}, models: {m: 1}, d: [1]}", "a.yaml"),
        tree("{a: 2, b: {c: y}, models: {m: 2}, d: {}}", "b.yaml"),
        tree("{a: 1, b: {c: z}, models: {n: 3}}", "c.yaml"),
    ])  # fmt: skip
    assert root is not None
    assert plain(root) == {"a": 1, "b": {"c": "x"}, "models": {"m": 1, "n": 3}, "d": [1]}
    assert [(one.source, one.path) for one in found] == [
        ("b.yaml", "a"), ("b.yaml", "b.c"), ("c.yaml", "b.c"), ("b.yaml", "models.m"), ("b.yaml", "d"),
    ]  # fmt: skip


def test_conflicts_are_told_up_to_a_bound() -> None:
    text = "\n".join(f"k{number}: " for number in range(MAX_PROBLEMS + 1))
    found = conflicts(text.replace(": ", ": 1"), text.replace(": ", ": 2"))
    assert len(found) == MAX_PROBLEMS


def test_more_values_than_one_file_may_have_are_too_many_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(config_merge, "MAX_VALUES", 9)
    assert conflicts("[1, 2, 3]", "[4, 5, 6, 7]") == []
    assert conflicts("[1, 2, 3]", "[4, 5, 6, 7, 8]") == [
        "b.yaml: with this file there are more than 9 values in all"
    ]


def test_the_deepest_trees_are_merged() -> None:
    deep = "{a: " * (MAX_DEPTH - 1) + "{%s: 1}" + "}" * (MAX_DEPTH - 1)
    found = merged(deep % "x", deep % "y")
    for _ in range(MAX_DEPTH - 1):
        found = found["a"]
    assert found == {"x": 1, "y": 1}


# --- whatever they are ----------------------------------------------------------------------------

_TREES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["", "x", "${a}"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "models", "routing"]), inner, max_size=3)
    ),
    max_leaves=12,
)


def made(value: Any, source: str) -> Node:
    """The tree of a value, with None as what is left empty."""
    match value:
        case list():
            return Node([made(item, source) for item in value], 1, 1, source=source)
        case dict():
            pairs = {name: (made(name, source), made(item, source)) for name, item in value.items()}
            return Node(pairs, 1, 1, source=source)
        case _:
            return Node(value, 1, 1, "" if value is None else str(value), source=source)


@given(st.lists(_TREES, min_size=1, max_size=4))
def test_any_trees_give_one_tree_and_conflicts_between_files(values: list[Any]) -> None:
    root, found = merge([made(value, f"{index}") for index, value in enumerate(values)])
    assert root is not None
    assert all(problem.source != "0" for problem in found)  # nothing comes before the first file


@given(st.dictionaries(st.sampled_from("abcd"), _TREES), st.booleans())
def test_an_empty_tree_changes_nothing(value: dict[str, Any], is_first: bool) -> None:
    one, empty = made(value, "one"), made({}, "empty")
    root, found = merge([empty, one] if is_first else [one, empty])
    assert root is not None
    assert root.value == one.value
    assert found == ()


@given(st.lists(st.dictionaries(st.sampled_from("abcd"), st.none() | st.integers(0, 1))))
def test_keys_come_in_the_order_of_the_files(values: list[dict[str, Any]]) -> None:
    root, _ = merge([made({}, "0"), *(made(value, "1") for value in values)])
    assert root is not None
    assert list(plain(root)) == list(dict.fromkeys(name for value in values for name in value))


@given(st.lists(st.text("ab:-[]{}&*<,\n \"'~", max_size=30), min_size=2, max_size=3))
def test_whatever_is_yaml_can_be_merged(texts: list[str]) -> None:
    trees = []
    for text in texts:
        try:
            root = parse_yaml(text, "x")
        except YamlError:
            continue
        trees += [root] if root is not None else []
    merge(trees)
