import pytest
from msgspec.structs import replace

from arriero.protocol.worker_config import Timeouts
from tests.supervisor.config.reading import model, parse, problems, with_model


def test_names_and_aliases_find_their_model() -> None:
    config = parse(with_model("aliases: [first, gpt-4]"))
    assert config.resolve("first") is config.resolve("a") is config.models["a"]
    assert config.resolve("b") is None
    assert config.suggest("frist") == ("first",)


def test_a_command_goes_on_after_a_backslash() -> None:
    text = r"""
    models:
      a:
        cmd: |
          /opt/llama-server --port ${PORT} \
            # not this one: --verbose
            -m "/models/a b.gguf" \
            --flag   # stays
        cmdStop: |
          # first
          docker stop \
            ${MODEL_ID}
    """
    found = parse(text).models["a"]
    assert found.command == (
        "/opt/llama-server", "--port", "${PORT}", "-m", "/models/a b.gguf", "--flag", "#", "stays",
    )  # fmt: skip
    assert found.stop_command == ("docker", "stop", "a")


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ("[x]", "[y, x]", "models.b.aliases: 'x' is an alias of 'a' already"),
        ("[x, x]", "[y]", "models.a.aliases: 'x' is an alias of 'a' already"),
        ("['${MODEL_ID}x']", "['ax']", "models.b.aliases: 'ax' is an alias of 'a' already"),
    ],
)
def test_an_alias_is_used_once(first: str, second: str, told: str) -> None:
    text = (
        f"models:\n  a: {{cmd: 'run ${{PORT}}', aliases: {first}}}\n"
        f"  b: {{cmd: 'run ${{PORT}}', aliases: {second}}}\n"
    )
    (found,) = problems(text)
    assert found.endswith(told)


def test_an_alias_that_is_the_own_id_changes_nothing() -> None:
    assert model("aliases: [a, b]").aliases == ("b",)


def test_an_alias_that_is_the_id_of_a_model_is_warned_of_and_the_id_wins() -> None:
    config = parse("models: {a: {cmd: 'x ${PORT}', aliases: [b, c]}, b: {cmd: 'y ${PORT}'}}")
    assert config.resolve("b") is config.models["b"]
    assert config.models["a"].aliases == ("c",)
    (warning,) = config.warnings
    assert (warning.path, warning.line, warning.column) == ("models.a.aliases", 1, 42)
    assert "'b' is the name of a model" in warning.message


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        ("{g: {members: [a]}, h: {members: [b, a]}}", "groups.h.members: 'a' is in the group 'g'"),
        ("{g: {members: [a, b, a]}}", "groups.g.members: 'a' is in the group 'g'"),
    ],
)
def test_a_model_is_in_one_group(groups: str, told: str) -> None:
    text = f"groups: {groups}\nmodels: {{a: {{cmd: 'x ${{PORT}}'}}, b: {{cmd: 'y ${{PORT}}'}}}}\n"
    (found,) = problems(text)
    assert told in found


@pytest.mark.parametrize("name", ["org/model:Q4_K_M", "1.10", "a b", "\u00e4", "true"])
def test_a_name_may_hold_nearly_anything(name: str) -> None:
    assert parse(f"models: {{'{name}': {{cmd: 'run ${{PORT}}'}}}}").resolve(name) is not None


@pytest.mark.parametrize("name", ["''", '"a\\nb"', "x" * 201, "'${x}'", "'${env.HOME}'"])
def test_some_names_cannot_be_asked_for(name: str) -> None:
    (told,) = problems(f"models: {{{name}: {{cmd: 'run ${{PORT}}'}}}}", HOME="/h")
    assert "printable characters" in told or "macros do not act in the name" in told


# --- ports --------------------------------------------------------------------------------------

PORTS = """
startPort: {start}
models:
  c: {{cmd: 'run ${{PORT}}'}}
  a: {{cmd: 'run -p ${{PORT}} ${{PORT}}', name: 'at ${{PORT}}'}}
  fixed: {{cmd: run, proxy: 'http://127.0.0.1:9000'}}
  d: {{cmd: 'run', env: ['P=${{PORT}}']}}
  b: {{cmd: '# ${{PORT}}

      run', proxy: 'http://127.0.0.1:9001'}}
"""


@pytest.mark.parametrize("start", ["5800", "9100", "'${first}'"])
def test_models_that_use_a_port_get_one_in_the_order_of_their_ids(start: str) -> None:
    config = parse("macros: {first: 7000}" + PORTS.format(start=start))
    base = config.start_port
    assert base == {"'${first}'": 7000}.get(start) or str(base) == start
    ports = {name: found.port for name, found in config.models.items()}
    assert ports == {"c": base + 1, "a": base, "fixed": None, "d": base + 2, "b": None}
    assert config.models["a"].name == f"at {base}"
    assert list(config.models) == ["c", "a", "fixed", "d", "b"]  # as in the file


def test_ports_begin_again_where_there_are_no_more() -> None:
    config = parse("startPort: 65535\nmodels: {a: {cmd: '${PORT}'}, b: {cmd: '${PORT}'}}")
    assert [found.port for found in config.models.values()] == [65535, 65535]


@pytest.mark.parametrize("start", ["0", "-1", "65536", "abc", "'5800'", "1.5", "[1]", "true"])
def test_the_first_port_is_a_port(start: str) -> None:
    (told,) = problems(with_model(top=f"startPort: {start}"))
    assert ": startPort: found " in told
    assert told.endswith("write a whole number from 1 to 65535")


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ("proxy: 'http://h:${PORT}'", "1:31: models.a.proxy"),
        ("proxy: '${p}'", "1:31: models.a.proxy"),
        ("proxy: 'http://h:1', checkEndpoint: '/${PORT}'", "1:60: models.a.checkEndpoint"),
        ("proxy: 'http://h:1', cmdStop: 'x ${PORT}'", "1:54: models.a.cmdStop"),
    ],
)
def test_a_port_that_the_command_does_not_use_is_a_mistake(keys: str, where: str) -> None:
    text = f"models: {{a: {{cmd: run, {keys}}}}}\nmacros: {{p: 'http://h:${{PORT}}'}}\n"
    (told,) = problems(text)
    assert told.startswith(f"c.yaml:{where}: ${{PORT}} is used here, but not in cmd")


def test_a_server_that_is_told_no_port_is_no_matter_of_a_proxy_that_nobody_wrote() -> None:
    (told,) = problems("models: {a: {cmd: run, name: n}}")
    assert told.startswith("c.yaml:1:19: models.a.cmd: the server is not told where to listen")
    assert "--port ${PORT}" in told


def test_a_port_that_the_command_does_not_use_is_unknown_elsewhere() -> None:
    (told,) = problems("models: {a: {cmd: run, proxy: 'http://h:1', metadata: {p: '${PORT}'}}}")
    assert told.endswith("${PORT} has a meaning only in a model whose cmd uses it")


def test_a_wrong_command_is_one_mistake_wherever_its_port_is_used() -> None:
    keys = "cmdStop: '${PORT}', metadata: {p: '${PORT}'}, aliases: ['a-${PORT}']"
    (told,) = problems(f"models: {{a: {{cmd: 'run ${{PORT}} ${{nope}}', {keys}}}}}")
    assert "models.a.cmd: unknown macro ${nope}" in told


# --- times --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("top", "own", "seconds"),
    [("", "", 0), ("60", "", 60), ("60", "0", 0), ("60", "5", 5), ("60", "-1", 60), ("", "7", 7)],
)
def test_a_model_is_unloaded_after_its_own_ttl_or_the_global_one(
    top: str, own: str, seconds: int
) -> None:
    assert model(f"ttl: {own}", f"globalTTL: {top}").ttl_s == seconds


@pytest.mark.parametrize(
    ("written", "seconds"), [("5m", 300), ("1h30m", 5400), ("90s", 90), ("60000ms", 60)]
)
def test_times_may_have_units_as_elsewhere(written: str, seconds: int) -> None:
    found = model(f"ttl: {written}, unloadTimeout: {written}, healthCheckTimeout: {written}")
    assert found.ttl_s == found.unload_timeout_s == found.health_check_timeout_s == seconds
    assert model(top=f"globalTTL: {written}").ttl_s == seconds


@pytest.mark.parametrize("written", ["5x", "1.5s", "-5m", "9000h", "m", "''", "[1]", "true", "1.5"])
def test_what_is_no_number_of_seconds_is_refused_with_what_would_do(written: str) -> None:
    (told,) = problems(with_model(f"ttl: {written}"))
    assert "models.a.ttl: found " in told
    assert told.endswith(
        "write a whole number from -1 to 31622400, in seconds, or a duration such as 5m"
    )


@pytest.mark.parametrize(
    ("top", "own", "seconds"),
    [("", "", 10), ("7", "", 7), ("7", "3", 3), ("7", "0", 7), ("0", "0", 10), ("0", "3", 3)],
)
def test_an_unload_timeout_of_0_means_the_one_above(top: str, own: str, seconds: int) -> None:
    assert model(f"unloadTimeout: {own}", f"unloadTimeout: {top}").unload_timeout_s == seconds


@pytest.mark.parametrize(
    ("top", "own", "seconds"),
    [
        ("", "", 120),
        ("300", "", 300),
        ("14", "", 15),
        ("0", "", 15),
        ("60", "5", 5),
        ("9", "0", 15),
    ],
)
def test_a_model_has_15_s_to_get_ready_unless_it_says_less_itself(
    top: str, own: str, seconds: int
) -> None:
    found = model(f"healthCheckTimeout: {own}", f"healthCheckTimeout: {top}")
    assert found.health_check_timeout_s == seconds


@pytest.mark.parametrize(
    ("keys", "top", "told"),
    [
        ("", "globalTTL: -1", "globalTTL: found the number -1; write a whole number from 0"),
        ("ttl: -2", "", "models.a.ttl: found the number -2; write a whole number from -1"),
        ("", "unloadTimeout: -1", "unloadTimeout: found the number -1"),
        ("unloadTimeout: -1", "", "models.a.unloadTimeout: found the number -1"),
        ("timeouts: {connect: -1}", "", "models.a.timeouts.connect: found the number -1"),
        ("timeouts: {connect: 5x}", "", "models.a.timeouts.connect: found the text '5x'"),
        ("ttl: '60'", "", "models.a.ttl: found the text '60'"),
    ],
)
def test_a_time_below_nothing_is_a_mistake(keys: str, top: str, told: str) -> None:
    (found,) = problems(with_model(keys, top))
    assert told in found


USUAL = Timeouts(
    connect_s=30,
    keepalive_s=30,
    response_header_s=0,
    tls_handshake_s=10,
    expect_continue_s=1,
    idle_connection_s=None,
)
TIMEOUTS = (
    "{connect: 1, keepalive: 2, responseHeader: 3, tlsHandshake: 4, expectContinue: 5, idleConn: 6}"
)
ALL_TIMEOUTS = Timeouts(
    connect_s=1,
    keepalive_s=2,
    response_header_s=3,
    tls_handshake_s=4,
    expect_continue_s=5,
    idle_connection_s=6,
)


@pytest.mark.parametrize(
    ("written", "timeouts"),
    [
        ("", USUAL),
        ("{}", USUAL),
        ("{connect: 5, responseHeader: 600}", replace(USUAL, connect_s=5, response_header_s=600)),
        (
            "{connect: 0, keepalive: 0, idleConn: 0}",
            replace(USUAL, connect_s=0, keepalive_s=0, idle_connection_s=0),
        ),
        (TIMEOUTS, ALL_TIMEOUTS),
    ],
)
def test_timeouts_of_a_model(written: str, timeouts: Timeouts) -> None:
    assert model(f"timeouts: {written}").timeouts == timeouts


@pytest.mark.parametrize(
    ("written", "timeouts"),
    [
        ("", replace(USUAL, response_header_s=60)),
        ("{responseHeader: 0}", USUAL),
        ("{connect: 5, responseHeader: 600}", replace(USUAL, connect_s=5, response_header_s=600)),
        (TIMEOUTS, ALL_TIMEOUTS),
    ],
)
def test_timeouts_of_a_peer(written: str, timeouts: Timeouts) -> None:
    text = f"peers: {{p: {{proxy: 'http://h', models: [m], timeouts: {written}}}}}"
    assert parse(text).peers["p"].timeouts == timeouts


# --- waiting, web sockets -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("top", "own", "mode"),
    [
        ("", "", "heartbeat"),
        ("sendLoadingState: true", "", "reasoning"),
        ("sendLoadingState: false", "", "off"),
        ("sendLoadingState: true", "sendLoadingState: false", "off"),
        ("sendLoadingState: false", "sendLoadingState: true", "reasoning"),
        ("sendLoadingState: true", "sendLoadingState: ~", "reasoning"),
        ("progress: comment", "sendLoadingState: true", "comment"),
        ("progress: off", "", "off"),
        ("progress: off", "progress: reasoning", "reasoning"),
        ("progress: 'off'", "", "off"),
    ],
)
def test_the_mode_is_chosen_from_the_strongest_word(top: str, own: str, mode: str) -> None:
    assert model(own, top).progress == mode


@pytest.mark.parametrize(
    ("name", "keys", "limit", "ignores"),
    [
        ("comfyui_auto", "", 50, True),
        ("comfyui_auto", "concurrencyLimit: 49", 50, True),
        ("comfyui_auto", "concurrencyLimit: 51", 51, True),
        ("comfyui_auto", "compat: {ignoreWebsockets: false}", 50, True),
        ("other", "", 0, False),
        ("other", "concurrencyLimit: 7, aliases: [comfyui_auto]", 7, False),
        ("other", "concurrencyLimit: -1", 0, False),
        ("other", "compat: {ignoreWebsockets: true}", 0, True),
        ("other", "compat: {}", 0, False),
    ],
)
def test_comfyui_gets_many_requests_and_its_web_sockets_do_not_count(
    name: str, keys: str, limit: int, ignores: bool
) -> None:
    found = parse(f"models: {{{name}: {{cmd: 'run ${{PORT}}', {keys}}}}}").models[name]
    assert (found.concurrency_limit, found.ignore_websockets) == (limit, ignores)
