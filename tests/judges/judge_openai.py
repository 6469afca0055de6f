"""The official OpenAI client for Python: raw streams, and the helpers that put them together."""

import json
from typing import Any

import openai

from tests.judges.asked import CALLABLE, KEY, PATIENCE_S, Asked, Json, Seen, Talks

# One for all: a client makes a TLS context for each of its own, which takes as long as ten answers.
_HTTP = openai.DefaultHttpxClient()


def client_for(asked: Asked) -> openai.OpenAI:
    more: Json = {} if asked.retries is None else {"max_retries": asked.retries}
    return openai.OpenAI(
        base_url=f"{asked.url}/v1",
        api_key=KEY,
        timeout=PATIENCE_S,
        default_headers=asked.headers,
        http_client=_HTTP,
        **more,
    )


def chat_turns(asked: Asked, talks: Talks) -> list[Any]:
    """Return all turns so far; what is returned is kept if it is a talk."""
    turns: list[Any] = talks.setdefault(asked.talk, []) if asked.talk else []
    if asked.result:
        call = calls_of(turns[-1])[0]
        turns.append({"role": "tool", "tool_call_id": call, "content": asked.result})
    if asked.say:
        turns.append({"role": "user", "content": asked.say})
    return turns


def calls_of(turn: Any) -> list[str]:
    """Return the ids of the calls in an assistant's turn, which is a client's own object."""
    calls = turn["tool_calls"] if isinstance(turn, dict) else turn.tool_calls
    return [call["id"] if isinstance(call, dict) else call.id for call in calls]


def chat_fields(asked: Asked, turns: list[Any]) -> Json:
    fields: Json = {"model": asked.model, "messages": turns, "max_tokens": asked.tokens}
    fields |= {"temperature": 0}
    if asked.tools:
        fields["tools"] = [{"type": "function", "function": CALLABLE}]
        fields["tool_choice"] = "required" if asked.must_call else "auto"
    return fields


def chat_raw(asked: Asked, talks: Talks) -> Seen:
    """Chunks are put together as most agents do it, and reasoning is sent back."""
    seen = Seen()
    calls: dict[int, Json] = {}
    turns = chat_turns(asked, talks)
    fields = chat_fields(asked, turns)
    with client_for(asked).chat.completions.create(
        **fields, stream=True, stream_options={"include_usage": True}
    ) as stream:
        for chunk in stream:
            if chunk.usage:
                seen.input_tokens = chunk.usage.prompt_tokens
                seen.output_tokens = chunk.usage.completion_tokens
            if not chunk.choices:
                continue
            choice = chunk.choices[0]
            delta = choice.delta
            seen.role += delta.role or ""
            seen.text += delta.content or ""
            seen.told += getattr(delta, "reasoning_content", None) or ""
            seen.finish = choice.finish_reason or seen.finish
            for part in delta.tool_calls or []:
                call = calls.setdefault(part.index, {"id": "", "name": "", "arguments": ""})
                call["id"] += part.id or ""
                if part.function:
                    call["name"] += part.function.name or ""
                    call["arguments"] += part.function.arguments or ""
    seen.calls = [(call["name"], json.loads(call["arguments"])) for call in calls.values()]
    turn: Json = {"role": "assistant", "content": seen.text}
    if seen.told:
        turn["reasoning_content"] = seen.told
    if calls:
        turn["tool_calls"] = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": call["arguments"]},
            }
            for call in calls.values()
        ]
    turns.append(turn)
    return seen


def chat_helper(asked: Asked, talks: Talks) -> Seen:
    turns = chat_turns(asked, talks)
    told = ""
    with client_for(asked).chat.completions.stream(
        **chat_fields(asked, turns), stream_options={"include_usage": True}
    ) as stream:
        for event in stream:
            if event.type == "chunk" and event.chunk.choices:
                delta = event.chunk.choices[0].delta
                told += getattr(delta, "reasoning_content", None) or ""
        whole = stream.current_completion_snapshot  # the final one is refused when cut by length
    turns.append(whole.choices[0].message)
    seen = of_chat(whole)
    seen.told = told
    return seen


def chat_whole(asked: Asked, talks: Talks) -> Seen:
    turns = chat_turns(asked, talks)
    whole = client_for(asked).chat.completions.create(**chat_fields(asked, turns))
    turns.append(whole.choices[0].message)
    return of_chat(whole)


def of_chat(whole: Any) -> Seen:
    """Return what is in a `ChatCompletion`, or in what another client has made like it."""
    message, usage = whole.choices[0].message, whole.usage
    calls = message.tool_calls or []
    return Seen(
        role=message.role,
        text=message.content or "",
        calls=[(call.function.name, json.loads(call.function.arguments)) for call in calls],
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        finish=whole.choices[0].finish_reason,
    )


def completion_raw(asked: Asked, _talks: Talks) -> Seen:
    seen = Seen()
    with client_for(asked).completions.create(
        model=asked.model,
        prompt=asked.say,
        max_tokens=asked.tokens,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        chunk: Any  # the types say that every chunk has a reason to finish
        for chunk in stream:
            if chunk.usage:
                seen.input_tokens = chunk.usage.prompt_tokens
                seen.output_tokens = chunk.usage.completion_tokens
            for choice in chunk.choices:
                seen.text += choice.text  # raises where it is missing
                seen.finish = choice.finish_reason or seen.finish
    return seen


def response_fields(asked: Asked, turns: list[Any]) -> Json:
    fields: Json = {"model": asked.model, "input": turns, "max_output_tokens": asked.tokens}
    fields |= {"temperature": 0}
    if asked.tools:
        fields["tools"] = [{"type": "function", **CALLABLE}]
        fields["tool_choice"] = "required" if asked.must_call else "auto"
    return fields


def response_turns(asked: Asked, talks: Talks) -> list[Any]:
    turns: list[Any] = talks.setdefault(asked.talk, []) if asked.talk else []
    if asked.result:
        (call,) = (turn["call_id"] for turn in turns if turn.get("type") == "function_call")
        turns.append({"type": "function_call_output", "call_id": call, "output": asked.result})
    if asked.say:
        turns.append({"role": "user", "content": asked.say})
    return turns


def response_raw(asked: Asked, talks: Talks) -> Seen:
    whole, told = None, ""
    turns = response_turns(asked, talks)
    fields = response_fields(asked, turns)
    with client_for(asked).responses.create(**fields, stream=True) as stream:
        for event in stream:
            if event.type == "response.reasoning_summary_text.delta":
                told += event.delta
            whole = event.response if event.type == "response.completed" else whole
    if whole is None:
        return Seen(odd=["the stream ended without response.completed, and nothing was raised"])
    turns += [item.model_dump(exclude_unset=True, mode="json") for item in whole.output]
    seen = of_response(whole)
    seen.told = told
    return seen


def response_helper(asked: Asked, talks: Talks) -> Seen:
    """For merged streams: llama-server's own cannot be read with it."""
    turns = response_turns(asked, talks)
    numbers, ids, told = [], set(), ""
    with client_for(asked).responses.stream(**response_fields(asked, turns)) as stream:
        for event in stream:
            numbers.append(event.sequence_number)
            if (response := getattr(event, "response", None)) is not None:
                ids.add(response.id)
            if event.type == "response.reasoning_summary_text.delta":
                told += event.delta
        whole = stream.get_final_response()
    # Without what the helper adds for its own use, such as `parsed`.
    turns += [item.model_dump(exclude_unset=True, mode="json") for item in whole.output]
    seen = of_response(whole)
    seen.told = told
    if numbers != list(range(len(numbers))):
        seen.odd.append(f"sequence numbers {numbers}")
    if ids != {whole.id}:
        seen.odd.append(f"ids {sorted(ids)}")
    return seen


def response_whole(asked: Asked, talks: Talks) -> Seen:
    fields = response_fields(asked, response_turns(asked, talks))
    return of_response(client_for(asked).responses.create(**fields))


def of_response(whole: Any) -> Seen:
    seen = Seen(finish=whole.status)
    for item in whole.output:
        if item.type == "message":
            seen.role += item.role
            seen.text += "".join(part.text for part in item.content)
        elif item.type == "function_call":
            seen.calls.append((item.name, json.loads(item.arguments)))
        elif item.type == "reasoning" and item.id.startswith("rs_swapprogress_"):
            seen.odd.append("the proxy's own item is in the output")
    seen.input_tokens = whole.usage.input_tokens
    seen.output_tokens = whole.usage.output_tokens
    return seen


JUDGES = {
    "openai chat raw": chat_raw,
    "openai chat helper": chat_helper,
    "openai chat whole": chat_whole,
    "openai completion raw": completion_raw,
    "openai response raw": response_raw,
    "openai response helper": response_helper,
    "openai response whole": response_whole,
}
