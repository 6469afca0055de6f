"""Chunks of a stream -> Ollama's lines: one JSON object in each.

A line says what is new; the last one, with ``"done": true``, why it ended, and the counts::

    {"model": ..., "created_at": ..., "message": {"role": ..., "content": ...}, "done": false}

A generation has `response` and `thinking` in the place of `message`. A call of a tool comes whole.

Rule 1: nothing here waits or reads a clock, and nothing is raised, whatever the upstream says.
Rule 2: nothing follows after the last line, or after an error.

Source: Ollama's API reference.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

import msgspec

from ...errors import RelayError
from ...streams.merge import MAX_MERGED_BYTES, read_object
from ...streams.sse_events import EventReader, SseEvent
from ..base.dialect import ProgressNumbers, ResponseEnd, TranslatingDialect
from ..base.members import list_in, mapping_in, text_in
from ..base.usage import Usage
from ..chat.told_error import ANSWER, REASONING, error_in, first_text
from ..chat.tool_calls import ToolCall, ToolCalls

Shape: TypeAlias = Literal["chat", "generation"]

# All that an end can be called; whatever else it was is none of these.
_DONE_REASONS: Final[Mapping[str, str]] = {"length": "length"}
_USUAL_DONE: Final = "stop"

_NS_PER_S: Final = 1_000_000_000
_NS_PER_MS: Final = 1_000_000


class LineMerge:
    """Makes lines of the upstream's frames."""

    def __init__(self, lines: "OllamaLines") -> None:
        self._lines = lines

    def begin(self) -> bytes:
        """Return nothing: each line stands for itself."""
        return b""

    def edit(self, frame: bytes) -> bytes:
        """Return the lines for one frame; perhaps none."""
        return self._lines.take(frame)


class OllamaLines(TranslatingDialect):
    """The lines of one response.

    Args:
        shape: What they look like.
        model: Name as the client wrote it.
        unix_time: When the response began: all but the last line have that time.
    """

    content_type = b"application/x-ndjson"

    def __init__(self, shape: Shape, model: str, unix_time: float) -> None:
        self.merge = LineMerge(self)
        self._shape = shape
        self._model = model
        self._created = stamp(unix_time)
        self._reader = EventReader(MAX_MERGED_BYTES)
        self._calls = ToolCalls()
        self._done_reason = ""
        self._ended = False  # the upstream's response has
        self._over = False

    @property
    def is_complete(self) -> bool:
        """Whether the upstream's response has ended, well or badly."""
        return self._ended

    # --- from us -------------------------------------------------------------------------------

    def line(self, text: str, numbers: ProgressNumbers | None) -> bytes:
        """Return `text` as thinking, which no client shows as content."""
        return self._line(thinking=text)

    def heartbeat(self, numbers: ProgressNumbers | None) -> bytes:
        """Return a line that adds nothing; an empty one would be no JSON."""
        return self._line()

    def event(self, numbers: ProgressNumbers) -> bytes:
        """Return a heartbeat: lines have no names."""
        return self._line()

    def midway_heartbeat(self, after_id: bool) -> bytes:
        """Return a line that adds nothing."""
        return self._line()

    def failure(self, error: RelayError, sent_so_far: bytes = b"") -> bytes:
        """Return the error in a line."""
        if self._over:
            return b""
        self._over = self._ended = True
        return error_body(error) + b"\n"

    def interrupted(self, sent_so_far: bytes, usage: Usage, *, asked_usage: bool = False) -> bytes:
        """Return the last line, with the counts so far."""
        return self._last_line(counts(usage))

    # --- from the upstream ---------------------------------------------------------------------

    def take(self, frames: bytes) -> bytes:
        """Return the lines for the next bytes, cut anywhere."""
        return b"".join(map(self._take, self._reader.push(frames)))

    def finish(self, end: ResponseEnd) -> bytes:
        """Return the last lines after a good end of the upstream."""
        calls = self._line(calls=self._calls.finish(), only_with_calls=True)
        self._created = stamp(end.unix_time)
        return calls + self._last_line(totals(end))

    def _take(self, event: SseEvent) -> bytes:
        value = read_object(event)
        if value is None:
            self._ended |= event.data.strip() == b"[DONE]"
            return b""
        error = error_in(event, value)
        if error is not None:
            return self.failure(error)
        lines = b""
        for choice in list_in(value, "choices"):
            if isinstance(choice, dict) and choice.get("index") in (0, None):
                lines += self._take_choice(choice)
        return lines

    def _take_choice(self, choice: dict[str, Any]) -> bytes:
        reason = text_in(choice, "finish_reason")
        if reason is not None:
            self._ended = True
            self._done_reason = _DONE_REASONS.get(reason, _USUAL_DONE)
        delta = mapping_in(choice, "delta")
        text = first_text(delta, ANSWER) or first_text(choice, ("text",))
        thinking = first_text(delta, REASONING)
        calls = self._calls.take(delta) if delta.get("tool_calls") else []
        return self._line(text, thinking, calls) if text or thinking or calls else b""

    # --- lines ---------------------------------------------------------------------------------

    def _line(
        self,
        text: str = "",
        thinking: str = "",
        calls: Sequence[ToolCall] = (),
        *,
        only_with_calls: bool = False,
    ) -> bytes:
        if self._over or (only_with_calls and not calls):
            return b""
        return self._encoded(said(self._shape, text, thinking, calls) | {"done": False})

    def _last_line(self, more: dict[str, object]) -> bytes:
        if self._over:
            return b""
        self._over = self._ended = True
        end = {"done": True, "done_reason": self._done_reason or _USUAL_DONE}
        return self._encoded(said(self._shape) | end | more)

    def _encoded(self, value: Mapping[str, object]) -> bytes:
        head = {"model": self._model, "created_at": self._created}
        return msgspec.json.encode({**head, **value}) + b"\n"


def said(
    shape: Shape, text: str = "", thinking: str = "", calls: Sequence[ToolCall] = ()
) -> dict[str, object]:
    """Return the members that hold what a model has said."""
    thought = {"thinking": thinking} if thinking else {}
    if shape == "generation":
        return {"response": text, **thought}
    message: dict[str, object] = {"role": "assistant", "content": text, **thought}
    if calls:
        message["tool_calls"] = [
            {"function": {"name": call.name, "arguments": call.args}} for call in calls
        ]
    return {"message": message}


def done_reason(finish_reason: str | None) -> str:
    """Return Ollama's word for a chat's reason of an end."""
    return _DONE_REASONS.get(finish_reason or "", _USUAL_DONE)


def counts(usage: Usage) -> dict[str, object]:
    """Return the counts of tokens, and the times that the model's server has told."""
    found: dict[str, object] = {}
    if usage.source == "none":
        return found
    found["prompt_eval_count"] = usage.input_tokens
    if usage.prompt_ms is not None:
        found["prompt_eval_duration"] = int(usage.prompt_ms * _NS_PER_MS)
    found["eval_count"] = usage.output_tokens
    if usage.predicted_ms is not None:
        found["eval_duration"] = int(usage.predicted_ms * _NS_PER_MS)
    return found


def totals(end: ResponseEnd) -> dict[str, object]:
    """Return the same with the time since the request came, and that of its wait for the model."""
    return durations(end) | counts(end.usage)


def durations(end: ResponseEnd) -> dict[str, object]:
    """Return the time since a request came, and that of its wait for the model."""
    return {
        "total_duration": int(end.elapsed_s * _NS_PER_S),
        "load_duration": int(end.waited_s * _NS_PER_S),
    }


def stamp(unix_time: float) -> str:
    """Return a time as Ollama writes it."""
    return datetime.fromtimestamp(unix_time, UTC).isoformat().replace("+00:00", "Z")


def error_body(error: RelayError) -> bytes:
    """Return Ollama's error object as one line of JSON."""
    return msgspec.json.encode({"error": error.message})
