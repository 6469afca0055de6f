"""What the official clients make of a load that fails, takes too long, or loses its worker.

An error is raised by each, with its reason, and never taken for an answer; no client asks again
where that would only load a broken model again, and each does where it helps.
"""

import os
import signal
from collections.abc import Callable

import pytest
from gates import Gate, free_port, queued, tiny_server
from trains import Train, eventually

from tests.judges.asked import Asked, Seen
from tests.judges.panel import Panel

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

STREAMING = [
    "openai chat raw",
    "openai chat helper",
    "openai completion raw",
    "openai response raw",
    "openai response helper",
    "anthropic message raw",
    "anthropic message helper",
    "langchain chat",
    "litellm chat",
    "litellm completion",
    "node chat raw",
    "node chat helper",
    "node completion raw",
    "node response raw",
    "node response helper",
]
COMMITTING = ["comment", "heartbeat", "reasoning", "event"]
REASON = "model broken failed to load: "


@pytest.fixture(scope="module")
def train(
    start_shared_train: Callable[..., Train],
    scripted: Callable[..., str],
    gate: Gate,
    tmp_path_factory: pytest.TempPathFactory,
) -> Train:
    """A train with a model that no llama-server can read, behind a gate, and others."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "tiny.gguf").write_bytes(b"GGUF" + bytes(100))
    return start_shared_train(
        {
            "progressDelay": "0s",
            "startPort": free_port(),
            "heartbeatInterval": "1s",
            "models": {
                "broken": {"cmd": gate.command(tiny_server(folder))},
                "held": {"cmd": gate.command(scripted())},
                "slow": {"cmd": scripted("--load-s", "6")},
            },
        }
    )


@pytest.fixture
def closed(gate: Gate) -> Gate:
    gate.close()
    return gate


def test_a_load_that_fails_after_the_commit_is_raised_by_every_client_in_every_mode(
    panel: Panel, train: Train, closed: Gate
) -> None:
    asked = [
        Asked(judge=judge, url=train.url, model="broken", headers={"X-Swap-Progress": mode})
        for mode in COMMITTING
        for judge in STREAMING
    ]
    answers = panel.ask_all(asked)
    queued(train, broken=len(asked))
    closed.open()
    for question, seen in zip(asked, answers(), strict=True):
        who = (question.judge, question.headers, seen)
        assert REASON in seen.error, who
        assert seen == Seen(error=seen.error, kind=seen.kind, status=seen.status), who


def test_the_stream_of_a_killed_worker_is_raised_by_every_client(
    panel: Panel, train: Train, closed: Gate
) -> None:
    asked = [
        Asked(judge=judge, url=train.url, model="held", headers={"X-Swap-Progress": "heartbeat"})
        for judge in STREAMING
    ]
    answers = panel.ask_all(asked)
    queued(train, held=len(asked))
    before = train.workers()
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    for question, seen in zip(asked, answers(), strict=True):
        assert seen.kind, question.judge  # what a cut connection is called differs
    eventually(
        lambda: (
            len(train.workers()) == 1 and not set(before.values()) & set(train.workers().values())
        )
    )


@pytest.mark.nightly
def test_langchain_waits_with_heartbeats_for_longer_than_it_waits_for_a_chunk(
    panel: Panel, train: Train
) -> None:
    """In mode `comment` it does not: comments are nothing to it. That is the limit of that mode."""
    asked = [
        Asked(
            judge="langchain chat",
            url=train.url,
            model="slow",
            headers={"X-Swap-Progress": mode},
            chunk_timeout_s=3,
        )
        for mode in ("heartbeat", "comment")
    ]
    beating, silent = panel.ask_all(asked)()
    assert (beating.error, beating.text) == ("", "w1 w2 w3 w4 w5 ")
    assert "Timeout" in silent.kind
    assert silent.text == ""
