"""Silences are broken between two frames, and deadlines end what they are meant to end."""

import math
import socket
import weakref
from collections.abc import AsyncGenerator

import pytest
import trio
from trio.testing import MockClock

from arriero.worker.connections.connection import (
    Connection,
    ConnectionMonitor,
    HeartbeatTimer,
    WaitingFor,
    Wakeup,
)
from arriero.worker.connections.stream import SocketStream
from arriero.worker.errors import ClientGone, RequestCancelled
from arriero.worker.limits import LIMITS

HEARTBEAT = b": hb\n\n"
EVERY_S = 1.0


@pytest.fixture
async def monitor(nursery: trio.Nursery) -> ConnectionMonitor:
    """Looks around until the test has ended."""
    found = ConnectionMonitor()
    nursery.start_soon(found.run)
    return found


def beat_of(
    monitor: ConnectionMonitor, beats: list[float], *, every_s: float = EVERY_S
) -> HeartbeatTimer:
    beat = HeartbeatTimer(every_s, trio.current_time(), lambda: beats.append(trio.current_time()))
    beat.may = True
    monitor.add_beat(beat)
    return beat


def after(began: float, beats: list[float]) -> list[float]:
    return [round(at - began, 3) for at in beats]


async def test_silence_is_broken_once_per_interval(
    autojump_clock: MockClock, monitor: ConnectionMonitor
) -> None:
    began, beats = trio.current_time(), list[float]()
    beat_of(monitor, beats)

    await trio.sleep(3.5)

    assert after(began, beats) == [1.0, 2.0, 3.0]


async def test_writing_restarts_the_interval(
    autojump_clock: MockClock, monitor: ConnectionMonitor
) -> None:
    began, beats = trio.current_time(), list[float]()
    beat = beat_of(monitor, beats)
    for _ in range(6):
        await trio.sleep(0.7)
        beat.wrote_at = trio.current_time()
    await trio.sleep(1.5)

    assert after(began, beats) == [5.2]


async def test_no_heartbeat_while_stream_may_write(
    autojump_clock: MockClock, monitor: ConnectionMonitor
) -> None:
    began, beats = trio.current_time(), list[float]()
    beat = beat_of(monitor, beats)
    beat.may = False
    await trio.sleep(2.5)
    assert beats == []

    beat.may = True
    await trio.sleep(1.5)

    first, second = after(began, beats)
    assert 2.5 <= first <= 2.6
    assert second == pytest.approx(first + EVERY_S, abs=0.001)


async def test_ended_stream_is_forgotten(
    autojump_clock: MockClock, monitor: ConnectionMonitor
) -> None:
    beats = list[float]()
    beat = beat_of(monitor, beats)
    await trio.sleep(1.5)
    beat.end()
    await trio.sleep(5)

    assert len(beats) == 1
    assert monitor._beats == []


async def test_ended_stream_is_held_no_longer(monitor: ConnectionMonitor) -> None:
    def send() -> None: ...

    stream = weakref.ref(send)
    beat = HeartbeatTimer(EVERY_S, trio.current_time(), send)
    monitor.add_beat(beat)
    del send

    beat.end()

    assert stream() is None


async def test_many_streams_have_a_clock_each(
    autojump_clock: MockClock, monitor: ConnectionMonitor
) -> None:
    began = trio.current_time()
    beats: list[list[float]] = []
    for number in range(50):
        beats.append([])
        beat_of(monitor, beats[-1], every_s=1.0 + number / 100)
    await trio.sleep(3.2)

    for number, found in enumerate(beats):
        every_s = 1.0 + number / 100
        expected = [round(every_s * count, 3) for count in range(1, int(3.2 / every_s) + 1)]
        assert after(began, found) == expected


# --- connections --------------------------------------------------------------------------------


@pytest.fixture
async def ends() -> AsyncGenerator[tuple[Connection, socket.socket], None]:
    """A connection with small buffers, and the client's end of it, which does not block."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        end.setblocking(False)
    conn = Connection(SocketStream(ours), b"", ConnectionMonitor())
    yield conn, theirs
    conn.transport.close()
    theirs.close()


def fill(conn: Connection) -> int:
    """Write until the kernel takes no more; return how many bytes it took."""
    taken = 0
    try:
        while True:
            taken += conn.transport.send_now(b"x" * 1000)
    except BlockingIOError:
        return taken


def take(client: socket.socket, most: int = 1 << 20) -> bytes:
    data = b""
    try:
        while len(data) < most and (more := client.recv(most - len(data))):
            data += more
    except BlockingIOError:
        pass
    return data


async def test_a_heartbeat_goes_at_once(ends: tuple[Connection, socket.socket]) -> None:
    conn, client = ends

    assert conn.send_soon(HEARTBEAT)

    assert take(client) == HEARTBEAT


async def test_stalled_client_is_not_waited_for(
    ends: tuple[Connection, socket.socket],
) -> None:
    conn, client = ends
    taken = fill(conn)

    assert not conn.send_soon(HEARTBEAT)

    assert take(client) == b"x" * taken
    assert conn.send_soon(HEARTBEAT)
    assert take(client) == HEARTBEAT


async def test_unsent_heartbeat_precedes_the_next_frame(
    ends: tuple[Connection, socket.socket], nursery: trio.Nursery
) -> None:
    conn, client = ends
    heartbeat = b": %b\n\n" % (b"h" * 500_000)  # no buffer takes that much
    frame = b"data: {}\n\n"

    assert conn.send_soon(heartbeat)
    got = take(client)  # there is room again
    assert not conn.send_soon(HEARTBEAT)  # or it would stand in the middle of the first one
    nursery.start_soon(conn.send, frame)
    while len(got) < len(heartbeat + frame):
        got += take(client)
        await trio.testing.wait_all_tasks_blocked()

    assert got == heartbeat + frame


async def test_heartbeat_to_gone_client_is_harmless(
    ends: tuple[Connection, socket.socket],
) -> None:
    conn, client = ends
    client.close()

    assert not conn.send_soon(HEARTBEAT)


async def test_cancel_wakes_the_request_anywhere(
    ends: tuple[Connection, socket.socket],
) -> None:
    class Upstream:
        is_cut = False

        def cut(self) -> None:
            self.is_cut = True

    conn, _ = ends
    conn.check()
    conn.cancel(by_client=True)  # in the moment between two waits
    with pytest.raises(RequestCancelled):
        conn.check()

    upstream = conn.upstream = Upstream()
    conn.cancel(by_client=True)
    assert upstream.is_cut

    wakeup = conn.wakeup = Wakeup()
    conn.cancel(by_client=True)
    with trio.fail_after(20):
        await wakeup.wait()


async def test_gone_client_counts_more_than_cancel(
    ends: tuple[Connection, socket.socket],
) -> None:
    conn, client = ends
    conn.cancel(by_client=True)
    conn.busy = True
    client.close()
    for _ in range(2):  # at the first look a request may be too young
        conn.look(0.0)

    with pytest.raises(ClientGone):
        conn.check()


@pytest.mark.parametrize(
    ("waits", "reads", "writes"),
    [
        (WaitingFor.IDLE, False, False),
        (WaitingFor.CLIENT, False, False),
        (WaitingFor.REQUEST, False, True),  # there is something to be said still
        (WaitingFor.UPSTREAM, True, True),
        (WaitingFor.SUPERVISOR, True, True),
    ],
)
async def test_deadline_ends_the_wait(
    ends: tuple[Connection, socket.socket], waits: WaitingFor, reads: bool, writes: bool
) -> None:
    conn, client = ends
    conn.wait_for(waits, 1.0)
    conn.look(conn.deadline - 0.01)
    expired = [conn.expired]
    conn.look(conn.deadline)
    expired.append(conn.expired)

    assert expired == [False, True]
    assert conn.deadline == math.inf
    with trio.move_on_after(0.05) as still_open:
        assert await conn.transport.receive() == b""
    assert still_open.cancelled_caught is reads
    if writes:
        conn.transport.send_now(b"x")
        assert take(client) == b"x"
    else:
        with pytest.raises(BrokenPipeError):
            conn.transport.send_now(b"x")


async def test_each_piece_has_the_whole_time(
    autojump_clock: MockClock, monitor: ConnectionMonitor
) -> None:
    """A slow client is cut when it takes nothing, not when an answer is long."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    conn = Connection(SocketStream(ours), b"", monitor)
    conn.wait_for(WaitingFor.SUPERVISOR, math.inf)
    monitor.connections.add(conn)
    data = b"x" * 2_000_000
    got = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(conn.send, data)
        began = trio.current_time()
        while got < len(data):
            await trio.sleep(LIMITS.write_s - 2 * LIMITS.tick_s)
            got += len(take(theirs))

    assert trio.current_time() - began > LIMITS.write_s
    assert not conn.expired
    conn.transport.close()
    theirs.close()


async def test_a_response_in_the_last_turn_is_not_cut(
    ends: tuple[Connection, socket.socket],
) -> None:
    conn, client = ends
    monitor = conn.monitor
    monitor.connections.add(conn)
    with monitor.sends.running():
        conn.begin_request()
        assert not monitor.sends.take(conn.transport, b"")  # somebody else's, sent at once
        await conn.send_last(b"answer", lambda: pytest.fail("it is there"))
        conn.wait_for(WaitingFor.IDLE, 1.0)

        monitor.finish()

        await trio.lowlevel.checkpoint()
    assert take(client) == b"answer"
    assert take(client) == b""
