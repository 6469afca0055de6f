"""Members of a foreign JSON object: of the expected type, or a default."""

from collections.abc import Mapping
from typing import Any, Final

# More than any request can use: a larger count is nonsense.
MAX_COUNT: Final = 2**40


def mapping_in(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the object under `name`; an empty one without it."""
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def list_in(value: Mapping[str, Any], name: str) -> list[Any]:
    """Return the list under `name`; an empty one without it."""
    found = value.get(name)
    return found if isinstance(found, list) else []


def text_in(value: Mapping[str, Any], name: str) -> str | None:
    """Return the text under `name`; None without it, or if empty."""
    found = value.get(name)
    return found if isinstance(found, str) and found else None


def count_in(value: Mapping[str, Any], name: str, otherwise: int = 0) -> int:
    """Return the count under `name`; `otherwise` without a plausible one."""
    found = value.get(name)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= MAX_COUNT:
        return otherwise
    return found


def milliseconds_in(value: Mapping[str, Any], name: str) -> float | None:
    """Return the time under `name`; None without a plausible one."""
    found = value.get(name)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < 1e12:
        return None
    return float(found)
