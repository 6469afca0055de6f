"""Numbers events and publishes them. Never waits for a subscriber."""

import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import trio
import zmq

from arriero.digests import random_hex
from arriero.protocol.codec import encode_event
from arriero.protocol.control.models import LogsLine
from arriero.protocol.events import AnyEvent, Heartbeat, OwnLine, RequestEnded, topic_of
from arriero.protocol.flood_log import FloodLog
from arriero.protocol.records import RequestRecord
from arriero.protocol.transport import FrameSocket, QueueLimits, Source, bound, cut

from .recent_decisions import RecentDecisions
from .subscriptions import MAX_TOPIC_BYTES, Subscriptions

if TYPE_CHECKING:
    from zmq import Context, Socket

log = logging.getLogger(__name__)

# Seconds between heartbeats: the longest time for which a lost last event goes unnoticed.
HEARTBEAT_S = 1.0

# A topic, and around it zmq's own words. That few wait, because zmq builds its tree of all that
# wait at once, in one call: 0.3 s for sixteen at a time, in a flood.
_BOUNDS = QueueLimits(message_bytes=MAX_TOPIC_BYTES + 32, received=1)

# Messages of subscribers that are read before an event goes out. More than that is a flood,
# and is looked at by a task of its own.
_MAX_AT_ONCE = 100

# Who subscribes to a topic that begins so, and to others before, gets a heartbeat at once.
_ECHO = b"\1echo/"

# While somebody subscribes to a topic that begins so, workers say which requests run.
_TELL_INFLIGHT = b"tell-inflight/"

_OWN_TOPIC = topic_of(OwnLine(line=""))


class Publisher:
    """Stamps events with epoch, number and time, and hands them to zmq.

    Attributes:
        socket: Where subscribers are.
        epoch: Of all events of this supervisor.
        seq: Number of the last event that is neither a log line nor the end of a request.
        log_seq: Number of the last log line.
        usage_seq: Number of the last end of a request.
        decisions: The last ones that were published.
    """

    def __init__(self, socket: FrameSocket) -> None:
        self.socket = socket
        self.door = socket.door
        self._numbers: dict[str, int] = {"events": 0}
        self._subscriptions = Subscriptions()
        self._asked_for_inflight = trio.Event()
        self.flood = FloodLog(log)
        self.epoch = random_hex(8)
        self.decisions = RecentDecisions()

    @property
    def seq(self) -> int:
        """Number of the last event that is neither a log line nor the end of a request."""
        return self._numbers["events"]

    @property
    def log_seq(self) -> int:
        """Number of the last log line; 0 before the first."""
        return self._numbers.get("log", 0)

    @property
    def own_seq(self) -> int:
        """Number of the last line of our own log; 0 before the first."""
        return self._numbers.get("own", 0)

    @property
    def usage_seq(self) -> int:
        """Number of the last end of a request; 0 before the first."""
        return self._numbers.get("usage", 0)

    async def inflight_wish(self) -> bool:
        """Wait for one more, or one less, who wants to hear which requests run.

        Returns:
            Whether anybody does.
        """
        await self._asked_for_inflight.wait()
        self._asked_for_inflight = trio.Event()
        return self._subscriptions.has_any(_TELL_INFLIGHT)

    def publish(self, *events: AnyEvent) -> None:
        """Number `events` and send them to the subscribers.

        A full subscriber misses some.
        """
        self._note_all()
        for event in events:
            if isinstance(event, Heartbeat):
                seq = self.seq
            else:
                seq = self._numbers.get(event.numbered_as, 0) + 1
                self._numbers[event.numbered_as] = seq
                if event.numbered_as != "events" and not self._is_wanted(event):
                    continue  # there may be thousands a second, and nobody else counts these
            stamped = self._stamped(event, seq)
            frames = encode_event(stamped)
            self.socket.send(frames)
            if event.numbered_as == "events":
                self.decisions.note(stamped, len(frames[-1]))

    def publish_ends(self, records: Sequence[RequestRecord]) -> None:
        """Publish the ends of requests; those that nobody wants to hear of are only counted."""
        self._note_all()
        wanted: dict[str, bool] = {}
        for record in records:
            if (is_wanted := wanted.get(record.model)) is None:
                is_wanted = self._is_wanted(RequestEnded(model=record.model, record=record))
                wanted[record.model] = is_wanted
            seq = self._numbers["usage"] = self._numbers.get("usage", 0) + 1
            if is_wanted:
                event = RequestEnded(model=record.model, record=record)
                self.socket.send(encode_event(self._stamped(event, seq)))

    def _stamped(self, event: AnyEvent, seq: int) -> AnyEvent:
        return msgspec.structs.replace(event, epoch=self.epoch, seq=seq, t=time.time())

    def publish_own(self, lines: Sequence[LogsLine]) -> None:
        """Publish lines of our own log; without a subscriber they are only counted."""
        self._note_all()
        if self._subscriptions.wants(_OWN_TOPIC):
            self.publish(*(OwnLine(line=line.line) for line in lines))
        else:
            self._numbers["own"] = self.own_seq + len(lines)

    async def note_subscriptions(self) -> None:
        """Read messages of subscribers, until cancelled."""
        while True:
            await self.socket.wait()
            self._note_all()

    def _note_all(self) -> None:
        for _ in range(_MAX_AT_ONCE):
            if (received := self.socket.receive_frame_now()) is None:
                return
            source, frame = received
            if frame.startswith(_ECHO):  # now it is heard: it says so at once, to that one
                _, beat = encode_event(self._stamped(Heartbeat(), self.seq))
                self.socket.send([frame[1:], beat])
            greedy = self._subscriptions.note(frame, source)
            if frame.startswith(_TELL_INFLIGHT, 1):
                self._asked_for_inflight.set()
            if isinstance(greedy, Source):
                self.flood.warning("events.cut reason='too many subscriptions'")
                cut(greedy)

    def _is_wanted(self, event: AnyEvent) -> bool:
        return self._subscriptions.wants(topic_of(event))


@asynccontextmanager
async def open_publisher(
    context: "Context[Socket[bytes]]", path: Path
) -> AsyncGenerator[Publisher, None]:
    """Publish on the unix socket `path`, with a heartbeat, while the block runs."""
    with bound(context, zmq.XPUB, path, _BOUNDS) as socket:
        publisher = Publisher(socket)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publisher.note_subscriptions)
            nursery.start_soon(publisher.flood.flush_regularly)
            nursery.start_soon(_beat, publisher)
            yield publisher
            nursery.cancel_scope.cancel()


async def _beat(publisher: Publisher) -> None:
    while True:
        await trio.sleep(HEARTBEAT_S)
        publisher.publish(Heartbeat())
