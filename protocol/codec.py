"""Messages <-> bytes. Reading is total: any bytes give a message or `RemoteProtocolError`.

Unknown fields are ignored, so that an older reader understands a newer writer; unknown kinds of
messages are refused. Readers are built once: msgspec compiles them.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from .control.base import ControlReply, Refusal
from .control.messages import AnyReply, AnyRequest
from .errors import RemoteProtocolError
from .events import AnyEvent, topic_of
from .lease import Finished, FromSupervisor, FromWorker
from .read_json import UNREADABLE
from .values import LEASE_VERSION, VERSION

if TYPE_CHECKING:
    from msgspec import Struct

# Longest JSON text that is looked at. The largest honest message is the `Welcome` of a
# configuration with 10,000 models: about 3 MB.
MAX_MESSAGE_BYTES = 16 * 1024 * 1024

# How much of a broken message is shown in an error.
_SHOWN_BYTES = 120

_T = TypeVar("_T")
_ReplyT = TypeVar("_ReplyT", bound=ControlReply)


class _Decoder(Generic[_T]):
    """Reads one family of messages."""

    def __init__(self, kind: object, version: int = VERSION) -> None:
        self._version = version
        self._decoder: msgspec.json.Decoder[_T] = msgspec.json.Decoder(kind)

    def __call__(self, data: bytes) -> _T:
        """Read one message.

        Raises:
            RemoteProtocolError: For anything that this version cannot read.
        """
        if len(data) > MAX_MESSAGE_BYTES:
            raise RemoteProtocolError(
                f"cannot read a message of {len(data)} bytes: the limit is {MAX_MESSAGE_BYTES}"
            )
        try:
            message = self._decoder.decode(data)
        except UNREADABLE as exc:
            raise RemoteProtocolError(f"cannot read {data[:_SHOWN_BYTES]!r}: {exc}") from exc
        if (version := getattr(message, "v", self._version)) != self._version:
            raise RemoteProtocolError(
                f"cannot read a message of version {version}: this side speaks {self._version}"
            )
        return message


_encoder = msgspec.json.Encoder()

read_request: _Decoder[AnyRequest] = _Decoder(AnyRequest)
read_from_worker: _Decoder[FromWorker] = _Decoder(FromWorker, LEASE_VERSION)
read_from_supervisor: _Decoder[FromSupervisor] = _Decoder(FromSupervisor, LEASE_VERSION)
_read_event: _Decoder[AnyEvent] = _Decoder(AnyEvent)


class _Outcome(msgspec.Struct):
    ok: bool = False


_outcome = msgspec.json.Decoder(_Outcome)


def encode(message: "Struct") -> bytes:
    """Return `message` as one line of JSON, without a line end."""
    return _encoder.encode(message)


def encode_finished(records: Iterable[bytes], number: int = 0, *, again: bool = False) -> bytes:
    """Return a `Finished` with `records`, each of which is encoded."""
    without = _encoder.encode(Finished(number=number, again=again, records=()))
    return b"%b%b]}" % (without[:-2], b",".join(records))


def encode_event(event: AnyEvent) -> list[bytes]:
    """Return the two frames of `event`: topic and JSON."""
    return [topic_of(event), _encoder.encode(event)]


def decode_event(frames: Sequence[bytes]) -> AnyEvent:
    """Read the event out of `frames`.

    Raises:
        RemoteProtocolError: For anything that this version cannot read.
    """
    if len(frames) != 2:
        raise RemoteProtocolError(f"cannot read an event of {len(frames)} frames: it has two")
    return _read_event(frames[1])


def decode_reply(data: bytes, kind: type[_ReplyT]) -> "_ReplyT | Refusal":
    """Read the answer to a request whose good answer is a `kind`.

    Raises:
        RemoteProtocolError: For anything that is neither a `kind` nor a `Refusal`.
    """
    try:
        if not _outcome.decode(data).ok:
            return msgspec.json.decode(data, type=Refusal)
        return msgspec.json.decode(data, type=kind)
    except UNREADABLE as exc:
        raise RemoteProtocolError(f"cannot read {data[:_SHOWN_BYTES]!r}: {exc}") from exc


__all__ = [
    "MAX_MESSAGE_BYTES",
    "AnyReply",
    "decode_event",
    "decode_reply",
    "encode",
    "encode_event",
    "encode_finished",
    "read_from_supervisor",
    "read_from_worker",
    "read_request",
]
