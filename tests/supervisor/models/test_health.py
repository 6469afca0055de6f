"""Readiness is noticed soon, and a server that misbehaves cannot hide it."""

import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from arriero.supervisor.errors import SupervisorError
from arriero.supervisor.host import http_get
from arriero.supervisor.host.http_get import Access, Response
from arriero.supervisor.models.signs import health
from arriero.supervisor.models.signs.health import (
    MAX_BODY_BYTES,
    Failure,
    Outcome,
    Signs,
    is_refused,
    pause_s,
    probe,
    wait_until_healthy,
    wait_until_listening,
)

PATIENCE_S = 60  # everything on a busy machine

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
def test_longer_loads_are_probed_less(elapsed_s: float, expected_s: float) -> None:
    assert pause_s(elapsed_s) == expected_s


async def test_a_sign_cuts_the_pause_short(autojump_clock: MockClock) -> None:
    signs, ends = Signs(), []

    async def pause_twice() -> None:
        for _ in range(2):
            await signs.pause(1.0)
            ends.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pause_twice)
        await trio.sleep(0.5)
        signs.note()

    assert ends == [0.5, 1.5]


async def test_signs_without_end_soon_cut_nothing_short(autojump_clock: MockClock) -> None:
    signs = Signs()
    ends = []
    for number in range(6):
        if number != 4:  # once it is silent
            signs.note()
        await signs.pause(1.0)
        ends.append(trio.current_time())

    assert ends == [0.25, 0.75, 1.75, 2.75, 3.75, 4.0]


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (OK, 200),
        (LOADING, 503),
        (b"HTTP/1.1 302 Found\r\nLocation: /ui\r\nContent-Length: 0\r\n\r\n", 302),
        (b"", None),
        (b"SSH-2.0-OpenSSH_9.2\r\n", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", 200),
    ],
)
async def test_probe_gives_status_or_none(answer: bytes, status: int | None) -> None:
    found = await probed(answer)

    assert (None if found is None else found.status) == status


async def probed(answer: bytes, *, with_body: bool = False) -> Response | None:
    """Probe a server that answers so."""
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve, answering(answer))
            found = await probe(f"http://127.0.0.1:{port}/health", with_body=with_body)
            nursery.cancel_scope.cancel()
    return found


async def test_a_probe_tells_server_and_body() -> None:
    answer = OK.replace(b"\r\n", b"\r\nServer: llama.cpp\r\n", 1)

    assert (await probed(answer)) == Response(
        200, {"server": "llama.cpp", "content-length": "2"}, b"", is_cut=False
    )
    assert (await probed(answer, with_body=True)) == Response(
        200, {"server": "llama.cpp", "content-length": "2"}, b"ok"
    )


async def test_half_a_body_is_no_answer() -> None:
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"

    assert await probed(half, with_body=True) is None


async def test_body_is_read_to_a_limit() -> None:
    async def without_end(stream: trio.abc.Stream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
        with suppress(trio.BrokenResourceError):
            while True:
                await stream.send_all(b"x" * 10_000)

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve, without_end)
            found = await probe(f"http://127.0.0.1:{port}/", with_body=True)
            nursery.cancel_scope.cancel()

    assert found == Response(200, {}, b"x" * MAX_BODY_BYTES, is_cut=True)


async def test_probe_without_listener_gives_none() -> None:
    with trio.socket.socket() as bound:
        await bound.bind(("127.0.0.1", 0))

        assert await probe(f"http://127.0.0.1:{bound.getsockname()[1]}/health") is None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_nobody_listening_is_told_from_somebody_who_says_nothing(host: str) -> None:
    with trio.socket.socket() as one, trio.fail_after(PATIENCE_S):
        await one.bind(("127.0.0.1", 0))
        url = f"http://{host}:{one.getsockname()[1]}"

        assert await is_refused(url)
        one.listen()
        assert not await is_refused(url)


async def test_a_unix_socket_without_a_listener_refuses(tmp_path: Path) -> None:
    access = Access(socket=str(tmp_path / "model.sock"))
    with trio.socket.socket(socket.AF_UNIX) as one, trio.fail_after(PATIENCE_S):
        assert await is_refused("http://model", access=access)
        await one.bind(str(tmp_path / "model.sock"))
        assert await is_refused("http://model", access=access)
        one.listen()
        assert not await is_refused("http://model", access=access)


async def test_a_name_that_nobody_has_is_no_refusal() -> None:
    with trio.fail_after(PATIENCE_S):
        assert not await is_refused("http://nobody.invalid:80")


async def test_first_good_response_ends_the_wait() -> None:
    answers = [b"", LOADING, b"garbage\r\n\r\n", b"HTTP/1.1 404 Not Found\r\n\r\n", OK]
    handler = answering(*answers)

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve, handler)
            await wait_until_healthy(f"http://127.0.0.1:{port}/", started_at=trio.current_time())
            nursery.cancel_scope.cancel()


async def test_request_names_path_query_and_host() -> None:
    got: list[bytes] = []

    async def handler(stream: trio.abc.Stream) -> None:
        got.append(bytes(await stream.receive_some()))
        await stream.send_all(OK)

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve, handler)
            await probe(f"http://localhost:{port}/health?full=1")
            nursery.cancel_scope.cancel()

    head = f"GET /health?full=1 HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n"
    assert got[0].startswith(head.encode())


async def test_silent_connection_hides_no_readiness(
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
    monkeypatch.setattr(http_get, "connect", open_stream)

    await wait_until_healthy("http://127.0.0.1:1/health", started_at=trio.current_time())

    assert trio.current_time() == health.PATIENCE_S + 0.02
    assert connections == 2


async def test_slow_response_limits_further_probes(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each question is answered after five minutes, as from a server with one busy thread."""
    slow_s, connections = 300.0, 0

    async def open_stream(*_: object, **__: object) -> trio.abc.Stream:
        nonlocal connections
        connections += 1
        ours, theirs = memory_stream_pair()
        nursery.start_soon(answer, theirs)
        return ours

    async def answer(theirs: trio.abc.Stream) -> None:
        await trio.sleep(slow_s)
        with suppress(trio.BrokenResourceError):
            await theirs.send_all(OK)

    monkeypatch.setattr(http_get, "connect", open_stream)
    async with trio.open_nursery() as nursery:
        await wait_until_healthy("http://127.0.0.1:1/health", started_at=trio.current_time())
        nursery.cancel_scope.cancel()

    assert trio.current_time() == slow_s
    assert connections == health.MAX_OPEN


async def test_broken_connection_is_probed_again(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections = 0

    async def open_stream(*_: object, **__: object) -> trio.abc.Stream:
        nonlocal connections
        connections += 1
        ours, theirs = memory_stream_pair()
        if connections > 1:
            await theirs.send_all(OK)
        else:
            nursery.start_soon(hang_up, theirs)
        return ours

    async def hang_up(theirs: trio.abc.Stream) -> None:
        await trio.sleep(1.0)
        await theirs.aclose()

    monkeypatch.setattr(http_get, "connect", open_stream)
    async with trio.open_nursery() as nursery:
        await wait_until_healthy("http://127.0.0.1:1/health", started_at=trio.current_time())

    assert 1.0 <= trio.current_time() <= 1.0 + health.LAST_PAUSE_S


def redirect(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_on_same_host_are_followed(status: int) -> None:
    asked: list[bytes] = []

    async def handler(stream: trio.abc.Stream) -> None:
        request = bytes(await stream.receive_some())
        asked.append(request.split()[1])
        step = len(asked)
        await stream.send_all(OK if step > 10 else redirect(f"/st\u00e9p {step}?a=b", status))

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve, handler)
            await wait_until_healthy(f"http://127.0.0.1:{port}/", started_at=trio.current_time())
            nursery.cancel_scope.cancel()

    assert len(asked) == 11
    assert asked[:2] == [b"/", b"/st%C3%83%C2%A9p%201?a=b"]


@pytest.mark.parametrize(
    ("answers", "not_followed", "queries"),
    [
        ([redirect("http://example.org/health")], "elsewhere", 1),
        ([redirect("//localhost/health")], "elsewhere", 1),
        ([redirect("ftp://127.0.0.1/")], "elsewhere", 1),
        ([redirect("http://127.0.0.1:99999/")], "elsewhere", 1),
        ([redirect("http://[/")], "elsewhere", 1),
        ([redirect("/again")], "too often", 11),
        ([redirect("")], "", 1),
    ],
)
async def test_other_redirects_are_noted_only(
    answers: list[bytes], not_followed: str, queries: int
) -> None:
    asked = 0
    give = answering(*answers)
    noted: list[Outcome | None] = []

    async def handler(stream: trio.abc.Stream) -> None:
        nonlocal asked
        asked += 1
        await give(stream)

    def note(outcome: Outcome | None) -> None:
        noted.append(outcome)
        nursery.cancel_scope.cancel()

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve, handler)
            url = f"http://127.0.0.1:{port}/"
            await wait_until_healthy(url, started_at=trio.current_time(), note=note)

    outcome = noted[0]
    assert outcome is not None
    assert isinstance(outcome.result, Response)
    assert (outcome.result.status, outcome.not_followed, asked) == (302, not_followed, queries)


@pytest.mark.parametrize(
    ("answer", "said"),
    [(b"", "hung up"), (b"HTTP/1.1 20", "hung up"), (b"SSH-2.0\r\n\r\n", "not http")],
)
async def test_missing_response_has_its_kind(answer: bytes, said: Failure) -> None:
    noted: list[Outcome | None] = []

    def note(outcome: Outcome | None) -> None:
        noted.append(outcome)
        nursery.cancel_scope.cancel()

    async def close(stream: trio.abc.Stream) -> None:
        async with stream:
            await answering(answer)(stream)

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve, close)
            url = f"http://127.0.0.1:{port}/"
            await wait_until_healthy(url, started_at=trio.current_time(), note=note)

    assert noted[0] == Outcome(said)


async def test_key_is_for_its_port_only() -> None:
    asked: list[bytes] = []

    async def other(stream: trio.abc.Stream) -> None:
        asked.append(bytes(await stream.receive_some()))
        await stream.send_all(OK)

    async def handler(stream: trio.abc.Stream) -> None:
        asked.append(bytes(await stream.receive_some()))
        await stream.send_all(redirect(f"http://127.0.0.1:{second}/"))

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            second = await nursery.start(serve, other)
            first = await nursery.start(serve, handler)
            await wait_until_healthy(
                f"http://127.0.0.1:{first}/",
                started_at=trio.current_time(),
                access=Access("s3cret"),
            )
            nursery.cancel_scope.cancel()

    assert [b"s3cret" in request for request in asked] == [True, False]


async def test_accepting_listener_ends_the_wait() -> None:
    noted: list[Outcome | None] = []
    with trio.socket.socket() as later:
        await later.bind(("127.0.0.1", 0))

        def note(outcome: Outcome | None) -> None:
            noted.append(outcome)
            later.listen()

        with trio.fail_after(PATIENCE_S):
            port = later.getsockname()[1]
            await wait_until_listening(f"http://127.0.0.1:{port}", started_at=0, note=note)

    assert noted == [Outcome("unreachable")]


async def test_late_listener_is_found(autojump_clock: MockClock) -> None:
    with trio.socket.socket() as bound:
        await bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/"

        with trio.move_on_after(60) as limit:
            await wait_until_healthy(url, started_at=trio.current_time())

    assert limit.cancelled_caught  # nobody ever listened; refusals are not an end


@pytest.mark.parametrize("url", ["", "127.0.0.1:80", "ftp://x/", "http:///x", "http://x:99999/"])
async def test_broken_address_is_refused(url: str) -> None:
    with pytest.raises(SupervisorError, match=r"^cannot check the health at"):
        await wait_until_healthy(url, started_at=0)


async def test_short_load_is_noticed_within_25ms(autojump_clock: MockClock) -> None:
    late_s = []

    async def handler(stream: trio.abc.Stream, *, ready_at: float) -> None:
        await stream.receive_some()
        await stream.send_all(OK if trio.current_time() >= ready_at else LOADING)

    for step in range(9):
        started_at = trio.current_time()
        ready_at = started_at + 0.1 + step / 300
        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as nursery:
                port = await nursery.start(serve, partial(handler, ready_at=ready_at))
                await wait_until_healthy(f"http://127.0.0.1:{port}/", started_at=started_at)
                late_s.append(trio.current_time() - ready_at)
                nursery.cancel_scope.cancel()

    assert 0 <= min(late_s) <= max(late_s) <= 0.025


async def test_https_address_is_asked_with_tls() -> None:
    got: list[bytes] = []

    async def handler(stream: trio.abc.Stream) -> None:
        got.append(bytes(await stream.receive_some()))

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve, handler)
            assert await probe(f"https://localhost:{port}/health") is None
            nursery.cancel_scope.cancel()

    assert got[0][:2] == b"\x16\x03"  # a TLS handshake, which this server does not know
