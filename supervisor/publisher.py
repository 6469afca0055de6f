"""Numbers events and publishes them. Never waits for a subscriber."""

import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import trio
import zmq

from arriero.protocol.codec import encode_event
from arriero.protocol.events import AnyEvent, Heartbeat, topic_of
from arriero.protocol.transport import FrameSocket, bound

if TYPE_CHECKING:
    from zmq import Context, Socket

# Seconds between heartbeats: the longest time for which a lost last event goes unnoticed.
HEARTBEAT_S = 1.0


class Publisher:
    """Stamps events with epoch, number and time, and hands them to zmq.

    Attributes:
        epoch: Of all events of this supervisor.
        seq: Number of the last event that is neither a log line nor the end of a request.
        log_seq: Number of the last log line.
        usage_seq: Number of the last end of a request.
    """

    def __init__(self, socket: FrameSocket) -> None:
        self._socket = socket
        self._numbers: dict[str, int] = {"events": 0}
        self._topics: set[bytes] = set()  # beginnings of the topics that somebody wants
        self.epoch = secrets.token_hex(8)

    @property
    def seq(self) -> int:
        """Number of the last event that is neither a log line nor the end of a request."""
        return self._numbers["events"]

    @property
    def log_seq(self) -> int:
        """Number of the last log line; 0 before the first."""
        return self._numbers.get("log", 0)

    @property
    def usage_seq(self) -> int:
        """Number of the last end of a request; 0 before the first."""
        return self._numbers.get("usage", 0)

    def publish(self, *events: AnyEvent) -> None:
        """Number `events` and send them to whoever listens; a full subscriber misses some."""
        self._note_all()
        for event in events:
            if isinstance(event, Heartbeat):
                seq = self.seq
            else:
                seq = self._numbers.get(event.numbered_as, 0) + 1
                self._numbers[event.numbered_as] = seq
                if event.numbered_as != "events" and not self._is_wanted(event):
                    continue  # there may be thousands a second, and nobody else counts these
            stamped = msgspec.structs.replace(event, epoch=self.epoch, seq=seq, t=time.time())
            self._socket.send(encode_event(stamped))

    def note(self, frames: list[bytes]) -> None:
        """Take what a subscriber has said: a 1 or a 0, and the beginning of a topic."""
        wish, topic = frames[0][:1], frames[0][1:]
        if wish == b"\1":
            self._topics.add(topic)
        elif wish == b"\0":
            self._topics.discard(topic)

    def _note_all(self) -> None:
        while (frames := self._socket.receive_now()) is not None:
            self.note(frames)

    def _is_wanted(self, event: AnyEvent) -> bool:
        if not self._topics:
            return False
        topic = topic_of(event)
        return any(topic.startswith(wanted) for wanted in self._topics)


@asynccontextmanager
async def open_publisher(
    context: "Context[Socket[bytes]]", path: Path
) -> AsyncGenerator[Publisher, None]:
    """Publish on the unix socket `path`, with a heartbeat, while the block runs."""
    with bound(context, zmq.XPUB, path) as socket:
        publisher = Publisher(socket)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_note_subscriptions, socket, publisher)
            nursery.start_soon(_beat, publisher)
            yield publisher
            nursery.cancel_scope.cancel()


async def _note_subscriptions(socket: FrameSocket, publisher: Publisher) -> None:
    """Read what subscribers say to an XPUB, which tells of the first and the last of each topic."""
    while True:
        publisher.note(await socket.receive())


async def _beat(publisher: Publisher) -> None:
    while True:
        await trio.sleep(HEARTBEAT_S)
        publisher.publish(Heartbeat())
