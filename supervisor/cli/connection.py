"""The command line's end of the control and events sockets.

Plain pyzmq, without trio: a command asks one question, and starts faster by a third without it.
"""

import secrets
import struct
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import zmq

from arriero.protocol.codec import MAX_MESSAGE_BYTES, decode_event, decode_reply, encode
from arriero.protocol.control.base import ControlReply, ControlRequest, Refusal
from arriero.protocol.errors import RemoteProtocolError
from arriero.protocol.events import AnyEvent

from .find_sockets import (
    AnswerOverdue,
    SupervisorGone,
    SupervisorUnreachable,
    why_gone,
    why_unanswered,
)
from .place import SocketPlace, SupervisorPlace

if TYPE_CHECKING:
    from zmq import Context, Socket

_ReplyT = TypeVar("_ReplyT", bound=ControlReply)

# Seconds for a connection to a unix socket that was seen to be listened on, handshake included:
# milliseconds on an idle machine. A supervisor that is stopped (SIGSTOP) does not shake hands.
CONNECT_S = 5.0

# Of events that come faster than they are shown.
_EVENTS_AT_ONCE = 1000

# zmq's own heartbeats: a supervisor that was stopped or whose machine is gone counts as gone.
_HEARTBEAT_MS = 1000
_HEARTBEAT_TIMEOUT_MS = 5000

# The other side knows our key, and does not let us in.
_REFUSED = zmq.EVENT_HANDSHAKE_FAILED_AUTH


class _Watched:
    """A connected zmq socket, and a second one with its connection events."""

    def __init__(
        self,
        context: "Context[Socket[bytes]]",
        connect_s: float,
        kind: int,
        place: SocketPlace,
        topics: Sequence[bytes] = (),
    ) -> None:
        self.place = place
        self.connect_s = connect_s
        self.socket = context.socket(kind)
        self.socket.linger = 0
        self.socket.maxmsgsize = MAX_MESSAGE_BYTES
        self.socket.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS)
        self.socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _HEARTBEAT_TIMEOUT_MS)
        for topic in topics:
            self.socket.setsockopt(zmq.SUBSCRIBE, topic)
        self.monitor = self.socket.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | _REFUSED
        )
        place.prepare(self.socket)
        self.socket.connect(place.url)

    def close(self) -> None:
        self.socket.disable_monitor()
        self.monitor.close(linger=0)  # pyzmq leaves that to its user
        self.socket.close(linger=0)

    def news(self) -> bool | None:
        """Return True when it was connected since, False when it was lost, None for neither.

        Raises:
            SupervisorUnreachable: Our key is not let in.
        """
        last: bool | None = None
        while self.monitor.poll(0):
            # zmq.utils.monitor reads it as well, and imports asyncio: a third of a command's time.
            (event,) = struct.unpack_from("=H", self.monitor.recv_multipart()[0])
            if event == _REFUSED:
                raise SupervisorUnreachable(self.place.why_not_let_in(None))
            last = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
        return last

    def wait_connected(self) -> None:
        """Return once the other side has shaken hands.

        Raises:
            SupervisorUnreachable: It did not in time.
        """
        deadline = time.monotonic() + self.connect_s
        while (left_s := deadline - time.monotonic()) > 0:
            if self.monitor.poll(_ms(left_s)) and self.news():
                return
        raise SupervisorUnreachable(self.place.why_not_let_in(self.connect_s))


class Subscription:
    """Events as they are published. Make it with `ControlConnection.subscribe`."""

    def __init__(self, watched: _Watched) -> None:
        self._watched = watched

    def wait(self, wait_s: float) -> bool:
        """Return True when there is something to take, False after `wait_s` seconds without."""
        return bool(self._watched.socket.poll(_ms(wait_s)))

    def connection(self) -> bool | None:
        """Return the change since the last call: True connected, False lost."""
        return self._watched.news()

    def take(self) -> list[AnyEvent]:
        """Return the events that have arrived, without waiting, and not too many at once.

        Those that this version cannot read are left out.
        """
        events: list[AnyEvent] = []
        for _ in range(_EVENTS_AT_ONCE):
            try:
                events.append(decode_event(self._watched.socket.recv_multipart(zmq.NOBLOCK)))
            except zmq.Again:
                break
            except RemoteProtocolError:
                continue  # a newer supervisor may publish more than this version knows
        return events

    def add_to(self, poller: zmq.Poller) -> None:
        """Let `poller` wake up for events."""
        poller.register(self._watched.socket, zmq.POLLIN)


class ControlConnection:
    """The way to one supervisor. Make it with `open_link`.

    Attributes:
        place: Of its sockets.
    """

    def __init__(
        self, context: "Context[Socket[bytes]]", place: SupervisorPlace, connect_s: float
    ) -> None:
        self._context = context
        self.place = place
        self._connect_s = connect_s

    @contextmanager
    def subscribe(self, topics: Sequence[bytes]) -> Generator[Subscription, None, None]:
        """Receive the events of `topics` while the block runs.

        Raises:
            SupervisorUnreachable: There is no supervisor, or it does not answer.
        """
        place = self.place.events
        place.probe(self._connect_s)
        if any(topic.startswith(b"inflight/") for topic in topics):
            topics = (*topics, b"tell-inflight/" + secrets.token_hex(8).encode())
        watched = _Watched(self._context, self._connect_s, zmq.SUB, place, topics)
        try:
            watched.wait_connected()
            yield Subscription(watched)
        finally:
            watched.close()

    def ask(
        self,
        request: ControlRequest,
        kind: type[_ReplyT],
        *,
        within_s: float,
        meanwhile: tuple[Subscription, Callable[[AnyEvent], None]] | None = None,
    ) -> _ReplyT | Refusal:
        """Ask, and wait for the answer.

        Args:
            request: The question.
            kind: Type of the reply, unless it is a refusal.
            within_s: Longest wait in seconds.
            meanwhile: Events that are to be shown while waiting, and who shows them.

        Raises:
            SupervisorGone: The supervisor went away before it answered.
            SupervisorUnreachable: There is none, or it did not answer in time.
        """
        place = self.place.control
        place.probe(self._connect_s)
        watched = _Watched(self._context, self._connect_s, zmq.REQ, place)
        try:
            watched.wait_connected()
            watched.socket.send(encode(request))
            data = _wait_for_answer(watched, within_s, meanwhile)
        finally:
            watched.close()
        try:
            return decode_reply(data, kind)
        except RemoteProtocolError as exc:
            raise SupervisorUnreachable(f"the answer of {place} makes no sense: {exc}") from exc


def _wait_for_answer(
    watched: _Watched,
    within_s: float,
    meanwhile: tuple[Subscription, Callable[[AnyEvent], None]] | None,
) -> bytes:
    poller = zmq.Poller()
    poller.register(watched.socket, zmq.POLLIN)
    poller.register(watched.monitor, zmq.POLLIN)
    if meanwhile is not None:
        meanwhile[0].add_to(poller)
    deadline = time.monotonic() + within_s
    while (left_s := deadline - time.monotonic()) > 0:
        poller.poll(_ms(left_s))
        if meanwhile is not None:
            for event in meanwhile[0].take():
                meanwhile[1](event)
        if watched.socket.poll(0):
            return watched.socket.recv()
        # A lost connection loses the question: REQ would wait for ever for its answer.
        if watched.news() is False:
            raise SupervisorGone(why_gone(watched.place))
    raise AnswerOverdue(why_unanswered(watched.place, within_s))


def _ms(seconds: float) -> int:
    """Round up: a wait of 0 ms in a loop would spin."""
    return int(seconds * 1000) + 1


@contextmanager
def open_link(
    place: SupervisorPlace, *, connect_s: float = CONNECT_S
) -> Generator[ControlConnection, None, None]:
    """Give the way to the supervisor with sockets at `place`.

    Its sockets end with the block.

    Args:
        place: Of its sockets.
        connect_s: Seconds until a connection has to be made.
    """
    context: Context[Socket[bytes]] = zmq.Context()
    try:
        yield ControlConnection(context, place, connect_s)
    finally:
        context.destroy(linger=0)
