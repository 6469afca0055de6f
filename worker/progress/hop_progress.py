"""Progress between two programs of this kind: how the model stands that another machine loads.

The one that passes a request on asks for it in a header that ``Connection`` names, so nothing
between the two (nginx, llama-swap) passes it on: who is asked can be sure that it is heard. What it
says are interim responses (102), each with a `ModelView` as JSON. So nothing of the response
has been said yet: it may be one with any status still, or come from another machine; and the client
is told in its own mode, by the one that it has asked.

Rule 1: nothing here waits or reads a clock. The caller passes the time and sends what it gets.
Rule 2: who says it is another program, which may be wrong: numbers are brought within bounds.
"""

import math
from typing import Final

import msgspec
from msgspec.structs import replace

from arriero.protocol.read_json import JsonReader

from .model_view import ModelView
from .status_stream import clean

FIELD: Final = b"x-arriero-progress"
"""Asks for it; in small letters."""

ASKING_LINES: Final = b"Connection: X-Arriero-Progress\r\nX-Arriero-Progress: 1\r\n"
"""What a request says that asks for it."""

INTERIM: Final = b"HTTP/1.1 102"
"""What such a response begins with."""

_HEAD: Final = b"HTTP/1.1 102 Processing\r\nX-Arriero-Progress: %b\r\n\r\n"
_VALUE: Final = b"\r\nx-arriero-progress:"

# Silence before the first word: a model that is ready answers within it.
_FIRST_S: Final = 0.1

# Between two words, at least; and at most, as a sign of life: response timeouts are a minute.
_PAUSE_S: Final = 0.5
_SILENCE_S: Final = 5.0

# Of names of other models, and of the JSON of one view.
_NAME_CHARS: Final = 40
_MAX_BYTES: Final = 1000

_MOST: Final = 10_000
_MOST_S: Final = 86400.0

_views: Final = JsonReader(ModelView)


class HopProgress:
    """What one request says of its wait to the program that has passed it on.

    Args:
        now: When it began to wait, on the caller's clock.
    """

    step: Final = 1

    def __init__(self, now: float) -> None:
        self._due_at = now + _FIRST_S
        self._told: ModelView | None = None
        self._told_at = -math.inf
        self._has_news = True

    def next_deadline(self) -> float:
        """Return when `on_time` has something to do, if nothing changes before."""
        return self._due_at if self._has_news else self._told_at + _SILENCE_S

    def on_time(self, now: float, view: ModelView) -> bytes:
        """Return the interim response that is to be sent now; empty for none."""
        told = _rounded(view)
        self._has_news = told != self._told
        if now < self._due_at or not (self._has_news or now >= self._told_at + _SILENCE_S):
            return b""
        self._told, self._told_at, self._due_at = told, now, now + _PAUSE_S
        self._has_news = False
        return _HEAD % msgspec.json.encode(told)


def _rounded(view: ModelView) -> ModelView:
    fraction = None if view.fraction is None else math.floor(view.fraction * 100) / 100
    eta_s = None if view.eta_s is None else float(math.ceil(view.eta_s))
    other = clean(view.other, _NAME_CHARS).replace('"', "'")
    return replace(view, fraction=fraction, eta_s=eta_s, other=other, host="")


def read_progress(head: bytes, host: str) -> ModelView | None:
    """Return what an interim response says; None if it says nothing of this kind.

    Args:
        head: All of its head.
        host: What we call the machine that says it.
    """
    at = head.lower().find(_VALUE)
    if at < 0:
        return None
    at += len(_VALUE)
    value = head[at : head.find(b"\r\n", at)].strip()
    view = _views.find(value) if len(value) <= _MAX_BYTES else None
    if view is None:
        return None
    fraction = None if view.fraction is None else min(1.0, max(0.0, view.fraction))
    eta_s = None if view.eta_s is None else min(_MOST_S, max(0.0, view.eta_s))
    return replace(
        view,
        ahead=min(_MOST, max(0, view.ahead)),
        requests=min(_MOST, max(0, view.requests)),
        fraction=fraction,
        eta_s=eta_s,
        other=clean(view.other, _NAME_CHARS),
        host=host,
    )
