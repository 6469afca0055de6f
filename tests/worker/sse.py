"""Streams of server-sent events, as models' servers send them and clients get them."""

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from tests.worker.rig import Handler, sends

Json: TypeAlias = Mapping[str, object]

SSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
CHAT, COMPLETIONS = b"/v1/chat/completions", b"/v1/completions"
MESSAGES, RESPONSES = b"/v1/messages", b"/v1/responses"
NAMED = b"X-Request-Id: req-1"
STREAM = b'{"model":"m","stream":true}'
PING = b'event: ping\ndata: {"type":"ping"}\n\n'
DONE = b"data: [DONE]\n\n"
CHUNKED_HEAD = SSE_HEAD[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"


def data(value: object) -> bytes:
    """Return an event with `value` as its data."""
    return b"data: %b\n\n" % json.dumps(value).encode()


def event(kind: str, **members: object) -> bytes:
    """Return an event of Messages or Responses."""
    return b"event: %b\n" % kind.encode() + data({"type": kind} | members)


def chunk(delta: Json | None, finish: str | None = None, **members: object) -> bytes:
    """Return a chunk of a chat with one choice, or with none for a `delta` of None.

    Its model is named otherwise than a client asks for it.
    """
    value: dict[str, object] = {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "served",
        "choices": [],
    }
    if delta is not None:
        value["choices"] = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return data(value | members)


def text_chunk(text: str, finish: str | None = None) -> bytes:
    """Return a chunk of a text completion."""
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
    value = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "served"}
    return data(value | {"choices": [choice]})


def prompt_chunk(processed: int, total: int = 1024, cache: int = 128) -> bytes:
    """Return what llama-server says of a prompt while it reads it."""
    numbers = {"total": total, "cache": cache, "processed": processed, "time_ms": processed}
    return chunk({"role": "assistant", "content": None}, prompt_progress=numbers)


HELLO = chunk({"role": "assistant", "content": "Hello"}) + chunk({"content": " you"})
END = chunk({}, "stop") + DONE


def datas(body: bytes) -> list[Any]:
    """Return the data of all events that are JSON, in order."""
    return [json.loads(line[6:]) for line in body.split(b"\n") if line.startswith(b"data: {")]


def in_chunk(data: bytes) -> bytes:
    """Return `data` in a chunk of HTTP."""
    return b"%x\r\n%b\r\n" % (len(data), data)


# --- upstreams -----------------------------------------------------------------------------------


def streams(*steps: bytes | float, resets: bool = False) -> Handler:
    """Make an upstream that sends a stream of these steps, which ends with the connection."""
    return sends(SSE_HEAD, *steps, resets=resets)


def chunked(*steps: bytes | float, cut: bool = False) -> Handler:
    """Make an upstream that sends a chunked stream of these steps, and its end unless it is cut."""
    pieces = [in_chunk(step) if isinstance(step, bytes) else step for step in steps]
    return sends(CHUNKED_HEAD, *pieces, *[] if cut else [b"0\r\n\r\n"])
