"""Turn events as a dialect: progress, errors, the response itself.

Each response goes through here, also when its client never waited: see `TurnDialect.merge`.
"""

from collections.abc import Mapping
from typing import Final

from ...errors import RelayError
from ...progress.prefill import Phase
from ..base.dialect import ProgressNumbers, ResponseEnd, TranslatingDialect
from ..base.usage import Usage
from .events import TurnEvents

# The phases of a turn are fewer than those of a load. A model that is ready reads the prompt.
_PHASES: Final[Mapping[str, Phase]] = {
    "queued": "queued",
    "draining": "queued",
    "stopping": "queued",
    "restarting": "queued",
    "placing": "queued",
    "loading": "loading",
    "warming": "loading",
    "restoring": "loading",
    "waking": "loading",
    "machine": "queued",
    "ready": "prefill",
    "prefill": "prefill",
}


class TurnMerge:
    """Makes events of the upstream's frames."""

    def __init__(self, events: TurnEvents) -> None:
        self._events = events

    def begin(self) -> bytes:
        """Return the first event, unless it was sent."""
        return self._events.start()

    def edit(self, frame: bytes) -> bytes:
        """Return the events for one frame; perhaps none."""
        return self._events.take(frame)


class TurnDialect(TranslatingDialect):
    """The events of a turn.

    Args:
        events: The events of the turn.
        marker: What the lines of `status_stream` begin with; people do not need it here.

    Attributes:
        merge, content_type: As in `TranslatingDialect`.
    """

    def __init__(self, events: TurnEvents, *, marker: str) -> None:
        self._events = events
        self._marker = marker
        self._phase: Phase = "queued"
        self.merge = TurnMerge(events)
        self.content_type = events.format.content_type

    @property
    def is_complete(self) -> bool:
        """Whether the upstream's response has ended, well or badly."""
        return self._events.is_complete

    def opening(self) -> bytes:
        """Return the first event."""
        return self._events.start()

    def line(self, text: str, numbers: ProgressNumbers | None) -> bytes:
        """Return `text` as a status."""
        message = text.removeprefix(self._marker).rstrip("\n")
        progress = None
        if numbers is not None:
            self._phase = _PHASES.get(numbers.phase, self._phase)
            # 100 % of the load say nothing of the prompt, which is read from now on
            if numbers.percent is not None and numbers.phase != "ready":
                progress = numbers.percent / 100
        return self._events.status(self._phase, progress, message)

    def heartbeat(self, numbers: ProgressNumbers | None) -> bytes:
        """Return an event without content: the stream lives."""
        return self._events.heartbeat()

    def event(self, numbers: ProgressNumbers) -> bytes:
        """Return a status in which the numbers have to do."""
        return self.line(numbers.phase, numbers)

    def failure(self, error: RelayError, sent_so_far: bytes = b"") -> bytes:
        """Return the last event of a turn that fails."""
        return self._events.failure(error)

    def interrupted(self, sent_so_far: bytes, usage: Usage, *, asked_usage: bool = False) -> bytes:
        """Return the last event of a cancelled turn, without counts."""
        return self._events.interrupted()

    def midway_heartbeat(self, after_id: bool) -> bytes:
        """Return the same as `heartbeat`: ids are in the data only."""
        return self._events.heartbeat()

    def finish(self, end: ResponseEnd) -> bytes:
        """Return the last events after a good end of the upstream."""
        return self._events.end()
