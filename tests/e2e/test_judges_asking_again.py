"""Which requests the official clients repeat by themselves, as they come."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from gates import Gate, free_port, tiny_server
from trains import Train, eventually

from tests.judges.asked import Asked
from tests.judges.panel import Panel

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

STREAMING = [
    "openai chat raw",
    "openai completion raw",
    "openai response raw",
    "anthropic message raw",
    "langchain chat",
    "litellm chat",
    "litellm completion",
    "node chat raw",
    "node completion raw",
    "node response raw",
]
WHOLE = [
    "openai chat whole",
    "openai response whole",
    "anthropic message whole",
    "langchain chat whole",
    "litellm chat whole",
    "node chat whole",
    "node response whole",
]


def refusals(train: Train, model: str) -> int:
    """How many requests for this model were refused."""
    return len(re.findall(rf"request\.failed .*model={model} ", train.log.read_text()))


def test_a_model_that_will_not_come_up_is_asked_for_once_by_each_client(
    panel: Panel, start_train: Callable[..., Train]
) -> None:
    judges = [*STREAMING, *WHOLE]
    names = [f"broken-{number}" for number in range(len(judges))]
    models = {name: {"cmd": "/nowhere/llama-server --port ${PORT}"} for name in names}
    train = start_train({"startPort": free_port(), "models": models})
    asked = [
        Asked(judge=judge, url=train.url, model=name, retries=None)
        for judge, name in zip(judges, names, strict=True)
    ]
    for question, seen in zip(asked, panel.ask_all(asked)(), strict=True):
        who = (question.judge, seen)
        assert f"model {question.model} failed to load" in seen.error, who
        assert seen.status == 500, who
    eventually(lambda: all(refusals(train, name) >= 1 for name in names))
    assert {name: refusals(train, name) for name in names} == dict.fromkeys(names, 1)


def test_a_load_longer_than_the_hold_is_joined_by_the_clients_own_retry(
    panel: Panel, start_train: Callable[..., Train], tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    train = start_train(
        {
            "nonstreamHold": "1s",
            "startPort": free_port(),
            "models": {"long": {"cmd": gate.command(tiny_server(tmp_path, slots=8, context=4096))}},
        }
    )
    asked = [Asked(judge=judge, url=train.url, model="long", retries=None) for judge in WHOLE]
    answers = panel.ask_all(asked)
    refused = train.chat("long")
    eventually(lambda: refusals(train, "long") > len(asked), what="a refusal of each")
    gate.open()
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
    assert refused.json()["error"]["code"] == "model_loading"
    for question, seen in zip(asked, answers(), strict=True):
        assert (seen.error, seen.output_tokens) == ("", 8), (question.judge, seen)
    assert gate.starts == 1
