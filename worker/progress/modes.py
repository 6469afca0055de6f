"""The mode in which a waiting client is told of progress. Wire format, section 1."""

from typing import Final, Literal, TypeAlias

from arriero.protocol.worker_config import ModelRoute

from ..http.routes import Form

Mode: TypeAlias = Literal["off", "comment", "heartbeat", "reasoning", "event"]

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


# Forms with a channel for reasoning, and those with named events.
_REASONS: Final = frozenset({Form.CHAT, Form.MESSAGES, Form.RESPONSES})
_NAMES_EVENTS: Final = frozenset({Form.CHAT, Form.COMPLETION})


def choose_mode(
    header: bytes | None, route: ModelRoute, form: Form, *, stream: bool, thinks: bool = True
) -> Mode:
    """Return the mode for one request; the first that applies.

    Args:
        header: Value of ``X-Swap-Progress``, or None.
        route: The model: `progress` and `strict` of the configuration.
        form: Shape of the answers; one that lacks a mode takes the next quieter one.
        stream: The client wants a stream; nothing can be said to one that does not.
        thinks: The client has asked for thinking. One of Anthropic's that has not is told in a
            block of thinking only if its header says so.
    """
    if not stream or form.is_plain:
        return "off"
    wish = _WORDS.get(header.strip().lower()) if header is not None else None
    mode: Mode = wish if wish is not None else route.progress
    capped = route.strict == "force" or (route.strict == "on" and wish is None)
    if capped and mode not in _STRICT:
        return "comment"
    if mode == "event" and form not in _NAMES_EVENTS:
        return "heartbeat"
    if mode == "reasoning":
        unasked = form is Form.MESSAGES and not thinks and wish is None
        if unasked or form not in _REASONS:
            return "heartbeat"
    return mode
