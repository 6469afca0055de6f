"""What somebody reads who has just started it."""

import json
import shlex

import pytest

from arriero.supervisor.config.load import parse_config
from arriero.supervisor.lifetime.startup_message import first_words

MODELS = "models: {hidden: {cmd: x --port ${PORT}, unlisted: true}, it's: {cmd: x --port ${PORT}}}"


def words(text: str, address: str = "127.0.0.1:8080") -> str:
    return first_words(parse_config(text, environ={}), address)


def test_what_can_be_tried_is_a_command_that_a_shell_understands() -> None:
    told = words(MODELS)

    command = shlex.split(told.splitlines()[1])
    assert "http://127.0.0.1:8080;" in told
    assert command[:3] == ["curl", "-N", "http://127.0.0.1:8080/v1/chat/completions"]
    assert json.loads(command[-1])["model"] == "it's"
    assert "Authorization" not in told


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("0.0.0.0:80", "http://127.0.0.1:80;"),
        ("[::]:80", "http://127.0.0.1:80;"),
        ("[::1]:80", "http://[::1]:80;"),
        ("10.0.0.7:80", "http://10.0.0.7:80;"),
    ],
)
def test_the_address_is_one_that_can_be_asked(address: str, shown: str) -> None:
    assert shown in words(MODELS, address)


def test_a_key_is_asked_for_and_not_shown() -> None:
    told = words(f"apiKeys: [s3cr3t]\n{MODELS}")

    assert "Authorization: Bearer YOUR_KEY" in told
    assert "s3cr3t" not in told


def test_without_models_it_says_what_would_do() -> None:
    assert "arriero init" in words("models: {}")


def test_without_a_file_it_says_how_to_get_one() -> None:
    told = first_words(parse_config(MODELS, environ={}), "127.0.0.1:80", "arriero init /m")

    assert "serves the 2 models" in told
    assert "write one down and change it: arriero init /m." in told
