"""Continues our own response with the upstream's. Wire format, 7.2.

llama-server leaves out numbers of events, items and parts, without which the official clients
cannot assemble a stream: they are added here. The client sees one response, under its first id.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from ...streams.merge import read_event, read_object, with_data

_BEGINNINGS: Final = frozenset({"response.created", "response.in_progress"})
_ENDINGS: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})

# Events after which nothing comes.
ENDS: Final = _ENDINGS | {"error"}

# Events about one part of an item's content begin with one of these.
_PARTS: Final = (
    "response.content_part.",
    "response.output_text.",
    "response.refusal.",
    "response.reasoning_text.",
)


class ResponsesMerge:
    """Edits an upstream's frames that follow our own response.

    Args:
        response: The response as the client knows it.
        sequence: ProgressNumbers of events; goes on where ours have ended.
        closing: Returns the end of our own item.
        shift: How many items of ours come before the upstream's.

    Attributes:
        begun: Our own item was ended.
        done: Items of the upstream that are complete.
    """

    def __init__(
        self,
        response: Mapping[str, Any],
        sequence: Iterator[int],
        closing: Callable[[], bytes],
        *,
        shift: int,
    ) -> None:
        self.begun = False
        self.done: list[Any] = []
        self._response = response
        self._sequence = sequence
        self._closing = closing
        self._shift = shift
        self._next_index = shift
        self._indices: dict[str, int] = {}  # id or call_id of an item -> its place

    def begin(self) -> bytes:
        """Return the end of our own item."""
        self.begun = True
        return self._closing()

    def edit(self, frame: bytes) -> bytes:
        """Return a frame as the client gets it; empty to omit it."""
        value = read_object(read_event(frame))
        if value is None or not isinstance(kind := value.get("type"), str):
            return frame
        if kind in _BEGINNINGS:
            return b""
        if isinstance(response := value.get("response"), dict):
            value["response"] = self._merged(kind, response)
        if any(name in value for name in ("item", "item_id", "output_index")):
            value["output_index"] = self._index(kind, value)
        if kind.startswith(_PARTS):
            value.setdefault("content_index", 0)
        if kind == "response.output_item.done":
            self.done.append(value.get("item"))
        value["sequence_number"] = next(self._sequence)
        return with_data(frame, value)

    def _merged(self, kind: str, response: dict[str, Any]) -> dict[str, Any]:
        """Return the upstream's response under our id, without our item."""
        merged = {**self._response, **response, "id": self._response["id"]}
        if kind in _ENDINGS and not isinstance(response.get("output"), list):
            merged["output"] = self.done
        return merged

    def _index(self, kind: str, value: dict[str, Any]) -> int:
        """Return the index of an event's item, ours included."""
        item = value.get("item")
        names = [value.get("item_id")]
        if isinstance(item, dict):
            names += [item.get("id"), item.get("call_id")]
        known = [name for name in names if isinstance(name, str)]
        given = value.get("output_index")
        if isinstance(given, int):
            index = given + self._shift
        elif kind == "response.output_item.added":
            index = self._next_index
        else:
            last = max(self._next_index - 1, self._shift)
            index = next((self._indices[name] for name in known if name in self._indices), last)
        if kind == "response.output_item.added":
            self._next_index = max(self._next_index, index + 1)
            self._indices |= dict.fromkeys(known, index)
        return index
