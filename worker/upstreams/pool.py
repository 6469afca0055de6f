"""Connections to upstreams, kept alive."""

import functools
import math
import socket
import ssl
from collections.abc import Callable
from typing import Protocol
from urllib.parse import urlsplit

import msgspec
import trio

from arriero.protocol.worker_config import Timeouts

from ..connections.stream import RECEIVE_BYTES, SocketStream, StreamBroken, connect
from ..connections.tls_stream import CertificateRefused, TlsStream, make_context
from ..errors import UpstreamDied
from ..limits import LIMITS
from .admission_gate import AdmissionGate
from .heads import ResponseHead, parse_answer_head

# Seconds that an unused connection is kept. Short, because a llama-server gives each connection
# one of its few threads for as long as it stays open (cpp-httplib: 5 s): an idle one of ours would
# keep another worker's request waiting. Long enough for any load that makes reuse worth while.
IDLE_S = 1.0

# The same with TLS: services have no few threads, and a new connection takes some round trips.
TLS_IDLE_S = 30.0

# Seconds after which a connection on this machine has found a full backlog, and until the next look
# at one of a unix socket, which says so at once.
_BACKLOG_S = 0.3
_BACKLOG_PAUSE_S = 0.02

# Seconds of idleness after which a look is worth a system call.
_FRESH_S = 0.05

_TIMEOUTS = Timeouts()

# Source: tcp(7), TCP_KEEPIDLE; the kernel takes no more.
_MAX_KEEPALIVE_S = 32767

# Unused connections to one endpoint.
_MAX_IDLE = 128

# Heads of answers that are remembered. Those of llama-server differ in their length only.
_MAX_HEADS = 256
_MAX_REMEMBERED_BYTES = 1024


class UpstreamUnreachable(UpstreamDied):
    """Nobody listens at the endpoint: the model's server has gone, or is not there yet."""


class UpstreamUnanswered(UpstreamDied):
    """The model's server took a whole request and went away without a byte of an answer."""


class UpstreamStream(Protocol):
    """A socket, with TLS or without: what `SocketStream` and `TlsStream` have in common."""

    async def receive(self, most: int = RECEIVE_BYTES) -> bytes:
        """Wait for bytes and return them; empty at the end. May raise `StreamBroken`."""

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        """Hand all of `data` to the kernel. May raise `StreamBroken`."""

    def is_stale(self) -> bool:
        """Whether an idle connection is of no use."""

    def was_heard(self) -> bool:
        """Whether the peer has said anything since the last call, or something waits to be read."""

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""

    def cut(self) -> None:
        """Wake whoever reads or writes: the connection is over."""

    def close(self) -> None:
        """Close it. May be called again."""


class UpstreamConnection(msgspec.Struct):
    """One connection to an upstream.

    Attributes:
        transport: The socket.
        reused: It has carried an answer before: it may have been closed at the other end since.
        reset: It ended with an error instead of an end.
        half_asked: A request was not sent to its end: no other one may follow.
        used_at: When it last did, as `trio.current_time()`.
    """

    transport: UpstreamStream
    reused: bool = False
    reset: bool = False
    half_asked: bool = False
    used_at: float = 0.0

    def cut(self) -> None:
        """Wake whoever waits for it."""
        self.transport.cut()


class Endpoint(msgspec.Struct):
    """Where a model answers.

    Attributes:
        host: Name or address; the path of a unix socket when `port` is None.
        port: TCP port, or None.
        base_path: What the URL has after the authority, without a final slash.
        trust: Gives whom to trust, for TLS; None to speak without.
        gate: How many requests may be without an answer there.
    """

    host: str
    port: int | None
    base_path: bytes = b""
    trust: "Callable[[], ssl.SSLContext] | None" = None
    gate: AdmissionGate = msgspec.field(default_factory=lambda: AdmissionGate(LIMITS.unanswered))
    _idle: list[UpstreamConnection] = msgspec.field(default_factory=list)
    _links: list[UpstreamConnection] = msgspec.field(
        default_factory=list
    )  # all that are open, and some that were
    _heard: bool = False  # on one that is closed
    _heads: dict[bytes, ResponseHead] = msgspec.field(default_factory=dict)
    _forgotten: bool = False
    _idle_s: float | None = None

    @classmethod
    def parse(cls, url: str, trust: "Callable[[], ssl.SSLContext]" = make_context) -> "Endpoint":
        """Read ``http://host:port/base``, the same with ``https``, or ``unix:/path``.

        Args:
            url: What to read.
            trust: Gives whom to trust, for TLS.

        Raises:
            Unreachable: It is none of them.
        """
        if url.startswith("unix:"):  # a path to its end, whatever it holds
            return cls(url.removeprefix("unix:").removeprefix("//"), None)
        try:
            parts = urlsplit(url)
            base_path = parts.path.rstrip("/").encode()
            if parts.scheme == "http" and parts.hostname:
                return cls(parts.hostname, parts.port or 80, base_path)
            if parts.scheme == "https" and parts.hostname:
                return cls(parts.hostname, parts.port or 443, base_path, trust)
        except ValueError:
            pass
        raise UpstreamUnreachable(
            f"cannot reach an endpoint such as {url!r}: it is not http://, https:// or unix://"
        )

    @property
    def idle_s(self) -> float:
        """Seconds that an unused connection is kept."""
        if self._idle_s is not None:
            return self._idle_s or math.inf
        return IDLE_S if self.trust is None else TLS_IDLE_S

    def read_head(self, raw: bytes) -> ResponseHead:
        """Read the head of an answer; one that was read before costs nothing.

        Raises:
            UpstreamDied: It is not HTTP/1.
        """
        head = self._heads.get(raw)
        if head is None:
            head = parse_answer_head(raw)
            if len(raw) <= _MAX_REMEMBERED_BYTES:
                if len(self._heads) >= _MAX_HEADS:
                    self._heads.clear()
                self._heads[raw] = head
        return head

    def take_idle(self, now: float) -> UpstreamConnection | None:
        """Return a connection that was used before and seems to be of use still.

        Args:
            now: As `trio.current_time()`.
        """
        while self._idle:
            link = self._idle.pop()
            if now - link.used_at > _FRESH_S and link.transport.is_stale():
                link.transport.close()
                continue
            return link
        return None

    async def open(self, timeouts: Timeouts = _TIMEOUTS) -> UpstreamConnection:
        """Return a new connection.

        Args:
            timeouts: How long it may take, and how long it is kept.

        Raises:
            Unreachable: Nobody listens there, it takes too long, or it is somebody else.
        """
        self._idle_s = timeouts.idle_connection_s
        try:
            with trio.fail_after(timeouts.connect_s or math.inf):
                transport = await self._connect()
            self._ask_when_silent(transport, timeouts.keepalive_s)
            link = UpstreamConnection(
                transport
                if self.trust is None
                else await self._start_tls(transport, self.trust, timeouts.tls_handshake_s)
            )
        except CertificateRefused as exc:
            raise UpstreamUnreachable(
                f"cannot trust the model's server: its certificate is not accepted: {exc}; "
                "its issuer has to be among the system's certificates"
            ) from exc
        except (OSError, ValueError, StreamBroken, trio.TooSlowError) as exc:
            raise UpstreamUnreachable("cannot reach the model's server") from exc
        self._links.append(link)
        return link

    async def _connect(self) -> SocketStream:
        """Connect; to a server of this machine whose backlog is full, as soon as it has room.

        Left to itself, the kernel asks again a second later, or three.
        """
        if self.port is None:
            while True:
                try:
                    return await connect(socket.AF_UNIX, self.host)
                except BlockingIOError:
                    await trio.sleep(_BACKLOG_PAUSE_S)
        while self.host.startswith("127."):
            with trio.move_on_after(_BACKLOG_S):
                return await connect(socket.AF_INET, (self.host, self.port))
        return await _connect_tcp(self.host, self.port)

    def _ask_when_silent(self, transport: SocketStream, keepalive_s: float) -> None:
        """Let TCP ask whether another machine is still there: this one says so by itself."""
        if self.port is None or self.host.startswith("127.") or not keepalive_s:
            return
        seconds = min(max(1, math.ceil(keepalive_s)), _MAX_KEEPALIVE_S)
        sock = transport.sock
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, seconds)

    async def _start_tls(
        self, transport: SocketStream, trust: "Callable[[], ssl.SSLContext]", handshake_s: float
    ) -> TlsStream:
        try:
            secured = TlsStream(transport, trust(), self.host)
            with trio.fail_after(handshake_s or math.inf):
                await secured.handshake()
        except BaseException:
            transport.close()
            raise
        return secured

    def was_heard(self) -> bool:
        """Whether what answers here cannot be called silent since the last call.

        One that waits for us is not silent: for a client that is slow to take an answer, or to say
        what it wants.
        """
        self._forget_closed()
        heard, self._heard = self._heard, False
        said = [link.transport.was_heard() or link.half_asked for link in self._links]
        return heard or any(said)

    def _forget_closed(self) -> None:
        for link in self._links:
            if link.transport.closed and link.transport.was_heard():
                self._heard = True
        self._links = [link for link in self._links if not link.transport.closed]

    def keep(self, link: UpstreamConnection, now: float) -> None:
        """Take back a connection whose answer is complete.

        Args:
            link: The connection.
            now: As `trio.current_time()`.
        """
        if self._forgotten or len(self._idle) >= _MAX_IDLE:
            link.transport.close()
            return
        link.reused = True
        link.used_at = now
        self._idle.append(link)

    def forget(self) -> None:
        """Close the unused connections, and each of the others as soon as it is given back."""
        self._forgotten = True
        self.trim(float("inf"))

    def trim(self, before: float) -> None:
        """Close the connections that were last used before that time."""
        self._forget_closed()
        if self._idle and self._idle[0].used_at < before:
            for link in [link for link in self._idle if link.used_at < before]:
                self._idle.remove(link)
                link.transport.close()


async def _connect_tcp(host: str, port: int) -> SocketStream:
    if host.replace(".", "").isdigit():
        return await connect(socket.AF_INET, (host, port))
    failure: OSError | None = None
    for family, _, _, _, address in await trio.socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    ):
        try:
            return await connect(family, address)
        except OSError as exc:
            failure = exc
    raise failure or OSError(f"no address for {host!r}")


class Upstreams:
    """All endpoints that were spoken to lately.

    Args:
        trust: Gives whom to trust, for TLS. Called once, when the first connection needs it.
        unanswered: How many requests to one endpoint may be without an answer.
    """

    def __init__(
        self,
        trust: "Callable[[], ssl.SSLContext]" = make_context,
        unanswered: int = LIMITS.unanswered,
    ) -> None:
        self._unanswered = unanswered
        self._endpoints: dict[str, Endpoint] = {}
        self._trust = functools.cache(trust)

    def at(self, url: str) -> Endpoint:
        """Return the endpoint of `url`.

        Raises:
            Unreachable: It is no URL that can be spoken to.
        """
        endpoint = self._endpoints.get(url)
        if endpoint is None:
            endpoint = self._endpoints[url] = Endpoint.parse(url, self._trust)
            endpoint.gate = AdmissionGate(self._unanswered)
        return endpoint

    def was_heard(self, url: str) -> bool:
        """See `Endpoint.was_heard`."""
        endpoint = self._endpoints.get(url)
        return endpoint is not None and endpoint.was_heard()

    def forget(self, url: str) -> None:
        """Close the unused connections to `url`: its process is about to end or has ended."""
        endpoint = self._endpoints.pop(url, None)
        if endpoint is not None:
            endpoint.forget()

    def trim(self, now: float) -> None:
        """Close what was not used for a while."""
        for endpoint in self._endpoints.values():
            endpoint.trim(now - endpoint.idle_s)
