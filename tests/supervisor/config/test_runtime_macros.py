"""The macros that arriero fills in: ${PORT}, ${MODEL_ID} and ${PID}."""

import pytest

from tests.supervisor.config.reading import model, parse, problems, with_model

PLACES = """
macros: {p: '${PORT}', stop: 'kill ${PID} ${p}'}
models:
  b:
    cmd: serve --port ${p}
    cmdStop: ${stop}
    proxy: http://h:${PORT}/${MODEL_ID}
    checkEndpoint: /${p}/h
    env: ['P=${PORT}']
    name: n-${PORT}
    description: ${p}
    aliases: ['b-${PORT}', '${p}']
    useModelName: m-${p}
    metadata: {port: '${PORT}', through: '${p}', text: ':${p}', '${PORT}': [{x: '${p}'}]}
    filters:
      stripParams: s${PORT}
      setParams: {port: '${p}'}
      setParamsByID: {'id-${PORT}': {port: '${PORT}'}, 'through-${p}': {}}
  a: {cmd: 'run ${PORT}'}
"""


def test_empty_name_for_its_server_is_none() -> None:
    assert model("useModelName: ''").send_as is None


def test_a_port_is_a_number_in_all_values_of_its_model_but_those_of_a_start() -> None:
    found = parse(PLACES).models["b"]
    assert found.port == 5801
    assert (found.name, found.description, found.send_as) == ("n-5801", "5801", "m-5801")
    assert found.aliases == ("b-5801", "5801", "id-5801", "through-5801")
    assert found.metadata == {
        "port": 5801,
        "through": 5801,
        "text": ":5801",
        "${PORT}": ({"x": 5801},),
    }
    assert found.filters.strip_params == ("s5801",)
    assert found.filters.set_params == {"port": 5801}
    assert found.filters.set_params_by_id == {"id-5801": {"port": 5801}, "through-5801": {}}
    assert found.stop_command == ("kill", "${PID}", "${PORT}")
    launch = found.launch(7)
    assert launch.command == ("serve", "--port", "7")
    assert launch.env == (("P", "7"),)
    assert (launch.endpoint, launch.health_url) == ("http://h:7/b", "http://h:7/b/7/h")


def test_the_id_of_a_model_is_filled_in_also_by_global_macros() -> None:
    text = """
    macros: {file: '/m/${MODEL_ID}.gguf', args: '-m ${file} -a ${MODEL_ID}'}
    models:
      z/y:1: {cmd: 'run ${PORT} ${args}', proxy: 'http://h:${PORT}/${MODEL_ID}'}
      b: {cmd: 'x ${PORT} ${MODEL_ID}', checkEndpoint: '/${MODEL_ID}', metadata: {i: '${MODEL_ID}'}}
    """
    config = parse(text)
    first, second = config.models.values()
    assert first.command == ("run", "${PORT}", "-m", "/m/z/y:1.gguf", "-a", "z/y:1")
    assert second.command == ("x", "${PORT}", "b")
    assert (first.proxy, second.check_endpoint) == ("http://h:${PORT}/z/y:1", "/b")
    assert second.metadata == {"i": "b"}
    assert (first.port, second.port) == (5801, 5800)  # by the order of ids


@pytest.mark.parametrize("stop", ["kill ${PID}", "${k}"])
def test_the_process_id_stays_in_the_command_that_stops(stop: str) -> None:
    found = model(f"cmdStop: '{stop}'", "macros: {k: 'kill ${PID}'}")
    assert found.stop_command == ("kill", "${PID}")


@pytest.mark.parametrize("pid", ["${PID}", "${k}"])
@pytest.mark.parametrize(
    "keys",
    [
        "name: '{}'",
        "description: 'x {}'",
        "proxy: 'http://h/{}'",
        "checkEndpoint: '/{}'",
        "metadata: {{x: ['{}']}}",
        "aliases: ['{}']",
        "filters: {{setParamsByID: {{'{}': {{}}}}}}",
        "env: ['A={}']",
        "ttl: '{}'",
    ],
)
def test_the_process_id_is_refused_elsewhere(pid: str, keys: str) -> None:
    (told,) = problems(with_model(keys.format(pid), "macros: {k: '${PID}'}"))
    assert told.endswith("${PID} has a meaning in cmdStop only")


@pytest.mark.parametrize("pid", ["${PID}", "${k}"])
def test_the_process_id_is_refused_in_the_command_that_starts(pid: str) -> None:
    (told,) = problems(f"macros: {{k: '${{PID}}'}}\nmodels: {{a: {{cmd: 'run ${{PORT}} {pid}'}}}}")
    assert told == "c.yaml:2:19: models.a.cmd: ${PID} has a meaning in cmdStop only"


@pytest.mark.parametrize("macro", ["PORT", "PID", "MODEL_ID"])
@pytest.mark.parametrize("used", ["${{{}}}", "${{k}}"])
def test_what_belongs_to_a_model_is_refused_outside_of_one(macro: str, used: str) -> None:
    top = f"macros: {{k: '${{{macro}}}'}}\nlogLevel: '{used.format(macro)}'"
    (told,) = problems(with_model(top=top))
    assert f"c.yaml:2:11: logLevel: ${{{macro}}} has a meaning " in told
