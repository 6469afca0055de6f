"""Lifecycle events, and an item of reasoning; errors; the end of a response.

Every client builds its picture of the response from the first event, which therefore holds a
complete response object. From then on the stream is ours: the upstream's is merged into it
(`merge`).
"""

import itertools
from typing import Any, Final

import msgspec

from arriero.protocol.read_json import JsonReader

from ...errors import RelayError
from ..base.dialect import Dialect, Mode, ProgressNumbers, event_frame, events_in
from ..base.members import mapping_in
from ..base.usage import Usage
from .merge import ENDS, ResponsesMerge

# Begins the id of our item of reasoning.
ITEM_PREFIX: Final = "rs_swapprogress_"


class ResponseState(msgspec.Struct):
    """Progress of the client in a response.

    Attributes:
        response: The object of the response, as far as it was sent.
        begun: Something of it was there.
        next_number: Number of its next event.
        over: Its end was there, or an error.
    """

    response: dict[str, Any] = msgspec.field(default_factory=dict)
    begun: bool = False
    next_number: int = 0
    over: bool = False


def read_response(frames: bytes) -> ResponseState:
    """Return the state of a response after `frames`."""
    state = ResponseState()
    for _, value in events_in(frames):
        kind = value.get("type")
        kind = kind if isinstance(kind, str) else ""
        if kind in ENDS or value.get("error"):
            state.over = True
        state.begun |= kind.startswith("response.")
        state.response |= mapping_in(value, "response")
        if isinstance(number := value.get("sequence_number"), int):
            state.next_number = number + 1
    return state


class _Settings(msgspec.Struct):
    """Members of a request that its response repeats.

    They are of any type: the upstream judges that.
    """

    temperature: Any = None
    top_p: Any = None
    tool_choice: Any = None
    tools: Any = None
    parallel_tool_calls: Any = None
    max_output_tokens: Any = None


_settings = JsonReader(_Settings)


class ResponsesDialect(Dialect):
    """Lifecycle events, and lines of an item of reasoning.

    Args:
        mode: `heartbeat` and `reasoning` merge the upstream's stream into this one.
        model: Name as the client wrote it.
        ident: 24 hexadecimal digits.
        created: Unix time, in whole seconds.
        body: The request.
    """

    def __init__(self, mode: Mode, *, model: str, ident: str, created: int, body: bytes) -> None:
        self._item_id = f"{ITEM_PREFIX}{ident}"
        self._response = _response(f"resp_swap_{ident}", model, created, body)
        self._sequence = itertools.count()
        self._shows = mode == "reasoning"
        self._opened = False
        self._lines: list[str] = []
        self._merge: ResponsesMerge | None = None
        if mode in {"heartbeat", "reasoning"}:
            shift = 1 if self._shows else 0
            self._merge = ResponsesMerge(self._response, self._sequence, self._closing, shift=shift)
            self.merge = self._merge

    def opening(self) -> bytes:
        """Return the start of the response, and of its item."""
        self._opened = True
        begin = self._lifecycle("created") + self._lifecycle("in_progress")
        if not self._shows:
            return begin
        item = self._event("output_item.added", item=self._item("in_progress"))
        return begin + item + self._part("added", "")

    def line(self, text: str, numbers: ProgressNumbers | None) -> bytes:
        """Return `text` as a reasoning summary, which all clients show."""
        self._lines.append(text)
        return self._summary("delta", delta=text)

    def heartbeat(self, numbers: ProgressNumbers | None) -> bytes:
        """Return an event that changes nothing.

        Once there is an item, a lifecycle event would take it away again in some clients.
        """
        return self._summary("delta", delta="") if self._shows else self._lifecycle("in_progress")

    def failure(self, error: RelayError, sent_so_far: bytes = b"") -> bytes:
        """Return the failed response and an error.

        Some clients show the message of the one only, some that of the other.
        """
        begin, response = self._begin(read_response(sent_so_far))
        cause = {"code": "server_error", "message": error.message}
        failed = self._numbered(
            "response.failed", response=response | {"status": "failed", "error": cause}
        )
        details = {
            "type": error.kind,
            "code": error.code,
            "message": error.message,
            "param": None,
        }
        return begin + failed + self._numbered("error", error=details)

    def interrupted(self, sent_so_far: bytes, usage: Usage, *, asked_usage: bool = False) -> bytes:
        """Return the response as it stands: incomplete.

        Items of the upstream that are open stay so: how much text is in them only the client
        knows, and no client asks for their end.
        """
        state = read_response(sent_so_far)
        if state.over:
            return b""
        begin, response = self._begin(state)
        if self._opened and self._merge is not None:
            if not self._merge.begun:
                begin += self._closing()
            response = response | {"output": self._merge.done}
        end: dict[str, Any] = {
            "status": "incomplete",
            "incomplete_details": {"reason": "cancelled"},
            "usage": None if usage.source == "none" else _counts(usage),
        }
        return begin + self._numbered("response.incomplete", response=response | end)

    def _begin(self, state: ResponseState) -> tuple[bytes, dict[str, Any]]:
        """Return the first event, unless it was sent; and the response."""
        if self._opened:
            return b"", self._response
        if state.begun:
            self._sequence = itertools.count(state.next_number)
            return b"", self._response | state.response
        return self._lifecycle("created"), self._response

    def _closing(self) -> bytes:
        """Return the end of the item, if there is one."""
        if not self._shows:
            return b""
        text = "".join(self._lines)
        item = self._item("completed") | {"summary": [{"type": "summary_text", "text": text}]}
        return (
            self._summary("done", text=text)
            + self._part("done", text)
            + self._event("output_item.done", item=item)
        )

    def _item(self, status: str) -> dict[str, Any]:
        return {"id": self._item_id, "type": "reasoning", "status": status, "summary": []}

    def _part(self, what: str, text: str) -> bytes:
        part = {"type": "summary_text", "text": text}
        kind = f"reasoning_summary_part.{what}"
        return self._event(kind, item_id=self._item_id, summary_index=0, part=part)

    def _summary(self, what: str, **text: str) -> bytes:
        kind = f"reasoning_summary_text.{what}"
        return self._event(kind, item_id=self._item_id, summary_index=0, **text)

    def _lifecycle(self, what: str) -> bytes:
        return self._numbered(f"response.{what}", response=self._response)

    def _event(self, what: str, **fields: object) -> bytes:
        return self._numbered(f"response.{what}", output_index=0, **fields)

    def _numbered(self, kind: str, **fields: object) -> bytes:
        return event_frame(kind, {"sequence_number": next(self._sequence), **fields})


def _response(ident: str, model: str, created: int, body: bytes) -> dict[str, Any]:
    """Return a complete response object that has just begun.

    Source: OpenAI's API reference, "The response object".
    """
    asked = _settings.find(body) or _Settings()
    parallel = asked.parallel_tool_calls
    return {
        "id": ident,
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": asked.max_output_tokens,
        "metadata": {},
        "model": model,
        "output": [],
        "parallel_tool_calls": True if parallel is None else parallel,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "temperature": 1.0 if asked.temperature is None else asked.temperature,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto" if asked.tool_choice is None else asked.tool_choice,
        "tools": [] if asked.tools is None else asked.tools,
        "top_p": 1.0 if asked.top_p is None else asked.top_p,
        "truncation": "disabled",
        "usage": None,
    }


def _counts(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
