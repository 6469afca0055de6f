"""What one reader of ``/api/events`` gets next. Pure.

Source of the messages: llama-swap v250, `GET /api/events`.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final, Protocol

import msgspec

from .inflight import InflightTable
from .line_reader import LineReader

# Changes that wait for one reader. Of more than that it gets the whole list of what runs, or the
# newest: nobody is told what is not true any more.
_MAX_WAITING: Final = 128


class FeedFacts(Protocol):
    """What all readers of events are told."""

    @property
    def inflight(self) -> InflightTable:
        """The requests that run."""

    def model_status(self) -> str:
        """Return how all models stand, as JSON."""

    def profile(self) -> str:
        """Return the chosen profile, as JSON."""

    def page_settings(self) -> str:
        """Return settings for pages, as JSON."""


class _LogData(msgspec.Struct, frozen=True):
    source: str
    data: str


class _Message(msgspec.Struct, frozen=True):
    type: str
    data: str


class RecordJournal:
    """Numbers of the last records, for all readers.

    Attributes:
        count: How many there were.
    """

    def __init__(self) -> None:
        self.count = 0
        self._last: deque[int] = deque(maxlen=_MAX_WAITING)

    def add(self, number: int) -> None:
        """Note that there is a record with that number."""
        self.count += 1
        self._last.append(number)

    def since(self, count: int) -> list[int]:
        """Return the numbers after the first `count`: the newest, if there are many."""
        return list(self._last)[-(self.count - count) :] if count < self.count else []


class FeedReader:
    """What waits for one reader: little, however slowly it reads.

    Args:
        own: Lines of arriero's log.
        output: Lines of models.
        ids: Numbers of records.
    """

    def __init__(self, own: LineReader, output: LineReader, ids: "RecordJournal") -> None:
        self.own = own
        self.output = output
        self._journal = ids
        self._told_ids = ids.count
        self._is_status_due = True
        self._profile = ""
        self._told_settings = False
        self._changed: dict[str, None] = {}
        self._is_snapshot_due = True

    def states_changed(self) -> None:
        """Note that models, or the configuration, are other than before."""
        self._is_status_due = True

    def inflight_changed(self, ids: list[str]) -> None:
        """Note that these requests are other than before, or gone."""
        if not self._is_snapshot_due:
            self._changed.update(dict.fromkeys(ids))
            if len(self._changed) > _MAX_WAITING:
                self.lost_inflight()

    def lost_inflight(self) -> None:
        """Note that nothing is known of them: all of them are due."""
        self._changed.clear()
        self._is_snapshot_due = True

    def take(self, facts: FeedFacts, now: float) -> bytes:
        """Return the messages that are due.

        Args:
            facts: What they are made from.
            now: Unix time.
        """
        return b"".join(self._messages(facts, now))

    def _messages(self, facts: FeedFacts, now: float) -> Iterator[bytes]:
        for source, lines in (("proxy", self.own), ("upstream", self.output)):
            if text := lines.take():
                yield log_message(source, text)
        if self._is_status_due:
            self._is_status_due = False
            yield message("modelStatus", facts.model_status())
            if not self._told_settings:
                self._told_settings = True
                yield message("uiConfig", facts.page_settings())
            if (profile := facts.profile()) != self._profile:
                self._profile = profile
                yield message("profileChanged", profile)
        for number in self._journal.since(self._told_ids):
            yield message("activity", f'{{"id":{number}}}')
        self._told_ids = self._journal.count
        if self._is_snapshot_due:
            self._is_snapshot_due = False
            yield message("inflight", _json(facts.inflight.snapshot(now)))
        for request_id in self._changed:
            yield message("inflight", _json(facts.inflight.change(request_id, now)))
        self._changed.clear()


def log_message(source: str, text: str) -> bytes:
    """Return the message of some lines of a log."""
    return message("logData", _json(_LogData(source, text)))


def message(kind: str, data: str) -> bytes:
    """Return one message.

    Args:
        kind: Its type.
        data: JSON.
    """
    return b"event:message\ndata:%b\n\n" % msgspec.json.encode(_Message(kind, data))


def _json(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode()
