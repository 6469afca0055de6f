"""zmq over TCP between machines, encrypted: CURVE, with a list of those who are let in.

A stranger gets no further than the handshake, which zmq's own thread does: no message of his is
ever read here, what he has overheard cannot be said again, and one who says nothing is dropped.

Source: ZeroMQ RFC 26 (CurveZMQ), RFC 27 (ZAP); zmq_curve(7).
"""

import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, NamedTuple

import trio
import zmq
from zmq.utils import z85

from ..errors import TransportError
from ..transport import BACKLOG, DEFAULT_BOUNDS, FrameSocket, QueueLimits, new_socket

# Milliseconds between two attempts to connect again, and the most that they grow to.
_AGAIN_MS: Final = 100
_LAST_AGAIN_MS: Final = 1_000

# Where zmq asks whether somebody is let in: of the whole context.
_DOORKEEPER: Final = "inproc://zeromq.zap.01"
_ZAP_VERSION: Final = b"1.0"
_ZAP_FRAMES: Final = 7

_KEY_BYTES: Final = 32
_HEX: Final = re.compile(r"[0-9a-f]{64}")


class CurveKeys(NamedTuple):
    """A pair of keys, as Z85 writes them: 40 characters each."""

    public: str
    secret: str

    def __repr__(self) -> str:
        """Leave the secret out."""
        return f"<CurveKeys {self.public}>"


def new_keys() -> CurveKeys:
    """Return a new pair."""
    public, secret = zmq.curve_keypair()
    return CurveKeys(public.decode(), secret.decode())


def keys_of(secret: str) -> CurveKeys:
    """Return the pair of a secret key: the public one follows from it."""
    return CurveKeys(zmq.curve_public(secret.encode()).decode(), secret)


def is_key(text: str) -> bool:
    """Return whether `text` can be a key."""
    try:
        return len(text) == 40 and len(z85.decode(text)) == _KEY_BYTES
    except (ValueError, KeyError, UnicodeEncodeError):
        return False


def to_hex(key: str) -> str:
    """Return a key as people copy it: 64 hexadecimal digits, which nothing has to quote."""
    return z85.decode(key).hex()


def from_hex(text: str) -> str | None:
    """Return the key that `text` writes in 64 hexadecimal digits; None if it is none."""
    digits = text.strip().lower()
    return z85.encode(bytes.fromhex(digits)).decode() if _HEX.fullmatch(digits) else None


async def let_in(
    context: "zmq.Context[zmq.Socket[bytes]]",
    is_allowed: Callable[[str], bool],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Decide who may connect to the sockets of `context` that ask for keys, until cancelled.

    Without this task nobody may. To be started before the first of them is bound.

    Args:
        context: One has one such task.
        is_allowed: Returns whether the owner of a public key is let in.
        task_status: Set when it decides.
    """
    socket = new_socket(context, zmq.REP, DEFAULT_BOUNDS)
    try:
        socket.bind(_DOORKEEPER)
        door = FrameSocket(socket)
        task_status.started()
        while True:
            door.send(_verdict(await door.receive(), is_allowed))
    finally:
        socket.close(linger=0)


def _verdict(asked: list[bytes], is_allowed: Callable[[str], bool]) -> list[bytes]:
    """Return the answer to a question of ZAP: version, number, domain, address, ..."""
    number = asked[1] if len(asked) > 1 else b""
    good = (
        len(asked) == _ZAP_FRAMES
        and asked[5] == b"CURVE"
        and len(asked[6]) == _KEY_BYTES
        and is_allowed(z85.encode(asked[6]).decode())
    )
    status = (b"200", b"OK") if good else (b"400", b"not known here")
    return [_ZAP_VERSION, number, *status, b"", b""]


@contextmanager
def listening(
    context: "zmq.Context[zmq.Socket[bytes]]",
    kind: int,
    host: str,
    port: int,
    keys: CurveKeys,
    bounds: QueueLimits = DEFAULT_BOUNDS,
) -> Generator[tuple[FrameSocket, int], None, None]:
    """Give a socket of `kind` that listens on `port` of `host`, and the port; 0: a free one.

    `let_in` says who is let in. How many connect at a time is not bounded: for an address that
    strangers reach, see `supervisor.control.remote_door`.

    Raises:
        TransportError: It cannot be bound.
    """
    socket = new_socket(context, kind, bounds)
    try:
        socket.setsockopt(zmq.BACKLOG, BACKLOG)
        socket.setsockopt(zmq.IPV6, int(":" in host))
        frames = FrameSocket(socket)
        frames.ask_for_keys(keys.public.encode(), keys.secret.encode())
        try:
            socket.bind(f"tcp://{_written(host)}:{port or '*'}")
        except zmq.ZMQError as exc:
            raise TransportError(f"cannot listen on port {port} of {host}: {exc.strerror}") from exc
        bound_to = socket.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(bound_to, bytes)
        yield frames, int(bound_to.rstrip(b"\0").rpartition(b":")[2])
    finally:
        socket.close(linger=0)


@contextmanager
def calling(
    context: "zmq.Context[zmq.Socket[bytes]]",
    kind: int,
    host: str,
    port: int,
    keys: CurveKeys,
    server: str,
    bounds: QueueLimits = DEFAULT_BOUNDS,
    *,
    identity: bytes = b"",
) -> Generator[FrameSocket, None, None]:
    """Give a socket of `kind` that connects to one that is `listening`, again and again.

    Args:
        context: Any.
        kind: ``zmq.DEALER`` or ``zmq.REQ``.
        host: Where it listens.
        port: The same.
        keys: Our own.
        server: Its public key; whoever does not have the other half hears nothing.
        bounds: Limits on what waits.
        identity: Name of a DEALER towards the ROUTER.
    """
    socket = new_socket(context, kind, bounds)
    try:
        socket.setsockopt(zmq.RECONNECT_IVL, _AGAIN_MS)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, _LAST_AGAIN_MS)
        show_keys(socket, keys, server)
        if identity:
            socket.setsockopt(zmq.IDENTITY, identity)
        socket.setsockopt(zmq.IPV6, int(":" in host))
        socket.connect(f"tcp://{_written(host)}:{port}")
        yield FrameSocket(socket)
    finally:
        socket.close(linger=0)


def show_keys(socket: "zmq.Socket[bytes]", keys: CurveKeys, server: str) -> None:
    """Have `socket` prove who it is when it connects, and ask that of the server.

    Args:
        socket: Not connected yet.
        keys: Our own.
        server: Its public key.
    """
    socket.curve_secretkey = keys.secret.encode()
    socket.curve_publickey = keys.public.encode()
    socket.curve_serverkey = server.encode()


def _written(host: str) -> str:
    return f"[{host}]" if ":" in host else host
