"""Which requests the official clients repeat by themselves, as they come."""

import re
from collections.abc import Callable, Iterator
from typing import Any

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
BROKEN = {f"broken-{number}": judge for number, judge in enumerate([*STREAMING, *WHOLE])}


@pytest.fixture(scope="module")
def config(gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A broken model for each client, and one behind a gate."""
    server = tiny_server(tmp_path_factory.mktemp("models"), slots=8, context=4096)
    models = {name: {"cmd": "/nowhere/llama-server --port ${PORT}"} for name in BROKEN}
    models["long"] = {"cmd": gate.command(server)}
    return {"startPort": free_port(), "models": models}


@pytest.fixture(scope="module")
def train(start_shared_train: Callable[..., Train], config: dict[str, Any]) -> Train:
    return start_shared_train(config)


def refusals(train: Train, model: str) -> int:
    """How many requests for this model were refused."""
    return len(re.findall(rf"request\.failed .*model={model} ", train.log.read_text()))


def test_a_model_that_will_not_come_up_is_asked_for_once_by_each_client(
    panel: Panel, train: Train
) -> None:
    asked = [
        Asked(judge=judge, url=train.url, model=name, retries=None)
        for name, judge in BROKEN.items()
    ]
    for question, seen in zip(asked, panel.ask_all(asked)(), strict=True):
        who = (question.judge, seen)
        assert f"model {question.model} failed to load" in seen.error, who
        assert seen.status == 500, who
    eventually(lambda: all(refusals(train, name) >= 1 for name in BROKEN))
    assert {name: refusals(train, name) for name in BROKEN} == dict.fromkeys(BROKEN, 1)


@pytest.fixture
def impatient(train: Train, config: dict[str, Any]) -> Iterator[Train]:
    """The same train while it holds a request for a second only."""
    train.reload(config | {"nonstreamHold": "1s"})
    yield train
    train.reload(config)


def test_a_load_longer_than_the_hold_is_joined_by_the_clients_own_retry(
    panel: Panel, impatient: Train, gate: Gate
) -> None:
    asked = [Asked(judge=judge, url=impatient.url, model="long", retries=None) for judge in WHOLE]
    answers = panel.ask_all(asked)
    refused = impatient.chat("long")
    eventually(lambda: refusals(impatient, "long") > len(asked), what="a refusal of each")
    gate.open()
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
    assert refused.json()["error"]["code"] == "model_loading"
    for question, seen in zip(asked, answers(), strict=True):
        assert (seen.error, seen.output_tokens) == ("", 8), (question.judge, seen)
    assert gate.starts == 1
