import contextlib
import copy
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from arriero.protocol.worker_config import ModelRoute
from arriero.supervisor.config.load import Address, load_config, parse_listen
from arriero.supervisor.config.model_config import MODEL
from arriero.supervisor.config.values import CONFIG
from arriero.supervisor.config.worker_config import route_table
from arriero.supervisor.errors import ConfigError
from tests.paths import EXAMPLE_CONFIG, ROOT
from tests.supervisor.config.reading import parse, problems

ONE = "models: {a: {cmd: 'run --port ${PORT}'"


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


def test_texts_are_kept_as_they_were_written() -> None:
    config = parse("models:\n  1.10:\n    cmd: run ${PORT}\n    useModelName: on\n    name: 1:30\n")
    model = config.models["1.10"]
    assert (model.send_as, model.name) == ("on", "1:30")


def test_names_for_people_are_trimmed_and_reach_the_workers() -> None:
    config = parse(ONE + ", name: ' Big ${MODEL_ID} ', description: ' d ', unlisted: yes}}")
    (route,) = route_table(config).models
    assert (route.name, route.description, route.unlisted) == ("Big a", "d", True)


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
    table = route_table(
        parse("progress: reasoning\n" + ONE + ", useModelName: x, aliases: [b]}}"), 3
    )
    assert table.generation == 3
    assert table.models == (
        ModelRoute(
            model="a",
            aliases=("b",),
            send_as="x",
            progress="reasoning",
            command="run --port ${PORT}",
        ),
    )


def test_what_may_hold_keys_is_not_in_a_repr() -> None:
    config = parse("models: {a: {cmd: 'run --key s3cret ${PORT}', env: ['TOKEN=s3cret']}}")
    assert "s3cret" not in repr(config.models["a"])
    assert "s3cret" not in repr(config.models["a"].launch(1).env) or "env" not in repr(
        config.models["a"].launch(1)
    )


# --- mistakes -----------------------------------------------------------------------------------


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

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS | st.sampled_from(["${PORT}", "${ctx}", "${env.KEY}", "${PID}", "small", "a.b"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2)
    ),
    max_leaves=3,
)
MODELS = st.dictionaries(
    st.text(max_size=5),
    st.dictionaries(st.sampled_from([k.name for k in MODEL.keys]), VALUES, max_size=4),
    max_size=2,
)
CONFIGS = st.dictionaries(
    st.sampled_from([k.name for k in CONFIG.keys]), VALUES | MODELS, max_size=4
)
EVERYTHING: Any = yaml.safe_load(
    (ROOT / "tests" / "supervisor" / "config" / "files" / "everything.yaml").read_text()
)
del EVERYTHING["defs"]  # which only hold anchors, and those are followed by now


class WithoutAnchors(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def assert_total(text: str) -> None:
    with contextlib.suppress(ConfigError):
        config = parse(text, KEY="k")
        assert config.models or config.peers or config.warnings


@given(st.text(max_size=200))
def test_any_text_gives_a_configuration_or_mistakes(text: str) -> None:
    assert_total(text)


@given(CONFIGS)
def test_any_values_give_a_configuration_or_mistakes(value: dict[str, Any]) -> None:
    assert_total(yaml.safe_dump(value))


@given(st.data(), VALUES)
def test_any_value_in_the_place_of_a_good_one_does_too(data: st.DataObject, value: Any) -> None:
    changed = copy.deepcopy(EVERYTHING)
    spot = changed
    while True:
        key = data.draw(st.sampled_from(list(spot) if isinstance(spot, dict) else range(len(spot))))
        if not isinstance(spot[key], dict | list) or not spot[key] or data.draw(st.booleans()):
            break
        spot = spot[key]
    spot[key] = value
    assert_total(yaml.dump(changed, Dumper=WithoutAnchors))


@pytest.mark.nightly
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
    config = load_config(EXAMPLE_CONFIG, environ={})
    here = {"qwen3-8b", "gemma-3-12b", "a-model-in-vllm", "embedder"}
    assert set(config.models) == {*here, "on-another-machine"}
    assert config.warnings == ()
    assert config.models["qwen3-8b"].progress == "reasoning"
    assert config.models["qwen3-8b"].launch(7).command[-2:] == ("-c", "8192")


@pytest.mark.parametrize("key", [key.name for key in CONFIG.keys])
def test_the_example_has_every_key(key: str) -> None:
    assert re.search(rf"^(# )?{key}:", EXAMPLE_CONFIG.read_text(), re.MULTILINE)


@pytest.mark.parametrize("key", [key.name for key in MODEL.keys])
def test_the_example_has_every_key_of_a_model(key: str) -> None:
    assert re.search(rf"^ {{4}}(# )?{key}:", EXAMPLE_CONFIG.read_text(), re.MULTILINE)
