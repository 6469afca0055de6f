"""The door for other machines: TCP, before a socket of zmq that asks for keys.

zmq takes whoever comes, for as long as he likes, and ends the process when there is no descriptor
for him. So strangers come here first: few at a time, for a few seconds, with a few bytes. Only
those who are let in stay; what they say goes on to zmq over a unix socket, as it is.
"""

import logging
import math
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import trio

from arriero.protocol.flood_log import FloodLog

from .connection_limits import LOOK_S, has_descriptors
from .curve_handshake import CurveHandshake, NotCurve

log = logging.getLogger(__name__)

# Seconds for a handshake; a good one takes three round trips.
HANDSHAKE_S: Final = 5.0

# Connections that are not let in yet, and that are. A command has two, a live view three.
MAX_STRANGERS: Final = 32
MAX_KNOWN: Final = 128

# Strangers that are taken in a second, and at once: each costs a millisecond of computing with
# their keys, in zmq.
_STRANGERS_PER_S: Final = 200
_AT_ONCE: Final = 50

# Connections that wait to be taken: in a flood a known one waits behind no more than that, which is
# a third of a second; those that find no room are tried again by their own machine.
_BACKLOG: Final = 64

# Bytes that are taken at a time.
_PIECE: Final = 16 * 1024

# Seconds of silence after which TCP asks whether the other machine is still there, and after which
# it is taken to be gone.
_KEEPALIVE_S: Final = 30
_GONE_S: Final = 60


class Visitor:
    """One connection.

    Attributes:
        host: Its address.
        scope: Ends it.
        is_known: It was let in.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self.scope = trio.CancelScope()
        self.is_known = False


def to_go(visitors: Sequence[Visitor], *, known: bool, most: int) -> Visitor | None:
    """Return the connection that goes, for there are too many; None: there are not.

    It is of the address that has most. Of strangers the first one goes, who had most time; of those
    who are let in the last one, who has least to lose.

    Args:
        visitors: All, in the order in which they came.
        known: Which ones are meant.
        most: How many there may be.
    """
    meant = [one for one in visitors if one.is_known == known]
    if len(meant) <= most:
        return None
    ((greediest, _),) = Counter(one.host for one in meant).most_common(1)
    theirs = [one for one in meant if one.host == greediest]
    return theirs[-1] if known else theirs[0]


class RemoteDoor:
    """Takes connections of other machines to one socket.

    Args:
        listener: A listening, non-blocking TCP socket.
        inner: The unix socket of zmq.
        flood: Writes what strangers cause.
    """

    def __init__(self, listener: socket.socket, inner: Path, flood: FloodLog) -> None:
        listener.listen(_BACKLOG)
        self._listener = listener
        self._inner = inner
        self._flood = flood
        self._visitors: dict[Visitor, None] = {}
        self._credit, self._credit_at = float(_AT_ONCE), trio.current_time()

    @property
    def count(self) -> int:
        """How many connections there are."""
        return len(self._visitors)

    def cut_all(self) -> None:
        """End all connections: they may come again."""
        for visitor in self._visitors:
            visitor.scope.cancel()

    async def run(self) -> None:
        """Take connections until cancelled."""
        listener = trio.socket.from_stdlib_socket(self._listener)
        async with trio.open_nursery() as nursery:
            while True:
                await self._until_there_is_room()
                try:
                    connection, address = await listener.accept()
                except OSError as exc:  # it has gone already; or there is no descriptor
                    self._flood.warning("remote.not_accepted reason=%r", str(exc))
                    await trio.sleep(LOOK_S)
                    continue
                visitor = Visitor(str(address[0]))
                self._visitors[visitor] = None
                self._send_off(known=False, most=MAX_STRANGERS)
                nursery.start_soon(self._see_to, visitor, trio.SocketStream(connection))

    async def _until_there_is_room(self) -> None:
        while not has_descriptors():  # noqa: ASYNC110  nobody tells when there are
            await trio.sleep(LOOK_S)
        now = trio.current_time()
        earned = (now - self._credit_at) * _STRANGERS_PER_S
        self._credit, self._credit_at = min(_AT_ONCE, self._credit + earned), now
        if self._credit < 1:
            await trio.sleep((1 - self._credit) / _STRANGERS_PER_S)
        self._credit -= 1

    def _send_off(self, *, known: bool, most: int) -> None:
        gone = to_go(tuple(self._visitors), known=known, most=most)
        if gone is not None:
            self._flood.warning("remote.cut from=%s reason='too many connections'", gone.host)
            gone.scope.cancel()
            del self._visitors[gone]

    async def _see_to(self, visitor: Visitor, stream: trio.SocketStream) -> None:
        """Pass on what is said, both ways, until one side has ended."""
        with visitor.scope:
            try:
                async with stream:
                    _watch_over(stream)
                    await self._relay(visitor, stream)
            except* (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
                pass
            except* NotCurve as group:
                reason = str(group.exceptions[0])
                self._flood.warning("remote.refused from=%s reason=%r", visitor.host, reason)
            except* Exception as group:  # noqa: BLE001  it ends this connection, and nothing else
                self._flood.exception("remote.bug from=%s", visitor.host, exc=group)
        if visitor.scope.cancelled_caught and not visitor.is_known and visitor in self._visitors:
            self._flood.warning("remote.refused from=%s reason='it was too slow'", visitor.host)
        self._visitors.pop(visitor, None)

    async def _relay(self, visitor: Visitor, stream: trio.SocketStream) -> None:
        handshake = CurveHandshake()
        visitor.scope.deadline = trio.current_time() + HANDSHAKE_S
        began = b""
        while not handshake.is_begun:  # before that, zmq hears nothing of it
            if not (data := await stream.receive_some(_PIECE)):
                return
            handshake.from_client(data)
            began += data

        def watch(data: bytes) -> None:
            handshake.from_server(data)
            if handshake.is_done and not visitor.is_known:
                visitor.scope.deadline = math.inf
                visitor.is_known = True
                log.debug("remote.let_in from=%s", visitor.host)
                self._send_off(known=True, most=MAX_KNOWN)

        async with await trio.open_unix_socket(self._inner) as inner, trio.open_nursery() as both:
            await inner.send_all(began)

            async def come() -> None:
                while data := await stream.receive_some(_PIECE):
                    handshake.from_client(data)
                    await inner.send_all(data)
                both.cancel_scope.cancel()

            async def go() -> None:
                while data := await inner.receive_some(_PIECE):
                    watch(data)
                    await stream.send_all(data)
                both.cancel_scope.cancel()

            both.start_soon(come)
            both.start_soon(go)


def _watch_over(stream: trio.SocketStream) -> None:
    """Have TCP notice when the other machine is gone."""
    for level, option, value in (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_S),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _GONE_S * 1000),
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    ):
        stream.socket.setsockopt(level, option, value)


async def keep_doors_open(
    doors: Sequence[RemoteDoor], allowed: Callable[[], tuple[str, ...]]
) -> None:
    """Run all `doors`; cut their connections when another list of keys is in force.

    Until cancelled.
    """
    async with trio.open_nursery() as nursery:
        for door in doors:
            nursery.start_soon(door.run)
        seen = allowed()
        while True:
            await trio.sleep(1.0)
            if allowed() != seen:
                seen = allowed()
                for door in doors:
                    door.cut_all()
