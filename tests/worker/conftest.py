"""A worker with a small supervisor and a scripted upstream, all in one trio loop."""

import os
import re
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

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
    Want,
    Welcome,
)
from arriero.protocol.records import RequestRecord
from arriero.protocol.transport import FrameSocket, bound, open_context
from arriero.protocol.values import ModelStatus, Snapshot
from arriero.protocol.worker_config import ModelRoute, WorkerConfig
from arriero.worker import app

T = TypeVar("T")
Handler = Callable[["Exchange"], Awaitable[None]]

JSON_ANSWER = (
    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{"hello":"x"}'
)


@dataclass
class Exchange:
    """One request at an upstream."""

    stream: trio.SocketStream
    head: bytes
    body: bytes
    number: int


@dataclass
class Upstream:
    """A model's server that answers as `handler` says; keeps what it was asked."""

    handler: Handler
    exchanges: list[Exchange] = field(default_factory=list)
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
                    exchange = Exchange(stream, head, body, len(self.exchanges))
                    self.exchanges.append(exchange)
                    self.asked.set()
                    await self.handler(exchange)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.open_connections -= 1
            self.closed.set()


async def answer_json(exchange: Exchange) -> None:
    await exchange.stream.send_all(JSON_ANSWER)


@dataclass
class Rig:
    """A worker and what is around it."""

    nursery: trio.Nursery
    port: int
    lease: FrameSocket
    events: FrameSocket
    config: WorkerConfig
    snapshot: Snapshot
    upstream: Upstream
    grants: bool = True
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
            )
        )

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


_ID_LINE = re.compile(rb"X-Request-Id: [0-9a-f]{32}\r\n")


def without_id(answer: bytes) -> bytes:
    """Return an answer without its id, which is another one each time."""
    return _ID_LINE.sub(b"", answer, count=1)


async def read_to_end(stream: trio.SocketStream) -> bytes:
    data = b""
    try:
        while more := await stream.receive_some():
            data += more
    except trio.BrokenResourceError:
        data += b"<reset>"
    return without_id(data)


async def read_answer(stream: trio.SocketStream) -> bytes:
    """Return one answer that has a Content-Length."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = await stream.receive_some()
        assert more, data
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += await stream.receive_some()
    return without_id(head + b"\r\n\r\n" + body)


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


def unchunk(answer: bytes) -> bytes:
    """Return the body of a whole chunked answer."""
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head, answer
    body = b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        if int(size, 16) == 0:
            assert rest == b"\r\n", answer
            return body
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]


@asynccontextmanager
async def open_rig(
    folder: Path,
    handler: Handler = answer_json,
    models: tuple[ModelRoute, ...] = (ModelRoute(model="m", aliases=("em",)),),
    patience_s: float = 20,
    **options: object,
) -> AsyncGenerator[Rig, None]:
    """Run a worker until the block ends; `options` are those of `WorkerConfig`.

    Unless a test wants it otherwise, streams have no trailers here, the server is meant by any
    host, and the pages of all sites may ask.
    """
    options = {"trailers": False, "allowed_hosts": ("*",), "cors": True} | options
    config = WorkerConfig(generation=1, models=models, **options)  # type: ignore[arg-type]
    snapshot = Snapshot(
        epoch="e",
        seq=0,
        t=0.0,
        models=tuple(
            ModelStatus(model=route.model, state="stopped", since=0.0) for route in models
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
                worker=1, listen_fd=listener.detach(), socket_dir=folder, parent_pid=os.getpid()
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


@pytest.fixture(autouse=True)
def frequent_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers report more often than in earnest; for tests that is a clock."""
    monkeypatch.setattr("arriero.worker.supervisor_link._REPORT_S", 0.4)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncGenerator[Rig, None]:
    async with open_rig(tmp_path) as opened:
        yield opened


class Kit:
    """What tests of this folder share; a class, because test folders are no packages."""

    open_rig = staticmethod(open_rig)
    post = staticmethod(post)
    unchunk = staticmethod(unchunk)
    without_id = staticmethod(without_id)
    read_to_end = staticmethod(read_to_end)
    read_answer = staticmethod(read_answer)
    answer_json = staticmethod(answer_json)


@pytest.fixture
def kit() -> type[Kit]:
    return Kit
