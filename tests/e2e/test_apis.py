"""All APIs of the real llama-server, byte by byte, behind a swap and without anybody in between.

How the official clients understand the same bytes is for test_judges*.py.
"""

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from gates import BRACE, END, Gate, free_port, queued, tiny_server, with_tools
from trains import PATIENCE_S, Train

from tests.judges.asked import CALLABLE

pytestmark = pytest.mark.e2e

MODES = ["off", "comment", "heartbeat", "reasoning", "event"]
MARKER = "swap-progress: "
QUESTION: list[Any] = [{"role": "user", "content": "Who drives a train of llamas?"}]

# The same words every time, whatever was asked before.
EXTRA = {"cache_prompt": False, "seed": 1, "temperature": 0}


class Real:
    """A train with a real model and the gate before it; another model takes its place."""

    def __init__(self, train: Train, gate: Gate) -> None:
        self.train, self.gate = train, gate
        self.url = train.url

    def direct(self) -> str:
        """The address of the model itself, which is there afterwards."""
        self.warm("small")
        return str(self.train.model("small")["endpoint"])

    def warm(self, model: str) -> None:
        self.gate.open()
        self.train.ask("swap", model=model)

    def waiting(self, path: str, bodies: list[dict[str, Any]], **headers: str) -> list[bytes]:
        """Ask all of that while the other model is there; return what each was answered."""
        self.warm("tiny")
        self.gate.close()
        with ThreadPoolExecutor(len(bodies)) as pool:
            answers = [pool.submit(post, self.url + path, body, **headers) for body in bodies]
            queued(self.train, small=len(bodies))
            self.gate.open()
            return [answer.result() for answer in answers]


def post(url: str, body: dict[str, Any], **headers: str) -> bytes:
    answer = httpx.post(url, json=body, headers=headers, timeout=PATIENCE_S)
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.fixture(scope="module")
def real(
    start_shared_train: Callable[..., Train], tmp_path_factory: pytest.TempPathFactory
) -> Real:
    folder = tmp_path_factory.mktemp("models")
    gate = Gate(folder / "gate", is_open=True)
    small = tiny_server(folder, *with_tools(), context=4096, slots=8)
    models = {"tiny": {"cmd": tiny_server(folder)}, "small": {"cmd": gate.command(small)}}
    train = start_shared_train({"progressDelay": "0s", "startPort": free_port(), "models": models})
    return Real(train, gate)


def settled(stream: bytes) -> str:
    """Return a stream without what is another at every try: ids and times."""
    names = "created|created_at|id|item_id|call_id|timings|[a-z_]+_ms|[a-z_]+_second"
    return re.sub(rf'"({names})":("[^"]*"|[\d.e+-]+)', "", stream.decode())


STREAMS = ["/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"]


@pytest.mark.parametrize("path", STREAMS)
def test_a_warm_model_s_stream_is_the_same_in_every_mode(real: Real, path: str) -> None:
    body: dict[str, Any] = {"model": "small", "messages": QUESTION, "prompt": "A llama"}
    body |= {"input": "Who?", "max_tokens": 6, "max_output_tokens": 6, "stream": True} | EXTRA
    direct = real.direct()
    post(direct + path, body)  # fills the cache, which is counted

    expected = settled(post(direct + path, body))

    assert expected.count("data: ") > 6
    for mode in MODES:
        headers = {"X-Swap-Progress": mode}
        assert settled(post(real.url + path, body, **headers)) == expected, mode


TOOLS: dict[str, Any] = {
    "tools": [{"type": "function", "function": CALLABLE}],
    "tool_choice": "required",
    "logit_bias": {str(BRACE): 1000, str(END): 500},
    "max_tokens": 80,
}
CHATS: dict[str, dict[str, Any]] = {
    "plain": {},
    "counted": {"stream_options": {"include_usage": True}},
    "twice": {"n": 2},
    "with tools": TOOLS,
    "with thoughts": {"chat_template_kwargs": {"enable_thinking": True}},
}


@pytest.fixture(scope="module")
def chats(real: Real) -> dict[str, tuple[bytes, bytes]]:
    """Each kind of chat: how it was answered in mode `reasoning`, and without a proxy."""
    base = {"model": "small", "messages": QUESTION, "stream": True, "max_tokens": 6} | EXTRA
    bodies = [base | chat for chat in CHATS.values()]
    path = "/v1/chat/completions"
    behind = real.waiting(path, bodies, **{"X-Swap-Progress": "reasoning"})
    direct = [post(real.direct() + path, body) for body in bodies]
    return dict(zip(CHATS, zip(behind, direct, strict=True), strict=True))


@pytest.mark.parametrize("kind", CHATS)
def test_a_chat_that_waited_is_chunks_of_one_line_and_then_the_model_s_own_bytes(
    chats: dict[str, tuple[bytes, bytes]], kind: str
) -> None:
    behind, direct = ([*frames(stream)] for stream in chats[kind])
    ours = [frame for frame in behind if '"id":"chatcmpl-swap-' in frame]

    assert ours
    assert behind[: len(ours)] == ours
    theirs = [settled(frame.encode()) for frame in behind[len(ours) :]]
    expected = [settled(frame.encode()) for frame in direct]
    if kind == "twice":  # two answers at once are mixed in any order
        theirs, expected = sorted(theirs), sorted(expected)
    assert theirs == expected
    ids = {check_chunk(json.loads(frame.removeprefix("data: "))) for frame in ours}
    assert len(ids) == 1


def test_the_kinds_of_chats_are_what_they_are_called(
    chats: dict[str, tuple[bytes, bytes]],
) -> None:
    for kind, mark in {
        "counted": b'"usage":',
        "twice": b'"index":1',
        "with tools": b'"finish_reason":"tool_calls"',
        "with thoughts": b'"delta":{"reasoning_content":',
    }.items():
        assert mark in chats[kind][1], kind
        assert mark not in chats["plain"][1], kind


def frames(stream: bytes) -> Iterator[str]:
    """Return the frames of a stream, which has to end with a whole one."""
    *found, rest = stream.decode().split("\n\n")
    assert rest == ""
    return iter(found)


def check_chunk(chunk: dict[str, Any]) -> str:
    """Check the form of a chunk of ours; return its id."""
    found = re.fullmatch(r"chatcmpl-swap-[0-9a-f]{24}", chunk["id"])
    assert found
    assert (chunk["object"], chunk["model"]) == ("chat.completion.chunk", "small")
    assert isinstance(chunk["created"], int)
    (choice,) = chunk["choices"]
    delta = choice.pop("delta")
    assert choice == {"index": 0, "finish_reason": None}
    if delta:
        assert delta.keys() == {"reasoning_content"}
        line = delta["reasoning_content"]
        assert re.fullmatch(re.escape(f"{MARKER}small: ") + r"[ -~]+\n", line)
        assert len(line) <= 160
    return found[0]


def count(url: str, turns: list[Any]) -> int:
    body = {"model": "small", "messages": turns}
    return int(json.loads(post(f"{url}/v1/messages/count_tokens", body))["input_tokens"])


def test_what_was_told_does_not_reach_the_model_in_the_next_turn(real: Real) -> None:
    """In the form of clients that write reasoning into the text: templates render all of that."""
    told, answer = f"{MARKER}small: loading (1 s)\n{MARKER}small: ready after 2.0 s\n", "A mule."

    def turns(text: str) -> list[Any]:
        return [*QUESTION, {"role": "assistant", "content": text}, *QUESTION]

    direct = real.direct()
    clean, replayed = turns(answer), turns(f"<think>\n{told}</think>\n{answer}")
    assert count(direct, replayed) > count(direct, clean) + len(MARKER)  # it would be read
    assert count(real.url, replayed) == count(direct, clean)


def test_tokens_are_counted_by_the_model_that_is_named(real: Real) -> None:
    real.warm("tiny")
    assert count(real.url, QUESTION) == count(real.direct(), QUESTION) > 10
    body = {"model": "smal", "messages": QUESTION}
    unknown = httpx.post(f"{real.url}/v1/messages/count_tokens", json=body, timeout=PATIENCE_S)
    assert (unknown.status_code, unknown.json()["error"]["type"]) == (404, "not_found_error")
    assert "did you mean 'small'" in unknown.json()["error"]["message"]
