"""Chats with models that run elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
from trains import Train

# Of what a node needs: an actor, an agent, and a llama-server.
START_S = 90.0

# Beyond the context that it was trained with, its stream goes on for half a minute and more.
LONG_STREAM = "-c 131072 --override-kv llama.context_length=int:131072"


def asked(train: Train, model: str, within_s: float = START_S, **more: Any) -> httpx.Response:
    """Return the answer to a short chat."""
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
    url = f"{train.url}/v1/chat/completions"
    return httpx.post(url, json=body | more, timeout=within_s)


def frames(train: Train, model: str, **more: Any) -> Iterator[str]:
    """Give the lines of a streamed chat."""
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": True}
    url = f"{train.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=body | more, timeout=START_S) as response:
        yield from (line for line in response.iter_lines() if line)


def until(lines: Iterator[str], words: str) -> list[str]:
    """Read lines until one has these words; return them all."""
    read = []
    for line in lines:
        read.append(line)
        if words in line:
            return read
    raise AssertionError(f"{words!r} is not in {read[-5:]}")
