"""Amazon's event stream, as Bedrock sends it: bytes <-> messages.

What goes to the client goes byte for byte; this reads a copy. Whatever the bytes are, nothing is
raised: a message that cannot be read is *damage*. From there on nobody knows where a message
begins, so nothing is read any more, and the stream can only be passed on as it comes.

Source: smithy.io, "Amazon Event Stream Specification"; Amazon Bedrock API reference,
"ConverseStreamOutput".
"""

import struct
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias
from zlib import crc32

import msgspec

CONTENT_TYPE: Final = b"application/vnd.amazon.eventstream"

HeaderValue: TypeAlias = bool | int | bytes | str

# Total length, length of the headers, checksum of these two.
_PRELUDE: Final = struct.Struct(">III")
_CRC: Final = struct.Struct(">I")
_SMALLEST: Final = _PRELUDE.size + _CRC.size

# Bytes of one message, which has to be kept until it is complete. The specification lets services
# send 24 MiB; a model's deltas have some hundred bytes, so what says more is no honest length.
MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024

# Types of headers whose value is a number: how many bytes it has. 8 is a time.
_NUMBERS: Final = {2: 1, 3: 2, 4: 4, 5: 8, 8: 8}
_BYTES: Final = 6
_TEXT: Final = 7
_UUID: Final = 9
_UUID_BYTES: Final = 16


class EventStreamMessage(msgspec.Struct, frozen=True):
    """One message.

    Attributes:
        headers: By name. Times are milliseconds since 1970, UUIDs their 16 bytes.
        payload: JSON, with Bedrock.
        raw: The message as it came.
    """

    headers: Mapping[str, HeaderValue]
    payload: bytes
    raw: bytes

    @property
    def kind(self) -> str:
        """``event``, ``exception`` (known to the service) or ``error`` (any other)."""
        return self._text(":message-type")

    @property
    def name(self) -> str:
        """Name of the event or exception; empty without one."""
        names = {"exception": ":exception-type", "error": ":error-code"}
        return self._text(names.get(self.kind, ":event-type"))

    @property
    def is_error(self) -> bool:
        """Whether the response has failed with this message."""
        return self.kind in ("exception", "error")

    def _text(self, name: str) -> str:
        value = self.headers.get(name)
        return value if isinstance(value, str) else ""


class MessageReader:
    """Bytes as they come -> complete messages.

    Attributes:
        damage: Why nothing is read any more; None as long as all is well.
        rest: Bytes that belong to no message that was given: the beginning of the next one, or,
            after damage, all that came with the last `push`. The `EventStreamMessage.raw` of all
            messages and then `rest` are all bytes.
    """

    __slots__ = ("_kept", "_limit", "damage")

    def __init__(self, limit_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self.damage: str | None = None
        self._kept = bytearray()
        self._limit = limit_bytes

    @property
    def rest(self) -> bytes:
        """See the class."""
        return bytes(self._kept)

    @property
    def at_boundary(self) -> bool:
        """Whether a message of our own may follow here."""
        return self.damage is None and not self._kept

    def push(self, data: bytes) -> list[EventStreamMessage]:
        """Take bytes; return the messages that end in them."""
        kept = self._kept
        if self.damage is not None:
            kept[:] = data
            return []
        kept += data
        found: list[EventStreamMessage] = []
        start = 0
        try:
            while (size := self._size_at(start)) is not None and len(kept) - start >= size:
                found.append(_read(bytes(kept[start : start + size])))
                start += size
        except _Damage as exc:
            self.damage = str(exc)
        del kept[:start]
        return found

    def _size_at(self, start: int) -> int | None:
        """Return the length of the message at `start`; None until known."""
        if len(self._kept) - start < _PRELUDE.size:
            return None
        total, headers, checksum = _PRELUDE.unpack_from(self._kept, start)
        if crc32(self._kept[start : start + 8]) != checksum:
            raise _Damage("the checksum of a message's lengths is wrong")
        if not _SMALLEST <= total <= self._limit:
            raise _Damage(f"a message claims a length of {total} bytes")
        if headers > total - _SMALLEST:
            raise _Damage(f"a message of {total} bytes claims headers of {headers} bytes")
        return int(total)


class MessageSplitter:
    """Cuts a stream between messages, as `sse_frames.FrameSplitter` does between frames.

    After damage everything is passed as it comes: it is the client's to judge.

    Attributes:
        oversize: 1 if there was damage: what came since then was passed raw.
        at_boundary: What was returned so far ends between two messages, so a message of our own
            may follow.
        damage: Why nothing is read any more; None as long as all is well. How such a stream ends
            is not known either.
    """

    __slots__ = ("_look", "_reader", "at_boundary", "oversize")

    def __init__(
        self,
        limit_bytes: int = MAX_MESSAGE_BYTES,
        look: Callable[[EventStreamMessage], None] = lambda _: None,
    ) -> None:
        """Build it.

        Args:
            limit_bytes: Of one message.
            look: Gets each message.
        """
        self._reader = MessageReader(limit_bytes)
        self._look = look
        self.oversize = 0
        self.at_boundary = True

    @property
    def damage(self) -> str | None:
        """See the class."""
        return self._reader.damage

    @property
    def rest(self) -> bytes:
        """The part of a message that is kept back."""
        return b"" if self.damage is not None else self._reader.rest

    def push(self, data: bytes) -> bytes:
        """Take bytes; return all that may be sent now."""
        reader = self._reader
        messages = reader.push(data)
        for message in messages:
            self._look(message)
        out = b"".join([message.raw for message in messages])
        if reader.damage is None:
            return out
        self.oversize = 1
        self.at_boundary = False
        return out + reader.rest

    def give_up(self) -> bytes:
        """Return the kept part of a message that stays incomplete.

        Once it is sent no message of our own may follow.
        """
        rest = self.rest
        if rest:
            self._reader = MessageReader()
            self.at_boundary = False
        return rest


class _Damage(Exception):
    """A message cannot be read; the text says why."""


def _read(raw: bytes) -> EventStreamMessage:
    """Read a whole message, whose lengths were checked."""
    if crc32(memoryview(raw)[: -_CRC.size]) != _CRC.unpack_from(raw, len(raw) - _CRC.size)[0]:
        raise _Damage("the checksum of a message is wrong")
    end = _PRELUDE.size + int.from_bytes(raw[4:8], "big")
    return EventStreamMessage(_read_headers(raw[_PRELUDE.size : end]), raw[end : -_CRC.size], raw)


def _read_headers(data: bytes) -> dict[str, HeaderValue]:
    headers: dict[str, HeaderValue] = {}
    position = 0

    def take(size: int) -> bytes:
        nonlocal position
        part = data[position : position + size]
        if len(part) < size:
            raise _Damage("a header is longer than all headers together")
        position += size
        return part

    try:
        while position < len(data):
            name = take(take(1)[0]).decode()
            kind = take(1)[0]
            value: HeaderValue
            if kind in (0, 1):
                value = kind == 0
            elif kind in _NUMBERS:
                value = int.from_bytes(take(_NUMBERS[kind]), "big", signed=True)
            elif kind == _BYTES:
                value = take(int.from_bytes(take(2), "big"))
            elif kind == _TEXT:
                value = take(int.from_bytes(take(2), "big")).decode()
            elif kind == _UUID:
                value = take(_UUID_BYTES)
            else:
                raise _Damage(f"the header '{name[:40]}' has the unknown type {kind}")
            headers[name] = value
    except UnicodeDecodeError as exc:
        raise _Damage("the text of a header is no UTF-8") from exc
    return headers


def exception_message(message: str, name: str = "modelStreamErrorException") -> bytes:
    """Return the message for an error that ends a stream.

    It may be sent between two messages only.

    Args:
        message: For people.
        name: Which of the service's exceptions it is.
    """
    return _message("exception", ":exception-type", name, {"message": message})


def event_message(name: str, payload: dict[str, Any]) -> bytes:
    """Return the event `name`; to be sent between two messages only."""
    return _message("event", ":event-type", name, payload)


def _message(kind: str, name_header: str, name: str, payload: dict[str, Any]) -> bytes:
    texts = {name_header: name, ":content-type": "application/json", ":message-type": kind}
    headers = b"".join(_text_header(key, value) for key, value in texts.items())
    body = msgspec.json.encode(payload)
    lengths = struct.pack(">II", _SMALLEST + len(headers) + len(body), len(headers))
    checked = lengths + _CRC.pack(crc32(lengths)) + headers + body
    return checked + _CRC.pack(crc32(checked))


def _text_header(name: str, value: str) -> bytes:
    encoded = value.encode()
    return b"%c%b\x07%b%b" % (len(name), name.encode(), struct.pack(">H", len(encoded)), encoded)
