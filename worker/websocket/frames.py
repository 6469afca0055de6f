"""Frames of WebSockets, and their ends: when one is closed, and why.

Frames are read and written by wsproto, without extensions.

Source: RFC 6455, sections 5 to 7.
"""

from typing import Final, NamedTuple, TypeAlias

from wsproto import events as ws
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.frame_protocol import CloseReason

from ..errors import (
    BadRequest,
    BodyMemoryFull,
    ClientGone,
    RelayError,
    RequestCancelled,
    TooLarge,
    UpstreamDied,
    UpstreamSilent,
)
from ..http.body_memory import BodyMemory, MemoryHold

# Bytes of one message: images in a long conversation come to some ten MiB.
MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024


# --- frames and messages -------------------------------------------------------------------------


class WsMessage(NamedTuple):
    """A whole message, however many frames it came in."""

    data: bytes
    is_text: bool = True


class PongDue(NamedTuple):
    """A frame that has to be sent to the side that was read: the answer to a ping."""

    frame: bytes


class WsClose(NamedTuple):
    """Why a side ends.

    Attributes:
        code: See RFC 6455, 7.4.1: 1005 without a code.
        reason: For people; of what is too long, 123 bytes are left.
    """

    code: int
    reason: str = ""


class WsEnded(NamedTuple):
    """The end of what a side says.

    Attributes:
        close: What it has said, or what it has to be told; None if it left without a word.
        is_fault: It has broken the rules.
        error: Why we end it, if that is no fault of the side.
    """

    close: WsClose | None = None
    is_fault: bool = False
    error: RelayError | None = None


Event: TypeAlias = WsMessage | PongDue | WsEnded


class WsCodec:
    """Bytes of one side -> messages, and back.

    Args:
        serves: The other end has opened the WebSocket, and not we.
        most_bytes: Of one message.
        hold: Counts the bytes of a message that is not complete; its owner releases it at last.
    """

    def __init__(
        self, *, serves: bool, most_bytes: int = MAX_MESSAGE_BYTES, hold: MemoryHold | None = None
    ) -> None:
        self._frames = Connection(ConnectionType.SERVER if serves else ConnectionType.CLIENT)
        self._most_bytes = most_bytes
        self._hold = hold if hold is not None else MemoryHold(BodyMemory())
        self._message = bytearray()
        self._over = False

    def receive(self, data: bytes) -> list[Event]:
        """Take the next bytes and return what they say; nothing after an end."""
        found: list[Event] = []
        if self._over:
            return found
        self._frames.receive_data(data)
        for event in self._frames.events():
            taken = self._take(event)
            if taken is not None:
                found.append(taken)
            if isinstance(taken, WsEnded):
                self._over = True
                self._message.clear()
                break
        return found

    def _take(self, event: ws.Event) -> Event | None:
        match event:
            case ws.TextMessage() | ws.BytesMessage():
                data = event.data
                try:
                    self._hold.grow(len(data))
                except BodyMemoryFull as error:
                    reason = "too many bytes are on their way here; connect again in a moment"
                    return WsEnded(WsClose(CloseReason.TRY_AGAIN_LATER, reason), error=error)
                # at once: an array of bytes holds many small pieces as compactly as a large one
                self._message += data.encode() if isinstance(data, str) else data
                if len(self._message) > self._most_bytes:
                    reason = f"cannot take a message of more than {self._most_bytes} bytes"
                    return WsEnded(WsClose(CloseReason.MESSAGE_TOO_BIG, reason), is_fault=True)
                if not event.message_finished:
                    return None
                whole, self._message = bytes(self._message), bytearray()
                self._hold.release()
                return WsMessage(whole, isinstance(data, str))
            case ws.Ping():
                return PongDue(self._frames.send(event.response()))
            case ws.CloseConnection():
                is_fault = self._frames.state is not ConnectionState.REMOTE_CLOSING
                return WsEnded(WsClose(event.code, event.reason or ""), is_fault)
            case _:
                return None  # answers to pings that nobody has sent

    def message(self, message: WsMessage) -> bytes:
        """Return the frame for a message; nothing if the end was said before."""
        if self._frames.state is not ConnectionState.OPEN:
            return b""
        if message.is_text:
            return self._frames.send(ws.TextMessage(data=message.data.decode()))
        return self._frames.send(ws.BytesMessage(data=message.data))

    def close(self, close: WsClose) -> bytes:
        """Return the frame that ends this side; nothing if the end was said before."""
        if self._frames.state not in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            return b""
        self._over = True
        code, reason = close
        if code == CloseReason.NO_STATUS_RCVD:
            code, reason = CloseReason.NO_STATUS_RCVD, ""  # wsproto wants the very same object
        return self._frames.send(ws.CloseConnection(code=code, reason=reason))


# --- when and why --------------------------------------------------------------------------------


class WsEnd(NamedTuple):
    """How a WebSocket ends, and all that it is relayed to.

    Attributes:
        client: What the client is told; None if it has gone.
        upstream: What the upstream is told; None if it has gone.
        error: What becomes of a turn that is under way; `ClientGone` if nobody wants it any more.
    """

    client: WsClose | None
    upstream: WsClose | None
    error: RelayError | ClientGone


_GONE: Final = UpstreamDied("the model's server went away in the middle of the socket")
_GOING_AWAY: Final = CloseReason.GOING_AWAY


def ended_by_client(ended: WsEnded) -> WsEnd:
    """Return how all ends when the client's side has."""
    if ended.close is None:
        return WsEnd(None, WsClose(_GOING_AWAY, "the client has gone"), ClientGone())
    if ended.error is not None:
        return WsEnd(ended.close, WsClose(_GOING_AWAY, ended.error.message), ended.error)
    if not ended.is_fault:
        return WsEnd(ended.close, ended.close, ClientGone())
    kind = TooLarge if ended.close.code == CloseReason.MESSAGE_TOO_BIG else BadRequest
    upstream = WsClose(_GOING_AWAY, "the client has broken the rules")
    return WsEnd(ended.close, upstream, kind(ended.close.reason))


def ended_by_upstream(ended: WsEnded) -> WsEnd:
    """Return how all ends when the upstream's side has."""
    if ended.close is None:
        return WsEnd(WsClose(CloseReason.INTERNAL_ERROR, _GONE.message), None, _GONE)
    if not ended.is_fault:
        return WsEnd(ended.close, ended.close, _GONE)
    code = ended.close.code
    if code != CloseReason.MESSAGE_TOO_BIG:
        code = CloseReason.INTERNAL_ERROR
    error = UpstreamDied(f"the model's server broke the rules of WebSocket: {ended.close.reason}")
    return WsEnd(WsClose(code, error.message), ended.close, error)


def refused(error: RelayError) -> WsEnd:
    """Return how all ends when a client has asked for what cannot be."""
    upstream = WsClose(_GOING_AWAY, "the client has asked for something else")
    return WsEnd(WsClose(CloseReason.POLICY_VIOLATION, error.message), upstream, error)


def failed(error: RelayError) -> WsEnd:
    """Return how all ends when the model cannot be reached, or says nothing any more."""
    close = WsClose(CloseReason.INTERNAL_ERROR, error.message)
    return WsEnd(close, WsClose(_GOING_AWAY, error.message), error)


def silent(idle_s: float, *, in_turn: bool) -> WsEnd:
    """Return how all ends when no message has come for `idle_s` seconds."""
    if in_turn:
        return failed(UpstreamSilent("the model's server said nothing for too long"))
    close = WsClose(_GOING_AWAY, f"nothing was said for {idle_s:g} seconds; connect again")
    return WsEnd(close, close, ClientGone())


def cancelled(error: RequestCancelled, *, by_client: bool) -> WsEnd:
    """Return how all ends when somebody has asked for that: in good order only for the client."""
    close = WsClose(CloseReason.NORMAL_CLOSURE if by_client else _GOING_AWAY, error.message)
    return WsEnd(close, close, error)


def not_kept() -> WsEnd:
    """Return how a WebSocket ends between two turns whose place is needed."""
    close = WsClose(_GOING_AWAY, "the model or this server has to make room; connect again")
    return WsEnd(close, close, ClientGone())
