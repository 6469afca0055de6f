"""A worker with a small supervisor and a scripted upstream, all in one trio loop.

rig_options      what the rigs of a file or a test are opened with (a mark)
OpenRig          the fixture `open_rig`: opens a rig, as an async context manager
Rig              the worker, the supervisor's side of its sockets, and its client
Upstream         the model's server; a `Handler` answers each of its exchanges
sends, ...       handlers
post, ...        requests as bytes, and responses taken apart
"""

import os
import re
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias, TypedDict, TypeVar, Unpack

import pytest
import trio
import zmq

from arriero.protocol.codec import encode, encode_event, read_from_worker
from arriero.protocol.events import AnyEvent
from arriero.protocol.lease import (
    Finished,
    FromSupervisor,
    FromWorker,
    Grant,
    Hello,
    Refuse,
    Select,
    Selected,
    There,
    ThereQuery,
    Want,
    Welcome,
)
from arriero.protocol.records import RequestRecord, UpstreamKind
from arriero.protocol.transport import FrameSocket, bound, open_context
from arriero.protocol.values import ErrorInfo, ModelStatus, Phase, Progress, Snapshot, State
from arriero.protocol.worker_config import (
    BodyRule,
    ClientKey,
    HeaderRules,
    ModelRoute,
    PeerModel,
    PeerRoute,
    ProfileRoute,
    SelectorRoute,
    WorkerConfig,
)
from arriero.worker import app
from arriero.worker.limits import Limits

T = TypeVar("T")
Handler: TypeAlias = Callable[["UpstreamExchange"], Awaitable[None]]

JSON_RESPONSE = (
    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{"hello":"x"}'
)


REASONING = (ModelRoute(model="m", progress="reasoning"),)
BROKEN = ErrorInfo(code="model_load_failed", message="the file is no model")
LATER = ErrorInfo(code="model_unavailable", message="evicted", transient=True)


def progress(phase: Phase, fraction: float | None = None, other: str | None = None) -> Progress:
    return Progress(model="m", swap=1, phase=phase, elapsed_s=1.0, fraction=fraction, other=other)


class Options(TypedDict, total=False):
    """Fields of `WorkerConfig` that tests set."""

    models: tuple[ModelRoute, ...]
    progress_delay_s: float | None
    heartbeat_s: float
    marker: str
    details: bool
    api_keys: tuple[str, ...]
    client_keys: tuple[ClientKey, ...]
    nonstream_hold_s: float
    nonstream_blanks: bool
    upstream_idle_s: float
    upstream_stall_s: float
    end_silence_s: float
    max_retry_wait_s: float
    max_body_bytes: int
    body_memory_bytes: int
    trailers: bool
    cors: bool | tuple[str, ...]
    allowed_hosts: tuple[str, ...]
    request_headers: HeaderRules
    response_headers: HeaderRules
    peers: dict[str, PeerRoute]
    peer_models: dict[str, PeerModel]
    places: dict[str, tuple[str, ...]]
    selectors: tuple[SelectorRoute, ...]
    profiles: tuple[ProfileRoute, ...]
    profile: str | None
    ignore_paths: tuple[str, ...]
    rules: tuple[BodyRule, ...]


# Reports come more often than in earnest; for tests they are a clock.
QUICK = Limits(report_s=0.4)

# Unless a test sets them: streams have no trailers, the server is meant by any host, and pages of
# all sites may ask.
DEFAULTS: Options = {
    "models": (ModelRoute(model="m", aliases=("em",)),),
    "trailers": False,
    "allowed_hosts": ("*",),
    "cors": True,
}


@dataclass
class UpstreamExchange:
    """One request at an upstream, and the stream that its response goes to."""

    stream: trio.SocketStream
    head: bytes
    body: bytes
    number: int


@dataclass
class Upstream:
    """A model's server that answers as `handler` says; keeps what it was asked."""

    handler: Handler
    exchanges: list[UpstreamExchange] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0
    asked: trio.Event = field(default_factory=trio.Event)
    closed: trio.Event = field(default_factory=trio.Event)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        self.open_connections += 1
        data = b""
        try:
            async with stream:
                while True:
                    while b"\r\n\r\n" not in data:
                        more = await stream.receive_some()
                        if not more:
                            return
                        data += more
                    head, _, data = data.partition(b"\r\n\r\n")
                    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                    while len(data) < length:
                        data += await stream.receive_some()
                    body, data = data[:length], data[length:]
                    exchange = UpstreamExchange(stream, head, body, len(self.exchanges))
                    self.exchanges.append(exchange)
                    self.asked.set()
                    await self.handler(exchange)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.open_connections -= 1
            self.closed.set()


async def answer_json(exchange: UpstreamExchange) -> None:
    await exchange.stream.send_all(JSON_RESPONSE)


def sends(*steps: bytes | float, close: bool = True, resets: bool = False) -> Handler:
    """Make an upstream that sends these bytes, with pauses of so many seconds between them.

    Args:
        steps: Bytes, or seconds.
        close: The connection ends with it; else it can be used again.
        resets: It ends with a reset, by which bytes that were not read are lost.
    """

    async def handler(exchange: UpstreamExchange) -> None:
        for step in steps:
            if isinstance(step, bytes):
                await exchange.stream.send_all(step)
            else:
                await trio.sleep(step)
        if resets:  # what closing does when it must not linger
            exchange.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        if close:
            await exchange.stream.aclose()

    return handler


def hangs_after(begun: bytes) -> Handler:
    """Make an upstream that sends `begun` and then nothing, until its client goes."""

    async def handler(exchange: UpstreamExchange) -> None:
        if begun:
            await exchange.stream.send_all(begun)
        assert await exchange.stream.receive_some() == b""
        await exchange.stream.aclose()

    return handler


def in_turn(*handlers: Handler) -> Handler:
    """Make an upstream that answers each request in another way; the last one goes on."""

    async def handler(exchange: UpstreamExchange) -> None:
        await handlers[min(exchange.number, len(handlers) - 1)](exchange)

    return handler


@dataclass
class Rig:
    """A worker and what is around it.

    Attributes:
        grants: A lease is granted as soon as it is wanted; else a test says when.
        kind: What the supervisor says with a grant the model's server is.
        chooses: Gives the target for a request that asks for one; None: a test says it.
        there: How models of peers stand; None: nobody tells.
        received: All messages of the worker.
        ended: The worker has ended.
    """

    nursery: trio.Nursery
    port: int
    lease: FrameSocket
    events: FrameSocket
    config: WorkerConfig
    snapshot: Snapshot
    upstream: Upstream
    grants: bool = True
    kind: UpstreamKind = "unknown"
    chooses: Callable[[Select], str] | None = None
    there: dict[str, State] | None = None
    lease_number: int = 1
    received: list[FromWorker] = field(default_factory=list)
    ended: trio.Event = field(default_factory=trio.Event)
    seq: int = 0
    _identity: bytes = b""
    _changed: trio.Event = field(default_factory=trio.Event)

    async def run_supervisor(self) -> None:
        while True:
            self._identity, _, data = await self.lease.receive()
            message = read_from_worker(data)
            self.received.append(message)
            if isinstance(message, Hello):
                self.say(Welcome(config=self.config, snapshot=self.snapshot))
            elif isinstance(message, Want) and self.grants:
                self.grant(message)
            elif isinstance(message, Select) and self.chooses is not None:
                self.say(Selected(ask=message.ask, target=self.chooses(message)))
            elif isinstance(message, ThereQuery) and self.there is not None:
                self.say(There(ask=message.ask, states=self.there))
            self._changed.set()
            self._changed = trio.Event()

    def say(self, message: FromSupervisor) -> None:
        assert self.lease.send([self._identity, encode(message)])

    def grant(self, want: Want, endpoint: str | None = None) -> None:
        self.say(
            Grant(
                request=want.request,
                model=want.model,
                lease=self.lease_number,
                endpoint=endpoint or self.upstream.url,
                waited_s=0.0,
                kind=self.kind,
            )
        )

    def refuse(self, want: Want, error: ErrorInfo) -> None:
        self.say(Refuse(request=want.request, model=want.model, error=error))

    def publish(self, make: Callable[..., AnyEvent], **fields: object) -> None:
        """Publish the next event; `make` is its class."""
        self.seq += 1
        event = make(epoch=self.snapshot.epoch, seq=self.seq, t=0.0, **fields)
        assert self.events.send(encode_event(event))

    async def heard(self, kind: type[T], count: int = 1) -> T:
        """Wait until that many messages of `kind` have come; return the last of them."""
        while True:
            found = [message for message in self.received if isinstance(message, kind)]
            if len(found) >= count:
                return found[count - 1]
            await self._changed.wait()

    @property
    def records(self) -> list[RequestRecord]:
        """What the worker has told of the requests that were over."""
        told = [message for message in self.received if isinstance(message, Finished)]
        return [record for message in told for record in message.records]

    async def record(self, count: int = 1) -> RequestRecord:
        """Wait for that many records; return the last of them."""
        while len(self.records) < count:
            await self._changed.wait()
        return self.records[count - 1]

    def count(self, kind: type[FromWorker]) -> int:
        return sum(isinstance(message, kind) for message in self.received)

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def ask(self, request: bytes) -> bytes:
        """Send `request` on a connection of its own and return all that comes until its end."""
        async with await self.connect() as stream:
            await stream.send_all(request)
            return await read_to_end(stream)


# --- requests and responses ----------------------------------------------------------------------


def post(
    body: bytes = b'{"model":"m"}',
    *fields: bytes,
    path: bytes = b"/v1/chat/completions",
    close: bool = True,
) -> bytes:
    lines = [b"POST %b HTTP/1.1" % path, b"Host: x", b"Content-Length: %d" % len(body), *fields]
    if close:
        lines.append(b"Connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


_ID_LINE = re.compile(rb"X-Request-Id: [0-9a-f]{32}\r\n")


def without_id(response: bytes) -> bytes:
    """Return a response without its id, which is another one each time."""
    return _ID_LINE.sub(b"", response, count=1)


async def read_to_end(stream: trio.SocketStream) -> bytes:
    data = b""
    try:
        while more := await stream.receive_some():
            data += more
    except trio.BrokenResourceError:
        data += b"<reset>"
    return without_id(data)


async def read_until(stream: trio.SocketStream, mark: bytes) -> bytes:
    """Return all that comes up to the piece with `mark` in it."""
    data = b""
    while mark not in data:
        more = await stream.receive_some()
        assert more, data
        data += more
    return data


async def read_response(stream: trio.SocketStream) -> bytes:
    """Return one response that has a Content-Length."""
    data = await read_until(stream, b"\r\n\r\n")
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += await stream.receive_some()
    return without_id(head + b"\r\n\r\n" + body)


def unchunk(response: bytes) -> bytes:
    """Return the body of a whole chunked response."""
    head, _, rest = response.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head, response
    body = b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        if int(size, 16) == 0:
            assert rest == b"\r\n", response
            return body
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]


# --- opening -------------------------------------------------------------------------------------


@asynccontextmanager
async def open_rig_in(
    folder: Path,
    handler: Handler = answer_json,
    *,
    limits: Limits = QUICK,
    patience_s: float = 40,
    **options: Unpack[Options],
) -> AsyncGenerator[Rig, None]:
    """Run a worker until the block ends, whose sockets are in `folder`.

    Args:
        folder: Exists and is empty.
        handler: Answers at the upstream.
        limits: How long the worker waits for others.
        patience_s: The block may take so long.
        options: Go before `DEFAULTS`.
    """
    config = WorkerConfig(generation=1, **DEFAULTS | options)
    snapshot = Snapshot(
        epoch="e",
        seq=0,
        t=0.0,
        models=tuple(
            ModelStatus(model=route.model, state="stopped", since=0.0) for route in config.models
        ),
    )
    upstream = Upstream(handler)
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)
    with (
        open_context() as context,
        bound(context, zmq.ROUTER, folder / "lease.sock") as lease,
        bound(context, zmq.XPUB, folder / "events.sock") as events,
    ):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(
                partial(trio.serve_tcp, upstream.serve, 0, host="127.0.0.1")
            )
            upstream.port = listeners[0].socket.getsockname()[1]
            port = listener.getsockname()[1]
            rig = Rig(nursery, port, lease, events, config, snapshot, upstream)
            nursery.start_soon(rig.run_supervisor)
            settings = app.Settings(
                worker=1,
                listen_fds=(listener.detach(),),
                socket_dir=folder,
                parent_pid=os.getpid(),
                limits=limits,
            )

            async def run() -> None:
                await app.run_worker(settings, lambda: None)
                rig.ended.set()

            nursery.start_soon(run)
            with trio.fail_after(patience_s):
                topics = 0
                while topics < 6:  # an event before the subscription would be lost
                    await events.receive()
                    topics += 1
                await rig.heard(Hello)  # without it nobody knows where to speak to
                yield rig
            nursery.cancel_scope.cancel()


@dataclass(frozen=True)
class OpenRig:
    """Opens rigs as a test and its file want them (`rig_options`)."""

    folder: Path
    handler: Handler
    limits: Limits
    options: Options

    def __call__(
        self,
        handler: Handler | None = None,
        *,
        limits: Limits | None = None,
        patience_s: float = 40,
        **options: Unpack[Options],
    ) -> AbstractAsyncContextManager[Rig]:
        return open_rig_in(
            self.folder,
            handler or self.handler,
            limits=limits or self.limits,
            patience_s=patience_s,
            **self.options | options,
        )


def rig_options(
    handler: Handler | None = None, *, limits: Limits | None = None, **options: Unpack[Options]
) -> pytest.MarkDecorator:
    """Mark a file or a test with what its rigs are opened with unless it says otherwise.

    A test's mark goes before that of its file, option by option.
    """
    return pytest.mark.rig(handler, limits, options)


def open_rig_for(node: pytest.Item, folder: Path) -> OpenRig:
    """Return what opens rigs for a test, by its marks."""
    handler: Handler | None = None
    limits: Limits | None = None
    options = Options()
    for mark in node.iter_markers("rig"):  # the nearest one first
        handler, limits = handler or mark.args[0], limits or mark.args[1]
        options = mark.args[2] | options
    return OpenRig(folder, handler or answer_json, limits or QUICK, options)
