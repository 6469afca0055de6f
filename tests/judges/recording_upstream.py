"""A model server that writes down what reaches it, and always says the same.

    python recording_upstream.py --port 5801 --record FILE

It thinks, calls a tool when it was given none of its results yet, and else says some words, in the
stream of whichever API was asked. A line of FILE is the header ``X-Talk`` and the body of a
request, as JSON.
"""

import argparse
import json
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]

THOUGHT = "Wool is light.\nIt can go on top."
SAID = "It is packed."
NAME, ARGUMENTS = "pack", '{"what": "wool"}'
CALL = "call_of_the_model"
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def chat(calls: bool) -> Iterator[Json | str]:
    """The chunks of a chat."""

    def chunk(delta: Json, finish: str | None = None) -> Json:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        return base | {"choices": choices}

    base: Json = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    yield chunk({"role": "assistant", "content": None})
    yield chunk({"reasoning_content": THOUGHT})
    if calls:
        function = {"name": NAME, "arguments": ""}
        yield chunk(
            {"tool_calls": [{"index": 0, "id": CALL, "type": "function", "function": function}]}
        )
        yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": ARGUMENTS}}]})
    else:
        yield chunk({"content": SAID})
    yield chunk({}, "tool_calls" if calls else "stop")
    yield base | {"choices": [], "usage": USAGE}
    yield "[DONE]"


def message(calls: bool) -> Iterator[Json]:
    """The events of a message of Anthropic."""

    def block(index: int, start: Json, *deltas: Json) -> Iterator[Json]:
        yield {"type": "content_block_start", "index": index, "content_block": start}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}

    start: Json = {"id": "msg_1", "type": "message", "role": "assistant", "content": []}
    start |= {"model": "m", "stop_reason": None, "stop_sequence": None}
    yield {
        "type": "message_start",
        "message": start | {"usage": {"input_tokens": 7, "output_tokens": 0}},
    }
    yield from block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": THOUGHT},
        {"type": "signature_delta", "signature": "of the model"},
    )
    if calls:
        yield from block(
            1,
            {"type": "tool_use", "id": CALL, "name": NAME, "input": {}},
            {"type": "input_json_delta", "partial_json": ARGUMENTS},
        )
    else:
        yield from block(1, {"type": "text", "text": ""}, {"type": "text_delta", "text": SAID})
    stop = {"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 3}}
    yield {"type": "message_stop"}


def response(calls: bool) -> Iterator[Json]:
    """The events of a response, complete as OpenAI sends them."""
    whole: Json = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m"}
    whole |= {"status": "in_progress", "output": [], "parallel_tool_calls": True, "tools": []}
    whole |= {"tool_choice": "auto", "error": None, "incomplete_details": None, "metadata": {}}
    whole |= {"instructions": None, "temperature": 1.0, "top_p": 1.0, "usage": None}
    yield {"type": "response.created", "response": whole}
    yield {"type": "response.in_progress", "response": whole}
    thought: Json = {"type": "reasoning", "id": "rs_of_the_model", "summary": []}
    yield {"type": "response.output_item.added", "output_index": 0, "item": thought}
    thought = thought | {"summary": [{"type": "summary_text", "text": THOUGHT}]}
    yield {"type": "response.output_item.done", "output_index": 0, "item": thought}
    if calls:
        item: Json = {"type": "function_call", "id": "fc_1", "call_id": CALL, "name": NAME}
        place = {"item_id": "fc_1", "output_index": 1}
        begun = item | {"arguments": "", "status": "in_progress"}
        item |= {"arguments": ARGUMENTS, "status": "completed"}
        yield {"type": "response.output_item.added", "output_index": 1, "item": begun}
        yield {"type": "response.function_call_arguments.delta", "delta": ARGUMENTS, **place}
        done = {"name": NAME, "arguments": ARGUMENTS}
        yield {"type": "response.function_call_arguments.done", **done, **place}
    else:
        part: Json = {"type": "output_text", "text": "", "annotations": []}
        item = {"type": "message", "id": "msg_1", "role": "assistant"}
        place = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
        begun = item | {"status": "in_progress", "content": []}
        item |= {"status": "completed", "content": [part | {"text": SAID}]}
        yield {"type": "response.output_item.added", "output_index": 1, "item": begun}
        yield {"type": "response.content_part.added", "part": part, **place}
        yield {"type": "response.output_text.delta", "delta": SAID, "logprobs": [], **place}
        yield {"type": "response.output_text.done", "text": SAID, "logprobs": [], **place}
        yield {"type": "response.content_part.done", "part": part | {"text": SAID}, **place}
    yield {"type": "response.output_item.done", "output_index": 1, "item": item}
    usage: Json = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
    usage["input_tokens_details"] = {"cached_tokens": 0}
    usage["output_tokens_details"] = {"reasoning_tokens": 0}
    whole = whole | {"status": "completed", "output": [thought, item], "usage": usage}
    yield {"type": "response.completed", "response": whole}


APIS = {"/v1/chat/completions": chat, "/v1/messages": message, "/v1/responses": response}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    record = ""

    def do_GET(self) -> None:
        """Ready from the start."""
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def do_POST(self) -> None:
        """Write down, then say what is always said."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.write_down({"talk": self.headers["X-Talk"], "body": body})
        given = json.dumps(body)
        calls = not any(f'"{kind}"' in given for kind in ("tool_result", "function_call_output"))
        calls = calls and '"role": "tool"' not in given
        data = b""
        for number, event in enumerate(APIS[self.path](calls)):
            if isinstance(event, dict) and "type" in event:
                data += f"event: {event['type']}\n".encode()
            if self.path == "/v1/responses" and isinstance(event, dict):
                event |= {"sequence_number": number}
            words = event if isinstance(event, str) else json.dumps(event)
            data += f"data: {words}\n\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def write_down(self, request: Json) -> None:
        """One write: lines of several threads do not mix."""
        fd = os.open(self.record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, json.dumps(request).encode() + b"\n")
        os.close(fd)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - of the base class
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Takes all clients at once, which the usual backlog of five would refuse."""

    request_queue_size = 512


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--record", required=True)
    args = parser.parse_args()
    Handler.record = args.record
    Server(("127.0.0.1", args.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
