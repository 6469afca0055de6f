"""The official Anthropic client for Python: raw streams, and the helper."""

import json
from typing import Any

import anthropic

from tests.judges.asked import CALLABLE, KEY, PATIENCE_S, Asked, Json, Seen, Talks

_HTTP = anthropic.DefaultHttpxClient()  # one for all, as in judge_openai


def client_for(asked: Asked) -> anthropic.Anthropic:
    more: Json = {} if asked.retries is None else {"max_retries": asked.retries}
    return anthropic.Anthropic(
        base_url=asked.url,
        api_key=KEY,
        timeout=PATIENCE_S,
        default_headers=asked.headers,
        http_client=_HTTP,
        **more,
    )


def fields_of(asked: Asked, turns: list[Any]) -> Json:
    fields: Json = {"model": asked.model, "messages": turns, "max_tokens": asked.tokens}
    # The client's own checks are old: it wants `temperature` among the members it does not know.
    fields["extra_body"] = {"temperature": 0}
    if asked.tools:
        tool = {"name": CALLABLE["name"], "description": CALLABLE["description"]}
        fields["tools"] = [tool | {"input_schema": CALLABLE["parameters"]}]
        fields["tool_choice"] = {"type": "any" if asked.must_call else "auto"}
    return fields


def turns_of(asked: Asked, talks: Talks) -> list[Any]:
    turns: list[Any] = talks.setdefault(asked.talk, []) if asked.talk else []
    parts: list[Json] = []
    if asked.result:
        (call,) = (block.id for block in turns[-1]["content"] if block.type == "tool_use")
        parts.append({"type": "tool_result", "tool_use_id": call, "content": asked.result})
    if asked.say:
        parts.append({"type": "text", "text": asked.say})
    turns.append({"role": "user", "content": parts})
    return turns


def raw(asked: Asked, talks: Talks) -> Seen:
    """The events, put together by hand; refuses what comes in no order."""
    seen = Seen()
    blocks: dict[int, Any] = {}
    written: dict[int, str] = {}
    ended = False
    fields = fields_of(asked, turns_of(asked, talks))
    with client_for(asked).messages.create(**fields, stream=True) as stream:
        for event in stream:
            if event.type == "message_start":
                seen.role += event.message.role
                used = event.message.usage
                seen.input_tokens = used.input_tokens + (used.cache_read_input_tokens or 0)
            elif event.type == "content_block_start":
                if event.index != len(blocks):
                    seen.odd.append(f"block {event.index} after {len(blocks)} blocks")
                blocks[event.index], written[event.index] = event.content_block, ""
            elif event.type == "content_block_delta":
                delta: Any = event.delta
                name = {"text_delta": "text", "thinking_delta": "thinking"}.get(delta.type)
                name = "partial_json" if delta.type == "input_json_delta" else name
                written[event.index] += getattr(delta, name) if name else ""
            elif event.type == "message_delta":
                seen.finish = event.delta.stop_reason or ""
                seen.output_tokens = event.usage.output_tokens
                if event.usage.input_tokens is not None:
                    read = event.usage.cache_read_input_tokens or 0
                    seen.input_tokens = event.usage.input_tokens + read
            ended = ended or event.type == "message_stop"
    for index, block in blocks.items():
        if block.type == "text":
            seen.text += written[index]
        elif block.type == "thinking":
            seen.told += written[index]
        elif block.type == "tool_use":
            seen.calls.append((block.name, json.loads(written[index])))
    if not ended:
        seen.odd.append("the stream ended without message_stop, and nothing was raised")
    return seen


def helper(asked: Asked, talks: Talks) -> Seen:
    turns = turns_of(asked, talks)
    with client_for(asked).messages.stream(**fields_of(asked, turns)) as stream:
        whole = stream.get_final_message()
    turns.append({"role": "assistant", "content": whole.content})
    return seen_in(whole)


def whole(asked: Asked, talks: Talks) -> Seen:
    return seen_in(client_for(asked).messages.create(**fields_of(asked, turns_of(asked, talks))))


def seen_in(message: Any) -> Seen:
    seen = Seen(role=message.role, finish=message.stop_reason)
    for block in message.content:
        if block.type == "text":
            seen.text += block.text
        elif block.type == "thinking":
            seen.told += block.thinking
        elif block.type == "tool_use":
            seen.calls.append((block.name, block.input))
    used = message.usage
    seen.input_tokens = used.input_tokens + (used.cache_read_input_tokens or 0)
    seen.output_tokens = used.output_tokens
    return seen


JUDGES = {
    "anthropic message raw": raw,
    "anthropic message helper": helper,
    "anthropic message whole": whole,
}
