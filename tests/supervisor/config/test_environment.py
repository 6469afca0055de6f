"""Values of the environment in a configuration: ``${env.NAME}``."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.supervisor.config.reading import model, parse, problems, with_model

FIELDS = """
macros: {bin: '${env.BIN}', args: '-c ${env.N} -m ${env.DIR}/${MODEL_ID}'}
startPort: ${env.PORT0}
globalTTL: ${env.N}
apiKeys: ['${env.KEY}', 'k-${env.N}']
logLevel: ${env.LEVEL}
models:
  a:
    macros: {own: 'x${env.N}'}
    cmd: ${bin} ${PORT} ${args} ${own} "${env.SPACED}"
    cmdStop: ${env.BIN} stop ${PID}
    proxy: http://${env.HOST}:${PORT}
    checkEndpoint: /${env.DIR}
    ttl: ${env.N}
    unlisted: ${env.CAN}
    env: ['K=${env.KEY}', "L=${env.KEY}", 'M=${env.EMPTY}']
    name: n ${env.N}
    aliases: ['${env.HOST}']
    filters: {stripParams: '${env.WORDS}', setParams: {n: "${env.N}", m: ${env.N}}}
    metadata: {typed: ${env.N}, quoted: '${env.N}', can: ${env.CAN}, macro: '${bin}'}
"""
ENVIRON = {
    "BIN": "run",
    "N": "30",
    "DIR": "/m",
    "PORT0": "7000",
    "KEY": 'a"b\\c',
    "LEVEL": "warn",
    "SPACED": "a b",
    "HOST": "h",
    "CAN": "true",
    "EMPTY": "",
    "WORDS": "b,a",
}


def test_variables_are_filled_in_everywhere_and_have_types_without_quotes() -> None:
    config = parse(FIELDS, **ENVIRON)
    found = config.models["a"]
    assert (config.start_port, config.logging.level) == (7000, "warning")
    assert config.api_keys == ('a"b\\c', "k-30")
    assert found.command == ("run", "${PORT}", "-c", "30", "-m", "/m/a", "x30", "a b")
    assert found.stop_command == ("run", "stop", "${PID}")
    assert (found.proxy, found.check_endpoint) == ("http://h:${PORT}", "/m")
    assert (found.ttl_s, found.unlisted, found.name) == (30, True, "n 30")
    assert found.env == (("K", 'a"b\\c'), ("L", 'a"b\\c'), ("M", ""))
    assert found.aliases == ("h",)
    assert found.filters.strip_params == ("a", "b")
    assert found.filters.set_params == {"n": "30", "m": 30}
    assert found.metadata == {"typed": 30, "quoted": "30", "can": True, "macro": "run"}


@pytest.mark.parametrize("name", sorted(ENVIRON))
def test_a_variable_that_is_not_set_is_told_by_its_name_wherever_it_is_used(name: str) -> None:
    environ = {other: value for other, value in ENVIRON.items() if other != name}
    found = problems(FIELDS, **environ)
    told = f"the environment has no variable {name}; set it, or write the value"
    assert found
    assert all(one.endswith(told) for one in found)


@pytest.mark.parametrize(
    "text", ["models: {{a: {{cmd: '{}'}}}}", "apiKeys: ['{}']\nmodels:", "macros: {{m: '{}'}}"]
)
@pytest.mark.parametrize("value", ["s3cret\nx: y", "s3cret\r", "s3cret\0"])
def test_a_value_of_several_lines_is_refused_and_not_shown(text: str, value: str) -> None:
    (told,) = problems(text.format("${env.V}"), V=value)
    assert "the environment's variable V holds a line end or a zero byte" in told
    assert "s3cret" not in told


def test_only_comments_may_name_what_is_not_set() -> None:
    text = "models: {a: {cmd: 'run ${PORT} ${env.X}'}}  # ${env.NOPE}"
    assert parse(text, X="").models["a"].command == ("run", "${PORT}")
    assert "the environment has no variable X" in problems(text)[0]


@pytest.mark.parametrize("name", ["env.", "env.1X", "env.A-B", "env.A.B", "env", "ENV.X"])
def test_a_name_that_no_variable_has_is_an_unknown_macro(name: str) -> None:
    (told,) = problems(with_model(f"name: '${{{name}}}'"))
    assert f"models.a.name: unknown macro ${{{name}}}" in told


@given(st.text(st.characters(exclude_characters="\n\r\0", codec="utf-8")))
def test_any_value_arrives_as_it_is_and_is_not_looked_at_again(value: str) -> None:
    assert model("env: ['P=${env.P}', \"Q=x${env.P}\"]", P=value).env == (
        ("P", value),
        ("Q", f"x{value}"),
    )


PEER = "peers: {{p: {{proxy: 'http://h', models: [m], {}}}}}"


@pytest.mark.parametrize(
    ("macros", "key", "found"),
    [
        ("{}", "'${env.KEY}'", "s3cret"),
        ("{k: from-a-macro}", "'${k}'", "from-a-macro"),
        ("{k: 'pre-${env.KEY}'}", "'${k}-post'", "pre-s3cret-post"),
        ("{}", "''", ""),
        ("{}", "plain  # ${env.NOPE}\n", "plain"),
    ],
)
def test_the_key_of_a_peer_may_come_from_elsewhere(macros: str, key: str, found: str) -> None:
    config = parse(f"macros: {macros}\n" + PEER.format(f"apiKey: {key}"), KEY="s3cret")
    assert config.peers["p"].api_key == found
    assert "s3cret" not in repr(config)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("apiKey: 's3cret-${nope}'", "peers.p.apiKey: it uses an unknown macro; known are: k"),
        ("apiKey: '${env.NOPE}'", "peers.p.apiKey: the environment has no variable NOPE"),
        ("apiKey: '${MODEL_ID}'", "peers.p.apiKey: ${MODEL_ID} has a meaning within a model only"),
        ("filters: {stripParams: '${nope}'}", "peers.p.filters.stripParams: unknown macro ${nope}"),
        ("filters: {setParams: {a: {b: '${nope}'}}}", "peers.p.filters.setParams.a.b: unknown"),
    ],
)
def test_what_a_peer_uses_has_to_be_there(keys: str, told: str) -> None:
    (found,) = problems("macros: {k: 1}\n" + PEER.format(keys))
    assert told in found
    assert "s3cret" not in found


def test_filters_of_a_peer_have_macros() -> None:
    keys = "filters: {stripParams: 'b,${k}', setParams: {x: '${n}', y: '${env.V}'}}"
    peer = parse("macros: {k: a, n: 5}\n" + PEER.format(keys), V="v").peers["p"]
    assert peer.filters.strip_params == ("a", "b")
    assert peer.filters.set_params == {"x": 5, "y": "v"}
