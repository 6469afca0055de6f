"""Streams of all upstreams in all spellings that the standard allows: each passes as it came."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.worker.apis.recorded import (
    MESSAGE_OF_ANTHROPIC,
    MESSAGE_WITH_TOOL,
    RESPONSE_OF_OPENAI,
    RESPONSE_WITH_TOOL,
)
from tests.worker.rig import OpenRig, in_turn, post, sends, unchunk
from tests.worker.sse import SSE_HEAD, STREAM


def chunks(*values: Any, done: bool = True, separators: tuple[str, str] = (",", ":")) -> bytes:
    frames = [
        b"data: " + json.dumps(value, separators=separators).encode() + b"\n\n" for value in values
    ]
    return b"".join(frames) + (b"data: [DONE]\n\n" if done else b"")


def chat(ident: str, *, kind: str = "chat.completion.chunk", **more: Any) -> list[dict[str, Any]]:
    """A short chat in chunks; `more` stands in each of them."""
    head = {"id": ident, "object": kind, "created": 1700000000, "model": "m"} | more
    deltas: list[tuple[dict[str, Any], str | None]] = [
        ({"role": "assistant", "content": ""}, None),
        ({"content": "Sí, 12345678901234567890"}, None),
        ({}, "stop"),
    ]
    return [
        head | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        for delta, finish in deltas
    ]


USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
TEXT = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m"}
GEMINI = [
    {"candidates": [{"content": {"parts": [{"text": "Hi"}], "role": "model"}}]},
    {
        "candidates": [{"content": {"parts": [{"text": ""}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1},
        "modelVersion": "gemini",
    },
]

# Path and stream of each kind of upstream.
STREAMS = {
    "llama-server": (
        b"/v1/chat/completions",
        chunks(*chat("chatcmpl-1"), {"choices": [], "usage": USAGE, "timings": {"prompt_n": 9}}),
    ),
    "openai": (
        b"/v1/chat/completions",
        chunks(*chat("c", system_fingerprint="f", service_tier="default", obfuscation="x")),
    ),
    "vllm": (
        b"/v1/completions",
        chunks(
            TEXT | {"choices": [{"index": 0, "text": "a", "finish_reason": None}]},
            TEXT | {"choices": [{"index": 0, "text": "", "finish_reason": "length"}]},
            separators=(", ", ": "),
        ),
    ),
    "anthropic": (b"/v1/messages", MESSAGE_OF_ANTHROPIC),
    "messages of llama-server": (b"/v1/messages", MESSAGE_WITH_TOOL),
    "responses of openai": (b"/v1/responses", RESPONSE_OF_OPENAI),
    "responses of llama-server": (b"/v1/responses", RESPONSE_WITH_TOOL),
    "gemini": (
        b"/v1beta/models/m:streamGenerateContent?alt=sse",
        chunks(*GEMINI, done=False),
    ),
}


def with_ids(stream: bytes) -> bytes:
    frames = stream.split(b"\n\n")[:-1]
    return b"".join(b"id: %d\nretry: 9\n%b\n\n" % it for it in enumerate(frames))


# Other ways to write the same.
SPELLINGS: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda stream: stream,
    "crlf": lambda stream: stream.replace(b"\n", b"\r\n"),
    "cr": lambda stream: stream.replace(b"\n", b"\r"),
    "comments": lambda stream: b": hello\n\n" + stream.replace(b"\n\n", b"\n\n: x\n\n"),
    "ids": with_ids,
    "no space": lambda stream: stream.replace(b"data: ", b"data:"),
    "several lines": lambda stream: stream.replace(b"data: {", b"data: {\ndata:  "),
    "unknown fields": lambda stream: stream.replace(b"data: ", b"x-own: 1\ndata: "),
}


@pytest.mark.parametrize("source", STREAMS)
async def test_stream_passes_unchanged_in_every_spelling(open_rig: OpenRig, source: str) -> None:
    path, stream = STREAMS[source]
    streams = [spell(stream) for spell in SPELLINGS.values()]

    handlers = [sends(SSE_HEAD, body[: len(body) // 2], body[len(body) // 2 :]) for body in streams]

    async with open_rig(in_turn(*handlers)) as rig:
        for spelling, expected in zip(SPELLINGS, streams, strict=True):
            request = post(STREAM, path=path)
            assert unchunk(await rig.ask(request)) == expected, spelling
        await rig.record(len(streams))
        records = rig.records

    # whole, and read to the end, all of them
    assert {record.outcome for record in records} == {"ok"}
    assert len({record.finish_reason for record in records}) == 1
    assert len({record.input_tokens for record in records}) == 1
