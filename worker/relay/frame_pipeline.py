"""The frames of one stream between upstream and client.

In order: a copy is read for the account; progress of the prompt is passed on, in the style that the
client asked for; chunks that only we asked for are removed. Where none of that applies the frames
pass as the same object.
"""

import re
from typing import Final

from ..accounting.account import Account
from ..accounting.response_reader import read_frames, read_message
from ..apis.chat.chunk_filter import ChunkFilter
from ..json.read import light_value
from ..progress.prefill import PrefillProgress, read_prompt
from ..progress.status_stream import StatusStream
from ..streams.aws_event_stream import EventStreamMessage
from ..streams.sse_events import EventReader
from ..streams.stream_end import DATA

_PROGRESS: Final = b'"prompt_progress"'
# Bytes among which no id was looked for yet.
_MAX_UNSEARCHED_BYTES: Final = 64 * 1024

_ID_LINE: Final = re.compile(rb"(?:^|[\r\n])id:")


class FramePipeline:
    """The steps that the frames of one stream go through.

    Args:
        account: Of the request.
        now: When it begins.
        chunks: Removes chunks that only we asked for; None for none.
        prefill: Reports progress of the prompt, if the client asked for it.
        status: Reports the same in lines, if the client was told of the load in lines.

    Attributes:
        data_at: When the last frame came that was more than a heartbeat.
    """

    __slots__ = (
        "_account", "_chunks", "_has_ids", "_plain", "_prefill", "_status", "_unsearched",
        "_unsearched_bytes", "data_at",
    )  # fmt: skip

    def __init__(
        self,
        account: Account,
        now: float,
        *,
        chunks: ChunkFilter | None = None,
        prefill: PrefillProgress | None = None,
        status: StatusStream | None = None,
    ) -> None:
        self.data_at = now
        self._has_ids = False
        self._unsearched: list[bytes] = []
        self._unsearched_bytes = 0
        self._account = account
        self._chunks = chunks
        self._prefill = prefill
        self._status = status
        self._plain = chunks is None and prefill is None and status is None

    @property
    def has_ids(self) -> bool:
        """Whether an ``id`` of an event has passed.

        openai-python takes any blank line that follows for an event, and fails at it.
        """
        if self._unsearched:
            self._search()
        return self._has_ids

    def _search(self) -> None:
        """Look for ids in all that has passed since the last time.

        It takes a third of the time of a short stream, and only who sends a heartbeat has to know.
        """
        frames = b"".join(self._unsearched)
        self._unsearched.clear()
        self._unsearched_bytes = 0
        self._has_ids = frames.find(b"id:") >= 0 and _ID_LINE.search(frames) is not None

    def take(self, frames: bytes, now: float) -> bytes:
        """Return whole `frames` as the client gets them."""
        self.look(frames, now)
        if self._plain:
            return frames
        words = self._words(frames, now)
        if self._chunks is not None:
            frames = self._chunks.filter(frames)
        return words + frames if words else frames

    def look(self, frames: bytes, now: float) -> None:
        """Read whole `frames` that somebody else passes on."""
        read_frames(self._account, frames, now)
        if frames[:5] == b"data:" or DATA.search(frames):
            self.data_at = now
        if not self._has_ids:
            self._unsearched.append(frames)
            self._unsearched_bytes += len(frames)
            if self._unsearched_bytes > _MAX_UNSEARCHED_BYTES:
                self._search()

    def look_at(self, message: EventStreamMessage, now: float) -> None:
        """Read a message of Amazon's event stream that somebody else passes on."""
        read_message(self._account, message, now)
        self.data_at = now

    def end(self, now: float) -> bytes:
        """Return the last report on the prompt, unless it was sent."""
        return self._prefill.on_first_token(now) if self._prefill is not None else b""

    def _words(self, frames: bytes, now: float) -> bytes:
        """Return reports on the prompt that go before these frames."""
        if self._prefill is None and self._status is None:
            return b""
        words = b""
        if frames.find(_PROGRESS) >= 0:
            for event in EventReader().push(frames):
                prompt = read_prompt(light_value(event.data)) if _PROGRESS in event.data else None
                if prompt is None:
                    continue
                if self._prefill is not None:
                    words += self._prefill.on_prompt(now, prompt)
                if self._status is not None:
                    words += b"".join(self._status.on_prompt(now, prompt.fraction))
        if self._account.has_token:
            words += self.end(now)
            self._prefill = self._status = None
            self._plain = self._chunks is None
        return words
