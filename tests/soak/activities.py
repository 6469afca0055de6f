"""What clients do all day, good ones and others. Doing.

Each activity happens once per call and says what was wrong with what it saw, if anything. What it
draws comes from the `random.Random` that it is given.
"""

import json
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import trio
from wsproto import WSConnection, events
from wsproto.connection import ConnectionType
from wsproto.utilities import RemoteProtocolError

from tests.faults.clients import Client, chat, upload
from tests.faults.endings import Ending, judge
from tests.faults.rig import NotSo, Rig

MODELS = ("m0", "m1", "m2", "m3", "m4", "m5")

# Seconds in which all that was asked for is answered, swaps, loads and pauses after crashes
# included.
PATIENCE_S = 90.0


@dataclass(slots=True)
class Injections:
    """When something was killed on purpose.

    Attributes:
        times: Of the kills of a model or a worker, on the clock of trio.
    """

    times: list[float] = field(default_factory=list)

    def excuse(self, began: float, ended: float) -> bool:
        """Whether something was killed in that time, or shortly before: it may still come back."""
        return any(began - 5.0 <= at <= ended for at in self.times)


@dataclass(slots=True)
class Day:
    """What the activities share."""

    rig: Rig
    rng: random.Random
    injections: Injections = field(default_factory=Injections)

    @property
    def model(self) -> str:
        """One that somebody wants now: the first ones more often."""
        return MODELS[min(self.rng.randrange(6), self.rng.randrange(6))]


Activity = Callable[[Day], Awaitable[str | None]]


async def _judged(day: Day, client: Client) -> str | None:
    began = trio.current_time()
    with trio.move_on_after(PATIENCE_S):
        await client.run(day.rig.port)
    assert client.answer is not None
    ending = judge(client.answer, client.wanted)
    if ending is Ending.WHOLE:
        return None
    excused = ending in {Ending.ERROR, Ending.CUT}
    if excused and day.injections.excuse(began, trio.current_time()):
        return None
    return f"{ending.value}: {client.answer.status} {client.answer.body[-200:]!r}"


async def streams(day: Day) -> str | None:
    """A chat that is streamed."""
    modes = ("reasoning", "heartbeat", "comment", "off", None)
    delay_s = day.rng.choice((0, 0.01, 0.05))
    return await _judged(
        day, chat(day.model, chunks=20, delay_s=delay_s, mode=day.rng.choice(modes))
    )


async def asks(day: Day) -> str | None:
    """A chat that is not."""
    return await _judged(day, chat(day.model, stream=False, sleep_s=day.rng.choice((0, 0.2))))


async def uploads(day: Day) -> str | None:
    """A form whose file is kept on disk until its model is known."""
    return await _judged(day, upload(day.model, size=day.rng.choice((1000, 1_500_000))))


async def leaves(day: Day) -> str | None:
    """A client that goes whenever it likes: while it waits, or in the middle of its answer."""
    client = chat(day.model, chunks=100, delay_s=0.05)
    with trio.move_on_after(day.rng.uniform(0, 2)):
        await client.run(day.rig.port)
    return None


async def cancels(day: Day) -> str | None:
    """A request that is cancelled by its id from elsewhere."""
    name = f"soak-{day.rng.randrange(2**32)}"
    client = chat(day.model, chunks=200, delay_s=0.05)
    client.fields += (("X-Request-Id", name),)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run, day.rig.port)
        await trio.sleep(day.rng.uniform(0.1, 2))
        with suppress(NotSo):
            await trio.to_thread.run_sync(lambda: day.rig.ask("cancel", request_id=name))
        with trio.move_on_after(PATIENCE_S):
            await client.ended.wait()
        nursery.cancel_scope.cancel()
    assert client.answer is not None
    ending = judge(client.answer, client.wanted)
    return "hang: cancelled, and never ended" if ending is Ending.HANG else None


async def reads_slowly(day: Day) -> str | None:
    """A client that reads a bit of a long answer now and then, and then goes."""
    body = json.dumps(
        {"model": day.model, "messages": [], "stream": True, "script": "chunks=5000"}
    ).encode()
    stream = await trio.open_tcp_stream("127.0.0.1", day.rig.port)
    async with stream:
        with trio.move_on_after(day.rng.uniform(1, 6)), suppress(trio.BrokenResourceError):
            await stream.send_all(_head(day, len(body)) + body)
            await _read_slowly(stream)
    return None


async def _read_slowly(stream: trio.SocketStream) -> None:
    while await stream.receive_some(2000):  # noqa: ASYNC110  the sleep is the point
        await trio.sleep(0.1)


async def sends_half(day: Day) -> str | None:
    """A client that never finishes its request."""
    body = b'{"model": "m0", "messages": ['
    data = _head(day, 5000) + body
    stream = await trio.open_tcp_stream("127.0.0.1", day.rig.port)
    async with stream:
        with trio.move_on_after(day.rng.uniform(0.1, 5)), suppress(trio.BrokenResourceError):
            await stream.send_all(data[: day.rng.randrange(1, len(data))])
            while await stream.receive_some(2000):
                pass
    return None


def _head(day: Day, length: int) -> bytes:
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{day.rig.port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


async def opens_websocket(day: Day) -> str | None:
    """A WebSocket that some messages go through, there and back."""
    began = trio.current_time()
    wanted, heard = day.rng.randrange(1, 5), 0
    ws = WSConnection(ConnectionType.CLIENT)
    hello = events.Request(
        host=f"127.0.0.1:{day.rig.port}", target=f"/v1/realtime?model={day.model}"
    )
    stream = await trio.open_tcp_stream("127.0.0.1", day.rig.port)
    refused = ""
    with trio.move_on_after(PATIENCE_S), suppress(trio.BrokenResourceError):
        async with stream:
            await stream.send_all(ws.send(hello))
            while heard < wanted and not refused:
                data = await stream.receive_some(65536)
                try:
                    ws.receive_data(data or None)
                except RemoteProtocolError:
                    refused = "cut in the middle of its opening"
                for event in ws.events():
                    match event:
                        case events.AcceptConnection() | events.TextMessage():
                            heard += isinstance(event, events.TextMessage)
                            await stream.send_all(ws.send(events.TextMessage("hello")))
                        case events.RejectConnection(status_code=code):
                            refused = f"refused with {code}"
                        case events.CloseConnection(code=code):
                            refused = f"closed with {code}"
                        case _:
                            pass
                if not data:
                    refused = refused or "cut"
            if day.rng.random() < 0.7 and not refused:
                await stream.send_all(ws.send(events.CloseConnection(code=1000)))
    if heard == wanted or day.injections.excuse(began, trio.current_time()):
        return None
    return f"WebSocket: {heard} of {wanted} messages, {refused}"


async def reads_pages(day: Day) -> str | None:
    """A page of the management."""
    path = day.rng.choice(("/health", "/v1/models", "/running", "/api/activity", "/nowhere"))
    stream = await trio.open_tcp_stream("127.0.0.1", day.rig.port)
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{day.rig.port}\r\nConnection: close\r\n\r\n"
    got = b""
    with trio.move_on_after(PATIENCE_S), suppress(trio.BrokenResourceError):
        async with stream:
            await stream.send_all(head.encode())
            while data := await stream.receive_some(65536):
                got += data
    status, _, body = got[9:12], *got.partition(b"\r\n\r\n")[1:]
    if status == b"200" or (path == "/nowhere" and status == b"404"):
        return None
    return f"{path}: {status!r} {body[:200]!r}"
