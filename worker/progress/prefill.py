"""Tells a client that asked for it how far its prompt is read.

Rule 1: nothing here waits or reads a clock. The caller passes the time and sends what it gets.
Rule 2: one object per request; the numbers of another one cannot get into it.
Rule 3: nothing is said from the first token on. If anything was said, the last word is "complete".

Three styles: `event` is a named event with CRLF, for clients that know it (strict ones break at
it); `chunk` an empty chunk with ``prompt_progress``; `comment` a comment.

The chunks of llama-server itself are taken out in all three (see `chunk_filter`), in `chunk` as
well: each of them says ``"role":"assistant"``, and helpers of clients put the roles of all chunks
together, ``assistantassistant``.
"""

import math
from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec

from ..apis.base.api import ChunkShape
from ..limits import LIMITS

Style: TypeAlias = Literal["event", "chunk", "comment"]
Phase: TypeAlias = Literal["queued", "loading", "prefill"]

# Request fields that ask for it, in small letters; neither goes upstream. The second is SwiftLM's.
FIELDS: Final = (b"x-prefill-progress", b"x-swiftlm-prefill-progress")

_STYLES: Final[dict[bytes, Style]] = {
    b"1": "event",
    b"true": "event",
    b"yes": "event",
    b"on": "event",
    b"event": "event",
    b"chunk": "chunk",
    b"comment": "comment",
}

# More than any prompt has: a larger count is nonsense.
_MOST: Final = 2**40


def style_of(fields: Sequence[tuple[bytes, bytes]]) -> Style | None:
    """Return what the fields of a request ask for; None for nothing.

    Args:
        fields: All of them, names in small letters. Of several values the first one counts, and
            our own name goes before SwiftLM's.
    """
    for wanted in FIELDS:
        for name, value in fields:
            if name == wanted:
                return _STYLES.get(value.strip(b" \t").lower())
    return None


class Prompt(msgspec.Struct, frozen=True):
    """How far a prompt is read, in tokens.

    Attributes:
        processed: Read by now, with those that were cached.
        total: All of them; 0 if nobody has said.
        cached: Of these: read earlier.
        time_ms: Milliseconds since the upstream began; None if nobody has said.
    """

    processed: int = 0
    total: int = 0
    cached: int = 0
    time_ms: int | None = None

    @property
    def fraction(self) -> float:
        """Share that is read, 0.0 to 1.0; 0.0 if there is nothing to read."""
        return min(1.0, self.processed / self.total) if self.total else 0.0

    @property
    def is_complete(self) -> bool:
        """Whether all is read; also if nobody has said how much that is."""
        return self.processed == self.total

    def completed(self) -> "Prompt":
        """Return how it stands when the answer begins."""
        return Prompt(self.total, self.total, self.cached, self.time_ms)


def read_prompt(chunk: object) -> Prompt | None:
    """Return what a chunk of llama-server says of the prompt; None if nothing, or nonsense."""
    found: Any = chunk.get("prompt_progress") if isinstance(chunk, dict) else None
    if not isinstance(found, dict):
        return None
    counts = [found.get(name, 0) for name in ("processed", "total", "cache", "time_ms")]
    for count in counts:
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= _MOST:
            return None
    processed, total, cached, time_ms = counts
    return Prompt(min(processed, total), total, min(cached, total), time_ms)


class PrefillProgress:
    """What one client is told of one prompt.

    Args:
        style: As it was asked for.
        shape: Of the chunks.
        ident: `id` of all chunks of this answer that are ours.
        created: Unix time, in whole seconds.
        model: Name as the client wrote it.
        came: When the request came, on the caller's clock.
        pause_s, every_s: Shortest and longest time between two reports.
    """

    def __init__(
        self,
        *,
        style: Style,
        shape: ChunkShape,
        ident: str,
        created: int,
        model: str,
        came: float,
        pause_s: float = LIMITS.prompt_pause_s,
        every_s: float = LIMITS.prompt_every_s,
    ) -> None:
        self._pause_s = pause_s
        self._every_s = every_s
        self._style = style
        self._shape = shape
        self._head = {"id": ident, "created": created, "model": model}
        self._came = came
        self._phase: Phase = "prefill"
        self._ahead: int | None = None
        self._prompt = Prompt()
        self._told: Prompt | None = None  # None: nothing was said yet
        self._told_at = came
        self._due_at = math.inf  # when news that had to wait may go
        self._over = False

    def next_deadline(self) -> float:
        """Return when `on_time` has something to do, if nothing changes before."""
        if self._over or self._is_mute:
            return math.inf
        return min(self._due_at, self._told_at + self._every_s)

    def on_phase(self, now: float, phase: Phase, ahead: int | None = None) -> bytes:
        """The request waits for its model; `ahead` of it are so many. Return what is to be sent."""
        changed = (phase, ahead) != (self._phase, self._ahead)
        self._phase, self._ahead = phase, ahead
        return self._news(now) if changed else b""

    def on_prompt(self, now: float, prompt: Prompt) -> bytes:
        """The upstream has told of the prompt. Return what is to be sent."""
        self._phase, self._ahead = "prefill", None
        self._prompt = prompt
        return self._news(now)

    def on_time(self, now: float) -> bytes:
        """Return what is to be sent now; to be called at deadlines."""
        return self._tell(now) if now >= self.next_deadline() else b""

    def on_first_token(self, now: float) -> bytes:
        """The answer begins, or ends without one. Return the last word, if it was not said yet.

        The last word does not wait for its turn: it would come after the first token.
        """
        if self._over:
            return b""
        self._prompt = self._prompt.completed()
        is_due = self._told is not None and not self._told.is_complete
        word = self._tell(now) if is_due else b""
        self._over = True
        return word

    # --- when ----------------------------------------------------------------------------------

    @property
    def _is_mute(self) -> bool:
        """Whether there is nothing to say: a chunk has numbers, or it is none."""
        return self._style == "chunk" and not self._prompt.total

    def _news(self, now: float) -> bytes:
        if self._over or self._is_mute:
            return b""
        if self._told is not None and now < self._told_at + self._pause_s:
            self._due_at = self._told_at + self._pause_s
            return b""
        return self._tell(now)

    def _tell(self, now: float) -> bytes:
        self._told = self._prompt
        self._told_at = now
        self._due_at = math.inf
        match self._style:
            case "event":
                return self._event(max(0, int(now - self._came)))
            case "chunk":
                return self._chunk()
            case "comment":
                return self._comment()

    # --- what ----------------------------------------------------------------------------------

    def _event(self, elapsed_s: int) -> bytes:
        prompt = self._prompt
        data: dict[str, object] = {
            "status": "processing",
            "n_past": prompt.processed,
            "n_prompt_tokens": prompt.total,
            "fraction": prompt.fraction,
            "elapsed_seconds": elapsed_s,
            "phase": self._phase,
        }
        if prompt.time_ms is not None:
            data |= {"cached": prompt.cached, "time_ms": prompt.time_ms}
        if self._ahead is not None:
            data["queue_position"] = self._ahead
        return b"event: prefill_progress\r\ndata: %b\r\n\r\n" % msgspec.json.encode(data)

    def _chunk(self) -> bytes:
        prompt = self._prompt
        numbers = {
            "total": prompt.total,
            "cache": prompt.cached,
            "processed": prompt.processed,
            "time_ms": prompt.time_ms or 0,
        }
        chunk = {
            **self._head,
            "object": self._shape.kind,
            "choices": [self._shape.empty_choice],
            "prompt_progress": numbers,
        }
        return b"data: %b\n\n" % msgspec.json.encode(chunk)

    def _comment(self) -> bytes:
        prompt = self._prompt
        numbers = b"%d/%d cache=%d" % (prompt.processed, prompt.total, prompt.cached)
        return b": %b %b\n\n" % (self._phase.encode(), numbers)
