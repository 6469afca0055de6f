"""Bodies of many requests at once: what they take, and that others are answered meanwhile."""

import functools
import json
from collections.abc import Callable
from typing import Any

import pytest
import trio

from arriero.worker.http.body_memory import BodyMemory
from arriero.worker.limits import Limits
from tests.worker.rig import OpenRig, post, read_to_end

LIMIT = 1024**2


@pytest.fixture
def memories(monkeypatch: pytest.MonkeyPatch) -> list[BodyMemory]:
    """All that are made: the worker of the test has one."""
    made: list[BodyMemory] = []
    build = BodyMemory.__init__

    @functools.wraps(build)
    def noted(self: BodyMemory, *args: Any) -> None:
        build(self, *args)
        made.append(self)

    monkeypatch.setattr(BodyMemory, "__init__", noted)
    return made


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds; a limit of its own is the test's."""
    while not holds():  # noqa: ASYNC110  a sum of integers tells nobody
        await trio.sleep(0.01)


def body_of(size: int) -> bytes:
    return b'{"model":"m","x":"%b"}' % (b"x" * (size - 20))


def error_of(answer: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    return found


def chunked(body: bytes, *fields: bytes) -> bytes:
    lines = [b"POST /v1/chat/completions HTTP/1.1", b"Host: x", b"Transfer-Encoding: chunked"]
    return b"\r\n".join((*lines, *fields, b"", b"%x" % len(body), body, b"0", b"", b""))


@pytest.mark.parametrize("in_chunks", [False, True])
async def test_bodies_that_wait_are_counted_together(
    open_rig: OpenRig, memories: list[BodyMemory], in_chunks: bool
) -> None:
    """Requests that wait for their model hold what they have sent."""
    body = body_of(300_000)
    request = chunked(body, b"Connection: close") if in_chunks else post(body)
    async with open_rig(body_memory_bytes=LIMIT) as rig:
        rig.grants = False
        memory = memories[-1]
        streams = [await rig.connect() for _ in range(3)]
        for stream in streams:
            await stream.send_all(request)
        await until(lambda: memory.held_bytes == 3 * len(body))

        answer = await rig.ask(request)

        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: " in answer
        error = error_of(answer)
        assert error["code"] == "body_memory_full"
        assert "'bodyMemory'" in error["message"]
        assert memory.held_bytes == 3 * len(body)
        async with await rig.connect() as health:
            await health.send_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert (await read_to_end(health)).startswith(b"HTTP/1.1 200")
        await streams.pop().aclose()  # who leaves makes room
        await until(lambda: memory.held_bytes == 2 * len(body))
        rig.grants = True
        for stream in streams:
            await stream.aclose()
        assert (await rig.ask(request)).startswith(b"HTTP/1.1 200")
        await until(lambda: memory.held_bytes == 0)


async def test_body_without_room_is_refused_early(open_rig: OpenRig) -> None:
    async with open_rig(body_memory_bytes=LIMIT) as rig, await rig.connect() as one:
        head = b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % (LIMIT + 1)
        await one.send_all(head + b"Expect: 100-continue\r\n\r\n")
        assert (await read_to_end(one)).startswith(b"HTTP/1.1 503 ")


async def test_promised_bytes_take_no_room(open_rig: OpenRig) -> None:
    async with open_rig(body_memory_bytes=LIMIT) as rig:
        head = b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n{" % LIMIT
        idle = [await rig.connect() for _ in range(20)]
        for stream in idle:
            await stream.send_all(head)
        assert (await rig.ask(post(body_of(LIMIT // 2)))).startswith(b"HTTP/1.1 200")
        for stream in idle:
            await stream.aclose()


async def test_bodies_for_pages_are_counted(open_rig: OpenRig, memories: list[BodyMemory]) -> None:
    head = b"POST /v1/streaming_query/interrupt HTTP/1.1\r\nHost: x\r\n"
    async with open_rig(body_memory_bytes=LIMIT) as rig:
        stream = await rig.connect()
        await stream.send_all(head + b"Content-Length: 1000000\r\n\r\n" + b" " * 900_000)
        await until(lambda: sum(memory.held_bytes for memory in memories) == 900_000)
        chunk = b"%x\r\n%b\r\n" % (200_000, b" " * 200_000)
        refused = await rig.ask(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk)
        await stream.aclose()
        await until(lambda: sum(memory.held_bytes for memory in memories) == 0)

    assert refused.startswith(b"HTTP/1.1 503 ")
    assert error_of(refused)["code"] == "body_memory_full"


def form(size: int, *, model_first: bool) -> bytes:
    model = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n'
    file = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n%b\r\n'
    parts = [model, file % (b"x" * size)]
    return b"".join(parts if model_first else parts[::-1]) + b"--b--\r\n"


@pytest.mark.parametrize("model_first", [True, False])
async def test_kept_form_is_counted_and_released(
    open_rig: OpenRig, memories: list[BodyMemory], model_first: bool
) -> None:
    request = post(
        form(200_000, model_first=model_first),
        b"Content-Type: multipart/form-data; boundary=b",
        path=b"/v1/audio/transcriptions",
    )
    async with open_rig(body_memory_bytes=LIMIT) as rig:
        rig.grants = False
        memory = memories[-1]
        async with await rig.connect() as stream:
            await stream.send_all(request)
            await until(lambda: memory.held_bytes > 0)
        await until(lambda: memory.held_bytes == 0)
        rig.grants = True
        assert (await rig.ask(request)).startswith(b"HTTP/1.1 200")
        assert memory.held_bytes == 0
        memory.limit_bytes = 1000
        assert error_of(await rig.ask(request))["code"] == "body_memory_full"
        assert memory.held_bytes == 0


async def test_every_end_releases_the_memory(open_rig: OpenRig, memories: list[BodyMemory]) -> None:
    """Errors of every kind, clients that leave anywhere, cancelled requests."""
    async with open_rig(body_memory_bytes=LIMIT) as rig:
        whole = post(body_of(2000), close=False)
        rig.grants = False
        for sent in (whole, whole[:-1], whole[:80], chunked(body_of(5000))[:-3]):
            async with await rig.connect() as stream:
                await stream.send_all(sent)
                await trio.sleep(0.02)
        async with await rig.connect() as stream:
            await stream.send_all(post(body_of(3000), b"X-Request-Id: mine"))
            memory = memories[-1]
            await until(lambda: memory.held_bytes == 3000)
            cancel = b"POST /api/requests/mine/cancel HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            await rig.ask(cancel + b"Content-Length: 0\r\n\r\n")
            assert error_of(await read_to_end(stream))["code"] == "cancelled"
        rig.grants = True
        for request in (
            post(b"no JSON"),
            post(b'{"model":"unknown"}'),
            post(body_of(2000), b"Authorization: Bearer \xff"),
            chunked(body_of(5000)) + b"garbage",
            whole.replace(b"Content-Length: 2000", b"Content-Length: 1999"),
            whole + whole + post(b'{"model":"m"}'),
        ):
            await rig.ask(request)
        await until(lambda: memory.held_bytes == 0)


async def drip(stream: trio.SocketStream) -> None:
    while True:
        await trio.sleep(0.1)
        await stream.send_all(b" ")


async def test_a_drip_ends(open_rig: OpenRig) -> None:
    """A byte now and then: each read comes in time, all together do not."""
    for head in (
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{",
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n{",
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n",
    ):
        async with open_rig(limits=Limits(body_s=0.8)) as rig, await rig.connect() as one:
            await one.send_all(head)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(drip, one)
                with trio.fail_after(20):
                    answer = await one.receive_some()
                nursery.cancel_scope.cancel()
            assert answer.startswith(b"HTTP/1.1 408 "), answer
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["type"] == "error"


async def test_the_longest_body_is_a_setting(open_rig: OpenRig) -> None:
    async with open_rig(max_body_bytes=100_000) as rig:
        assert (await rig.ask(post(body_of(100_000)))).startswith(b"HTTP/1.1 200")
        for request in (
            post(body_of(100_001)),
            chunked(body_of(100_001)),
            post(b"x" * 100_001, path=b"/api/requests"),
        ):
            answer = await rig.ask(request)
            assert answer.startswith(b"HTTP/1.1 413 ")
            assert "100000 bytes ('maxBody'" in error_of(answer)["message"]
