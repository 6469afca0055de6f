"""The bytes of a chat stream -> what they say. Pure.

Progress comes in the form that docs/streams.md calls `reasoning`: chunks with ids of their own, a
line of text in each, and numbers beside it.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import msgspec

from arriero.protocol.read_json import UNREADABLE

# How ids of chunks begin that are none of the model's.
_OF_PROGRESS: Final = "chatcmpl-swap-"

# Of one event; a longer one is no chunk of a chat.
_MAX_EVENT: Final = 16 * 1024 * 1024

_PERCENT: Final = re.compile(r"(\d{1,3})%")


class Words(msgspec.Struct, frozen=True):
    """A piece of the answer."""

    text: str


class Thought(msgspec.Struct, frozen=True):
    """A piece of the model's reasoning."""

    text: str


class WaitStep(msgspec.Struct, frozen=True):
    """What the request waits for.

    Attributes:
        caption: In words, such as ``loading 42% (12 s, 16 s left)``.
        fraction: Of the wait; None while that is not known.
    """

    caption: str
    fraction: float | None = None


class TurnEnd(msgspec.Struct, frozen=True):
    """Why the model stopped."""

    reason: str


class TurnUsage(msgspec.Struct, frozen=True):
    """Tokens of the request and of its answer."""

    prompt: int
    written: int


class TurnFailure(msgspec.Struct, frozen=True):
    """The answer ends with an error.

    Attributes:
        message: For people.
        code: For programs; may be empty.
    """

    message: str
    code: str = ""


Piece: TypeAlias = Words | Thought | WaitStep | TurnEnd | TurnUsage | TurnFailure


class AnswerReader:
    """Reads a stream.

    Args:
        model: Its name in the request.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Yield what `data`, which follows what was there before, says.

        Raises:
            ValueError: This is no such stream.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _MAX_EVENT:
            raise ValueError("an event without an end")
        for line in lines:
            line = line.rstrip(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[5:].lstrip(b" "))
            elif not line and self._data:
                event, self._data = b"\n".join(self._data), []
                yield from _pieces(event, self._model)


def _pieces(data: bytes, model: str) -> Iterator[Piece]:
    if data.strip() == b"[DONE]":
        return
    try:
        chunk = msgspec.json.decode(data)
    except UNREADABLE as exc:
        raise ValueError(f"an event that is no JSON: {exc}") from exc
    if not isinstance(chunk, dict):
        return
    if chunk.get("error"):
        yield failure_in(chunk)
        return
    choices = chunk.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else {}
    delta = choice.get("delta") if isinstance(choice, dict) else None
    delta = delta if isinstance(delta, dict) else {}
    thought = _text(delta, "reasoning_content") or _text(delta, "reasoning")
    if _text(chunk, "id").startswith(_OF_PROGRESS):
        if thought:
            yield _wait(thought.strip(), model, chunk.get("swap_progress"))
        return
    if step := _prompt(chunk.get("prompt_progress")):
        yield step
    if thought:
        yield Thought(thought)
    if words := _text(delta, "content"):
        yield Words(words)
    if isinstance(choice, dict) and (reason := _text(choice, "finish_reason")):
        yield TurnEnd(reason)
    if isinstance(usage := chunk.get("usage"), dict):
        yield TurnUsage(_count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))


def failure_in(value: object) -> TurnFailure:
    """Return the error of a JSON answer."""
    error = value.get("error") if isinstance(value, dict) else None
    if isinstance(error, dict):
        code = error.get("code") or error.get("type") or ""
        return TurnFailure(_text(error, "message") or "no reason was given", str(code))
    return TurnFailure(error if isinstance(error, str) else "no reason was given")


def _wait(line: str, model: str, numbers: object) -> WaitStep:
    _, found, text = line.partition(f"{model}: ")
    caption = text if found else line
    percent = numbers.get("percent") if isinstance(numbers, dict) else None
    if "prefill" in caption or not isinstance(percent, int):
        shown = _PERCENT.search(caption)
        percent = int(shown[1]) if shown else None
    return WaitStep(caption, None if percent is None else min(1.0, max(0.0, percent / 100)))


def _prompt(value: object) -> WaitStep | None:
    if not isinstance(value, dict):
        return None
    total, done = _count(value, "total"), _count(value, "processed")
    if not total:
        return None
    return WaitStep(f"reading the prompt, {done} of {total} tokens", min(1.0, done / total))


def _text(value: dict[str, Any], name: str) -> str:
    found = value.get(name)
    return found if isinstance(found, str) else ""


def _count(value: dict[str, Any], name: str) -> int:
    found = value.get(name)
    return found if isinstance(found, int) else 0
