"""Answers scripts: one JSON request in, one JSON reply out.

A plain REQ socket speaks to it.

What a command means is in `commands.py`; this file only moves it.
"""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import trio
import zmq

from arriero.protocol.codec import MAX_MESSAGE_BYTES, AnyReply, encode, read_request
from arriero.protocol.control.base import Refusal, refused
from arriero.protocol.control.messages import AnyRequest
from arriero.protocol.errors import PeerGone, RemoteProtocolError
from arriero.protocol.flood_log import FloodLog
from arriero.protocol.transport import FrameSocket, QueueLimits, bound

from ..host.shortage import why

if TYPE_CHECKING:
    from zmq import Context, Socket

log = logging.getLogger(__name__)

# Requests that may be under way at once: each that waits for a swap is one task. More than that is
# a runaway script, and is refused.
MAX_UNDER_WAY = 256

# Longest request that is read; the longest honest one names a model.
MAX_REQUEST_BYTES = 64 * 1024


# zmq keeps two answers that a client does not read, and `READ_LIMIT_S` seconds long a few more are
# kept here. Then they are dropped.
_BOUNDS = QueueLimits(
    message_bytes=4 * MAX_REQUEST_BYTES,  # so that what is a little too long gets an answer
    received=16,
    sent=2,
    mandatory=True,
    handover=True,
)
READ_LIMIT_S = 5.0

# All answers together that wait for their clients to read others before them.
MAX_UNREAD_BYTES = 32 * 1024 * 1024

# Seconds between two attempts to hand an answer over.
_FIRST_PAUSE_S = 0.001
_LAST_PAUSE_S = 0.1

# Frames before a request. REQ sends one, and each device on the way adds one.
_MAX_ENVELOPE = 8


class ControlServer:
    """The supervisor's end of the control socket.

    Attributes:
        socket: Where they come from.
        answered: Requests that were taken so far.
        unread_bytes: Of answers that wait for their clients to read others before them.
    """

    def __init__(
        self,
        socket: FrameSocket,
        answer: Callable[[AnyRequest], AnyReply | Awaitable[AnyReply | bytes]],
    ) -> None:
        self.socket = socket
        self.door = socket.door
        self._answer = answer
        self._under_way = 0
        self.flood = FloodLog(log)
        self.answered = 0
        self.unread_bytes = 0

    async def listen(self) -> None:
        """Take requests until cancelled; what has to wait does so in a task of its own."""
        async with trio.open_nursery() as nursery:
            while True:
                frames = await self.socket.receive()
                envelope, data = frames[:-1], frames[-1]
                if not 1 <= len(envelope) <= _MAX_ENVELOPE:
                    continue
                self.answered += 1
                request = self._read(data)
                reply = request if isinstance(request, Refusal) else self._answer_to(request)
                if isinstance(reply, Awaitable):
                    self._under_way += 1
                    nursery.start_soon(self._serve, envelope, reply)
                elif not self._hand_over(envelope, data := self._encode(reply)):
                    nursery.start_soon(self._hand_over_later, envelope, data)

    def _answer_to(self, request: AnyRequest) -> AnyReply | Awaitable[AnyReply | bytes]:
        try:
            return self._answer(request)
        except Exception as exc:  # noqa: BLE001  it ends this request, and nothing else
            return self._bug(exc)

    def _bug(self, exc: Exception) -> Refusal:
        self.flood.exception("control.bug", exc=exc)
        return refused("internal_error", f"cannot do that: {why(exc)}")

    def _read(self, data: bytes) -> AnyRequest | Refusal:
        if self._under_way >= MAX_UNDER_WAY:
            return refused("busy", "too many requests are under way")
        try:
            if len(data) > MAX_REQUEST_BYTES:
                raise RemoteProtocolError(f"cannot read {len(data)} bytes: too long")
            return read_request(data)
        except RemoteProtocolError as exc:
            return refused("bad_request", str(exc))

    async def _serve(self, envelope: list[bytes], answer: Awaitable[AnyReply | bytes]) -> None:
        try:
            reply = await answer
        except Exception as exc:  # noqa: BLE001  it ends this request, and nothing else
            reply = self._bug(exc)
        finally:
            self._under_way -= 1
        data = self._encode(reply)
        if not self._hand_over(envelope, data):
            await self._hand_over_later(envelope, data)

    def _encode(self, reply: AnyReply | bytes) -> bytes:
        data = reply if isinstance(reply, bytes) else encode(reply)
        if len(data) > MAX_MESSAGE_BYTES:
            return encode(refused("too_long", "the answer is too long: ask for less"))
        return data

    async def _hand_over_later(self, envelope: list[bytes], data: bytes) -> None:
        """Hand over an answer when the client has read others before it."""
        if self.unread_bytes + len(data) > MAX_UNREAD_BYTES:
            self.flood.warning("control.dropped reason='too many answers are not read'")
            return
        self.unread_bytes += len(data)
        try:
            with trio.move_on_after(READ_LIMIT_S):
                pause_s = _FIRST_PAUSE_S
                while not self._hand_over(envelope, data):
                    await trio.sleep(pause_s)
                    pause_s = min(2 * pause_s, _LAST_PAUSE_S)
                return
        finally:
            self.unread_bytes -= len(data)
        self.flood.warning("control.dropped reason='its client reads no answers'")

    def _hand_over(self, envelope: list[bytes], data: bytes) -> bool:
        """Return whether the answer is done with."""
        try:
            return self.socket.send([*envelope, data])
        except PeerGone:
            return True


@asynccontextmanager
async def open_control_server(
    context: "Context[Socket[bytes]]",
    path: Path,
    answer: Callable[[AnyRequest], AnyReply | Awaitable[AnyReply | bytes]],
) -> AsyncGenerator[ControlServer, None]:
    """Answer scripts on the unix socket `path` while the block runs."""
    with bound(context, zmq.ROUTER, path, _BOUNDS) as socket:
        server = ControlServer(socket, answer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.listen)
            nursery.start_soon(server.flood.flush_regularly)
            yield server
            nursery.cancel_scope.cancel()
