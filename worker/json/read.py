"""JSON texts -> values, where that takes no long time."""

from typing import Any

import msgspec

from arriero.protocol.read_json import UNREADABLE

from .spans import is_light


def light_value(data: bytes) -> object:
    """Return the value of `data`; None if it is not JSON, or has too many values (`is_light`)."""
    try:  # not `json_value`: a stream has many frames, and a call costs
        return msgspec.json.decode(data) if is_light(data) else None
    except UNREADABLE:
        return None


def light_object(data: bytes) -> dict[str, Any] | None:
    """Return the members of `data`; None if it is not a JSON object, or has too many values."""
    value = light_value(data)
    return value if isinstance(value, dict) else None
