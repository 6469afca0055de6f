"""HTTP/2: streams of one connection, whatever their client reads, sends and leaves undone."""

import errno
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import pytest
import trio
import trio.testing
from packets import FLOODS, HELLO, WRONG

from arriero.protocol.lease import Finish
from arriero.worker.http.request_head import parse_head
from arriero.worker.limits import Limits
from arriero.worker.server import containment as edge
from arriero.worker.server import http1 as front
from tests.worker.growth import assert_short_steps, tasks
from tests.worker.rig import OpenRig, Rig, UpstreamExchange, answer_json, read_to_end
from tests.worker.sse import SSE_HEAD

HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
BODY = b'{"model":"m"}'
PIECE = b"data: " + b"x" * 10_000 + b"\n\n"
END = b'data: {"choices":[{"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


class Client:
    """A client with prior knowledge, whose windows a test opens or leaves."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.http.initiate_connection()
        self.reads = True
        self.status: dict[int, str] = {}
        self.bodies: dict[int, bytes] = {}
        self.resets: dict[int, int] = {}
        self.ended: set[int] = set()
        self.farewell: int | None = None
        self.over = False
        self._sending = trio.Lock()
        self._changed = trio.Event()

    async def begin(self, method: str, path: str, *, body: bool = False, **more: str) -> int:
        number = self.http.get_next_available_stream_id()
        fields = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "x")]
        fields += [(name.replace("_", "-"), value) for name, value in more.items()]
        self.http.send_headers(number, fields, end_stream=not body)
        await self.flush()
        return number

    async def post(self, path: str = "/v1/chat/completions", body: bytes = BODY) -> int:
        number = await self.begin("POST", path, body=True)
        await self.send(number, body)
        return number

    async def send(self, number: int, body: bytes) -> None:
        """Send a body as the server takes it; no more once it does not want it."""
        while body and number not in self.resets:
            room = min(self.http.local_flow_control_window(number), 16_384)
            if not room:
                await self.wait()
                continue
            self.http.send_data(number, body[:room])
            body = body[room:]
            await self.flush()
        if number not in self.resets:
            self.http.end_stream(number)
            await self.flush()

    async def flush(self) -> None:
        async with self._sending:
            await self.stream.send_all(self.http.data_to_send())

    async def run(self) -> None:
        """Read until the connection ends."""
        try:
            while data := await self.stream.receive_some():
                for event in self.http.receive_data(data):
                    self._note(event)
                await self.flush()
                self._tell()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        self.over = True
        self._tell()

    def _note(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived(stream_id=number, headers=fields):
                self.status[number] = str(dict(cast("list[tuple[str, str]]", fields))[":status"])
            case h2.events.DataReceived(stream_id=number, data=data):
                self.bodies[number] = self.bodies.get(number, b"") + data
                if self.reads:
                    self.http.acknowledge_received_data(event.flow_controlled_length, number)
            case h2.events.StreamReset(stream_id=number, error_code=code):
                self.resets[number] = int(code or 0)
            case h2.events.StreamEnded(stream_id=number):
                self.ended.add(number)
            case h2.events.ConnectionTerminated(error_code=code):
                self.farewell = int(code or 0)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def wait(self) -> None:
        assert not self.over
        await self._changed.wait()

    async def until(self, holds: Callable[[], object]) -> None:
        while not holds():
            await self.wait()

    async def answer(self, number: int) -> tuple[str, bytes]:
        await self.until(lambda: number in self.ended or number in self.resets)
        assert number in self.ended
        return self.status[number], self.bodies.get(number, b"")


@asynccontextmanager
async def connected(rig: Rig) -> AsyncGenerator[Client]:
    async with await rig.connect() as stream, trio.open_nursery() as nursery:
        client = Client(stream)
        nursery.start_soon(client.run)
        yield client
        nursery.cancel_scope.cancel()


async def tasks_at_rest(rig: Rig) -> int:
    """How many tasks live once a page was asked for, which begins the app."""
    await rig.ask(b"GET /running HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    await trio.testing.wait_all_tasks_blocked(0.05)
    return tasks()


async def tasks_are(expected: int) -> bool:
    with trio.move_on_after(20):
        while tasks() > expected:
            await trio.testing.wait_all_tasks_blocked(0.01)
    return tasks() <= expected


def endless(sent: list[int]) -> Callable[[Any], Any]:
    """An upstream whose answer has no end; what it could send is counted."""

    async def handler(exchange: UpstreamExchange) -> None:
        await exchange.stream.send_all(SSE_HEAD)
        while True:
            await exchange.stream.send_all(PIECE)
            sent[0] += len(PIECE)

    return handler


async def test_long_bodies_pass_side_by_side(open_rig: OpenRig) -> None:
    async def handler(exchange: UpstreamExchange) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        await exchange.stream.send_all(head % len(exchange.body) + exchange.body)

    async with open_rig(handler) as rig, connected(rig) as client:
        bodies = [b'{"model":"m","x":"' + b"%d" % n * 300_000 + b'"}' for n in range(5)]
        numbers = [await client.begin("POST", "/v1/embeddings", body=True) for _ in bodies]
        async with trio.open_nursery() as nursery:
            for number, body in zip(numbers, bodies, strict=True):
                nursery.start_soon(client.send, number, body)
        answers = [await client.answer(number) for number in numbers]

    assert answers == [("200", body) for body in bodies]


async def test_hundred_streams_are_whole(open_rig: OpenRig) -> None:
    async def handler(exchange: UpstreamExchange) -> None:
        await exchange.stream.send_all(SSE_HEAD + PIECE + END)
        await exchange.stream.aclose()

    async with open_rig(handler) as rig, connected(rig) as client:
        numbers = [await client.post() for _ in range(100)]
        answers = [await client.answer(number) for number in numbers]

    assert answers == [("200", PIECE + END)] * 100


async def test_unknown_path_is_answered_with_help(rig: Rig) -> None:
    async with connected(rig) as client:
        status, body = await client.answer(await client.post("/chat/completion"))

    assert status == "404"
    assert b"no POST /chat/completion here; did you mean /chat/completions?" in body


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/nothing", b"x" * 3_000_000, "404"),
        ("/v1/streaming_query/interrupt", b" " * 3_000_000, "413"),
    ],
)
async def test_unwanted_body_ends_its_stream_only(
    rig: Rig, path: str, body: bytes, status: str
) -> None:
    async with connected(rig) as client:
        number = await client.post(path, body)
        await client.until(lambda: number in client.ended or number in client.resets)
        assert client.status[number] == status
        assert (await client.answer(await client.post()))[0] == "200"


async def test_declared_too_long_body_is_refused(rig: Rig) -> None:
    async with connected(rig) as client:
        number = await client.begin("POST", "/v1/embeddings", body=True, content_length="99999999")
        await client.until(lambda: number in client.resets)
        assert client.status[number] == "413"
        assert client.resets[number] == h2.errors.ErrorCodes.NO_ERROR
        assert (await client.answer(await client.post()))[0] == "200"


async def test_head_response_has_no_body(rig: Rig) -> None:
    async with connected(rig) as client:
        assert await client.answer(await client.begin("HEAD", "/health")) == ("200", b"")
        assert await client.answer(await client.begin("GET", "/health")) == ("200", b"OK")


async def test_request_without_http1_form_is_refused(rig: Rig) -> None:
    async with connected(rig) as client:
        status, body = await client.answer(await client.begin("GET", "/\u00e9"))
        assert await client.answer(await client.begin("GET", "/health")) == ("200", b"OK")

        plain = await client.begin("GET", "/\u00e9", accept="text/plain")
        assert (await client.answer(plain))[1].startswith(b"arriero: cannot read")

    assert status == "400"
    assert b"percent-encoded" in body


async def test_no_descriptors_refuse_one_stream_only(
    open_rig: OpenRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pair() -> Any:
        raise OSError(errno.EMFILE, "")

    go_on = trio.Event()

    async def handler(exchange: UpstreamExchange) -> None:
        await go_on.wait()
        await answer_json(exchange)

    async with open_rig(handler) as rig, connected(rig) as client:
        number = await client.post()
        await rig.upstream.asked.wait()
        with monkeypatch.context() as patch:
            patch.setattr("socket.socketpair", pair)
            late = await client.post()
            await client.until(lambda: late in client.resets)
        go_on.set()

        assert client.resets[late] == h2.errors.ErrorCodes.REFUSED_STREAM
        assert await client.answer(number) == ("200", b'{"hello":"x"}')


@pytest.mark.parametrize("way", ["reset", "leave"])
async def test_gone_client_leaves_no_stream(open_rig: OpenRig, way: str) -> None:
    sent = [0]
    async with open_rig(endless(sent)) as rig:
        before = await tasks_at_rest(rig)
        async with connected(rig) as client:
            client.reads = False
            number = await client.post()
            await client.until(lambda: len(client.bodies.get(number, b"")) == 65_535)
            last = -1
            while sent[0] != last:  # until nothing more fits anywhere
                last = sent[0]
                await trio.testing.wait_all_tasks_blocked(0.1)
            if way == "reset":
                client.http.reset_stream(number)
                await client.flush()
                with trio.fail_after(20):
                    await rig.upstream.closed.wait()
                client.reads = True
                client.http.increment_flow_control_window(65_535)
                assert (await client.answer(await client.begin("GET", "/health")))[1] == b"OK"
        with trio.fail_after(20):
            await rig.upstream.closed.wait()
        record = await rig.record()

        assert record.outcome == "client_gone"
        assert await tasks_are(before)


async def test_closed_window_has_had_its_response(open_rig: OpenRig) -> None:
    limits = Limits(write_s=0.5)
    async with open_rig(endless([0]), limits=limits) as rig, connected(rig) as client:
        client.reads = False
        number = await client.post()
        await client.until(lambda: number in client.resets)
        await rig.upstream.closed.wait()

        assert client.resets[number] == h2.errors.ErrorCodes.INTERNAL_ERROR
        client.http.increment_flow_control_window(100_000)
        client.reads = True
        assert (await client.answer(await client.begin("GET", "/health")))[1] == b"OK"


async def test_client_that_never_reads_is_cut(open_rig: OpenRig) -> None:
    sent, limits = [0], Limits(write_s=0.5)
    async with open_rig(endless(sent), limits=limits) as rig, await rig.connect() as stream:
        client = Client(stream)
        client.http.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 2**30})
        client.http.increment_flow_control_window(2**30)
        await client.post()
        await rig.upstream.closed.wait()

    assert sent[0] > 65_535


async def test_idle_connection_is_told_and_closed(open_rig: OpenRig) -> None:
    async with open_rig(limits=Limits(idle_s=0.3)) as rig, connected(rig) as client:
        await client.answer(await client.post())
        while not client.over:
            await client._changed.wait()

    assert client.farewell == h2.errors.ErrorCodes.NO_ERROR


async def test_finishing_connection_ends_with_last_stream(
    open_rig: OpenRig,
) -> None:
    go_on = trio.Event()

    async def handler(exchange: UpstreamExchange) -> None:
        await exchange.stream.send_all(SSE_HEAD + PIECE)
        await go_on.wait()
        await exchange.stream.send_all(END)
        await exchange.stream.aclose()

    async with open_rig(handler) as rig, connected(rig) as client:
        async with connected(rig) as idle:
            await idle.answer(await idle.begin("GET", "/health"))
            number = await client.post()
            await client.until(lambda: client.bodies.get(number))
            rig.say(Finish())
            while not idle.over:
                await idle._changed.wait()
            assert idle.farewell == h2.errors.ErrorCodes.NO_ERROR
        # a library that is told farewell too early reads nothing more of what runs
        await client.until(lambda: client.http.remote_settings.max_concurrent_streams == 0)
        go_on.set()
        assert await client.answer(number) == ("200", PIECE + END)
        await rig.ended.wait()


@pytest.mark.parametrize("name", [*FLOODS, "huge head", "many fields"])
async def test_no_flood_holds_the_loop(rig: Rig, name: str) -> None:
    await rig.ask(HEALTH)

    async def flood() -> None:
        async with await rig.connect() as stream, trio.open_nursery() as nursery:
            nursery.start_soon(send, stream, FLOODS[name]() if name in FLOODS else WRONG[name])
            await read_to_end(stream)

    await assert_short_steps(flood, 0.05)
    assert (await rig.ask(HEALTH)).endswith(b"OK")


async def send(stream: trio.SocketStream, data: bytes) -> None:
    try:
        await stream.send_all(data)
        await stream.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass


async def test_bug_ends_its_own_connection_only(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def parse(raw: bytes) -> Any:
        if b"/bug" in raw:
            raise ZeroDivisionError
        return parse_head(raw)

    monkeypatch.setattr(front, "parse_head", parse)
    monkeypatch.setattr(edge.FLOOD_LOG, "_kinds", {})
    async with connected(rig) as client:
        for _ in range(20):
            assert await rig.ask(b"GET /bug HTTP/1.1\r\nHost: x\r\n\r\n") in {b"", b"<reset>"}
            number = await client.begin("GET", "/bug")
            while number not in client.resets:
                await client.wait()
        assert (await client.answer(await client.begin("GET", "/health")))[1] == b"OK"

    told = [record for record in caplog.records if "connection.failed" in record.getMessage()]
    assert len(told) == 1
    assert "ZeroDivisionError" in told[0].getMessage()


@pytest.mark.parametrize(
    "more", [b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n\r\n", b"\xff" * 1000, HELLO]
)
async def test_bytes_behind_page_request_are_dropped(rig: Rig, more: bytes) -> None:
    before = await tasks_at_rest(rig)
    for _ in range(3):
        answer = await rig.ask(b"GET /running HTTP/1.1\r\nHost: x\r\n\r\n" + more)
        assert answer.count(b"HTTP/1.1 200") == 1
        assert answer.endswith(b'{"running":[]}')

    assert await tasks_are(before)


async def test_unread_page_body_is_dropped(rig: Rig) -> None:
    before = await tasks_at_rest(rig)
    head = b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n"

    assert (await rig.ask(head + b"x" * 5_000_000)).startswith(b"HTTP/1.1 404")
    assert await tasks_are(before)
