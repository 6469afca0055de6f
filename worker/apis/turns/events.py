"""A chat stream as the events of a turn.

Every event is one line, ``data: {"event": kind, "data": {...}}``; the kind is in the data, not in
the name of the event. The order of a turn::

    start (status)* (reasoning | token | tool_call)* turn_complete end

with a `heartbeat` anywhere between, and `error` or `interrupted` in the place of all that is left.
As text: only the tokens, the names of tools that are called, and an error.

Rule 1: nothing here waits or reads a clock, and nothing is raised, whatever the upstream says.
Rule 2: one object per request. An `id` is taken before its event is made, so that there is none
twice.
Rule 3: nothing comes before `start`, and nothing after the last event.

Only the first choice counts. Reasoning is not text of the response, so `turn_complete` lacks it.
"""

from typing import Any, Final

import msgspec

from ...accounting.usage import bounded, estimated, read_usage
from ...errors import RelayError, UpstreamAnsweredError
from ...progress.prefill import Phase, read_prompt
from ...streams.merge import MAX_MERGED_BYTES, read_object
from ...streams.sse_events import EventReader, SseEvent
from ..base.usage import Usage
from ..chat.told_error import ANSWER, REASONING, error_in, first_text
from ..chat.tool_calls import ToolCall, ToolCalls
from ..routes import CHAT
from .request import TurnFormat

# An error in few words, by its status; `cause` has the rest.
_RESPONSES: Final = {
    400: "Invalid request",
    401: "Not authorised",
    403: "Not allowed",
    404: "Not found",
    408: "Request too slow",
    413: "Request too large",
    422: "Invalid request",
    429: "Too many requests",
    500: "Internal error",
    502: "Model server failed",
    503: "Model not available",
    504: "Model server too slow",
}
_OTHER_RESPONSE: Final = "Request failed"


class TurnEvents:
    """The events of one turn.

    Args:
        request_id: The same as in ``X-Request-Id``.
        conversation_id: The client's own; `request_id` if it has none.
        model: Name as the client wrote it.
        turn_format: How the client takes it.

    Attributes:
        format: How the client takes it.
        is_over: The last event was sent.
        is_complete: The upstream's response has ended, well or badly.
    """

    def __init__(
        self, *, request_id: str, conversation_id: str, model: str, turn_format: TurnFormat
    ) -> None:
        self.format = turn_format
        self.is_over = False
        self.is_complete = False
        self._request_id = request_id
        self._start = {
            "request_id": request_id,
            "conversation_id": conversation_id,
            "model": model,
        }
        self._begun = False
        self._next_id = 0
        self._reader = EventReader(MAX_MERGED_BYTES)
        self._usage = Usage()  # as reported so far
        self._pieces = 0
        self._calls = ToolCalls()
        self._tokens: list[str] = []
        self._truncated = False
        self._prefill = -1  # percent that were sent
        self._in_line = False  # as text: the last line has no end yet

    # --- from us -------------------------------------------------------------------------------

    def start(self) -> bytes:
        """Return the first event, unless it was sent."""
        if self._begun:
            return b""
        self._begun = True
        return self._line("start", self._start)

    def status(self, phase: Phase, progress: float | None, message: str) -> bytes:
        """Return a status for a client that waits.

        Args:
            phase: What it waits for.
            progress: Share of the phase that is done, 0.0 to 1.0; None if that is not known.
            message: For people.
        """
        return self._event("status", {"phase": phase, "progress": progress, "message": message})

    def heartbeat(self) -> bytes:
        """Return an event without content: the stream lives."""
        return self._numbered_event("heartbeat", {"token": "heartbeat"})

    def failure(self, error: RelayError) -> bytes:
        """Return the last event of a turn that fails."""
        status = error.status
        if isinstance(error, UpstreamAnsweredError):
            status = error.upstream_status
        response = _RESPONSES.get(status, _OTHER_RESPONSE)
        return self._last_event(
            "error", {"status_code": status, "response": response, "cause": error.message}
        )

    def interrupted(self) -> bytes:
        """Return the last event of a cancelled turn."""
        return self._last_event("interrupted", {"request_id": self._request_id})

    # --- from the upstream ---------------------------------------------------------------------

    def take(self, frames: bytes) -> bytes:
        """Return the events for the next bytes, cut anywhere."""
        return self.start() + b"".join(map(self._take, self._reader.push(frames)))

    def end(self) -> bytes:
        """Return the last events after a clean end of the upstream."""
        calls = self._call_events(self._calls.finish())
        text = self._numbered_event("turn_complete", {"token": "".join(self._tokens)})
        usage = estimated(bounded(self._usage), self._pieces)
        data = {
            "referenced_documents": [],
            "truncated": self._truncated,
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
        }
        return calls + text + self._last_event("end", data, available_quotas={})

    def _take(self, event: SseEvent) -> bytes:
        value = read_object(event)
        if value is None:
            self.is_complete |= event.data.strip() == b"[DONE]"
            return b""
        error = error_in(event, value)
        if error is not None:
            self.is_complete = True
            return self.failure(error)
        self._usage = read_usage(CHAT, value, self._usage)
        choices = value.get("choices")
        frames = self._take_prompt(value)
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and choice.get("index") in (0, None):
                frames += self._take_choice(choice)
        return frames

    def _take_prompt(self, chunk: dict[str, Any]) -> bytes:
        """Return prompt progress: each percent once, until the first token."""
        prompt = read_prompt(chunk)
        if prompt is None or self._pieces:
            return b""
        percent = int(prompt.fraction * 100)
        if percent <= self._prefill:
            return b""
        self._prefill = percent
        return self.status("prefill", percent / 100, f"prefill {percent}%")

    def _take_choice(self, choice: dict[str, Any]) -> bytes:
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            self.is_complete = True
            self._truncated = reason == "length"
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return b""
        frames = b""
        if reasoning := first_text(delta, REASONING):
            self._pieces += 1
            frames += self._numbered_event("reasoning", {"token": reasoning})
        if text := first_text(delta, ANSWER):
            self._pieces += 1
            self._tokens.append(text)
            frames += self._numbered_event("token", {"token": text})
        if delta.get("tool_calls") or delta.get("function_call"):
            self._pieces += 1
            frames += self._call_events(self._calls.take(delta))
        return frames

    # --- events --------------------------------------------------------------------------------

    def _call_events(self, calls: list[ToolCall]) -> bytes:
        return b"".join(
            self._numbered_event("tool_call", {**call._asdict(), "type": "tool_call"})
            for call in calls
        )

    def _last_event(self, kind: str, data: dict[str, Any], **beside: object) -> bytes:
        frames = self._event(kind, data, **beside)
        self.is_over = True
        return frames

    def _numbered_event(self, kind: str, data: dict[str, Any]) -> bytes:
        ident = self._next_id
        self._next_id += 1
        return self._event(kind, {"id": ident, **data})

    def _event(self, kind: str, data: dict[str, Any], **beside: object) -> bytes:
        if self.is_over:
            return b""
        return self.start() + self._line(kind, data, **beside)

    def _line(self, kind: str, data: dict[str, Any], **beside: object) -> bytes:
        if self.format is TurnFormat.TEXT:
            return self._as_text(kind, data).encode()
        return b"data: %b\n\n" % msgspec.json.encode({"event": kind, "data": data, **beside})

    def _as_text(self, kind: str, data: dict[str, Any]) -> str:
        """Return the text of an event; empty for most."""
        match kind:
            case "token":
                text: str = data["token"]
            case "tool_call":
                text = self._own_line(f"[Tool Call: {data['name']}]")
            case "error":
                text = self._own_line(
                    f"Status: {data['status_code']} - {data['response']} - {data['cause']}"
                )
            case _:
                return ""
        self._in_line = not text.endswith("\n")
        return text

    def _own_line(self, text: str) -> str:
        return f"\n{text}\n" if self._in_line else f"{text}\n"
