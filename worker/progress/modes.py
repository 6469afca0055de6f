"""Mode of progress for a waiting client. Wire format, section 1."""

from typing import Final

from arriero.protocol.worker_config import ModelRoute

from ..apis.base.api import Api
from ..apis.base.dialect import Mode

_WORDS: Final[dict[bytes, Mode]] = {
    b"off": "off",
    b"comment": "comment",
    b"heartbeat": "heartbeat",
    b"reasoning": "reasoning",
    b"event": "event",
    b"1": "reasoning",
    b"true": "reasoning",
    b"yes": "reasoning",
    b"on": "reasoning",
    b"0": "off",
    b"false": "off",
    b"no": "off",
}

# Modes in which the body, comments taken out, equals the upstream's.
_STRICT: Final[frozenset[Mode]] = frozenset({"off", "comment"})

# Seconds of silence before an early 200, so that a short swap stays byte for byte what it was.
DELAY_S: Final[dict[Mode, float]] = {
    "off": 0.0,  # never commits
    "comment": 10.0,
    "heartbeat": 10.0,
    "reasoning": 1.0,
    "event": 1.0,
}


def choose_mode(
    header: bytes | None, route: ModelRoute, api: Api, *, stream: bool, body: bytes = b"{}"
) -> Mode:
    """Return the mode for one request; the first that applies.

    Args:
        header: Value of ``X-Swap-Progress``, or None.
        route: The model: `progress` and `strict` of the configuration.
        api: The API that is spoken; one that lacks a mode takes the next quieter one.
        stream: The client wants a stream; nothing can be said to one that does not.
        body: The request. One in an API where reasoning has to be asked for, and that has not, is
            shown reasoning only if its header says so.
    """
    if not stream or api.is_silent:
        return "off"
    wish = _WORDS.get(header.strip().lower()) if header is not None else None
    mode: Mode = wish if wish is not None else route.progress
    capped = route.strict == "force" or (route.strict == "on" and wish is None)
    if capped and mode not in _STRICT:
        mode = "comment"
    unasked = mode == "reasoning" and wish is None and not api.wants_thinking(body)
    if unasked or (mode not in _STRICT and mode not in api.modes):
        return "heartbeat"
    return "off" if mode == "comment" and mode not in api.modes else mode
