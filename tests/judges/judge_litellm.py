"""litellm as a client: it rebuilds every chunk, and the whole message from the chunks."""

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else importing it asks the network for prices

from typing import Any

import litellm

from tests.judges.asked import KEY, PATIENCE_S, Asked, Json, Seen, Talks
from tests.judges.judge_openai import chat_fields, chat_turns, of_chat

litellm.suppress_debug_info = True  # it prints advice to stdout, which is for answers


def fields_of(asked: Asked) -> Json:
    fields: Json = {"api_base": f"{asked.url}/v1", "api_key": KEY, "timeout": PATIENCE_S}
    fields["extra_headers"] = asked.headers
    if asked.retries is not None:
        fields["max_retries"] = asked.retries
    return fields


def chat(asked: Asked, talks: Talks) -> Seen:
    turns = chat_turns(asked, talks)
    fields = chat_fields(asked, turns) | {"model": f"openai/{asked.model}"} | fields_of(asked)
    told = ""
    chunks = []
    for chunk in litellm.completion(**fields, stream=True, stream_options={"include_usage": True}):
        chunks.append(chunk)
        if chunk.choices:
            told += getattr(chunk.choices[0].delta, "reasoning_content", None) or ""
    whole: Any = litellm.stream_chunk_builder(chunks, messages=turns)
    turns.append(whole.choices[0].message)
    seen = of_chat(whole)
    seen.told = told
    return seen


def chat_whole(asked: Asked, talks: Talks) -> Seen:
    turns = chat_turns(asked, talks)
    fields = chat_fields(asked, turns) | {"model": f"openai/{asked.model}"} | fields_of(asked)
    return of_chat(litellm.completion(**fields))


def completion(asked: Asked, _talks: Talks) -> Seen:
    seen = Seen()
    for chunk in litellm.text_completion(
        model=f"text-completion-openai/{asked.model}",
        prompt=asked.say,
        max_tokens=asked.tokens,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
        **fields_of(asked),
    ):
        used = getattr(chunk, "usage", None)
        if used:
            seen.input_tokens, seen.output_tokens = used.prompt_tokens, used.completion_tokens
        for choice in chunk.choices:
            seen.text += choice.text or ""
            seen.finish = choice.finish_reason or seen.finish
    return seen


JUDGES = {
    "litellm chat": chat,
    "litellm chat whole": chat_whole,
    "litellm completion": completion,
}
