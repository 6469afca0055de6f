# ruff: noqa: E501  one mistake, one line
import contextlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.protocol.values import ModelRoute
from arriero.supervisor.config import Address, Config, load_config, parse_config, parse_listen
from arriero.supervisor.config_keys import MODEL_KEYS, TOP_KEYS
from arriero.supervisor.errors import ConfigError

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"
ONE = "models: {a: {cmd: 'run --port ${PORT}'"


def parse(text: str, **environ: str) -> Config:
    return parse_config(text, "c.yaml", environ=environ)


def problems(text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, **environ)
    return [str(problem) for problem in caught.value.problems]


# --- good ones ----------------------------------------------------------------------------------


def test_the_least_of_configurations_has_sensible_defaults() -> None:
    config = parse(ONE + "}}")
    model = config.models["a"]
    assert config.listen == Address("127.0.0.1", 8080)
    assert config.workers >= 1
    assert (model.ttl_s, model.health_check_timeout_s, model.unload_timeout_s) == (0, 120, 10)
    assert (model.progress, model.strict) == ("heartbeat", "off")


def test_a_port_is_filled_in_at_each_start() -> None:
    model = parse(
        "models: {a: {cmd: 'run -p ${PORT}', env: ['X=${PORT}'], proxy: 'http://localhost:${PORT}/v'}}"
    ).models["a"]
    launch = model.launch(5801)
    assert model.wants_port
    assert launch.command == ("run", "-p", "5801")
    assert launch.env == (("X", "5801"),)
    assert launch.endpoint == "http://localhost:5801/v"
    assert launch.health_url == "http://localhost:5801/v/health"
    assert launch.port == 5801
    assert model.launch(5802).endpoint == "http://localhost:5802/v"


def test_a_fixed_port_needs_none() -> None:
    model = parse("models: {a: {cmd: run, proxy: 'http://10.0.0.1:9000'}}").models["a"]
    assert not model.wants_port
    assert model.launch(None).port is None  # not on this machine: nobody here can be in the way


def test_a_check_can_be_left_out() -> None:
    model = parse(ONE + ", checkEndpoint: ' none '}}").models["a"]
    assert model.launch(1).health_url is None


def test_names_and_aliases_find_their_model() -> None:
    config = parse(ONE + ", aliases: [first, gpt-4]}}")
    assert config.resolve("first") is config.resolve("a") is config.models["a"]
    assert config.resolve("b") is None
    assert config.suggest("frist") == ("first",)


@pytest.mark.parametrize(
    ("top", "model", "mode"),
    [
        ("", "", "heartbeat"),
        ("sendLoadingState: true", "", "reasoning"),
        ("sendLoadingState: true", "sendLoadingState: false", "off"),
        ("progress: comment", "sendLoadingState: true", "comment"),
        ("progress: off", "", "off"),
        ("progress: off", "progress: reasoning", "reasoning"),
        ("progress: 'off'", "", "off"),
    ],
)
def test_the_mode_is_chosen_from_the_strongest_word(top: str, model: str, mode: str) -> None:
    text = f"{top}\nmodels:\n  a:\n    cmd: run ${{PORT}}\n    {model}\n"
    assert parse(text).models["a"].progress == mode


@pytest.mark.parametrize(
    ("written", "meant"), [("true", "on"), ("false", "off"), ("force", "force"), ("yes", "on")]
)
def test_strict_is_a_truth_value_or_force(written: str, meant: str) -> None:
    assert parse(f"strict: {written}\n" + ONE + "}}").models["a"].strict == meant


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("0", 0.0), ("0s", 0.0), ("250ms", 0.25), ("1.5s", 1.5), ("2m", 120.0), ("'1h'", 3600.0)],
)
def test_durations_have_units(written: str, seconds: float) -> None:
    assert parse(f"progressDelay: {written}\n" + ONE + "}}").progress_delay_s == seconds


def test_macros_use_those_before_them_and_a_model_may_have_its_own() -> None:
    config = parse(
        """
        macros: {dir: /models, size: 4096, args: "-c ${size} -d ${dir}"}
        models:
          a:
            macros: {size: 8192, last: "${MODEL_ID}-${size}"}
            cmd: run ${PORT} ${args} ${last} $${HOME}
            ttl: ${size}
        """
    )
    model = config.models["a"]
    assert model.launch(1).command == (
        "run",
        "1",
        "-c",
        "8192",  # a model's macro reaches the global ones that use it
        "-d",
        "/models",
        "a-8192",
        "${HOME}",
    )
    assert model.ttl_s == 8192


def test_the_environment_is_read_in_any_quoting_and_keeps_its_type() -> None:
    config = parse(
        "models: {a: {cmd: '${env.BIN} ${PORT}', ttl: '${env.N}', env: ['K=${env.Q}']}}".replace(
            "'${env.N}'", "${env.N}"
        )
        .replace("{a: {", "\n  a:\n    ")
        .replace("}}", "")
        .replace(", ttl", "\n    ttl")
        .replace(", env:", "\n    env:"),
        BIN="run",
        N="30",
        Q='a"b\\c',
    )
    assert config.models["a"].ttl_s == 30
    assert config.models["a"].env == (("K", 'a"b\\c'),)


def test_texts_are_kept_as_they_were_written() -> None:
    config = parse("models:\n  1.10:\n    cmd: run ${PORT}\n    useModelName: on\n    name: 1:30\n")
    model = config.models["1.10"]
    assert (model.use_model_name, model.name) == ("on", "1:30")


def test_names_for_people_are_trimmed_and_reach_the_workers() -> None:
    config = parse(ONE + ", name: ' Big ${MODEL_ID} ', description: ' d ', unlisted: yes}}")
    (route,) = config.route_table().models
    assert (route.name, route.description, route.unlisted) == ("Big a", "d", True)


def test_an_alias_that_is_the_own_id_changes_nothing() -> None:
    assert parse(ONE + ", aliases: [a, b]}}").models["a"].aliases == ("b",)


@pytest.mark.parametrize(
    ("top", "model", "seconds"), [("7", "3", 3), ("7", "0", 7), ("0", "0", 10), ("0", "3", 3)]
)
def test_an_unload_timeout_of_0_means_the_one_above(top: str, model: str, seconds: int) -> None:
    config = parse(f"unloadTimeout: {top}\n" + ONE + f", unloadTimeout: {model}}}}}")
    assert config.models["a"].unload_timeout_s == seconds


@pytest.mark.parametrize(
    ("top", "model", "meant"), [("true", "false", "off"), ("force", "true", "on")]
)
def test_the_word_of_a_model_on_strict_is_the_stronger_one(
    top: str, model: str, meant: str
) -> None:
    assert parse(f"strict: {top}\n" + ONE + f", strict: {model}}}}}").models["a"].strict == meant


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("ready?x=1", "http://127.0.0.1:5/ready?x=1"),
        ("http://elsewhere:1/h", "http://127.0.0.1:5/h"),
        ("/on/${PORT}", "http://127.0.0.1:5/on/5"),
        ("''", "http://127.0.0.1:5/"),
    ],
)
def test_a_check_is_a_path_under_the_proxy(written: str, url: str) -> None:
    config = parse(f"models:\n  a:\n    cmd: run ${{PORT}}\n    checkEndpoint: {written}\n")
    assert config.models["a"].launch(5).health_url == url


def test_a_fingerprint_changes_with_command_environment_and_proxy_only() -> None:
    base = parse(ONE + "}}").models["a"].fingerprint
    assert parse("globalTTL: 1\n" + ONE + ", aliases: [b]}}").models["a"].fingerprint == base
    others = {
        parse(text).models["a"].fingerprint
        for text in (
            ONE + ", env: [A=1]}}",
            ONE + ", proxy: 'http://h:${PORT}'}}",
            "models: {a: {cmd: 'run ${PORT}'}}",
        )
    }
    assert len(others | {base}) == 4


def test_a_configuration_cannot_be_changed() -> None:
    config = parse(ONE + "}}")
    with pytest.raises(TypeError):
        config.models["b"] = config.models["a"]  # type: ignore[index]
    assert not hasattr(config, "__dict__")
    assert not hasattr(config.models["a"], "__dict__")
    assert replace(config, workers=7).resolve("a") is config.models["a"]


def test_anchors_and_merges_work() -> None:
    config = parse("models:\n  a: &base {cmd: 'run ${PORT}', ttl: 5}\n  b: {<<: *base, ttl: 6}\n")
    assert (config.models["a"].ttl_s, config.models["b"].ttl_s) == (5, 6)
    assert config.models["b"].command == config.models["a"].command


def test_workers_get_what_they_need_and_no_more() -> None:
    table = parse("progress: reasoning\n" + ONE + ", useModelName: x, aliases: [b]}}").route_table(
        3
    )
    assert table.generation == 3
    assert table.models == (
        ModelRoute(model="a", aliases=("b",), send_as="x", progress="reasoning"),
    )


def test_what_may_hold_keys_is_not_in_a_repr() -> None:
    config = parse("models: {a: {cmd: 'run --key s3cret ${PORT}', env: ['TOKEN=s3cret']}}")
    assert "s3cret" not in repr(config.models["a"])
    assert "s3cret" not in repr(config.models["a"].launch(1).env) or "env" not in repr(
        config.models["a"].launch(1)
    )


# --- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "there are no models"),
        ("models: {a: {proxy: 'http://h:1'}}", "1:13: models.a.cmd: there is a proxy and no command"),
        ("models: {a: {ttl: z}}", "models.a.cmd: there is no command"),
        ("models: {a: {cmd: [run, s3cret]}}", "1:19: models.a.cmd: found a list; write a text"),
        ('models: {a: {cmd: "run \\0 ${PORT}"}}', "models.a.cmd: this holds a zero byte"),
        (ONE + ", aliases: ['']}}", "models.a.aliases.0: found the text ''; write 1 to 200 printable"),
        (ONE + ", aliases: [x]}, b: {cmd: 'run ${PORT}', aliases: [y, x]}}", "1:93: models.b.aliases: 'x' is an alias of 'a' already"),
        (ONE + ", checkEndpoint: /h%zz}}", "write a path such as /health, or none"),
        (ONE + ", proxy: 'http://h:1/p?q=1'}}", "write a URL"),
        (ONE + ", unlisted: perhaps}}", "write true or false"),
        (ONE + ", ttl: 1.5}}", "found the number 1.5; write a whole number"),
        ("strict: forse\n" + ONE + "}}", "write one of false, true, force (did you mean 'force'?)"),
        ("progress: true\n" + ONE + "}}", "found the truth value true; write one of off, comment"),
        ("progressMarker: '${PORT} '\n" + ONE + "}}", "it may stand in cmd, proxy, env and checkEndpoint"),
        (ONE + ", aliases: ['x${PORT}']}}", "it may stand in cmd, proxy, env and checkEndpoint"),
        ('models: {"a\\e[2J": {cmd: x, zz: 1}}', r"models.'a\x1b[2J': unknown key 'zz'"),
        ("models: {}", "there are no models"),
        ("[1]", "1:1: found a list; write a mapping of keys"),
        ("models: [a]", "1:9: models: write a mapping of names to models"),
        ("models: {a: 7}", "1:13: models.a: found the number 7; write a mapping of keys"),
        ("models: {a: {}}", "1:13: models.a.cmd: there is no command; write how to start it"),
        ("models: {a: {cmd: '# run'}}", "models.a.cmd: there is no command"),
        ("wrokers: 2\n" + ONE + "}}", "1:1: unknown key 'wrokers'; did you mean 'workers'?"),
        (ONE + ", check_endpoint: x}}", "1:41: models.a: unknown key 'check_endpoint'; did you mean 'checkEndpoint'?"),
        (ONE + ", zzz: x}}", "known are: aliases, checkEndpoint"),
        ("workers: 0\n" + ONE + "}}", "1:10: workers: found the number 0; write a whole number from 1 to 64"),
        ("workers: '2'\n" + ONE + "}}", "found the text '2'; write a whole number"),
        ("workers: true\n" + ONE + "}}", "found the truth value true; write a whole number"),
        ("startPort: 70000\n" + ONE + "}}", "write a whole number from 1 to 65535"),
        ("listen: nowhere\n" + ONE + "}}", "1:9: listen: found the text 'nowhere'; write host:port"),
        ("progress: raesoning\n" + ONE + "}}", "did you mean 'reasoning'?"),
        ("progressDelay: 5\n" + ONE + "}}", "write a duration from 0s to 3600s"),
        ("heartbeatInterval: 61s\n" + ONE + "}}", "write a duration from 1s to 60s"),
        ("progressMarker: '[x]'\n" + ONE + "}}", "4 to 32 printable ASCII characters"),
        (ONE + ", ttl: -2}}", "write a whole number from -1"),
        (ONE + ", env: [NAME]}}", "models.a.env.0: this is not NAME=value"),
        (ONE + ", aliases: x}}", "models.a.aliases: this is not a list; write a list of names"),
        (ONE + ", aliases: [x, x]}}", "'x' is an alias of 'a' already"),
        (ONE + ", aliases: [b]}, b: {cmd: 'run ${PORT}'}}", "1:51: models.a.aliases: 'b' is the name of a model"),
        (ONE + ", proxy: 'ftp://x'}}", "write a URL, such as http://127.0.0.1:9000"),
        (ONE + ", proxy: 'http://x:y'}}", "write a URL"),
        ("models: {a: {cmd: run}}", "${PORT} is used here, but not in cmd"),
        ("models: {a: {cmd: 'run ${PROT}'}}", "unknown macro ${PROT}; known are: MODEL_ID"),
        ("models: {a: {cmd: 'run ${env.NOPE}'}}", "the environment has no variable NOPE"),
        ("models: {a: {cmd: 'run ${PID}', proxy: 'http://x'}}", "${PID} has a meaning in cmdStop only"),
        ("macros: {PORT: 1}\n" + ONE + "}}", "this name is taken"),
        ("macros: {'a b': 1}\n" + ONE + "}}", "letters, digits"),
        ("macros: {a: '${a}'}\n" + ONE + "}}", "unknown macro ${a}"),
        ("macros: {a: '${b}', b: 1}\n" + ONE + "}}", "unknown macro ${b}"),
        ("macros: {a: [1]}\n" + ONE + "}}", "write a text, a number or a truth value"),
        ("models:\n  a: {cmd: x}\n  a: {cmd: y}\n", "3:3: the key 'a' stands here a second time (first in line 2)"),
        ("models: {a: &x [*x]}", "there is no anchor &x before this"),
        ("a: 1\n--- \nb: 2", "more than one document"),
        ("a: [", "this is not YAML"),
        ("a: \x00", "this is not YAML"),
        ("[" * 100 + "]" * 100, "nested deeper than 64"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place_and_what_would_do(text: str, told: str) -> None:
    assert any(told in problem for problem in problems(text)), problems(text)


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    found = problems("workers: x\nlisten: y\nmodels:\n  a: {cmd: 'run ${PORT}', ttl: z}\n  b: {}\n")
    assert [re.match(r"c.yaml:(\d+)", problem)[1] for problem in found] == ["1", "2", "4", "5"]  # type: ignore[index]


def test_mistakes_without_number_end_the_reading() -> None:
    found = problems("\n".join(f"k{number}: 1" for number in range(2000)))
    assert len(found) == 1000


def test_a_bomb_of_aliases_is_refused() -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert any("more than 1000000 values" in problem for problem in problems("\n".join(rows)))


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"#" * (9 * 1024 * 1024))
    with pytest.raises(ConfigError, match="larger than 8 MB"):
        load_config(path, environ={})


def test_a_file_that_cannot_be_read_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nope\.yaml: cannot read it: No such file"):
        load_config(tmp_path / "nope.yaml", environ={})
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "latin.yaml", environ={})


def test_a_value_of_the_environment_is_not_quoted_in_a_mistake() -> None:
    assert "s3cret" not in "".join(problems(ONE + ", env: ['=s3cret', 's3cret']}}"))


@pytest.mark.parametrize(
    "env",
    ["s3cret", "'A=s3cret'", "{A: s3cret}", "[[s3cret]]", "['A=${s3cret}']", '["A=s3cret\\0"]'],
)
def test_a_value_of_the_environment_is_not_quoted_however_it_is_written(env: str) -> None:
    assert "s3cret" not in "".join(problems(ONE + ", env: " + env + "}}"))


def test_a_user_and_password_in_a_proxy_are_not_quoted() -> None:
    assert "s3cret" not in "".join(problems(ONE + ", proxy: 'ftp://me:s3cret@host'}}"))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":80", Address("", 80)),
        ("[::1]:80", Address("::1", 80)),
        ("localhost:0", Address("localhost", 0)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_listen(text) == address


@pytest.mark.parametrize("text", ["", "80", "a:", "a:b", "::1:80", "a:65536", "a:\u0662"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"write host:port"):
        parse_listen(text)


# --- anything -----------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
MODELS = st.dictionaries(
    st.text(max_size=5), st.dictionaries(st.sampled_from([k.name for k in MODEL_KEYS]), VALUES)
)
CONFIGS = st.dictionaries(st.sampled_from([k.name for k in TOP_KEYS]), VALUES | MODELS)


def assert_total(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert parse(text).models


@given(st.text(max_size=200))
def test_any_text_gives_a_configuration_or_mistakes(text: str) -> None:
    assert_total(text)


@settings(max_examples=100)
@given(CONFIGS)
def test_any_values_give_a_configuration_or_mistakes(value: dict[str, Any]) -> None:
    assert_total(yaml.safe_dump(value))


def test_ten_thousand_models_are_read() -> None:
    rows = [
        f"  m{n}:\n    cmd: run --port ${{PORT}} -m /models/m{n}.gguf\n    aliases: [a{n}]"
        for n in range(10_000)
    ]
    config = parse("models:\n" + "\n".join(rows))
    assert len(config.models) == 10_000
    assert config.resolve("a9999") is config.models["m9999"]


# --- the example --------------------------------------------------------------------------------


def test_the_example_is_good() -> None:
    config = load_config(EXAMPLE, environ={})
    assert set(config.models) == {"qwen3-8b", "gemma-3-12b", "a-model-in-vllm"}
    assert config.models["qwen3-8b"].progress == "reasoning"
    assert config.models["qwen3-8b"].launch(7).command[-2:] == ("-c", "8192")


@pytest.mark.parametrize("key", [key.name for key in TOP_KEYS])
def test_the_example_has_every_key(key: str) -> None:
    assert re.search(rf"^(# )?{key}:", EXAMPLE.read_text(), re.MULTILINE)


@pytest.mark.parametrize("key", [key.name for key in MODEL_KEYS])
def test_the_example_has_every_key_of_a_model(key: str) -> None:
    assert re.search(rf"^ {{4}}(# )?{key}:", EXAMPLE.read_text(), re.MULTILINE)
