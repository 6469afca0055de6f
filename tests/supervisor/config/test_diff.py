"""What another configuration changes."""

from dataclasses import fields, replace
from typing import Any

import pytest

from arriero.protocol.values import ConfigChanges, ModelChange
from arriero.supervisor.config.diff import (
    _of_model,
    _settings,
    diff,
    launch_identity,
    summary,
    what_comes_into_force,
)
from arriero.supervisor.config.load import Config, parse_config
from arriero.supervisor.config.model_config import MODEL, ModelConfig
from arriero.supervisor.config.values import CONFIG
from arriero.supervisor.text.addresses import Address

TEXT = """
listen: 127.0.0.1:8080
workers: 2
models:
  a: {cmd: 'run --port ${PORT}', aliases: [first]}
  b: {cmd: 'run --port ${PORT}'}
"""


def config(*changes: tuple[str, str], text: str = TEXT) -> Config:
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse_config(text, environ={})


def changed(*changes: tuple[str, str]) -> ConfigChanges:
    return diff(config(), config(*changes))


A = "a: {cmd: 'run --port ${PORT}'"


def test_the_same_text_changes_nothing() -> None:
    assert changed() == ConfigChanges()
    assert changed().is_empty


@pytest.mark.parametrize(
    ("new", "keys"),
    [
        ("a: {cmd: 'run --fast --port ${PORT}'", ("cmd",)),
        ("a: {cmd: 'run --port ${PORT}', env: ['KEY=secret']", ("env",)),
        ("a: {cmd: 'run --port ${PORT}', proxy: 'http://127.0.0.1:${PORT}/v'", ("proxy",)),
        ("a: {cmd: 'run --port ${PORT}', checkEndpoint: none", ("checkEndpoint",)),
        ("a: {cmd: run, proxy: 'http://10.0.0.1:1'", ("cmd", "proxy")),
    ],
)
def test_what_a_process_is_started_with_is_for_the_next_start(
    new: str, keys: tuple[str, ...]
) -> None:
    assert changed((A, new)) == ConfigChanges(relaunch=(ModelChange(model="a", keys=keys),))


@pytest.mark.parametrize(
    ("new", "keys"),
    [
        (f"{A}, ttl: 60", ("ttl",)),
        (f"{A}, unloadTimeout: 3, healthCheckTimeout: 20", ("healthCheckTimeout", "unloadTimeout")),
        (f"{A}, useModelName: x, strict: 'on'", ("strict", "useModelName")),
        (f"{A}, kind: vllm, usage: observe", ("kind", "usage")),
        (f"{A}, prices: {{input: 0.1}}", ("prices",)),
        (f"{A}, hungAfter: 0, drainLimit: 1m", ("drainLimit", "hungAfter")),
        (f"{A}, onFailure: none", ("onFailure",)),
    ],
)
def test_all_else_about_a_model_is_adjusted_at_once(new: str, keys: tuple[str, ...]) -> None:
    assert changed((A, new)) == ConfigChanges(adjusted=(ModelChange(model="a", keys=keys),))


def test_an_alias_that_moves_adjusts_both_models() -> None:
    found = changed(("aliases: [first]", ""), ("b: {", "b: {aliases: [first], "))

    assert [change.model for change in found.adjusted] == ["a", "b"]
    assert {change.keys for change in found.adjusted} == {("aliases",)}


def test_a_model_may_change_in_both_ways() -> None:
    found = changed((A, "a: {cmd: 'walk --port ${PORT}', ttl: 60"))
    assert (found.relaunch[0].keys, found.adjusted[0].keys) == (("cmd",), ("ttl",))


def test_a_renamed_model_is_one_removed_and_one_added() -> None:
    assert changed(("b: {", "c: {")) == ConfigChanges(added=("c",), removed=("b",))


def test_the_order_of_models_is_no_change() -> None:
    one, two = TEXT.splitlines()[-2:]
    assert diff(config(), config((f"{one}\n{two}", f"{two}\n{one}"))).is_empty


def test_global_keys_are_settings_by_the_names_of_the_file() -> None:
    found = changed(
        (
            "workers: 2",
            "workers: 3\nstartPort: 7000\nheartbeatInterval: 20s\nprogressDelay: 1s\n"
            "progressMarker: '[x] '\nprogressDetails: false",
        )
    )
    assert found == ConfigChanges(
        settings=(
            "heartbeatInterval",
            "progressDelay",
            "progressDetails",
            "progressMarker",
            "startPort",
            "workers",
        )
    )


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("progressMarkersOld: ['[x] ']", "progressMarkersOld"),
        ("nonstreamHold: 5s", "nonstreamHold"),
        ("nonstreamKeepalive: whitespace", "nonstreamKeepalive"),
        ("upstreamIdle: 5s", "upstreamIdle"),
        ("upstreamStall: 5s", "upstreamStall"),
        ("maxRetryWait: 5s", "maxRetryWait"),
        ("maxBody: 1MiB", "maxBody"),
        ("bodyMemory: 1GiB", "bodyMemory"),
        ("trailers: false", "trailers"),
        ("cors: false", "cors"),
        ("allowedHosts: [a.example]", "allowedHosts"),
        ("publicWithoutKeys: true", "publicWithoutKeys"),
        ("headers: {request: {remove: [X-A]}, response: {set: {X-Key: hidden}}}", "headers"),
        ("prices: {a: {input: 1}}", "prices"),
        ("priceList: {url: 'http://h/?key=hidden'}", "priceList"),
        ("peers: {p: {proxy: 'http://p', models: [m], apiKey: hidden}}", "peers"),
    ],
)
def test_how_requests_are_passed_on_is_a_setting_that_acts_at_once(written: str, key: str) -> None:
    found = changed(("workers: 2", f"workers: 2\n{written}"))
    assert found == ConfigChanges(settings=(key,))
    assert "hidden" not in f"{found} {summary(found)}"


def test_the_order_of_patterns_is_a_change() -> None:
    """The first one that fits counts."""
    one, other = (
        config(("workers: 2", f"prices: {{{patterns}}}"))
        for patterns in ("a: {input: 1}, '*': {input: 2}", "'*': {input: 2}, a: {input: 1}")
    )
    assert diff(one, other) == ConfigChanges(settings=("prices",))


def test_a_socket_needs_a_restart_and_is_found_again_by_each_reload() -> None:
    old, new = config(), config((":8080", ":9090"), ("workers: 2", "workers: 3"))

    assert diff(old, new) == ConfigChanges(settings=("workers",), needs_restart=("listen",))
    in_force = what_comes_into_force(old, new)
    assert (in_force.listen, in_force.workers) == (Address("127.0.0.1", 8080), 3)
    assert diff(in_force, new) == ConfigChanges(needs_restart=("listen",))
    assert diff(in_force, new).is_empty
    assert diff(in_force, config(("workers: 2", "workers: 3"))) == ConfigChanges()


def test_what_is_told_are_keys_of_the_file() -> None:
    of_models = {key.name for key in MODEL.keys}
    sections = {"logging", "activity"}  # several keys each
    names = {found.name for found in fields(ModelConfig) if found.compare}
    assert set(_of_model(names - {"model"})) <= of_models
    names = {found.name for found in fields(Config) if found.compare}
    assert set(_settings(names - sections)) <= {key.name for key in CONFIG.keys}


def test_another_key_of_a_server_is_another_start() -> None:
    """Servers read their keys when they start: one that runs still wants the old one."""
    found = changed((A, "a: {cmd: 'run --port ${PORT}', apiKey: hidden"))
    assert found == ConfigChanges(relaunch=(ModelChange(model="a", keys=("apiKey",)),))
    assert "hidden" not in f"{found} {summary(found)}"


def test_no_value_is_told() -> None:
    found = changed((A, "a: {cmd: 'run --port ${PORT} --api-key hidden', env: ['KEY=hidden']"))
    assert "hidden" not in f"{found} {summary(found)}"


def test_a_start_is_another_one_with_every_field_that_is_started_with() -> None:
    model = config().models["a"]
    others = [
        config((A, "a: {cmd: 'run --fast --port ${PORT}'")).models["a"],
        config((A, "a: {cmd: 'run --port ${PORT}', env: [X=1]")).models["a"],
        replace(model, check_endpoint=None),
        replace(model, api_key="hidden"),
    ]
    assert len({launch_identity(found) for found in (model, *others)}) == 5
    assert "hidden" not in launch_identity(others[-1])
    assert launch_identity(replace(model, ttl_s=5.0)) == launch_identity(model)


def test_every_field_of_a_model_is_either_started_with_or_adjusted() -> None:
    """A field that is added one day is noticed without a line here or there."""
    old = config()
    for found in fields(ModelConfig):
        if not found.compare:
            continue
        another: Any = {found.name: ("another",)}
        other = replace(old.models["a"], **another)
        changes = diff(old, replace(old, models={**old.models, "a": other}))
        assert not changes.is_empty, found.name


def test_a_summary_counts() -> None:
    many = ConfigChanges(
        added=("x", "y"),
        removed=("z",),
        relaunch=(ModelChange(model="a", keys=("cmd",)),),
        adjusted=(ModelChange(model="b", keys=("ttl",)),),
        settings=("workers",),
        needs_restart=("listen",),
    )
    assert summary(many) == (
        "models: 2 added, 1 removed, 1 with another start, 1 adjusted; settings: workers; "
        "needs a restart: listen"
    )
    assert summary(ConfigChanges()) == ""
