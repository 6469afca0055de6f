"""JSON from outside -> values. Total: any bytes give a value, or one error.

msgspec raises three unrelated exceptions at hostile text, and this is the one place that has to
know them. Of members with one name the last counts. How many bytes are read is for the caller to
bound, who knows what an honest text has.
"""

from typing import Any, Final, Generic, TypeVar

import msgspec

_T = TypeVar("_T")

# Broken, or of another shape; broken UTF-8; nested deeper than Python's limit of recursion.
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class BadJson(ValueError):
    """The text is not JSON, or has another shape.

    The message has the mistake and its place.
    """


class JsonReader(Generic[_T]):
    """Reads texts of one shape. To be built once: msgspec compiles it."""

    __slots__ = ("_decode",)

    def __init__(self, shape: type[_T]) -> None:
        self._decode = msgspec.json.Decoder(shape).decode

    def read(self, data: bytes | str | msgspec.Raw) -> _T:
        """Return the value of `data`.

        Raises:
            BadJson: It has none of this shape.
        """
        try:
            return self._decode(data)
        except UNREADABLE as exc:
            raise BadJson(str(exc)) from exc

    def find(self, data: bytes | str | msgspec.Raw) -> _T | None:
        """Return the value of `data`; None if it has none of this shape."""
        try:
            return self._decode(data)
        except UNREADABLE:
            return None


def json_value(data: bytes) -> object:
    """Return the value of `data`; None if it is not JSON."""
    try:
        return msgspec.json.decode(data)
    except UNREADABLE:
        return None


def json_object(data: bytes) -> dict[str, Any] | None:
    """Return the members of `data`; None if it is not a JSON object."""
    value = json_value(data)
    return value if isinstance(value, dict) else None
