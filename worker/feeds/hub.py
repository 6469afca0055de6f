"""Who follows logs and events in this worker; gives each what is for it. Pure, but for wakes."""

from collections.abc import AsyncGenerator, Callable, Collection, Generator
from contextlib import contextmanager
from typing import Final, NamedTuple, Protocol

import trio

from arriero.protocol.events import (
    AnyEvent,
    Heartbeat,
    InflightChanged,
    LogLine,
    OwnLine,
    RequestEnded,
)

from ..connections.connection import Wakeup
from ..errors import Unavailable
from .feed_reader import FeedReader, RecordJournal
from .inflight import InflightTable
from .line_reader import LineJournal, LineReader, told_loss
from .live_state import LivePosition, LiveState

# Readers of one worker.
MAX_READERS: Final = 200


class WantedLines(NamedTuple):
    """Which lines somebody wants.

    Attributes:
        own: Those of arriero's log.
        output: Those of models.
        model: Of this one only.
    """

    own: bool = False
    output: bool = False
    model: str | None = None


class LogPages(Protocol):
    """Reads logs and events for pages; see `feed_link.FeedLink`."""

    async def text(self, wanted: WantedLines) -> str:
        """Return the last lines."""

    def lines(self, wanted: WantedLines, *, past: bool) -> AsyncGenerator[bytes, None]:
        """Yield the last lines, then those that come."""

    def events(self) -> AsyncGenerator[bytes, None]:
        """Yield messages on all that happens."""

    def live(
        self, after: LivePosition | None, parts: Collection[str] = ()
    ) -> AsyncGenerator[bytes, None]:
        """Yield how all stands, then what changes."""


class NoLogPages:
    """Stands for it where there is no supervisor."""

    async def text(self, wanted: WantedLines) -> str:
        """Refuse."""
        del wanted
        raise _nobody()

    def lines(self, wanted: WantedLines, *, past: bool) -> AsyncGenerator[bytes, None]:
        """Refuse."""
        del wanted, past
        raise _nobody()

    def events(self) -> AsyncGenerator[bytes, None]:
        """Refuse."""
        raise _nobody()

    def live(
        self, after: LivePosition | None, parts: Collection[str] = ()
    ) -> AsyncGenerator[bytes, None]:
        """Refuse."""
        del after, parts
        raise _nobody()


def _nobody() -> Unavailable:
    return Unavailable("cannot ask now: there is no supervisor", code="supervisor_lost")


class FollowerLink:
    """One who follows, and how it is woken.

    Attributes:
        wanted: Lines that it wants.
        own, output: They wait here.
        events: Other events as well, for a reader of events; else None.
        is_live: It wants to know of what changes.
        wants_running: Also of the requests that run.
        wakeup: Set when there is something, after `arm`.
    """

    def __init__(
        self,
        wanted: WantedLines,
        own: LineReader,
        output: LineReader,
        events: FeedReader | None,
        *,
        is_live: bool = False,
        wants_running: bool = False,
    ) -> None:
        self.is_live = is_live
        self.wants_running = wants_running
        self.wanted = wanted
        self.own = own
        self.output = output
        self.events = events
        self.wakeup = Wakeup()

    def arm(self) -> None:
        """Have it woken by the next line that it wants."""
        for is_wanted, reader in (
            (self.wanted.own, self.own),
            (self.wanted.output, self.output),
        ):
            if is_wanted:
                reader.journal.arm(self.wakeup)

    def disarm(self) -> None:
        """Have it woken no more."""
        self.own.journal.disarm(self.wakeup)
        self.output.journal.disarm(self.wakeup)


class FeedHub:
    """The followers of one worker.

    Args:
        on_first: Called when somebody follows and nobody did before.

    Attributes:
        on_order: Called when the supervisor wants to know which requests run here, or no more.
        on_another_supervisor: Called when there is another one.
        followers: All of them.
        inflight: The requests that run, while anybody follows events.
        live: How all stands, while anybody watches.
        is_stale: Set when the state has to be asked for.
        records: Numbers of the last records.
        is_sure: Set while nothing that happens is missed.
        is_over: This worker ends: nothing more is followed.
    """

    def __init__(self, on_first: Callable[[], None] = lambda: None) -> None:
        self.on_first = on_first
        self.on_order: Callable[[bool], None] = lambda wanted: None
        self.on_another_supervisor: Callable[[], None] = lambda: None
        self.followers: set[FollowerLink] = set()
        self.inflight = InflightTable()
        self.live = LiveState()
        self.is_stale = trio.Event()
        self.is_sure = trio.Event()
        self.is_over = False
        self.records = RecordJournal()
        self._journals: dict[tuple[str, str | None], LineJournal] = {}
        self._last: dict[str, int] = {}

    @contextmanager
    def following(
        self,
        wanted: WantedLines,
        *,
        events: bool = False,
        live: bool = False,
        running: bool = False,
    ) -> Generator[FollowerLink, None, None]:
        """Follow while the block runs.

        Args:
            wanted: Lines that are wanted.
            events: Other events are wanted as well.
            live: What changes is wanted.
            running: The requests that run are wanted as well.

        Raises:
            Unavailable: As many follow as may.
        """
        if len(self.followers) >= MAX_READERS:
            raise Unavailable(
                f"cannot show this now: {MAX_READERS} others follow logs and events here already",
                code="too_many_readers",
            )
        keys = (("own", None), ("output", wanted.model))
        own, output = (LineReader(self._journals.setdefault(it, LineJournal())) for it in keys)
        reader = FeedReader(own, output, self.records) if events else None
        follower = FollowerLink(
            wanted, own, output, reader, is_live=live, wants_running=running or events
        )
        own.journal.readers += 1
        output.journal.readers += 1
        self.followers.add(follower)
        if len(self.followers) == 1:
            self.on_first()
        if live:
            self.is_stale.set()
        try:
            yield follower
        finally:
            self.followers.discard(follower)
            follower.disarm()
            if live and not self.is_watched:
                self.live.forget()
            for key, journal in zip(keys, (own.journal, output.journal), strict=True):
                journal.readers -= 1
                if not journal.readers:
                    del self._journals[key]

    @property
    def follows_events(self) -> bool:
        """Whether anybody wants to know which requests run."""
        return any(one.wants_running for one in self.followers)

    @property
    def is_watched(self) -> bool:
        """Whether anybody wants to know of all that changes."""
        return any(one.is_live for one in self.followers)

    def begin_anew(self) -> None:
        """Note that what happens is missed from here on, until `is_sure` is set."""
        self.is_sure = trio.Event()
        self._last.clear()
        self.inflight.clear()
        self.live.forget()

    def over(self) -> None:
        """Let all go."""
        self.is_over = True
        self._wake()

    def states_changed(self) -> None:
        """Tell that models, or the configuration, are other than before."""
        for one in self.followers:
            if one.events is not None:
                one.events.states_changed()
                one.wakeup.set()

    def live_changed(self) -> None:
        """Wake those who watch."""
        for one in self.followers:
            if one.is_live:
                one.wakeup.set()

    def take(self, event: AnyEvent) -> None:
        """Give an event to those who want it."""
        if self.live.is_known and not isinstance(event, LogLine | OwnLine):
            version = self.live.version
            if not self.live.take(event):
                self.is_stale.set()
            if self.live.version != version:
                self.live_changed()
        match event:
            case Heartbeat():
                self.is_sure.set()
            case OwnLine(seq=seq, line=line):
                self._lines("own", None, seq, line)
            case LogLine(seq=seq, line=line, model=model):
                self._lines("output", model, seq, line)
            case RequestEnded(seq=seq):
                self.records.add(seq)
                self._wake_readers_of_events()
            case InflightChanged(worker=worker, requests=requests):
                if ids := self.inflight.replace(worker, requests):
                    for one in self.followers:
                        if one.events is not None:
                            one.events.inflight_changed(ids)
                            one.wakeup.set()
            case _:
                pass

    def _lines(self, kind: str, model: str | None, seq: int, line: str) -> None:
        missed = seq - self._last.get(kind, seq - 1) - 1
        self._last[kind] = seq
        if missed > 0:
            for of, journal in self._journals.items():
                if of[0] == kind:
                    journal.put(seq, told_loss(missed).rstrip())
        for key in dict.fromkeys(((kind, None), (kind, model))):
            if (found := self._journals.get(key)) is not None:
                found.put(seq, line)

    def _wake_readers_of_events(self) -> None:
        for one in self.followers:
            if one.events is not None:
                one.wakeup.set()

    def _wake(self) -> None:
        for one in self.followers:
            one.wakeup.set()
