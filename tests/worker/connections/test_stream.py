"""One connection when the machine is short of something."""

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from arriero.worker.connections.read_callbacks import ReadCallbacks
from arriero.worker.connections.stream import SocketStream, StreamBroken


async def test_bytes_for_which_there_is_no_memory_are_read_a_moment_later(
    autojump_clock: object,
) -> None:
    ours, theirs = socket.socketpair()
    asked = []
    with ours, theirs:
        transport = SocketStream(ours)
        recv = ours.recv

        def short_of_memory(most: int) -> bytes:
            asked.append(most)
            if len(asked) < 3:
                raise MemoryError
            return recv(most)

        transport.recv = short_of_memory  # type: ignore[assignment]
        theirs.sendall(b"x" * 5000)

        assert await transport.receive() == b"x" * 4096
        assert asked[0] == 65536
        assert asked[-1] == 4096
        transport.recv = recv
        assert await transport.receive() == b"x" * 904


async def test_what_has_come_is_read_without_waiting() -> None:
    ours, theirs = socket.socketpair()
    transport = SocketStream(ours)

    assert transport.receive_now() is None
    theirs.sendall(b"abc")
    assert transport.receive_now() == b"abc"
    assert transport.was_heard()
    theirs.close()
    assert transport.receive_now() == b""
    transport.close()


async def test_a_reset_is_no_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    SocketStream(theirs).reset()
    transport = SocketStream(ours)

    await trio.lowlevel.wait_readable(ours)
    with pytest.raises(StreamBroken):
        transport.receive_now()
    transport.close()


async def test_the_last_answer_waits_for_a_slow_sender(autojump_clock: object) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    transport = SocketStream(ours)
    transport.send_now(b"the answer")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.linger, 0.5, 10_000_000, 20.0)
        for _ in range(8):
            theirs.sendall(b"x" * 1000)  # a connection that was closed would refuse the next ones
            await trio.sleep(0.1)
    assert transport.closed
    assert theirs.recv(100) == b"the answer"
    theirs.close()


# --- among many, read by callbacks ----------------------------------------------------------------


@asynccontextmanager
async def crowd() -> AsyncGenerator[tuple[SocketStream, socket.socket], None]:
    """Give one of many streams, and its other end."""
    readers = ReadCallbacks()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(readers.run)
        await trio.testing.wait_all_tasks_blocked()
        pairs = [socket.socketpair() for _ in range(20)]
        streams = [SocketStream(ours) for ours, _ in pairs]
        for stream in streams:
            stream.watch(readers)
        try:
            assert readers.is_crowded
            yield streams[0], pairs[0][1]
        finally:
            for stream, (_, theirs) in zip(streams, pairs, strict=True):
                stream.close()
                theirs.close()
            nursery.cancel_scope.cancel()
        assert not readers.is_crowded


async def test_in_a_crowd_each_gets_its_bytes() -> None:
    async with crowd() as (stream, theirs):
        for data in (b"abc", b"x" * 100, b"def"):
            theirs.sendall(data)
            with trio.fail_after(20):
                assert await stream.receive() == data
        theirs.sendall(b"12345")
        assert await stream.receive(2) == b"12"  # and the rest is not waited for
        assert await stream.receive(3) == b"345"
        theirs.close()
        assert await stream.receive() == b""


async def test_in_a_crowd_what_comes_early_waits() -> None:
    async with crowd() as (stream, theirs):
        theirs.sendall(b"a")
        assert await stream.receive() == b"a"
        theirs.sendall(b"b")
        await trio.testing.wait_all_tasks_blocked(0.01)  # nobody reads
        theirs.close()
        assert await stream.receive() == b"b"
        assert await stream.receive() == b""


async def test_in_a_crowd_a_read_given_up_loses_nothing() -> None:
    async with crowd() as (stream, theirs):
        with trio.move_on_after(0.01) as scope:
            await stream.receive()
        assert scope.cancelled_caught
        theirs.sendall(b"a")
        assert await stream.receive() == b"a"


async def test_in_a_crowd_all_ends_wake_the_reader() -> None:
    async def end_of(act: str) -> bytes | None:
        async with crowd() as (stream, _), trio.open_nursery() as nursery:
            nursery.start_soon(end_when_it_waits, stream, act)
            with trio.fail_after(20):
                try:
                    return await stream.receive()
                except StreamBroken:
                    return None

    async def end_when_it_waits(stream: SocketStream, act: str) -> None:
        await trio.testing.wait_all_tasks_blocked(0.01)
        getattr(stream, act)()

    assert [await end_of(act) for act in ("cut", "stop_reading", "close")] == [b"", b"", None]


async def test_in_a_crowd_a_lack_of_memory_passes(autojump_clock: trio.testing.MockClock) -> None:
    asked = []

    def short_of_memory(most: int) -> bytes:
        asked.append(most)
        if most > 4096:
            raise MemoryError
        return recv(most)

    async with crowd() as (stream, theirs):
        recv, stream.recv = stream.recv, short_of_memory  # type: ignore[assignment]
        theirs.sendall(b"abc")
        assert await stream.receive() == b"abc"
    assert asked == [65536, 4096]


async def test_others_may_have_the_callback_meanwhile() -> None:
    async with crowd() as (stream, theirs):
        theirs.sendall(b"a")
        assert await stream.receive() == b"a"
        readers = stream._readers
        assert readers is not None
        stream.unwatch()
        called = trio.Event()

        def read(now: float) -> bool:
            stream.receive_now()
            called.set()
            return False

        readers.add(stream.fd, read)
        theirs.sendall(b"b")
        await called.wait()
        readers.remove(stream.fd)
        theirs.sendall(b"c")
        assert await stream.receive() == b"c"
