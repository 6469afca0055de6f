"""Sockets that are read as soon as something comes, without a task of their own."""

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio
import trio.testing

from arriero.worker.connections.read_callbacks import ReadCallbacks


@asynccontextmanager
async def running() -> AsyncGenerator[ReadCallbacks, None]:
    readers = ReadCallbacks()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(readers.run)
        yield readers
        nursery.cancel_scope.cancel()


class Reader:
    """One socket that is read, and what came; wakes whoever waits for `enough` bytes."""

    def __init__(self, readers: ReadCallbacks, *, enough: int, hurried: bool = False) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.readers = readers
        self.enough = enough
        self.hurried = hurried
        self.pieces: list[bytes] = []
        self.done = trio.Event()
        readers.add(self.ours.fileno(), self.read)

    def read(self, now: float) -> bool:
        self.pieces.append(self.ours.recv(100))
        if len(b"".join(self.pieces)) >= self.enough:
            self.done.set()
        return self.hurried

    def close(self) -> None:
        self.readers.remove(self.ours.fileno())
        self.ours.close()
        self.theirs.close()


async def test_what_comes_is_read_each_time() -> None:
    async with running() as readers:
        reader = Reader(readers, enough=6)
        for piece in (b"abc", b"def"):
            reader.theirs.send(piece)
            await trio.testing.wait_all_tasks_blocked(0.01)
        await reader.done.wait()
        reader.close()

    assert reader.pieces == [b"abc", b"def"]


async def test_more_than_one_read_takes_is_read_as_well() -> None:
    async with running() as readers:
        reader = Reader(readers, enough=250)
        reader.theirs.send(b"x" * 250)
        await reader.done.wait()
        reader.close()

    assert [len(piece) for piece in reader.pieces] == [100, 100, 50]


async def test_who_is_removed_is_not_called() -> None:
    async with running() as readers:
        both = [Reader(readers, enough=1) for _ in range(2)]
        called: list[float] = []

        def remove_both(now: float) -> bool:
            called.append(now)
            for reader in both:
                readers.remove(reader.ours.fileno())
            return False

        for reader in both:
            readers.remove(reader.ours.fileno())
            reader.theirs.send(b"x")
            readers.add(reader.ours.fileno(), remove_both)
        await trio.testing.wait_all_tasks_blocked(0.01)
        for reader in both:
            reader.close()

    assert len(called) == 1


async def test_who_ends_together_with_the_calls_can_be_removed() -> None:
    async with running() as readers:
        reader = Reader(readers, enough=1)
        await trio.testing.wait_all_tasks_blocked()
    reader.close()


async def test_all_of_a_crowd_are_read() -> None:
    async with running() as readers:
        crowd = [Reader(readers, enough=1) for _ in range(150)]
        for reader in crowd:
            reader.theirs.send(b"x")
        for reader in crowd:
            await reader.done.wait()
        for reader in crowd:
            reader.close()


async def test_others_run_between_the_calls_of_a_crowd() -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with running() as readers, trio.open_nursery() as nursery:
        crowd = [Reader(readers, enough=3) for _ in range(200)]
        for reader in crowd:
            reader.theirs.send(b"xyz")
        nursery.start_soon(count_turns)
        for reader in crowd:
            await reader.done.wait()
            reader.close()
        nursery.cancel_scope.cancel()

    assert turns >= 3  # 64 at a time


async def test_who_is_hurried_is_read_less_often(autojump_clock: trio.testing.MockClock) -> None:
    async with running() as readers:
        began = trio.current_time()
        reader = Reader(readers, enough=1000, hurried=True)
        reader.theirs.send(b"x" * 1000)
        await reader.done.wait()
        reader.close()
        took_s = trio.current_time() - began

    assert len(reader.pieces) == 10
    assert 0.017 < took_s < 0.019  # nine pauses
