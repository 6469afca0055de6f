"""Events are counted on their way to subscribers."""

from arriero.protocol.events import AnyEvent

from ..scheduling.dispatcher import EventSink
from .tallies import Tallies


class CountedEvents:
    """Publishes as `sink` does, and lets each event be counted.

    Args:
        sink: Numbers and publishes.
        tallies: Counts.
    """

    def __init__(self, sink: EventSink, tallies: Tallies) -> None:
        self._sink = sink
        self._tallies = tallies

    @property
    def epoch(self) -> str:
        """Of all events of this supervisor."""
        return self._sink.epoch

    @property
    def seq(self) -> int:
        """Number of the last event."""
        return self._sink.seq

    @property
    def log_seq(self) -> int:
        """Number of the last log line."""
        return self._sink.log_seq

    @property
    def usage_seq(self) -> int:
        """Number of the last end of a request."""
        return self._sink.usage_seq

    def publish(self, *events: AnyEvent) -> None:
        """Publish `events`, in this order."""
        self._sink.publish(*events)
        for event in events:
            self._tallies.note_event(event)
