"""Readiness is noticed soon, and a server that misbehaves cannot hide it."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from arriero.supervisor import health
from arriero.supervisor.errors import SupervisorError
from arriero.supervisor.health import (
    MOST_BODY_BYTES,
    Answer,
    pause_s,
    probe,
    wait_until_healthy,
)

Handler = Callable[[trio.abc.Stream], Awaitable[None]]


async def serve(handler: Handler, task_status: trio.TaskStatus[int]) -> None:
    """Serve each connection with `handler`, on a port that the system chooses."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    task_status.started(listener.socket.getsockname()[1])
    await trio.serve_listeners(handler, [listener])


def answering(*answers: bytes) -> Handler:
    """Give one answer after the other, then the last one for ever; a connection each."""
    left = list(answers)

    async def handler(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(left.pop(0) if len(left) > 1 else left[0])

    return handler


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LOADING = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("elapsed_s", "expected_s"),
    [(0, 0.005), (0.5, 0.005), (2, 0.02), (4, 0.04), (25, 0.05), (600, 0.05)],
)
def test_the_longer_a_load_takes_the_rarer_are_the_questions(
    elapsed_s: float, expected_s: float
) -> None:
    assert pause_s(elapsed_s) == expected_s


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (OK, 200),
        (LOADING, 503),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200),
        (b"HTTP/1.0 204 No Content\r\n\r\n", 204),
        (b"HTTP/1.1 302 Found\r\nLocation: /ui\r\nContent-Length: 0\r\n\r\n", 302),
        (b"HTTP/1.1 20", None),
        (b"", None),
        (b"SSH-2.0-OpenSSH_9.2\r\n", None),
        (b"x" * 100_000, None),
    ],
)
async def test_a_probe_gives_the_status_or_none(answer: bytes, status: int | None) -> None:
    found = await probed(answer)

    assert (None if found is None else found.status) == status


async def probed(answer: bytes, *, with_body: bool = False) -> Answer | None:
    """Probe a server that answers so."""
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve, answering(answer))
            found = await probe(f"http://127.0.0.1:{port}/health", with_body=with_body)
            nursery.cancel_scope.cancel()
    return found


@pytest.mark.parametrize(
    ("field", "server"),
    [
        (b"Server: llama.cpp\r\n", "llama.cpp"),
        (b"sErVeR:  llama.cpp \r\n", "llama.cpp"),
        (b"Server: \xff\r\n", "\xff"),
        (b"X-Server: llama.cpp\r\n", ""),
        (b"", ""),
    ],
)
async def test_a_probe_tells_the_server(field: bytes, server: str) -> None:
    found = await probed(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + field + b"\r\n")

    assert found == Answer(200, server)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK, b"ok"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n",
            b"ab",
        ),
        (b"HTTP/1.0 200 OK\r\n\r\nto the end", b"to the end"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
)
async def test_a_probe_reads_the_body_where_it_is_asked_to(answer: bytes, body: bytes) -> None:
    found = await probed(answer, with_body=True)

    assert found is not None
    assert found.body == body


async def test_half_a_body_is_no_answer() -> None:
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"

    assert await probed(half, with_body=True) is None


async def test_no_more_of_a_body_is_read_than_anybody_needs() -> None:
    async def without_end(stream: trio.abc.Stream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
        with suppress(trio.BrokenResourceError):
            while True:
                await stream.send_all(b"x" * 10_000)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve, without_end)
            found = await probe(f"http://127.0.0.1:{port}/", with_body=True)
            nursery.cancel_scope.cancel()

    assert found == Answer(200, "", b"x" * MOST_BODY_BYTES)


async def test_a_probe_where_nobody_listens_gives_none() -> None:
    with trio.socket.socket() as bound:
        await bound.bind(("127.0.0.1", 0))

        assert await probe(f"http://127.0.0.1:{bound.getsockname()[1]}/health") is None


async def test_waiting_ends_with_the_first_good_answer() -> None:
    answers = [b"", LOADING, b"garbage\r\n\r\n", b"HTTP/1.1 404 Not Found\r\n\r\n", OK]
    handler = answering(*answers)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve, handler)
            await wait_until_healthy(f"http://127.0.0.1:{port}/", started_at=trio.current_time())
            nursery.cancel_scope.cancel()


async def test_the_request_names_path_query_and_host() -> None:
    got: list[bytes] = []

    async def handler(stream: trio.abc.Stream) -> None:
        got.append(bytes(await stream.receive_some()))
        await stream.send_all(OK)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve, handler)
            await probe(f"http://localhost:{port}/health?full=1")
            nursery.cancel_scope.cancel()

    head = f"GET /health?full=1 HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n"
    assert got[0].startswith(head.encode())


async def test_a_server_that_accepts_and_never_answers_does_not_hide_that_it_became_ready(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first connection is swallowed, the second is answered. Nothing real is waited for."""
    connections = 0

    async def open_stream(*_: object, **__: object) -> trio.abc.Stream:
        nonlocal connections
        connections += 1
        ours, theirs = memory_stream_pair()
        if connections > 1:
            await theirs.send_all(OK)
        else:
            swallowed.append(theirs)
        return ours

    swallowed: list[trio.abc.Stream] = []
    monkeypatch.setattr(trio, "open_tcp_stream", open_stream)

    await wait_until_healthy("http://127.0.0.1:1/health", started_at=trio.current_time())

    assert trio.current_time() == health.PATIENCE_S + 0.02
    assert connections == 2


async def test_a_server_that_listens_late_is_found(autojump_clock: MockClock) -> None:
    with trio.socket.socket() as bound:
        await bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/"

        with trio.move_on_after(60) as limit:
            await wait_until_healthy(url, started_at=trio.current_time())

    assert limit.cancelled_caught  # nobody ever listened; refusals are not an end


@pytest.mark.parametrize("url", ["", "127.0.0.1:80", "ftp://x/", "http:///x", "http://x:99999/"])
async def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(SupervisorError, match=r"^cannot check the health at"):
        await wait_until_healthy(url, started_at=0)


async def test_readiness_of_a_short_load_is_noticed_within_25_ms() -> None:
    """The median of several, so that one hiccup of the machine does not matter."""
    late_s = []

    async def handler(stream: trio.abc.Stream, *, ready_at: float) -> None:
        await stream.receive_some()
        await stream.send_all(OK if trio.current_time() >= ready_at else LOADING)

    for step in range(9):
        started_at = trio.current_time()
        ready_at = started_at + 0.1 + step / 300
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                port = await nursery.start(serve, partial(handler, ready_at=ready_at))
                await wait_until_healthy(f"http://127.0.0.1:{port}/", started_at=started_at)
                late_s.append(trio.current_time() - ready_at)
                nursery.cancel_scope.cancel()

    assert 0 <= sorted(late_s)[4] <= 0.025


async def test_tls_is_spoken_to_an_https_address() -> None:
    got: list[bytes] = []

    async def handler(stream: trio.abc.Stream) -> None:
        got.append(bytes(await stream.receive_some()))

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve, handler)
            assert await probe(f"https://localhost:{port}/health") is None
            nursery.cancel_scope.cancel()

    assert got[0][:2] == b"\x16\x03"  # a TLS handshake, which this server does not know
