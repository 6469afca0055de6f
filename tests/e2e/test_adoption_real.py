"""A real llama-server outlives its supervisor, and its stream ends whole."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from test_adoption import kill, pid_of, serve_again
from trains import Train, eventually

from tests.real.parts import ensure_llama_server
from tests.real.tiny_gguf import write_tiny_gguf

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(150)]


def test_a_real_stream_ends_whole(start_train: Callable[..., Train], tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    write_tiny_gguf(file, size="tiny")
    options = f"--host 127.0.0.1 --port ${{PORT}} -m {file} -t 1 -c 8192 --parallel 2 --no-webui"
    cmd = f"{ensure_llama_server()} {options}"
    train = start_train({"adopt": True, "models": {"m": {"cmd": cmd}}})
    assert train.chat("m").status_code == 200
    before = pid_of(train, "m")
    frames: list[str] = []

    def read() -> None:
        body = {"model": "m", "stream": True, "max_tokens": 6000, "ignore_eos": True}
        asked = body | {"messages": [{"role": "user", "content": "hi"}]}
        url = f"{train.url}/v1/chat/completions"
        with httpx.stream("POST", url, json=asked, timeout=120) as response:
            frames.extend(line for line in response.iter_lines() if line)

    reading = threading.Thread(target=read)
    reading.start()
    eventually(lambda: frames, what="a stream that has begun")
    kill(train)
    serve_again(train)

    assert pid_of(train, "m") == before
    assert train.chat("m").status_code == 200
    assert pid_of(train, "m") == before
    reading.join(120)
    assert frames[-1] == "data: [DONE]"
    last = [json.loads(frame.removeprefix("data: ")) for frame in frames[-4:-1]]
    ends = [choice["finish_reason"] for event in last for choice in event["choices"]]
    assert "length" in ends
