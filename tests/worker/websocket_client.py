"""Clients and models that speak WebSocket, by wsproto alone."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import trio
import trio.testing
from wsproto import ConnectionType, WSConnection
from wsproto import events as ws
from wsproto.extensions import Extension

from arriero.protocol.worker_config import ModelRoute
from tests.worker.rig import Rig

HERE = "127.0.0.1"
MODEL = ModelRoute(model="m", aliases=("em",), send_as="real", kind="vllm")
ID = (b"X-Request-Id", b"chosen")
DONE = {"type": "response.completed", "response": {"usage": {"input_tokens": 7}}}


class Talker:
    """One end of a WebSocket, by wsproto alone."""

    def __init__(self, stream: Any, kind: ConnectionType) -> None:
        self.stream = stream
        self.ws = WSConnection(kind)
        self.events: list[Any] = []

    async def say(self, event: ws.Event) -> None:
        await self.stream.send_all(self.ws.send(event))

    async def text(self, value: object) -> None:
        await self.say(ws.TextMessage(data=value if isinstance(value, str) else json.dumps(value)))

    async def next(self) -> Any:
        """Return the next event; that of a cut connection is a close with 1006."""
        while not self.events:
            try:
                data = await self.stream.receive_some()
            except trio.BrokenResourceError:
                data = b""
            self.ws.receive_data(data or None)
            self.events += self.ws.events()
        return self.events.pop(0)

    async def message(self) -> Any:
        """Return the data of the next message."""
        data: Any = None
        while True:
            event = await self.next()
            assert isinstance(event, ws.Message), event
            data = event.data if data is None else data + event.data
            if event.message_finished:
                return data

    async def json(self) -> Any:
        return json.loads(await self.message())

    async def closed(self) -> tuple[int, str]:
        """Return why the other end closes; what it says before is dropped."""
        while True:
            event = await self.next()
            if isinstance(event, ws.CloseConnection):
                return int(event.code), event.reason or ""


Talk: TypeAlias = Callable[[Talker], Awaitable[None]]


@dataclass
class Model:
    """An upstream that speaks WebSocket: `talk` is called for each connection."""

    talk: Talk
    requests: list[ws.Request] = field(default_factory=list)
    over: trio.Event = field(default_factory=trio.Event)
    extensions: tuple[Extension, ...] = ()

    async def serve(self, stream: Any) -> None:
        async with stream:
            talker = Talker(stream, ConnectionType.SERVER)
            request = await talker.next()
            self.requests.append(request)
            await talker.say(ws.AcceptConnection(extensions=list(self.extensions)))
            await self.talk(talker)
        self.over.set()


def fields_of(request: ws.Request) -> dict[bytes, bytes]:
    return {bytes(name).lower(): bytes(value) for name, value in request.extra_headers}


async def answer_turns(talker: Talker) -> None:
    """Answer each message with what it was, and end its turn."""
    words = ""
    while not isinstance(event := await talker.next(), ws.CloseConnection):
        assert isinstance(event, ws.TextMessage), event
        words += event.data
        if event.message_finished:
            await talker.text({"type": "heard", "words": words})
            await talker.text(DONE)
            words = ""
    if event.code != 1006:
        await talker.say(event.response())


async def listen(
    nursery: trio.Nursery, serve: Callable[[trio.SocketStream], Awaitable[None]]
) -> int:
    """Serve connections from now on; return the port."""
    listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
    return int(listeners[0].socket.getsockname()[1])


@asynccontextmanager
async def serve_model(rig: Rig, talk: Talk) -> AsyncGenerator[Model, None]:
    """Let the model that the supervisor grants speak WebSocket."""
    model = Model(talk)
    rig.upstream.port = await listen(rig.nursery, model.serve)
    with trio.fail_after(20):
        yield model


@asynccontextmanager
async def dialled(
    rig: Rig,
    target: str = "/v1/responses",
    *fields: tuple[bytes, bytes],
    extensions: Sequence[Extension] = (),
) -> AsyncGenerator[Talker, None]:
    """Open a WebSocket at the worker; the answer is the first event."""
    async with await rig.connect() as stream:
        talker = Talker(stream, ConnectionType.CLIENT)
        await talker.say(
            ws.Request(
                host="here", target=target, extra_headers=list(fields), extensions=list(extensions)
            )
        )
        yield talker


@asynccontextmanager
async def opened(
    rig: Rig,
    target: str = "/v1/responses",
    *fields: tuple[bytes, bytes],
    extensions: Sequence[Extension] = (),
) -> AsyncGenerator[Talker, None]:
    """Open a WebSocket that the worker accepts."""
    async with dialled(rig, target, *fields, extensions=extensions) as talker:
        answer = await talker.next()
        assert isinstance(answer, ws.AcceptConnection), answer
        yield talker


def create(**members: Any) -> dict[str, Any]:
    return {"type": "response.create", "model": "em"} | members


@asynccontextmanager
async def serve_raw(rig: Rig, answer: bytes) -> AsyncGenerator[None, None]:
    """Let the model answer every request with these bytes."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            data = b""
            while b"\r\n\r\n" not in data:
                data += await stream.receive_some()
            await stream.send_all(answer)

    rig.upstream.port = await listen(rig.nursery, serve)
    with trio.fail_after(20):
        yield
