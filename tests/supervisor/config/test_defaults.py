import os
import re
import sys
from pathlib import Path

import pytest

from arriero.protocol.worker_config import IGNORED_PATHS, Timeouts
from arriero.supervisor.config.load import load_config
from arriero.supervisor.config.model_config import Capabilities, Filters, ModelConfig
from arriero.supervisor.config.read_routing import policy_of
from arriero.supervisor.config.routing import Routing
from arriero.supervisor.config.values import ActivityConfig, Config, Logging
from arriero.supervisor.errors import ConfigError
from arriero.supervisor.placement.policy import Group
from tests.supervisor.config.reading import parse, problems, with_model

DEFAULT_HEADERS = ("X-Session-ID", "X-Litellm-Session-Id")


def activity(top: str, **environ: str) -> ActivityConfig:
    return parse(with_model(top=top), **environ).activity


def test_the_least_of_files_has_all_the_defaults() -> None:
    config = parse("models: {a: {cmd: 'run ${PORT}'}}")
    least = config.models["a"]
    assert least == ModelConfig(
        model="a",
        command=("run", "${PORT}"),
        proxy="http://127.0.0.1:${PORT}",
        aliases=(),
        name="",
        description="",
        unlisted=False,
        env=(),
        check_endpoint="/health",
        ttl_s=0,
        send_as=None,
        health_check_timeout_s=120,
        unload_timeout_s=10,
        hung_after_s=60,
        drain_limit_s=600,
        on_failure="restore",
        progress="heartbeat",
        strict="off",
        stop_command=(),
        concurrency_limit=0,
        ignore_websockets=False,
        metadata={},
        capabilities=Capabilities(takes=(), gives=(), tools=False, reranker=False, context=0),
        filters=Filters(strip_params=(), set_params={}, set_params_by_id={}),
        timeouts=Timeouts(),
    )
    assert least.port == config.start_port == 5800
    assert config.routing == Routing(router="group", groups=(), matrix=None, priority={})
    assert config.logging == Logging(level=None, time_format="", to_stdout="proxy", requests=False)
    assert config.activity == ActivityConfig(
        metrics_rows=1000,
        capture_mb=0,
        store_path=None,
        store_rows=100_000,
        store_age_s=90 * 86400.0,
        store_bytes=256 * 1024**2,
        capture_body_bytes=256 * 1024,
        session_headers=DEFAULT_HEADERS,
        sampling=True,
        sampling_s=5.0,
    )
    assert (config.peers, config.profiles, config.selectors) == ({}, {}, {})
    assert (config.preload, config.api_keys, config.aliases_in_list) == ((), (), False)
    assert (config.warnings, config.notes) == ((), ())


def test_a_group_swaps_and_is_exclusive_and_not_persistent() -> None:
    config = parse(with_model(top="groups: {g: {members: [a]}}"))
    assert config.routing.groups == (
        Group("g", ("a",), swap=True, exclusive=True, persistent=False),
    )


def test_models_without_a_group_take_turns() -> None:
    config = parse("models: {a: {cmd: 'x ${PORT}'}, b: {cmd: 'y ${PORT}'}, c: {cmd: 'z ${PORT}'}}")
    room = policy_of(config.routing, config.models)
    assert room.evicted_by("a", ["b", "c"]) == {"b", "c"}
    assert not room.can_run_together(["a", "b"])


@pytest.mark.parametrize("text", ["", "# nothing\n", "models: {}", "models:", "macros: {}\n"])
def test_a_file_without_models_is_a_configuration_with_a_warning(text: str) -> None:
    config = parse(text)
    assert config.models == {}
    assert config.start_port == 5800
    assert [str(warning) for warning in config.warnings] == [
        "c.yaml: there are no models; write at least one under 'models:'"
    ]


def test_a_file_with_nothing_but_peers_needs_no_warning() -> None:
    assert parse("peers: {p: {proxy: 'http://h', models: [m]}}").warnings == ()


@pytest.mark.parametrize(
    "key", ["startPort", "globalTTL", "apiKeys", "performance", "hooks", "macros", "groups"]
)
@pytest.mark.parametrize("nothing", ["", "null", "~"])
def test_a_key_without_a_value_has_its_default(key: str, nothing: str) -> None:
    assert parse(with_model("ttl: ~", f"{key}: {nothing}")) == parse(with_model())


@pytest.mark.parametrize(
    ("text", "rows", "megabytes"),
    [
        ("metricsMaxInMemory: 7\ncaptureBuffer: 3", 7, 3),
        ("metricsMaxInMemory: 0\ncaptureBuffer: 0", 1000, 0),
        ("metricsMaxInMemory: -1\ncaptureBuffer: -1", 1000, 0),
    ],
)
def test_what_is_kept_of_requests_has_limits(text: str, rows: int, megabytes: int) -> None:
    found = activity(text)
    assert (found.metrics_rows, found.capture_mb) == (rows, megabytes)


# --- the file of requests -----------------------------------------------------------------------


def stored(tmp_path: Path, store: str, **environ: str) -> Config:
    path = tmp_path / "c.yaml"
    path.write_text(with_model(top=f"store: {store}"))
    return load_config(path, environ={"DIR": str(tmp_path), **environ})


@pytest.mark.parametrize("store", ["{path: '${env.DIR}/new.db'}", "{path: '${env.DIR}/old.db'}"])
def test_a_store_is_a_new_file_or_one_that_is_there(tmp_path: Path, store: str) -> None:
    (tmp_path / "old.db").touch()
    found = stored(tmp_path, store).activity.store_path
    assert found is not None
    assert Path(found).parent == tmp_path
    assert not (tmp_path / "new.db").exists()  # reading a configuration makes no files


@pytest.mark.parametrize("store", ["", "{}", "{path: }"])
def test_without_a_store_requests_are_kept_in_memory(tmp_path: Path, store: str) -> None:
    assert stored(tmp_path, store).activity.store_path is None


@pytest.mark.parametrize(
    ("store", "told"),
    [
        ("{path: '${env.DIR}/no/such/a.db'}", "c.yaml:1:15: store.path: there is no folder"),
        ("{path: '${env.DIR}'}", "is a folder; write the path of a file"),
        ("{path: ''}", "store.path: found the text ''; write the path of a file"),
        ("{path: ' '}", "store.path: found the text ' '; write the path of a file"),
    ],
)
def test_a_store_that_cannot_be_is_a_mistake(tmp_path: Path, store: str, told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        stored(tmp_path, store)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("store", ["locked/a.db", "old.db"])
def test_a_store_that_cannot_be_written_is_a_mistake(tmp_path: Path, store: str) -> None:
    (tmp_path / "locked").mkdir(0o500)
    (tmp_path / "old.db").touch(0o400)
    with pytest.raises(ConfigError, match="cannot be written"):
        stored(tmp_path, f"{{path: '${{env.DIR}}/{store}'}}")


# --- headers, paths, samples --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "headers"),
    [
        ("", DEFAULT_HEADERS),
        ("[]", ()),
        ("['', ' ']", ()),
        ("[' X-A ', X-B, x-a, '', X-C, x-b]", ("X-A", "X-B", "X-C")),
        ("[X-A, X-B, x-A]", ("X-A", "X-B")),
        ("['${env.H}']", ("X-E",)),
    ],
)
def test_headers_of_sessions_are_trimmed_and_told_apart_without_case(
    written: str, headers: tuple[str, ...]
) -> None:
    assert (
        activity(f"ui: {{activity: {{session_id: {written}}}}}", H="X-E").session_headers == headers
    )


@pytest.mark.parametrize(
    "top",
    ["", "upstream:", "upstream: {}", "upstream: {ignorePaths: }", "upstream: {ignorePaths: []}"],
)
def test_files_of_a_page_start_no_model_unless_something_else_is_written(top: str) -> None:
    (pattern,) = parse(with_model(top=top)).ignore_paths
    assert pattern == IGNORED_PATHS[0]
    for ending in ("js", "json", "css", "png", "gif", "jpg", "jpeg", "ico", "txt"):
        assert re.search(pattern, f"/assets/app.{ending}")
    for path in ("/v1/chat/completions", "/app.js/x", "/json", "/a.jsx", "/"):
        assert not re.search(pattern, path)


def test_own_paths_take_the_place_of_the_default_ones() -> None:
    top = r"{macros: {e: svg}, upstream: {ignorePaths: ['\.${e}$', '^/ping$']}, "
    config = parse(top + "models: {a: {cmd: 'run ${PORT}'}}}")
    assert config.ignore_paths == (r"\.svg$", "^/ping$")


@pytest.mark.parametrize(
    ("pattern", "instead"),
    [
        ("(", ""),
        ("[", ""),
        ("*", ""),
        ("[[:alpha:]]", "write [A-Za-z]"),
        (r"\pL", "write the characters"),
        *([(r"\.js\z", "write $")] if sys.version_info < (3, 14) else []),  # which knows it
        (r"\Q.js\E", "each character"),
        (r"\.(?i)js$", "at the very beginning"),
        ("(?U)a+", "write *? and +?"),
    ],
)
def test_a_path_that_is_no_pattern_is_a_mistake_that_quotes_it(pattern: str, instead: str) -> None:
    (told,) = problems(with_model(top=f"upstream: {{ignorePaths: [ok, '{pattern}']}}"))
    assert "upstream.ignorePaths.1: this is no regular expression: " in told
    _, _, hint = told.partition(f"found {pattern!r}")
    assert bool(hint) == bool(instead)
    assert instead in hint


@pytest.mark.parametrize(
    ("written", "is_on", "every_s"),
    [
        ("", True, 5),
        ("{}", True, 5),
        ("{disabled: false, every: 30s}", True, 30),
        ("{disabled: true}", False, 5),
        ("{every: 10s}", True, 10),
        ("{disabled: yes, every: 5s}", False, 5),
        ("{every: 1m30s}", True, 90),
        ("{every: 1h2m3.5s}", True, 3723.5),
        ("{every: 5000ms}", True, 5),
        ("{every: '1h'}", True, 3600),
    ],
)
def test_the_machine_is_sampled_every_5_s_unless_it_is_said_otherwise(
    written: str, is_on: bool, every_s: float
) -> None:
    found = activity(f"performance: {written}")
    assert (found.sampling, found.sampling_s) == (is_on, every_s)


@pytest.mark.parametrize("every", ["4.9s", "1s", "0s", "-5s", "10", "10x", "5 s", "''", "[5s]"])
def test_samples_too_often_or_without_a_unit_are_a_mistake(every: str) -> None:
    (told,) = problems(with_model(top=f"performance: {{every: {every}}}"))
    assert "performance.every: found " in told
    assert "write a duration from 5s to " in told


# --- keys of clients ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "number", "told"),
    [
        ("[good, '']", 1, "this key is empty"),
        ("[good, null]", 1, "this key is empty"),
        ("['${env.EMPTY}']", 0, "this key is empty"),
        ("[good, fine, 'a b']", 2, "this key holds a blank"),
        ("[' ']", 0, "this key holds a blank"),
        ('["a\\tb", good]', 0, "this key holds a blank"),
        ("[good, '${env.SPACE}']", 1, "this key holds a blank"),
        ("[[good]]", 0, "found a list; write a key"),
        ("['${env.NOPE}']", 0, "the environment has no variable NOPE"),
    ],
)
def test_a_key_that_cannot_be_is_told_by_its_number(keys: str, number: int, told: str) -> None:
    found = problems(with_model(top=f"apiKeys: {keys}"), EMPTY="", SPACE="s3cret key")
    assert len(found) == 1
    assert f": apiKeys.{number}: {told}" in found[0]
    assert not re.search("good|fine|s3cret", found[0])


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ("[one, 2, '${env.KEY}']", ("one", "2", 'k"e\\y')),
        ("['pre-${env.KEY}-post']", ('pre-k"e\\y-post',)),
        ('["${env.KEY}"]', ('k"e\\y',)),
        ("['${k}']", ("from-a-macro",)),
        ("[]  # ${env.NOPE}", ()),
    ],
)
def test_keys_may_come_from_the_environment_and_macros(keys: str, found: tuple[str, ...]) -> None:
    top = f"macros: {{k: from-a-macro}}\napiKeys: {keys}"
    config = parse(with_model(top=top), KEY='k"e\\y')
    assert config.api_keys == found
    assert "from-a-macro" not in repr(config)


# --- words --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "logging"),
    [
        ("logLevel: ' Debug '", Logging(level="debug")),
        ("logLevel: warn", Logging(level="warning")),
        ("logTimeFormat: RFC3339", Logging(time_format="rfc3339")),
        ("logTimeFormat: ''", Logging()),
        ("logToStdout: both", Logging(to_stdout="both")),
        ("logRequests: yes", Logging(requests=True)),
    ],
)
def test_what_is_written_of_itself_has_words(text: str, logging: Logging) -> None:
    assert parse(with_model(top=text)).logging == logging


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        *((word, True) for word in ("true", "True", "yes", "on", "Y", "'yes'")),
        *((word, False) for word in ("false", "False", "no", "off", "n", "'no'")),
    ],
)
def test_truth_values_have_the_words_of_older_yaml(written: str, meant: bool) -> None:
    assert parse(with_model(top=f"includeAliasesInList: {written}")).aliases_in_list is meant


@pytest.mark.parametrize(
    ("hooks", "models", "warnings"),
    [
        ("[' a ', '', x, a]", ("a",), 0),
        ("['${m}']", ("a",), 0),
        ("[b, a]", ("a",), 1),
        ("[]", (), 0),
    ],
)
def test_models_to_preload_are_found_by_alias_and_unknown_ones_are_warned_of(
    hooks: str, models: tuple[str, ...], warnings: int
) -> None:
    top = f"macros: {{m: x}}\nhooks: {{on_startup: {{preload: {hooks}}}}}"
    config = parse(with_model("aliases: [x]", top))
    assert config.preload == models
    assert [warning.path for warning in config.warnings] == ["hooks.on_startup.preload"] * warnings


def test_traces_need_their_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("models: {}\ntelemetry: {traces: true}\n")
    assert load_config(file, environ={}).traces
    monkeypatch.setattr("arriero.supervisor.config.named_files.find_spec", lambda _: None)

    with pytest.raises(ConfigError, match=r"c\.yaml:2:21: telemetry\.traces: .*arriero\[otel\]"):
        load_config(file, environ={})
