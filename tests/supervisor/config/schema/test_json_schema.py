# ruff: noqa: E501  one mistake, one line
import ast
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from arriero.supervisor.cli.main import main
from arriero.supervisor.config.document import every_key, schema, schema_text
from arriero.supervisor.config.load import parse_config
from arriero.supervisor.config.schema.macros import Macro, ScalarValue
from arriero.supervisor.config.schema.reader import Key, Place, Reading, Wrong
from arriero.supervisor.config.schema.sections import default_of
from arriero.supervisor.config.yaml.tree import Node, YamlError, parse_yaml
from arriero.supervisor.errors import ConfigError
from tests.examples import examples
from tests.paths import ROOT
from tests.supervisor.config.schema.validator import VALIDATOR, as_data, complaints, data_of

TESTS = ROOT / "tests"
ROOT = TESTS.parent
FILES = [
    ROOT / "config.example.yaml",
    *sorted((TESTS / "supervisor" / "config" / "files").glob("*.yaml")),
]
ENVIRON = {"KEY": "k", "LLAMA_SWAP_KEY": "k", "OPENROUTER_KEY": "k", "X": "1"}
LEAVES = [(path, key) for path, key in every_key() if not key.type.has_keys]


# --- the schema itself --------------------------------------------------------------------------


def test_it_is_a_json_schema() -> None:
    Draft7Validator.check_schema(schema())


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    printed = capsys.readouterr().out
    assert printed == schema_text()
    assert json.loads(printed) == json.loads(json.dumps(schema()))


def test_the_help_of_the_command_says_how_an_editor_gets_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["schema", "--help"]) == 0
    told = capsys.readouterr().out
    assert "Example:  arriero schema > config.schema.json" in told
    assert "# yaml-language-server: $schema=config.schema.json\n" in told


def properties(under: Any = None) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, found in (schema() if under is None else under).get("properties", {}).items():
        yield name, found
        for inner in (found, found.get("additionalProperties") or found.get("items") or {}):
            for path, deeper in properties(inner):
                yield f"{name}.{'' if inner is found else '<id>.'}{path}", deeper


def test_it_explains_every_key() -> None:
    explained = {path: found["description"] for path, found in properties()}
    assert explained.keys() >= {path for path, _ in every_key()}
    assert [path for path, key in every_key() if key.meaning not in explained[path]] == []
    assert all(len(text) > 10 for text in explained.values())


def test_it_shows_what_holds_without_a_key() -> None:
    shown = {path: found.get("default") for path, found in properties()}
    assert [
        (path, shown[path]) for path, key in every_key() if shown[path] != default_of(key)
    ] == []
    assert (shown["listen"], shown["models.<id>.ttl"]) == ("127.0.0.1:8080", -1)


def test_a_key_may_say_nothing_unless_it_has_to_be_there() -> None:
    empty = {path: Draft7Validator(found).is_valid(None) for path, found in properties()}
    assert [path for path, key in every_key() if empty[path] == key.required] == []


def test_older_spellings_and_places_are_marked() -> None:
    marked = {
        path: found["deprecationMessage"] for path, found in properties() if "deprecated" in found
    }
    assert marked == {
        "groups": "write routing.router.settings.groups instead",
        "matrix": "write routing.router.settings.matrix instead",
        "models.<id>.filters.strip_params": "write stripParams instead",
    }


@pytest.mark.parametrize(("path", "key"), LEAVES, ids=[path for path, _ in LEAVES])
def test_a_default_that_is_shown_is_one_that_can_be_written(path: str, key: Key) -> None:
    """And it means what holds when the key is left out."""
    default = default_of(key)
    if default is None:
        assert key.required or key.without is not None or not key.default
        return
    node = parse_yaml(json.dumps([default], ensure_ascii=False))
    assert node is not None
    assert isinstance(node.value, list)
    reading = Reading("c", {})
    found = key.type.read(
        node.value[0], Place(reading, (Macro("PORT", ScalarValue("1", 1)),)).under(path)
    )
    assert not reading.problems
    if key.default is not None and "${PORT}" not in str(default) and not isinstance(default, list):
        assert found == key.default
    assert not list(Draft7Validator(key.type.schema).iter_errors(default))


def test_patterns_mean_the_same_in_python_and_javascript() -> None:
    """None of the escapes and groups that only one of them knows."""
    for pattern in re.findall(r'"pattern": ("(?:[^"\\]|\\.)*")', schema_text()):
        text = json.loads(pattern)
        re.compile(text)
        assert not re.search(r"\(\?(?![:!])|\\[^sSntdux$\[\].{}]|\\u(?![0-9a-f]{4})", text), text


# --- what the program reads, it accepts ---------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_that_the_program_reads_are_accepted(path: Path) -> None:
    text = path.read_text()
    parse_config(text, path.name, environ=ENVIRON)
    assert complaints(data_of(text)) == []


def test_a_file_of_a_llama_swap_user_loads_without_warnings() -> None:
    path = TESTS / "supervisor" / "config" / "files" / "llama-swap-user.yaml"
    config = parse_config(path.read_text(), path.name, environ=ENVIRON)
    assert config.warnings == ()
    assert len(config.models) == 8
    assert config.models["qwen3-coder:30b"].aliases == (
        "coder",
        "claude-3-5-haiku",
        "qwen3-coder:30b:precise",
    )


def texts_of_tests() -> list[str]:
    """Return all texts in the tests that the program reads as a configuration."""
    found = []
    for path in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
                continue
            if not re.search("models|peers", node.value):
                continue
            try:
                config = parse_config(node.value, environ=ENVIRON, unknown="errors")
            except ConfigError:
                continue
            if config.models or config.peers:
                found.append(node.value)
    return found


@pytest.mark.nightly  # reads all tests
def test_the_texts_of_all_tests_that_the_program_reads_are_accepted() -> None:
    texts = texts_of_tests()
    assert len(texts) >= 20
    assert [(text, found) for text in texts if (found := complaints(data_of(text)))] == []


MACROS = (
    Macro("number", ScalarValue("20", 20)),
    Macro("word", ScalarValue("group", "group")),
    Macro("truth", ScalarValue("true", True)),
    Macro("url", ScalarValue("http://h:1", "http://h:1")),
)
SCALARS: list[Any] = [
    None, True, False, 0, 1, -1, 20, 5.0, 1.5, -0.0, 99999, 2**31, 2**53, 1e300,
    "", " ", "0", "1", "x", "y", "No", " OFF ", "True", "yes", "auto", "none", " none ", "Info", "WARNING ",
    "Force", "heartbeat", "Group", "MATRIX", "fifo", "spillover", "Text", "rfc3339", "${number}", "${word}",
    "${truth}", "${url}", "$${x}", "${env.X}", "1${env.X}", "10s", "1m30s", "5\u00b5s", ".5h", "0s", "1d",
    "127.0.0.1:80", ":0", "[::1]:8080", "[fe80::1%eth0]:9", " h:1 ", "h:", "h:99999", "http://h", "HTTPS://u:p@h:1/a/",
    "http://h?x", "http://h#x", "http:///x", "ftp://h", "/health", "health", "/a%20b", "/a%zz", "http://h/x#y", "a b",
    "A=b", "A=", "=b", "A=\n", "A", "# only\n", "# only\nrun", "run \\\n -x", " # x", "\\", "\n\n", '""',
    "swap-progress: ", "abc ", "ab ", "\u00e4bc ", "a.b, c", "x" * 200, "x" * 201, "a\tb", "\u00e9", "\U0001f999", "(", "(?i)x",
]  # fmt: skip
PATTERNS = sorted(set(re.findall(r'"pattern": ("(?:[^"\\]|\\.)*")', schema_text())))
single = (
    st.sampled_from(SCALARS)
    | st.sampled_from(PATTERNS).flatmap(lambda pattern: st.from_regex(json.loads(pattern)))
    | st.text(max_size=20)
    | st.integers(-(2**33), 2**33)
    | st.floats(allow_nan=False, allow_infinity=False)
)
names = st.sampled_from(["x", "y", "${number}", "a/b", "1"]) | st.text(max_size=5)
anything = st.recursive(
    single,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=5,
)


def tree_of(data: object) -> Node | None:
    """Return `data` as it is read from a file; None if YAML cannot say it."""
    try:
        return parse_yaml(json.dumps({"it": data}, ensure_ascii=False))
    except YamlError:
        return None


def accepted_by_the_program_only(key: Key, data: object) -> bool:
    """Whether `key` can be `data`, and its schema says no."""
    root = tree_of(data)
    node = None if root is None else root.member("it")
    if node is None or node.value is None:  # then the default holds
        return False
    reading = Reading("c", ENVIRON, "errors")
    try:
        key.type.read(node, Place(reading, MACROS).under("x"))
    except Wrong:
        return False
    return not reading.problems and not Draft7Validator(key.type.schema).is_valid(as_data(node))


# One key of each kind. The names of macros and vars are looked at after the kind was read.
KINDS = {
    json.dumps(key.type.schema): key for _, key in LEAVES if key.name not in {"macros", "vars"}
}.values()


@pytest.mark.parametrize("key", KINDS, ids=lambda key: key.name)
def test_what_a_key_takes_its_schema_accepts(key: Key) -> None:
    shapes: list[Callable[[object], object]] = [lambda x: x, lambda x: [x], lambda x: {"a": x}]
    values = [shape(value) for shape in shapes for value in SCALARS]
    assert [value for value in values if accepted_by_the_program_only(key, value)] == []


@settings(max_examples=examples(10, 200), deadline=None)
@given(data=anything)
def test_whatever_it_is(data: object) -> None:
    assert [key.name for key in KINDS if accepted_by_the_program_only(key, data)] == []


BASES = [data_of(path.read_text()) for path in FILES]


def spots(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Give the path of every value in `data`."""
    members = (
        enumerate(data)
        if isinstance(data, list)
        else data.items()
        if isinstance(data, dict)
        else ()
    )
    for name, value in members:
        yield (*path, name)
        yield from spots(value, (*path, name))


@st.composite
def changed(draw: st.DrawFn) -> Any:
    """One of the files with some values replaced or removed."""
    data = json.loads(json.dumps(draw(st.sampled_from(BASES))))
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(list(spots(data))))
        owner = data
        for name in way:
            owner = owner[name]
        if draw(st.booleans()):
            owner[last] = draw(anything)
        else:
            del owner[last]
    return data


@settings(max_examples=examples(40, 600), deadline=None)
@given(data=changed())
@example(data={"models": None, "peers": {"p": {"proxy": "http://h", "models": [1]}}})
@example(data={"models": {"a": {"cmd": "x ${PORT}", "filters": {"setParamsByID": {"b": None}}}}})
@example(data={"models": {"a": {"cmd": "x ${PORT}"}}, "groups": {"g": None}, "matrix": None})
@example(data={"models": {"a": {"cmd": "x ${PORT}", "env": None, "unlisted": "Y"}}, "hooks": None})
def test_what_the_program_reads_the_schema_accepts(data: Any) -> None:
    try:
        parse_config(json.dumps(data, ensure_ascii=False), environ=ENVIRON, unknown="errors")
    except ConfigError:
        return
    assert complaints(data_of(json.dumps(data, ensure_ascii=False))) == []


# --- what it marks in an editor -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("modles: {}", ""),
        ("listen: 8080", "listen"),
        ("listen: localhost", "listen"),
        ("workers: many", "workers"),
        ("healthCheckTimeout: '60'", "healthCheckTimeout"),
        ("healthCheckTimeout: 1.5", "healthCheckTimeout"),
        ("globalTTL: -1", "globalTTL"),
        ("startPort: 70000", "startPort"),
        ("progress: resoning", "progress"),
        ("progressDelay: 5", "progressDelay"),
        ("progressMarker: 'no blank'", "progressMarker"),
        ("logLevel: verbose", "logLevel"),
        ("apiKeys: ['a b']", "apiKeys.0"),
        ("apiKeys: a", "apiKeys"),
        ("macros: {PORT: 1}", "macros"),
        ("macros: {'a b': 1}", "macros"),
        ("macros: {a: [1]}", "macros.a"),
        ("performance: {every: 5}", "performance.every"),
        ("store: {path: ''}", "store.path"),
        ("models: {a: {}}", "models.a"),
        ("models: {a: }", "models.a"),
        ("models: {a: {cmd: }}", "models.a"),  # a proxy would do
        ("models: {a: {cmd: '# nothing'}}", "models.a.cmd"),
        ("models: {a: {cmd: x, cmdstop: y}}", "models.a"),
        ("models: {a: {cmd: x, proxy: 'localhost:80'}}", "models.a.proxy"),
        ("models: {a: {cmd: x, checkEndpoint: '/%zz'}}", "models.a.checkEndpoint"),
        ("models: {a: {cmd: x, env: [A]}}", "models.a.env.0"),
        ("models: {a: {cmd: x, env: ['=b']}}", "models.a.env.0"),
        ("models: {a: {cmd: x, aliases: b}}", "models.a.aliases"),
        ("models: {a: {cmd: x, aliases: ['']}}", "models.a.aliases.0"),
        ("models: {a: {cmd: x, ttl: -2}}", "models.a.ttl"),
        ("models: {a: {cmd: x, unlisted: maybe}}", "models.a.unlisted"),
        ("models: {a: {cmd: x, capabilities: {in: [txt]}}}", "models.a.capabilities.in.0"),
        ("models: {a: {cmd: x, filters: {setParams: [1]}}}", "models.a.filters.setParams"),
        ("models: {'': {cmd: x}}", "models"),
        ("groups: {g: {members: a}}", "groups.g.members"),
        ("matrix: {vars: {a: b}}", "matrix"),
        ("matrix: {sets: {}}", "matrix.sets"),
        ("matrix: {vars: {a_b: c}, sets: {s: c}}", "matrix.vars"),
        ("matrix: {evict_costs: {a: 0}, sets: {s: a}}", "matrix.evict_costs.a"),
        ("routing: {router: {use: best}}", "routing.router.use"),
        ("profiles: {p: [a]}", "profiles.p"),
        ("profiles: {p: {}}", "profiles.p"),
        ("selectors: {s: {strategy: hot, targets: [a]}}", "selectors.s.strategy"),
        ("selectors: {s: {strategy: pin, targets: []}}", "selectors.s.targets"),
        ("peers: {p: {models: [m]}}", "peers.p"),
        ("peers: {p: {proxy: h, models: [m]}}", "peers.p.proxy"),
        ("peers: {p: {proxy: 'http://h', models: [m], filters: {strip_params: a}}}", "peers.p.filters"),
    ],
)  # fmt: skip
def test_a_common_mistake_is_marked_where_it_is(text: str, where: str) -> None:
    """And the program refuses it, too."""
    with pytest.raises(ConfigError):
        parse_config(text, environ={}, unknown="errors")
    assert [found.split(": ")[0] for found in complaints(data_of(text))] == [where]


def test_keys_that_hold_anchors_may_have_some_names() -> None:
    text = "defs: {a: &a {ttl: 1}}\nx-common: &x 1\nmodels: {a: {<<: *a, cmd: 'x ${PORT}'}}"
    parse_config(text, environ={})
    assert list(VALIDATOR.iter_errors(yaml.safe_load(text))) == []
