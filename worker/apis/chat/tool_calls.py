"""Tool calls of a chat stream, assembled from pieces.

A call comes as its name and then its arguments, JSON in pieces of text. Servers number the calls
of a response in `index`; some of them give every call the same number, or none, and only the `id`
tells that another call has begun.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from arriero.protocol.read_json import json_object


class ToolCall(NamedTuple):
    """One call of a tool.

    Attributes:
        name: Of the tool; empty if nobody has said.
        args: A JSON object in one line; ``{"_raw": text}`` if the arguments are none.
    """

    name: str
    args: msgspec.Raw


class _Pieces(msgspec.Struct, eq=False):
    """A call that is incomplete, or was returned already."""

    index: object
    ident: str
    name: str = ""
    arguments: list[str] = msgspec.field(default_factory=list)
    returned: bool = False


class ToolCalls:
    """Collects the calls of one response; never raises."""

    def __init__(self) -> None:
        self._calls: list[_Pieces] = []

    def take(self, delta: dict[str, Any]) -> list[ToolCall]:
        """Take a delta; return calls that are complete since others began.

        A server may write several calls at a time: only one whose arguments are a whole object,
        which can get no longer, is returned before the end.
        """
        known = len(self._calls)
        for piece in _pieces_in(delta):
            self._add(piece)
        if len(self._calls) == known:
            return []
        return _unreturned(call for call in self._calls[:-1] if _object_in(call) is not None)

    def finish(self) -> list[ToolCall]:
        """Return all remaining calls: nothing follows."""
        return _unreturned(self._calls)

    def _add(self, piece: dict[str, Any]) -> None:
        function = piece.get("function")
        if not isinstance(function, dict):
            return
        index, ident = piece.get("index"), _text(piece, "id")
        call = next((call for call in reversed(self._calls) if call.index == index), None)
        if call is None or (ident and call.ident and call.ident != ident):
            call = _Pieces(index, ident)
            self._calls.append(call)
        call.name = call.name or _text(function, "name")
        call.arguments.append(_text(function, "arguments"))


def _pieces_in(delta: dict[str, Any]) -> list[dict[str, Any]]:
    pieces = delta.get("tool_calls")
    found = [p for p in pieces if isinstance(p, dict)] if isinstance(pieces, list) else []
    # the second is how OpenAI's API had it until 2023
    return [*found, {"function": delta.get("function_call")}]


def _unreturned(calls: Iterable[_Pieces]) -> list[ToolCall]:
    complete = []
    for call in calls:
        if not call.returned:
            call.returned = True
            raw = "".join(call.arguments)
            args = _object_in(call) or msgspec.Raw(msgspec.json.encode({"_raw": raw}))
            complete.append(ToolCall(call.name, args))
    return complete


def _object_in(call: _Pieces) -> msgspec.Raw | None:
    """Return the arguments verbatim if an object; none count as one."""
    text = "".join(call.arguments).encode()
    if not text.strip():
        return msgspec.Raw(b"{}")
    if json_object(text) is None:
        return None
    # a line end is never part of a string here, and would be the end of our own line
    return msgspec.Raw(text.replace(b"\r", b" ").replace(b"\n", b" "))


def _text(value: dict[str, Any], name: str) -> str:
    found = value.get(name)
    return found if isinstance(found, str) else ""
