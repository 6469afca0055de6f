"""Whole responses of a chat, a completion or embeddings -> Ollama's. Steps as in `spans`."""

from typing import Any, Final

import msgspec

from ...errors import BadRequest, UpstreamDied
from ...json.read import light_object
from ...json.spans import Steps, find_items, find_members, joined
from ..base.dialect import ResponseEnd
from ..base.members import list_in, mapping_in, text_in
from ..chat.told_error import ANSWER, REASONING, first_text
from ..chat.tool_calls import ToolCall, ToolCalls
from .lines import Shape, done_reason, durations, said, stamp, totals

_MAX_EMBEDDINGS: Final = 100_000


def whole_response(shape: Shape, model: str, body: bytes, end: ResponseEnd) -> bytes:
    """Return the response of a chat or completion.

    Raises:
        UpstreamDied: It makes no sense.
    """
    value = light_object(body)
    choices = [] if value is None else list_in(value, "choices")
    choice = choices[0] if choices and isinstance(choices[0], dict) else None
    if choice is None:
        raise _senseless()
    message = mapping_in(choice, "message")
    text = first_text(message, ANSWER) or first_text(choice, ("text",))
    calls = _calls_in(message)
    last = {"done": True, "done_reason": done_reason(text_in(choice, "finish_reason"))}
    return msgspec.json.encode(
        {"model": model, "created_at": stamp(end.unix_time)}
        | said(shape, text, first_text(message, REASONING), calls)
        | last
        | totals(end)
    )


def nothing_said(shape: Shape, model: str, reason: str, end: ResponseEnd) -> bytes:
    """Return the response to a request that asked nothing."""
    return msgspec.json.encode(
        {"model": model, "created_at": stamp(end.unix_time)}
        | said(shape)
        | {"done": True, "done_reason": reason}
        | durations(end)
    )


def _calls_in(message: dict[str, Any]) -> list[ToolCall]:
    calls = ToolCalls()
    found = [it for it in list_in(message, "tool_calls") if isinstance(it, dict)]
    numbered = [{**it, "index": number} for number, it in enumerate(found)]
    return calls.take({"tool_calls": numbered}) + calls.finish()


def whole_embeddings(
    model: str, body: bytes, end: ResponseEnd, *, only_first: bool
) -> Steps[bytes]:
    """Return the response of embeddings; their numbers are never decoded.

    Args:
        model: Name as the client wrote it.
        body: What the upstream has answered.
        end: What is known besides.
        only_first: In the older shape, which has one, and no counts.

    Raises:
        UpstreamDied: It makes no sense.
    """
    try:
        vectors = yield from _vectors(body)
    except BadRequest as exc:
        raise _senseless() from exc
    if only_first:
        return b'{"embedding":%b}' % (vectors[0] if vectors else b"[]")
    head = {"model": model, **durations(end)}
    if end.usage.source != "none":
        head["prompt_eval_count"] = end.usage.input_tokens
    parts = [msgspec.json.encode(head)[:-1], b',"embeddings":[']
    for number, vector in enumerate(vectors):
        parts += [b",", vector] if number else [vector]
    return (yield from joined([*parts, b"]}"]))


def _vectors(body: bytes) -> Steps[list[bytes]]:
    members = yield from find_members(body)
    start = next((it.start for it in members if it.name == "data"), -1)
    if start < 0:
        raise _senseless()
    items = yield from find_items(body, start, _MAX_EMBEDDINGS)
    if items is None:
        raise _senseless()
    vectors = []
    for item in items:
        text = body[item.start : item.end]
        of_item = yield from find_members(text)
        vector = next((text[it.start : it.end] for it in of_item if it.name == "embedding"), b"")
        if not vector.startswith(b"["):
            raise _senseless()
        vectors.append(vector)
        yield
    return vectors


def _senseless() -> UpstreamDied:
    return UpstreamDied("cannot translate the answer of the model's server: it makes no sense")
