"""Streams of upstreams, as they send them: ids and texts are made up, forms are not.

Sources: llama-server (build 10068, asked; what a small model cannot be made to say, read in its
sources), and the API references of Anthropic and OpenAI.
"""

import itertools
import json
from typing import Any

# What dialects are given in tests: the random part of their ids, and a line of progress.
IDENT = "0123456789abcdef01234567"
LINE = "swap-progress: qwen: loading 42% (12 s)\n"


def events(*values: dict[str, Any], spaced: bool = False) -> bytes:
    """Return a stream of named events; `spaced` as Python's json writes them."""
    separators = (", ", ": ") if spaced else (",", ":")
    return b"".join(
        f"event: {value['type']}\ndata: {json.dumps(value, separators=separators)}\n\n".encode()
        for value in values
    )


def read(stream: bytes) -> list[dict[str, Any]]:
    """Return the data of all events; each has its type as its name."""
    found = []
    for frame in stream.decode().split("\n\n")[:-1]:
        name, data = frame.split("\n")
        value = json.loads(data.removeprefix("data: "))
        assert name == f"event: {value['type']}"
        found.append(value)
    return found


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Return `data` in pieces."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


# --- Anthropic ----------------------------------------------------------------------------------


def message_start(**usage: int) -> dict[str, Any]:
    message: dict[str, Any] = {
        "id": "chatcmpl-1",
        "type": "message",
        "role": "assistant",
        "content": [],
    }
    message |= {"model": "/m.gguf", "stop_reason": None, "stop_sequence": None, "usage": usage}
    return {"type": "message_start", "message": message}


def block(index: int, begin: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": begin},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def message_end(reason: str, **usage: int) -> list[dict[str, Any]]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [{"type": "message_delta", "delta": delta, "usage": usage}, {"type": "message_stop"}]


TEXT = [
    {"type": "text_delta", "text": " mule \u2713"},
    {"type": "text_delta", "text": ' "index":0'},
]

MESSAGE = events(
    message_start(cache_read_input_tokens=20, input_tokens=1, output_tokens=0),
    *block(0, {"type": "text", "text": ""}, *TEXT),
    *message_end("max_tokens", output_tokens=3),
)
MESSAGE_WITH_TOOL = events(
    message_start(cache_read_input_tokens=0, input_tokens=21, output_tokens=0),
    *block(
        0,
        {"type": "thinking", "thinking": ""},
        {"type": "thinking_delta", "thinking": "Let me see."},
        {"type": "signature_delta", "signature": ""},
    ),
    *block(1, {"type": "text", "text": ""}, {"type": "text_delta", "text": "I look."}),
    *block(
        2,
        {"type": "tool_use", "id": "t1", "name": "look"},
        {"type": "input_json_delta", "partial_json": '{"at":'},
        {"type": "input_json_delta", "partial_json": '"hill"}'},
    ),
    *message_end("tool_use", output_tokens=9),
)
MESSAGE_OF_ANTHROPIC = events(
    message_start(input_tokens=25, cache_creation_input_tokens=5, output_tokens=1),
    *block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Hi"}),
    {"type": "ping"},
    *message_end("end_turn", output_tokens=15, input_tokens=30, cache_creation_input_tokens=5),
    spaced=True,
)

# --- Responses ----------------------------------------------------------------------------------

_BEGUN = {"id": "resp_up", "object": "response", "status": "in_progress"}
USAGE = {"input_tokens": 21, "output_tokens": 3, "total_tokens": 24}
PART = {"type": "output_text", "annotations": [], "logprobs": [], "text": " salt mule"}
MESSAGE_ITEM = {
    "type": "message", "status": "completed", "id": "msg_1", "content": [PART], "role": "assistant"
}  # fmt: skip
REASONING_ITEM = {
    "id": "rs_1", "summary": [], "type": "reasoning",
    "content": [{"text": "Hm.", "type": "reasoning_text"}], "encrypted_content": "",
}  # fmt: skip
CALL_ITEM = {
    "type": "function_call", "status": "completed", "arguments": '{"at":"hill"}',
    "call_id": "fc_1", "name": "look",
}  # fmt: skip


def _message_begins() -> list[dict[str, Any]]:
    item = {"content": [], "id": "msg_1", "role": "assistant", "status": "in_progress"}
    part = {"type": "output_text", "text": ""}
    return [
        {"type": "response.output_item.added", "item": item | {"type": "message"}},
        {"type": "response.content_part.added", "item_id": "msg_1", "part": part},
        {"type": "response.output_text.delta", "item_id": "msg_1", "delta": " salt"},
        {"type": "response.output_text.delta", "item_id": "msg_1", "delta": " mule"},
    ]


def _message_ends() -> list[dict[str, Any]]:
    return [
        {"type": "response.output_text.done", "item_id": "msg_1", "text": " salt mule"},
        {"type": "response.content_part.done", "item_id": "msg_1", "part": PART},
        {"type": "response.output_item.done", "item": MESSAGE_ITEM},
    ]


def _completed(*output: dict[str, Any]) -> dict[str, Any]:
    response = {"id": "resp_up", "object": "response", "created_at": 1, "status": "completed"}
    response |= {"model": "/m.gguf", "output": list(output), "usage": USAGE}
    return {"type": "response.completed", "response": response}


RESPONSE = events(
    {"type": "response.created", "response": _BEGUN},
    {"type": "response.in_progress", "response": _BEGUN},
    *_message_begins(),
    *_message_ends(),
    _completed(MESSAGE_ITEM),
)
RESPONSE_WITH_TOOL = events(
    {"type": "response.created", "response": _BEGUN},
    {"type": "response.in_progress", "response": _BEGUN},
    {
        "type": "response.output_item.added",
        "item": REASONING_ITEM | {"content": [], "status": "in_progress"},
    },
    {"type": "response.reasoning_text.delta", "item_id": "rs_1", "delta": "Hm."},
    *_message_begins(),
    {
        "type": "response.output_item.added",
        "item": CALL_ITEM | {"arguments": "", "status": "in_progress"},
    },
    {
        "type": "response.function_call_arguments.delta",
        "delta": '{"at":"hill"}',
        "item_id": "fc_1",
    },
    {"type": "response.output_item.done", "item": REASONING_ITEM},
    *_message_ends(),
    {"type": "response.output_item.done", "item": CALL_ITEM},
    _completed(REASONING_ITEM, MESSAGE_ITEM, CALL_ITEM),
)


def _numbered(stream: bytes) -> list[dict[str, Any]]:
    numbered = []
    for number, value in enumerate(read(stream)):
        value["sequence_number"] = number
        if "response" in value:
            value["response"].setdefault("output", [])
        if "item" in value or "item_id" in value:
            value["output_index"] = 0
        if "content_part" in value["type"] or "output_text" in value["type"]:
            value["content_index"] = 0
        numbered.append(value)
    return numbered


RESPONSE_OF_OPENAI = events(*_numbered(RESPONSE), spaced=True)
