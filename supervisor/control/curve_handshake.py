"""Follows the handshake of a connection over TCP, by the bytes that go by. Pure.

Whoever has no key that is let in gets no further than this; so what he may send, and for how long,
has a bound here, and not in the one who decides.

Source: ZeroMQ RFC 23 (ZMTP 3.0), RFC 26 (CurveZMQ).
"""

from typing import Final

# Bytes: what a client sends before the server says that it is ready. Its greeting has 64, its HELLO
# 202, and its INITIATE 260 and what it says of itself.
MAX_CLIENT_BYTES: Final = 2048

# The same of the server: greeting, WELCOME, READY.
_MAX_SERVER_BYTES: Final = 4096

_GREETING_BYTES: Final = 64
_SIGNATURE: Final = slice(0, 10)
_VERSION: Final = 10
_MECHANISM: Final = slice(12, 32)
_AS_SERVER: Final = 32
_LEAST_VERSION: Final = 3
_CURVE: Final = b"CURVE".ljust(20, b"\0")

_COMMAND, _LONG_COMMAND = 0x04, 0x06
_READY: Final = b"\x05READY"


class NotCurve(Exception):
    """It is no such handshake; says why."""


class CurveHandshake:
    """One handshake.

    Attributes:
        is_done: The server has let the client in.
    """

    def __init__(self) -> None:
        self.is_done = False
        self._client = bytearray()
        self._server = bytearray()
        self._looked_at = _GREETING_BYTES

    @property
    def is_begun(self) -> bool:
        """Whether the client begins as one of zmq does."""
        return len(self._client) >= _SIGNATURE.stop

    def from_client(self, data: bytes) -> None:
        """Take what the client sends.

        Raises:
            NotCurve: It will get nowhere.
        """
        if self.is_done:
            return
        had = len(self._client)
        self._client += data
        if len(self._client) > MAX_CLIENT_BYTES:
            raise NotCurve("it says too much")
        if had >= _GREETING_BYTES:
            return
        seen = bytes(self._client[:_GREETING_BYTES])
        if seen[:1] != b"\xff" or seen[9:10] not in {b"", b"\x7f"}:
            raise NotCurve("it does not speak ZMTP")
        if len(seen) > _VERSION and seen[_VERSION] < _LEAST_VERSION:
            raise NotCurve("it speaks an old ZMTP")
        if len(seen) >= _MECHANISM.stop and seen[_MECHANISM] != _CURVE:
            raise NotCurve("it shows no key")
        if len(seen) > _AS_SERVER and seen[_AS_SERVER]:
            raise NotCurve("it is a server itself")

    def from_server(self, data: bytes) -> None:
        """Take what the server sends.

        Raises:
            NotCurve: That is no such server.
        """
        if self.is_done:
            return
        self._server += data
        seen = self._server
        if len(seen) > _MAX_SERVER_BYTES:
            raise NotCurve("the server says too much")
        while len(seen) > self._looked_at:
            at = self._looked_at
            if seen[at] == _COMMAND:
                head, size = 2, int.from_bytes(seen[at + 1 : at + 2], "big")
            elif seen[at] == _LONG_COMMAND:
                head, size = 9, int.from_bytes(seen[at + 1 : at + 9], "big")
            else:
                raise NotCurve("the server sends a message too early")
            if len(seen) < at + head + len(_READY):
                return
            if seen[at + head : at + head + len(_READY)] == _READY:
                self.is_done = True
                self._client.clear()
                self._server.clear()
                return
            if len(seen) < at + head + size:
                return
            self._looked_at = at + head + size
