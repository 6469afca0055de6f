"""Which key a server wants is found out of what it is started with."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor.cli.render.check import accepted
from arriero.supervisor.config.lint.lint import Advice
from arriero.supervisor.llamacpp.api_key import (
    WantedKey,
    first_sendable,
    holding,
    key_in_file,
    wanted_key,
)
from arriero.supervisor.llamacpp.api_key_file import read_key_file
from arriero.supervisor.text.command_line import split_command
from arriero.supervisor.text.redact import masked_command
from tests.supervisor.config.reading import parse

KEY = WantedKey("s3cret")
FILE = WantedKey("", "/k/file")
NONE = WantedKey()


def wanted(
    command: str, env: dict[str, str] | None = None, inherited: dict[str, str] | None = None
) -> WantedKey:
    return wanted_key(split_command(command), env or {}, inherited or {})


COMMANDS = [
    # llama-server, tried with build 10068
    ("llama-server --api-key s3cret", KEY),
    ("llama-server --api_key s3cret", KEY),
    ("llama-server --api-key s3cret,second", KEY),
    ("llama-server --api-key s3cret --api-key second", KEY),
    ("llama-server --api-key ,s3cret", KEY),
    ("llama-server --api-key ''", NONE),
    ("llama-server --api-key", NONE),
    ("llama-server --api-key '\"s3,cret\",second'", WantedKey("s3,cret")),
    ("llama-server --api-key 's3cret, second'", KEY),
    ("llama-server --api-key-file /k/file", FILE),
    ("llama-server --api-key-file /k/file --api-key s3cret", KEY),
    ("llama-server -m m.gguf --port 1", NONE),
    ("llama-server --hf-token s3cret --ssl-key-file /k/file", NONE),
    # behind something else
    ("/opt/run-qwen.sh --api-key s3cret", KEY),
    ("/opt/run-qwen.sh --api-key=s3cret", KEY),
    ("nice -n 5 llama-server --api-key s3cret", KEY),
    ("env LLAMA_API_KEY=s3cret llama-server", KEY),
    ("env LLAMA_ARG_API_KEY_FILE=/k/file llama-server", FILE),
    ("sh -c 'exec llama-server --api-key s3cret'", KEY),
    ("sh -c \"exec llama-server --api-key 's3cret'\"", KEY),
    ("bash -lc 'LLAMA_API_KEY=s3cret; export LLAMA_API_KEY; exec llama-server'", KEY),
    ("sh -c 'export LLAMA_API_KEY=s3cret; exec llama-server'", KEY),
    ("sh -c 'llama-server --api-key s3cret&& echo done'", KEY),
    ("sh -c 'K=s3cret; exec llama-server --api-key $K'", KEY),
    ("sh -c 'exec llama-server --api-key \"$K\"'", NONE),
    ("sh -c 'exec llama-server --api-key \"$(cat /k/file)\"'", NONE),
    ("sh -c 'exec llama-server --api-key s3cret", KEY),
    ("ssh box \"sh -c 'llama-server --api-key s3cret'\"", KEY),
    ("docker run -e LLAMA_API_KEY=s3cret ghcr.io/ggml-org/llama.cpp:server", KEY),
    ("docker run -eLLAMA_API_KEY=s3cret ghcr.io/ggml-org/llama.cpp:server", KEY),
    ("docker run --env=LLAMA_API_KEY=s3cret ghcr.io/ggml-org/llama.cpp:server", KEY),
    ("docker run --env LLAMA_API_KEY=s3cret ghcr.io/ggml-org/llama.cpp:server", KEY),
    ("docker run ghcr.io/ggml-org/llama.cpp:server --api-key s3cret", KEY),
    # vLLM
    ("vllm serve m --api-key s3cret", KEY),
    ("vllm serve m --api-key=s3cret", KEY),
    ("vllm serve m --api-key s3cret second", KEY),
    ("vllm serve m --api-key first --api-key s3cret", KEY),
    ("vllm serve m --api-key s3,cret", WantedKey("s3,cret")),
    ("python -m vllm.entrypoints.openai.api_server --api-key s3,cret", WantedKey("s3,cret")),
    ("env VLLM_API_KEY=s3cret vllm serve m", KEY),
    ("docker run -e VLLM_API_KEY=s3cret vllm/vllm-openai:latest", KEY),
]


@pytest.mark.parametrize(("command", "found"), COMMANDS, ids=[command for command, _ in COMMANDS])
def test_a_key_is_found_in_a_command_and_hidden_in_it(command: str, found: WantedKey) -> None:
    assert wanted(command) == found
    if "K=" not in command.replace("_KEY=", ""):  # what nothing names is hidden by its value
        assert "s3cret" not in " ".join(masked_command(split_command(command)))


@pytest.mark.parametrize(
    ("command", "env", "inherited", "found"),
    [
        ("llama-server", {"LLAMA_API_KEY": "s3cret,second"}, {}, KEY),
        ("llama-server", {"LLAMA_ARG_API_KEY_FILE": "/k/file"}, {}, FILE),
        ("llama-server --api-key s3cret", {"LLAMA_API_KEY": "second"}, {}, KEY),
        ("llama-server", {"VLLM_API_KEY": "another's"}, {}, NONE),
        ("llama-server", {}, {"LLAMA_API_KEY": "s3cret"}, KEY),
        ("llama-server", {"LLAMA_API_KEY": "s3cret"}, {"LLAMA_API_KEY": "another"}, KEY),
        ("llama-server", {"LLAMA_API_KEY": ""}, {"LLAMA_API_KEY": "another"}, NONE),
        ("vllm serve m", {"VLLM_API_KEY": "s3cret"}, {}, KEY),
        ("vllm serve m", {"LLAMA_API_KEY": "another's"}, {}, NONE),
        ("vllm serve m", {}, {"VLLM_API_KEY": "s3cret"}, KEY),
        ("/opt/run.sh", {"LLAMA_API_KEY": "s3cret"}, {}, KEY),
        ("/opt/run.sh", {"VLLM_API_KEY": "s3cret"}, {}, KEY),
        ("/opt/run.sh", {}, {"LLAMA_API_KEY": "perhaps nobody's"}, NONE),
        ("docker run x llama-server", {}, {"LLAMA_API_KEY": "out here"}, NONE),
        ("sh -c 'exec llama-server --api-key $K'", {"K": "s3cret"}, {}, KEY),
        ("sh -c 'exec llama-server --api-key ${K}'", {}, {"K": "s3cret"}, KEY),
        ("llama-server --api-key $K", {"K": "another"}, {}, WantedKey("$K")),  # there is no shell
    ],
)
def test_a_key_is_found_in_the_environment(
    command: str, env: dict[str, str], inherited: dict[str, str], found: WantedKey
) -> None:
    assert wanted(command, env, inherited) == found


def test_what_no_header_can_carry_is_not_the_key() -> None:
    assert first_sendable(["", "a\nb", "ends with a blank ", "\x7f", " begins", "x"]) == " begins"
    assert first_sendable(["\r", "ä ö"]) == "ä ö"
    assert first_sendable([]) == ""


def test_a_file_of_keys_has_one_in_each_line(tmp_path: Path) -> None:
    text = "# these are ours\n\nwindows\r\ns3cret\nsecond\n"
    assert key_in_file(text) == "s3cret"
    file = tmp_path / "keys"
    file.write_text(text)
    assert read_key_file(str(file)) == "s3cret"
    assert read_key_file(str(tmp_path)) == read_key_file("/no/such") == read_key_file("\0") == ""


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    assert read_key_file(str(tmp_path / "pipe")) == ""


@given(st.lists(st.text() | st.text("-=$'\"\\;apikeyLLMV_,_ \n{}"), max_size=5))
def test_any_command_has_a_key_or_none(words: list[str]) -> None:
    for more in ([], ["--api-key"], ["sh", "-c", "--api-key"]):
        key, file = wanted_key([*words, *more, *words], {}, {"A": "x"})
        assert isinstance(key, str)
        assert isinstance(file, str)
        assert key == "" or key.isprintable() or not any(char in key for char in "\r\n\0")


def test_a_long_script_takes_no_long_time() -> None:
    script = "LLAMA_API_KEY=x " * 20_000
    assert wanted_key(["sh", "-c", script], {}, {}) == WantedKey("x")


def test_variables_that_hold_a_key_of_ours_are_found() -> None:
    environ = {"A": "sk-own-key", "B": "x,sk-own-key", "C": "sk-other", "D": "k", "E": "kk"}
    assert holding(["sk-own-key", "k"], environ) == {"A", "B", "D"}
    assert holding([], environ) == frozenset()


# --- what a start is given ------------------------------------------------------------------------


def launch(key: str = "fresh", **said: Any) -> Any:
    text = "models: {a: {" + ", ".join(f"{name}: {value}" for name, value in said.items()) + "}}"
    return parse(text).models["a"].launch(7, key)


@pytest.mark.parametrize(
    ("said", "key"),
    [
        ({"cmd": "'llama-server --port ${PORT} --api-key ${API_KEY}'"}, "fresh"),
        ({"cmd": "'x ${PORT}'", "env": "['LLAMA_API_KEY=${API_KEY}']"}, "fresh"),
        ({"cmd": "'x ${PORT}'", "env": "['MY_KEY=${API_KEY}']"}, "fresh"),
        ({"cmd": "'/opt/x.sh ${PORT} ${API_KEY}'"}, "fresh"),
        ({"cmd": "'x ${PORT} --api-key k-${API_KEY}'"}, "k-fresh"),
        ({"cmd": "'x ${PORT} --api-key known ${API_KEY}'"}, "known"),
        ({"cmd": "'x ${PORT}'", "apiKey": "mine"}, "mine"),
        ({"cmd": "'x ${PORT} --api-key other'", "apiKey": "mine"}, "mine"),
        ({"cmd": "'x ${PORT} ${API_KEY}'", "apiKey": "'m-${API_KEY}'"}, "m-fresh"),
        ({"cmd": "'x ${PORT} --api-key known'", "apiKey": "''"}, "known"),
        ({"cmd": "'x ${PORT}'"}, ""),
    ],
)
def test_a_start_has_the_key_of_the_configuration_or_of_its_command(
    said: dict[str, str], key: str
) -> None:
    found = launch(**said)
    assert found.wanted == WantedKey(key)
    assert "${" not in " ".join((*found.command, *(value for _, value in found.env)))
    if key:
        assert key not in repr(found).replace("command=", "").partition("endpoint")[2]


def test_a_made_key_is_known_to_what_stops_a_server_and_stays_what_it_is() -> None:
    found = launch(cmd="'x ${PORT} ${API_KEY}'", cmdStop="'stop ${PID} ${API_KEY}'")
    assert found.stop_argv(5) == ("stop", "5", "fresh")


def test_a_macro_of_that_name_goes_first() -> None:
    """Files of llama-swap may have one."""
    text = "macros: {API_KEY: known}\nmodels: {a: {cmd: 'x --port ${PORT} --api-key ${API_KEY}'}}"
    found = parse(text).models["a"].launch(7, "fresh")
    assert found.wanted == WantedKey("known")


def test_it_may_be_used_by_macros_but_not_before_it_is_declared() -> None:
    macros = "macros: {server: 'llama-server --port ${PORT} --api-key ${API_KEY}'"
    model = "models: {a: {cmd: '${server}'}}"
    assert parse(f"{macros}}}\n{model}").models["a"].launch(7, "fresh").wanted == WantedKey("fresh")
    with pytest.raises(Exception, match=r"unknown macro \$\{API_KEY\}"):
        parse(f"{macros}, API_KEY: known}}\n{model}")


@pytest.mark.parametrize("key", ["name", "checkEndpoint", "proxy", "description"])
def test_it_means_nothing_elsewhere(key: str) -> None:
    text = f"models: {{a: {{cmd: 'x ${{PORT}}', {key}: 'http://x/${{API_KEY}}'}}}}"
    with pytest.raises(Exception, match="has a meaning in cmd, env, cmdStop and apiKey of a model"):
        parse(text)


@pytest.mark.parametrize(
    "said",
    [
        "cmd: '/opt/x.sh ${PORT} s3cret-key', apiKey: s3cret-key",
        "cmd: \"sh -c 'K=s3cret-key; exec x ${PORT} --api-key $K'\"",
    ],
)
def test_a_key_that_nothing_names_is_hidden_by_its_value(said: str) -> None:
    text = f"models: {{a: {{{said}}}}}"
    shown = str(accepted(parse(text), Advice((), ())))
    assert "***" in shown
    assert "s3cret" not in shown
