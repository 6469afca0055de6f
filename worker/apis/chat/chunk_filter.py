"""Removes chunks that only we have asked for.

Everything else passes byte for byte. A chunk is taken out only as the whole frame that it is, and
only if there is nothing in it besides what was asked for: no text, no reasoning, no call of a tool,
no reason for the end.
"""

from typing import Any, Final

from ...json.read import light_object
from ...streams.sse_events import EventReader
from ...streams.sse_frames import split_frames

_USAGE: Final = b'"usage"'
_PROGRESS: Final = b'"prompt_progress"'


class ChunkFilter:
    """Filters one stream of chunks, OpenAI's or llama-server's own.

    Attributes:
        taken: How many chunks were taken out.
    """

    def __init__(self, *, usage: bool, progress: bool) -> None:
        """Build it.

        Args:
            usage: Take out the chunk with the usage, which has no choices.
            progress: Take out chunks that tell of the prompt only.
        """
        self.taken = 0
        self._usage = usage
        self._progress = progress

    def filter(self, frames: bytes) -> bytes:
        """Return whole `frames` without them; the same object without any.

        A piece of a frame that was too long to be kept must not be given to it.
        """
        if not (
            (self._usage and frames.rfind(_USAGE) >= 0)
            or (self._progress and frames.rfind(_PROGRESS) >= 0)
        ):
            return frames
        all_frames = list(split_frames(frames))
        kept = [frame for frame in all_frames if not self._is_unasked(frame)]
        if len(kept) == len(all_frames):
            return frames
        self.taken += len(all_frames) - len(kept)
        return b"".join(kept)

    def _is_unasked(self, frame: bytes) -> bool:
        chunk = _chunk_in(frame)
        return chunk is not None and (
            (self._usage and is_only_usage(chunk)) or (self._progress and is_only_progress(chunk))
        )


def is_only_usage(chunk: dict[str, Any]) -> bool:
    """Whether `chunk` has its stream's usage and nothing else."""
    return chunk.get("choices") == [] and isinstance(chunk.get("usage"), dict)


def is_only_progress(chunk: dict[str, Any]) -> bool:
    """Whether `chunk` has prompt progress and nothing else."""
    if not isinstance(chunk.get("prompt_progress"), dict) or chunk.get("error"):
        return False
    choices = chunk.get("choices")
    if not isinstance(choices, list):  # llama-server's own form
        return not chunk.get("content") and not chunk.get("stop")
    return not chunk.get("usage") and all(_is_empty(choice) for choice in choices)


# What a choice may hold and still say nothing. `role` is said again in the first real chunk.
_SAYS_NOTHING: Final = frozenset({"index", "role", "delta"})


def _is_empty(choice: object) -> bool:
    """Whether a choice, or a delta, has no content."""
    if not isinstance(choice, dict):
        return False
    delta = choice.get("delta")
    if delta is not None and not _is_empty(delta):
        return False
    return not any(value for name, value in choice.items() if name not in _SAYS_NOTHING)


def _chunk_in(frame: bytes) -> dict[str, Any] | None:
    events = list(EventReader().push(frame))
    return light_object(events[0].data) if len(events) == 1 else None
