"""For how long a model is to be kept after a request, as Ollama's clients write it."""

import re

from arriero.protocol.read_json import json_value

from ...errors import BadRequest

# Durations as Go writes them.
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_COUNT = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
_UNIT = "ns|us|ms|s|m|h"
_PART = re.compile(rf"({_COUNT})({_UNIT})")
_DURATION = re.compile(rf"([+-]?)((?:{_COUNT}(?:{_UNIT}))+)")
_MAX_DURATION_CHARS = 40


def read_keep_alive(text: bytes) -> float | None:
    """Return the seconds that a JSON value of ``keep_alive`` means; None for no limit.

    Source: Ollama's API, "Generate a completion": seconds, or a duration of Go such as ``1h30m``;
    what is negative is for ever.

    Raises:
        BadRequest: It means none.
    """
    value = json_value(text)
    if value is None and text.strip() == b"null":
        return None
    seconds: float | None = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str) and len(value) <= _MAX_DURATION_CHARS:
        seconds = _duration_s(value)
    if seconds is None:
        raise BadRequest(
            "cannot tell how long the model is to be kept: 'keep_alive' is a number of seconds, a "
            'duration such as "5m", 0, or -1 for as long as the configuration says'
        )
    return seconds if seconds >= 0 else None


def _duration_s(text: str) -> float | None:
    whole = _DURATION.fullmatch(text)
    if whole is None:
        return None
    seconds = sum(float(count) * _UNITS_S[unit] for count, unit in _PART.findall(whole[2]))
    return -seconds if whole[1] == "-" else seconds
