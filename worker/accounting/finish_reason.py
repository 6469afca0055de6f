"""What an answer says besides its usage: why it ended, what failed, which model spoke.

Sources: OpenAI's, Anthropic's, Google's and Amazon's API references; llama-server's README
(``/completion``: ``stop_type``).
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from arriero.protocol.records import FinishReason

from ..streams.sse_frames import DONE
from .tokens import Api, mapping_in

# What the APIs call the ends of an answer. Any other word is "other".
_WORDS: Final[Mapping[Api, Mapping[str, FinishReason]]] = {
    Api.OPENAI: {
        "stop": "stop",
        "length": "length",
        "tool_calls": "tool",
        "function_call": "tool",
        "content_filter": "content_filter",
        "eos": "stop",  # from here on: llama-server's own API
        "word": "stop",
        "limit": "length",
    },
    Api.RESPONSES: {
        "completed": "stop",
        "tool": "tool",  # our own word: it ends like any other answer
        "max_output_tokens": "length",
        "content_filter": "content_filter",
    },
    Api.ANTHROPIC: {
        "end_turn": "stop",
        "stop_sequence": "stop",
        "pause_turn": "stop",
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "tool_use": "tool",
        "refusal": "content_filter",
    },
    Api.GEMINI: {
        "STOP": "stop",
        "MAX_TOKENS": "length",
        "SAFETY": "content_filter",
        "RECITATION": "content_filter",
        "BLOCKLIST": "content_filter",
        "PROHIBITED_CONTENT": "content_filter",
        "SPII": "content_filter",
        "IMAGE_SAFETY": "content_filter",
    },
    Api.BEDROCK: {
        "end_turn": "stop",
        "stop_sequence": "stop",
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "tool_use": "tool",
        "guardrail_intervened": "content_filter",
        "content_filtered": "content_filter",
    },
}

# Bytes of which one is in every event that ends an answer, or says that it failed.
FINISH_HINTS: Final[Mapping[Api, tuple[bytes, ...]]] = {
    Api.OPENAI: (b'"finish_reason":"', b'"finish_reason": "', b'"stop_type"', b'"error"'),
    Api.RESPONSES: (
        b'"response.completed"',
        b'"response.incomplete"',
        b'"response.failed"',
        b'"error"',
    ),
    Api.ANTHROPIC: (b'"stop_reason"', b'"error"'),
    Api.GEMINI: (b'"finishReason"', b'"blockReason"', b'"error"'),
    Api.BEDROCK: (b'"stopReason"',),
}

# Members that bring a piece of text, of reasoning or of a call: what counts as a token. Quotes are
# escaped inside of JSON's strings, so the text of an answer cannot look like this.
_PIECES: Final[Mapping[Api, tuple[bytes, ...]]] = {
    Api.OPENAI: (
        b'"content"',
        b'"text"',
        b'"reasoning_content"',
        b'"reasoning"',
        b'"tool_calls"',
        b'"function_call"',
        b'"refusal"',
    ),
    Api.RESPONSES: (b'"delta"',),
    Api.ANTHROPIC: (b'"text"', b'"thinking"', b'"partial_json"'),
    Api.GEMINI: (b'"text"', b'"functionCall"'),
    Api.BEDROCK: (b'"text"', b'"input"'),
}

# What follows such a member if there is something in it: not null, not an empty text or list.
_FILLED: Final = rb"""\s*:\s*(?:"[^"]|\[\s*\{|\{)"""

_FILLED_PIECES: Final = {
    api: tuple((name, re.compile(re.escape(name) + _FILLED)) for name in names)
    for api, names in _PIECES.items()
}


def count_pieces(api: Api, frames: bytes) -> int:
    """Return how many pieces of an answer `frames`, or one Bedrock payload, bring.

    Of a line that says something under several names the one counts that it says most often: some
    servers give the same reasoning two names.
    """
    # All of the frames are searched for one name after the other: nearly always they have one
    # only, and it is in each of them.
    frames = frames.removesuffix(DONE)
    there = []
    pieces = 0
    for name, filled in _FILLED_PIECES[api]:
        if frames.find(name) < 0:
            continue
        there.append(filled)
        pieces = len(filled.findall(frames))
        if len(there) == 1 and pieces >= frames.count(b"\n\n") > 0:
            return pieces
    if len(there) <= 1:
        return pieces
    return sum(max(len(it.findall(line)) for it in there) for line in frames.splitlines())


def finish_of(api: Api, value: dict[str, Any]) -> FinishReason | None:
    """Return why the answer ended, if this event, or this whole answer, says so."""
    word = _WORD_READERS[api](value)
    return None if word is None else _WORDS[api].get(word, "other")


def model_of(api: Api, value: dict[str, Any]) -> str | None:
    """Return the name of the model that answers, if this says it. Bedrock never does."""
    name = "modelVersion" if api is Api.GEMINI else "model"
    found = _text(value, name)
    if found is None:
        inner = mapping_in(value, "response") or mapping_in(value, "message")
        found = _text(inner, name)
    return None if found is None else found[:_MAX_NAME_CHARS]


# Characters of a model's name that are kept; the longest honest ones are paths.
_MAX_NAME_CHARS: Final = 300


def error_of(value: dict[str, Any]) -> str | None:
    """Return the code of the error of which this tells, in any of the APIs; None if of none."""
    error = value.get("error") or mapping_in(value, "response").get("error")
    if value.get("type") == "error" and not error:
        error = value  # Responses
    if not error:
        return None
    found: object = None
    if isinstance(error, dict):
        found = error.get("code") or error.get("status") or error.get("type")
    return str(found)[:_MAX_CODE_CHARS] if isinstance(found, str | int) else "upstream_error"


_MAX_CODE_CHARS: Final = 80


# --- the word, API by API ------------------------------------------------------------------------


def _openai_word(value: dict[str, Any]) -> str | None:
    choices = value.get("choices")
    found = _text(value, "stop_type")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            found = _text(choice, "finish_reason") or found
    return None if found == "none" else found


def _responses_word(value: dict[str, Any]) -> str | None:
    response = mapping_in(value, "response") or value
    status = _text(response, "status")
    if status == "incomplete":
        return _text(mapping_in(response, "incomplete_details"), "reason") or status
    if status == "completed":
        output = response.get("output")
        items = output if isinstance(output, list) else []
        called = any(isinstance(it, dict) and it.get("type") in _CALLS for it in items)
        return "tool" if called else status
    return status if status in ("failed", "cancelled") else None


# Items of an answer that the client has to act upon.
_CALLS: Final = ("function_call", "custom_tool_call", "local_shell_call")


def _anthropic_word(value: dict[str, Any]) -> str | None:
    return _text(mapping_in(value, "delta"), "stop_reason") or _text(value, "stop_reason")


def _gemini_word(value: dict[str, Any]) -> str | None:
    candidates = value.get("candidates")
    found = _text(mapping_in(value, "promptFeedback"), "blockReason") and "SAFETY"
    for candidate in candidates if isinstance(candidates, list) else ():
        if isinstance(candidate, dict):
            found = _text(candidate, "finishReason") or found
    return found


def _bedrock_word(value: dict[str, Any]) -> str | None:
    return _text(value, "stopReason")


_WORD_READERS: Final[Mapping[Api, Callable[[dict[str, Any]], str | None]]] = {
    Api.OPENAI: _openai_word,
    Api.RESPONSES: _responses_word,
    Api.ANTHROPIC: _anthropic_word,
    Api.GEMINI: _gemini_word,
    Api.BEDROCK: _bedrock_word,
}


def _text(value: Mapping[str, Any], name: str) -> str | None:
    found = value.get(name)
    return found if isinstance(found, str) and found else None
