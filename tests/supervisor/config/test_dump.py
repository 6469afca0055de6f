from pathlib import Path

import pytest

from arriero.supervisor.config.dump import dump
from arriero.supervisor.config.load import load_config
from tests.paths import EXAMPLE_CONFIG, ROOT
from tests.supervisor.config.reading import model, parse, with_model

EVERYTHING = ROOT / "tests" / "supervisor" / "config" / "files" / "everything.yaml"


@pytest.mark.parametrize("file", [EVERYTHING, EXAMPLE_CONFIG], ids=lambda file: file.name)
def test_a_large_file_survives(file: Path) -> None:
    config = load_config(file, environ={"KEY": "sk-two"})
    assert parse(dump(config)) == config


def test_no_configuration_survives_either() -> None:
    assert parse(dump(parse(""))) == parse("")


def dumped(line: str, text: str, **environ: str) -> bool:
    """Whether `line` is one of those that `text` is dumped as."""
    return line in [one.strip() for one in dump(parse(text, **environ)).splitlines()]


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("env: ['A=${x}']", "- A=1"),  # what was found out, not what was written
        ("env: ['A=${PORT}']", "- A=${PORT}"),  # what has no value yet stays
        ("cmdStop: 'kill ${PID} ${PORT}'", "cmdStop: kill ${PID} ${PORT}"),
        ("checkEndpoint: '/${PORT}'", "checkEndpoint: /${PORT}"),
        ("env: ['A=$${x}']", "- A=$${x}"),
        ("env: ['A=$$${PORT}']", "- A=$$${PORT}"),
        ("env: ['A=${env.KEY}']", "- A=$${PORT"),  # as it came from the environment
        ("env: ['A=${env.TOKEN}']", "- A=s3cret"),  # it is for the owner
        ("name: '${PORT}'", "name: '5800'"),
        ("name: '$${PORT}'", "name: '$${PORT}'"),
        ("checkEndpoint: none", "checkEndpoint: none"),
        ("ttl: -1", "ttl: 60"),  # as the top level says
        ("strict: yes", "strict: true"),
        ("metadata: {a: [1, 1.0, true, '1', ~]}", "- 1.0"),
    ],
)
def test_a_model_is_dumped_as_it_was_understood(keys: str, line: str) -> None:
    text = with_model(keys, "globalTTL: 60\nmacros: {x: 1}")
    assert dumped(line, text, KEY="${PORT", TOKEN="s3cret")


def test_a_command_is_dumped_with_quotes_where_it_needs_them() -> None:
    text = r"""models: {a: {cmd: "run --port ${PORT} 'a b' \"it's\" '' 'x\ny' '#' '$${HOME}'"}}"""
    assert parse(text).models["a"].command[3:] == ("a b", "it's", "", "x\ny", "#", "${HOME}")
    assert parse(dump(parse(text))) == parse(text)
    assert dumped("cmd: run ${PORT} 'a b' ''", """models: {a: {cmd: "run ${PORT} 'a b' ''"}}""")


def test_keys_of_peers_and_of_clients_are_dumped_for_their_owner() -> None:
    text = "apiKeys: [one]\npeers: {p: {proxy: 'http://p', models: [m], apiKey: two}}"
    assert dumped("- one", text)
    assert dumped("apiKey: two", text)


@pytest.mark.parametrize(
    ("top", "line"),
    [
        ("progressDelay: 0", "progressDelay: '0s'"),
        ("progressDelay: 1us", "progressDelay: '0.000001s'"),
        ("heartbeatInterval: 20s", "heartbeatInterval: '20s'"),
        ("heartbeatInterval: 0", "heartbeatInterval: '0s'"),
        ("logLevel: WARN", "logLevel: warning"),
        ("listen: '[::1]:80'", "listen: '[::1]:80'"),
        ("matrix: {sets: {s: a}}", "use: matrix"),
        ("groups: {'${x}': {members: [a]}}", "'${x}':"),
        ("routing: {scheduler: {settings: {fifo: {priority: {a: -1}}}}}", "a: -1"),
    ],
)
def test_the_top_level_is_dumped_as_it_was_understood(top: str, line: str) -> None:
    text = with_model("filters: {setParamsByID: {'$${x}': {}}}", top)
    assert dumped(line, text)
    assert parse(dump(parse(text))) == parse(text)


def test_names_with_blanks_around_them_survive() -> None:
    """Another model has the name without them."""
    run = "{cmd: 'run ${PORT}'}"
    text = f"""models: {{a: {run}, 'a ': {run}}}
hooks: {{on_startup: {{preload: ['a ', ' a ']}}}}
profiles: {{f: {{pins: {{x: 'a '}}}}}}
"""
    config = parse(text)
    assert (config.preload, config.profiles["f"].pins) == (("a ", "a"), {"x": "a "})
    assert parse(dump(config)) == config


def test_a_key_of_any_length_survives() -> None:
    name = "n" * 3000
    assert model(f"metadata: {{? {name} : 1}}").metadata == {name: 1}
    text = with_model(f"metadata: {{? {name} : 1}}")
    assert parse(dump(parse(text))) == parse(text)


@pytest.mark.parametrize(
    "number", [10**63, -(10**62), int("f" * 62, 16), 1e300, 5e-324, -0.0, 1e16]
)
def test_a_number_of_any_size_survives(number: float) -> None:
    text = with_model(f"metadata: {{n: {number if len(str(number)) <= 64 else hex(int(number))}}}")
    assert repr(parse(text).models["a"].metadata["n"]) == repr(number)
    assert dump(parse(dump(parse(text)))) == dump(parse(text))
