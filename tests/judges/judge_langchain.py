"""langchain-openai, asynchronous: it ends a stream by its own clock of parsed chunks."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI

from tests.judges.asked import CALLABLE, KEY, PATIENCE_S, Asked, Json, Seen, Talks

# One for all questions, as in a program of its users: all models share kept connections, and those
# belong to the loop that they were opened in.
_LOOP = asyncio.new_event_loop()
threading.Thread(target=_LOOP.run_forever, daemon=True).start()


def run(asking: Coroutine[Any, Any, Any]) -> Any:
    """Return what `asking` gives, or raise what it raises."""
    return asyncio.run_coroutine_threadsafe(asking, _LOOP).result()


def model_for(asked: Asked) -> Any:
    more: Json = {} if asked.retries is None else {"max_retries": asked.retries}
    if asked.chunk_timeout_s is not None:
        more["stream_chunk_timeout"] = asked.chunk_timeout_s
    model: Any = ChatOpenAI(
        base_url=f"{asked.url}/v1",
        api_key=KEY,
        model=asked.model,
        temperature=0,
        max_tokens=asked.tokens,
        timeout=PATIENCE_S,
        default_headers=asked.headers,
        stream_usage=True,
        **more,
    )
    if asked.tools:
        tool = {"type": "function", "function": CALLABLE}
        model = model.bind_tools([tool], tool_choice="required" if asked.must_call else "auto")
    return model


def turns_of(asked: Asked, talks: Talks) -> list[Any]:
    turns: list[Any] = talks.setdefault(asked.talk, []) if asked.talk else []
    if asked.result:
        call = turns[-1].tool_calls[0]["id"]
        turns.append(ToolMessage(content=asked.result, tool_call_id=call))
    if asked.say:
        turns.append(HumanMessage(content=asked.say))
    return turns


def streamed(asked: Asked, talks: Talks) -> Seen:
    turns = turns_of(asked, talks)

    async def ask() -> Any:
        message = None
        async for chunk in model_for(asked).astream(turns):
            message = chunk if message is None else message + chunk
        return message

    message = run(ask())
    turns.append(message)
    return seen_in(message)


def whole(asked: Asked, talks: Talks) -> Seen:
    turns = turns_of(asked, talks)

    return seen_in(run(model_for(asked).ainvoke(turns)))


def seen_in(message: Any) -> Seen:
    used = message.usage_metadata or {}
    return Seen(
        role="assistant" if message.type in {"ai", "AIMessageChunk"} else message.type,
        text=message.content if isinstance(message.content, str) else repr(message.content),
        calls=[(call["name"], call["args"]) for call in message.tool_calls],
        input_tokens=used.get("input_tokens", 0),
        output_tokens=used.get("output_tokens", 0),
        finish=message.response_metadata.get("finish_reason", ""),
    )


JUDGES = {"langchain chat": streamed, "langchain chat whole": whole}
