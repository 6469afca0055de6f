"""All APIs of the real llama-server, behind a swap and without anybody in between.

The official clients are the judges, with the helpers that put a stream together: whatever a waiting
client was told, they see the answer that they would have seen.
"""

import re
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anthropic
import httpx
import openai
import pytest
from trains import PATIENCE_S, Train, eventually

from tests.real.parts import ensure_llama_server
from tests.real.tiny_gguf import write_tiny_gguf

pytestmark = pytest.mark.e2e

MODES = ["off", "comment", "heartbeat", "reasoning", "event"]
MARKER = "[swap-progress] "
QUESTION: list[Any] = [{"role": "user", "content": "Who drives a train of llamas?"}]

# The same words every time, whatever was asked before.
EXTRA = {"cache_prompt": False, "seed": 1}


class Seen(NamedTuple):
    """What a client has at the end, and what it was told before."""

    role: str
    text: str
    input_tokens: int
    output_tokens: int
    told: str


def free_port() -> int:
    """Where the models' ports begin: apart from those of any other train on this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def real(start_train: Callable[..., Train], tmp_path: Path) -> Train:
    """A train with the real models `tiny` and `small`, which speaks as soon as it can.

    `small` alone is often ready before a word can be said; here it takes long enough, always.
    """
    binary = ensure_llama_server()
    slow = tmp_path / "slow.sh"
    slow.write_text('sleep 0.5\nexec "$@"\n')
    models = {}
    for size in ("tiny", "small"):
        write_tiny_gguf(tmp_path / f"{size}.gguf", size=size)
        cmd = f"{binary} --host 127.0.0.1 --port ${{PORT}} -m {tmp_path / size}.gguf"
        first = f"/bin/sh {slow} " if size == "small" else ""
        models[size] = {"cmd": f"{first}{cmd} -t 1 -c 512 --parallel 2 --no-webui"}
    return start_train({"progressDelay": "0s", "startPort": free_port(), "models": models})


@contextmanager
def of_openai(url: str, **options: Any) -> Generator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{url}/v1", api_key="none", timeout=PATIENCE_S, **options
    ) as client:
        yield client


@contextmanager
def of_anthropic(url: str, **options: Any) -> Generator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=url, api_key="none", timeout=PATIENCE_S, **options) as client:
        yield client


def chat(url: str, headers: dict[str, str]) -> Seen:
    told = ""
    with (
        of_openai(url, max_retries=0) as client,
        client.chat.completions.stream(
            model="small",
            messages=QUESTION,
            max_tokens=8,
            temperature=0,
            stream_options={"include_usage": True},
            extra_headers=headers,
            extra_body=EXTRA,
        ) as stream,
    ):
        for event in stream:
            if event.type == "chunk" and event.chunk.choices:
                delta = event.chunk.choices[0].delta
                told += getattr(delta, "reasoning_content", None) or ""
        whole = stream.current_completion_snapshot
    message, usage = whole.choices[0].message, whole.usage
    assert usage is not None
    assert whole.choices[0].finish_reason == "length"
    return Seen(
        message.role, message.content or "", usage.prompt_tokens, usage.completion_tokens, told
    )


def completion(url: str, headers: dict[str, str]) -> Seen:
    text, usage = "", None
    with of_openai(url, max_retries=0) as client:
        for chunk in client.completions.create(
            model="small",
            prompt="A llama",
            max_tokens=8,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
            extra_headers=headers,
            extra_body=EXTRA,
        ):
            for choice in chunk.choices:
                assert choice.text is not None
                text += choice.text
            usage = chunk.usage or usage
    assert usage is not None
    return Seen("", text, usage.prompt_tokens, usage.completion_tokens, "")


def message(url: str, headers: dict[str, str]) -> Seen:
    with (
        of_anthropic(url, max_retries=0) as client,
        client.messages.stream(
            model="small",
            messages=QUESTION,
            max_tokens=8,
            extra_headers=headers,
            extra_body=EXTRA | {"temperature": 0},
        ) as stream,
    ):
        whole = stream.get_final_message()
    *thinking, text = whole.content
    assert text.type == "text"
    assert whole.stop_reason == "max_tokens"
    told = "".join(block.thinking for block in thinking if block.type == "thinking")
    usage = whole.usage
    read = usage.input_tokens + (usage.cache_read_input_tokens or 0)
    return Seen(whole.role, text.text, read, usage.output_tokens, told)


def response(url: str, headers: dict[str, str]) -> Seen:
    """With the helper where the stream was merged; it cannot read llama-server's own."""
    asked: Any = {"model": "small", "input": "Who drives a train of llamas?", "temperature": 0}
    asked |= {"max_output_tokens": 8, "extra_headers": headers, "extra_body": EXTRA}
    told = ""
    if headers.get("X-Swap-Progress") in {"heartbeat", "reasoning", "event"}:
        with of_openai(url) as client, client.responses.stream(**asked) as stream:
            numbers = []
            for event in stream:
                numbers.append(event.sequence_number)
                if event.type == "response.reasoning_summary_text.delta":
                    told += event.delta
            whole: Any = stream.get_final_response()
        assert numbers == list(range(len(numbers)))
        assert whole.id.startswith("resp_swap_")
    else:
        whole = None
        with of_openai(url) as client, client.responses.create(**asked, stream=True) as stream:
            for raw in stream:
                whole = raw.response if raw.type == "response.completed" else whole
        assert whole.id.startswith("resp_")
    (item,) = whole.output
    (part,) = item.content
    usage = whole.usage
    return Seen(item.role, part.text, usage.input_tokens, usage.output_tokens, told)


@pytest.mark.parametrize(
    ("ask", "tells"),
    [
        (chat, {"reasoning"}),
        (completion, set()),
        (message, {"reasoning"}),
        (response, {"reasoning"}),
    ],
)
def test_the_helper_of_the_client_sees_the_same_answer_in_every_mode(
    real: Train, ask: Callable[[str, dict[str, str]], Seen], tells: set[str]
) -> None:
    seen = {}
    for mode in MODES:
        real.ask("swap", model="tiny")
        seen[mode] = ask(real.url, {"X-Swap-Progress": mode})
    direct = ask(real.model("small")["endpoint"], {})
    warm = {mode: ask(real.url, {"X-Swap-Progress": mode}) for mode in ("off", "comment")}

    assert direct.text
    assert direct.output_tokens == 8
    for mode, found in (seen | warm).items():
        assert found._replace(told="") == direct, mode
    for mode, found in seen.items():
        lines = found.told.splitlines()
        assert all(line.startswith(f"{MARKER}small: ") for line in lines)
        assert bool(lines) is (mode in tells), mode
        if lines:
            assert re.search(r"ready after \d+\.\d s$", lines[-1])


STREAMS = ["/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"]


@pytest.mark.parametrize("path", STREAMS)
def test_a_warm_model_s_stream_is_the_same_in_every_mode(real: Train, path: str) -> None:
    real.ask("swap", model="small")
    body: dict[str, Any] = {
        "model": "small",
        "messages": QUESTION,
        "prompt": "A llama",
        "input": "Who?",
    }
    body |= {"max_tokens": 6, "max_output_tokens": 6, "stream": True, "temperature": 0} | EXTRA

    def ask(url: str, **headers: str) -> str:
        answer = httpx.post(f"{url}{path}", json=body, headers=headers, timeout=PATIENCE_S)
        assert answer.status_code == 200
        names = "created|created_at|id|item_id|timings|[a-z_]+_ms|[a-z_]+_second"
        return re.sub(rf'"({names})":("[^"]*"|[\d.e+-]+)', "", answer.text)

    ask(real.url)  # fills the cache, which is counted
    direct = ask(real.model("small")["endpoint"])
    for mode in MODES:
        assert ask(real.url, **{"X-Swap-Progress": mode}) == direct


@pytest.mark.parametrize("stream", [True, False])
def test_a_broken_model_raises_in_each_client_with_a_reason_and_after_one_request(
    start_train: Callable[..., Train], tmp_path: Path, stream: bool
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    cmd = f"{ensure_llama_server()} --host 127.0.0.1 --port ${{PORT}} -m {broken} --no-webui"
    real = start_train({"startPort": free_port(), "models": {"small": {"cmd": cmd}}})

    with of_openai(real.url) as client:
        with pytest.raises(openai.InternalServerError, match="failed to load"):
            client.chat.completions.create(model="small", messages=QUESTION, stream=stream)
        with pytest.raises(openai.InternalServerError, match="failed to load"):
            client.responses.create(model="small", input="hi", stream=stream)
    with (
        of_anthropic(real.url) as other,
        pytest.raises(anthropic.InternalServerError, match="failed to load") as caught,
    ):
        other.messages.create(model="small", messages=QUESTION, max_tokens=8, stream=stream)

    assert caught.value.body["error"]["type"] == "api_error"  # type: ignore[index]
    eventually(lambda: real.log.read_text().count("request.failed") == 3)


def test_tokens_are_counted_by_the_model_that_is_named(real: Train) -> None:
    with of_anthropic(real.url) as client:
        count = client.messages.count_tokens(model="small", messages=QUESTION)
        assert count.input_tokens > 10
        with pytest.raises(anthropic.NotFoundError, match="did you mean 'small'"):
            client.messages.count_tokens(model="smal", messages=QUESTION)


def test_what_was_told_does_not_reach_the_model_in_the_next_turn(real: Train) -> None:
    """In the form of clients that write reasoning into the text: templates render all of that.

    The tiny model's template leaves blocks of thinking out, so those would prove nothing here.
    """
    real.ask("swap", model="tiny")
    seen = message(real.url, {"X-Swap-Progress": "reasoning"})
    assert MARKER in seen.told

    def count(url: str, text: str) -> int:
        turns = [*QUESTION, {"role": "assistant", "content": text}, *QUESTION]
        asked: Any = {"model": "small", "messages": turns}
        with of_anthropic(url) as client:
            return client.messages.count_tokens(**asked).input_tokens

    direct = real.model("small")["endpoint"]
    clean, replayed = seen.text, f"<think>\n{seen.told}</think>\n{seen.text}"
    assert count(direct, replayed) > count(direct, clean) + len(MARKER)  # it would be read
    assert count(real.url, replayed) == count(direct, seen.text.lstrip())
