"""Ollama's official client before a real llama-server, at the address that it knows."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from gates import BRACE, END, Gate, free_port, queued, tiny_server, with_tools
from trains import Train, eventually

from arriero.worker.apis.management.answers import OLLAMA_VERSION
from tests.judges import node_client
from tests.judges.asked import CALLABLE
from tests.judges.node_client import NODE, ensure_node_client

pytestmark = pytest.mark.e2e

JUDGE = Path(node_client.__file__).with_name("judge_ollama.mjs")

HI = {"role": "user", "content": "Who drives a train of llamas?"}
SHORT = {"num_predict": 6, "temperature": 0, "seed": 1}


class Riding:
    """A train, and the client at its second address."""

    def __init__(self, train: Train, gate: Gate) -> None:
        self.train, self.gate = train, gate
        found = re.search(r"listens_for_ollama address=(\S+)", train.log.read_text())
        assert found is not None
        self.url = f"http://{found[1]}"
        self.client = import_module("ollama").Client(host=self.url, timeout=30)

    def chat(self, **more: Any) -> list[Any]:
        return list(
            self.client.chat(
                model="small:latest", messages=[HI], stream=True, options=SHORT, **more
            )
        )


@pytest.fixture(scope="module")
def riding(
    start_shared_train: Callable[..., Train], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Riding]:
    folder = tmp_path_factory.mktemp("models")
    gate = Gate(folder / "gate", is_open=True)
    server = tiny_server(folder, *with_tools(), context=2048)
    calls = f"{server} --logit-bias {BRACE}+1000 --logit-bias {END}+500"
    train = start_shared_train(
        {
            "progressDelay": "0s",
            "ollamaListen": "127.0.0.1:0",
            "startPort": free_port(),
            "models": {
                "small": {"cmd": gate.command(server), "progress": "reasoning"},
                "caller": {
                    "cmd": calls,
                    "filters": {"setParams": {"tool_choice": "required"}},
                },
                "vectors": {"cmd": f"{server} --embeddings --pooling mean"},
            },
        }
    )
    found = Riding(train, gate)
    with found.client:
        yield found


def test_a_waiting_client_reads_progress_as_thinking(riding: Riding) -> None:
    riding.gate.close()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(riding.chat)
        queued(riding.train, small=1)
        riding.gate.open()
        told = answer.result()

    assert "swap-progress: small: " in "".join(it.message.thinking or "" for it in told)
    last = told[-1]
    assert (last.done, last.done_reason, last.eval_count) == (True, "length", 6)
    assert last.prompt_eval_count > 0
    assert last.total_duration >= last.load_duration > 0
    assert last.eval_duration > 0
    assert last.prompt_eval_duration > 0
    text = "".join(it.message.content for it in told)

    whole = riding.client.chat(model="small", messages=[HI], options=SHORT)
    assert whole.message.content == text
    assert (whole.eval_count, whole.done_reason) == (6, "length")
    # A worker hears of it a moment later.
    eventually(lambda: [it.model for it in riding.client.ps().models] == ["small"])


def test_other_questions_are_answered(riding: Riding) -> None:
    client = riding.client
    assert [it.model for it in client.list().models] == ["caller", "small", "vectors"]

    lines = list(client.generate("small", "A llama", raw=True, stream=True, options=SHORT))
    assert lines[-1].eval_count == 6
    assert "".join(it.response for it in lines)
    assert client.generate("small").done_reason == "load"
    assert client.show("small").capabilities == ["tools"]
    as_json = client.generate("small", "A llama", format="json", options={"num_predict": 3})
    assert as_json.eval_count == 3

    with pytest.raises(
        import_module("ollama").ResponseError, match="cannot find a model"
    ) as raised:
        client.chat(model="nobody", messages=[HI])
    assert raised.value.status_code == 404


@pytest.mark.nightly  # another start
def test_embeddings_have_a_length(riding: Riding) -> None:
    found = riding.client.embed("vectors", ["A", "B"])
    first, second = found.embeddings
    assert len(first) == len(second) > 0
    assert sum(it * it for it in first) == pytest.approx(1, abs=1e-3)
    assert found.prompt_eval_count > 0
    assert riding.client.embeddings("vectors", "A").embedding == pytest.approx(first, abs=1e-4)


@pytest.mark.nightly
@pytest.mark.parametrize("stream", [True, False])
def test_a_tool_is_called(riding: Riding, stream: bool) -> None:
    tools = [{"type": "function", "function": CALLABLE}]
    asked: dict[str, Any] = {"model": "caller", "messages": [HI], "tools": tools}
    answer = riding.client.chat(**asked, stream=stream, options={"num_predict": 80})
    messages = [it.message for it in answer] if stream else [answer.message]
    (call,) = [call for message in messages for call in message.tool_calls or ()]
    assert call.function.name == CALLABLE["name"]
    assert isinstance(call.function.arguments, dict)

    talk = [HI, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "content": "7"}]
    again = riding.client.chat(model="small", messages=talk, options=SHORT)
    assert again.eval_count == 6


@pytest.mark.nightly  # its runtime takes seconds to start
def test_the_client_for_node_reads_the_same(riding: Riding) -> None:
    asked = (NODE, JUDGE, ensure_node_client(), riding.url)
    riding.train.emptied()
    riding.gate.close()
    with subprocess.Popen(asked, stdout=subprocess.PIPE) as process:
        queued(riding.train, small=1)
        riding.gate.open()
        written, _ = process.communicate(timeout=60)
    seen = json.loads(written)

    assert "swap-progress: small: " in seen["thinking"]
    assert seen["text"] == seen["whole"] != ""
    assert seen["last"] == {"reason": "length", "count": 6}
    assert seen["generated"]
    assert (seen["listed"], seen["running"]) == (["caller", "small", "vectors"], ["small"])
    assert (seen["capabilities"], seen["version"]) == (["tools"], OLLAMA_VERSION)
    assert seen["error"]["status"] == 404
    assert "cannot find a model" in seen["error"]["message"]
