"""Sends that are kept back until the end of a turn of the loop."""

import socket
from collections.abc import Generator
from contextlib import contextmanager

import pytest
import trio
import trio.testing

from arriero.worker.connections.send_queue import SendQueue
from arriero.worker.connections.stream import SocketStream, StreamBroken

LIMIT_S = 20.0


@contextmanager
def linked() -> Generator[tuple[SocketStream, socket.socket], None, None]:
    """A stream with a small buffer, and its other end, which does not block."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        theirs.setblocking(False)
        stream = SocketStream(ours)
        yield stream, theirs
        stream.close()


def said(end: socket.socket) -> bytes:
    try:
        return end.recv(1 << 20)
    except BlockingIOError:
        return b""


def take_second(queue: SendQueue, stream: SocketStream, data: bytes) -> None:
    """Let the queue take `data`, as if somebody had sent before in this turn."""
    assert not queue.take(stream, b"first")
    assert queue.take(stream, data)


async def test_the_first_send_of_a_turn_is_not_taken() -> None:
    queue = SendQueue()
    with linked() as (stream, _), queue.running():
        for _ in range(3):
            assert not queue.take(stream, b"x")
            await trio.testing.wait_all_tasks_blocked()


async def test_later_ones_go_out_at_its_end() -> None:
    queue = SendQueue()
    with linked() as (one, its_end), linked() as (other, other_end), queue.running():
        take_second(queue, one, b"1")
        assert queue.take(other, b"2")
        assert said(its_end) == said(other_end) == b""

        await trio.lowlevel.checkpoint()

        assert (said(its_end), said(other_end)) == (b"1", b"2")


async def test_many_go_out_before_it_ends() -> None:
    queue = SendQueue()
    with linked() as (stream, end), queue.running():
        take_second(queue, stream, b"1")
        sent = 1
        while not (data := said(end)):
            assert queue.take(stream, b"1")
            sent += 1
            assert sent < 1000

    assert data


async def test_long_ones_are_not_taken() -> None:
    queue = SendQueue()
    with linked() as (stream, _), queue.running():
        assert not queue.take(stream, b"first")
        assert not queue.take(stream, bytes(20_000))


async def test_nothing_is_taken_when_nobody_would_send_it() -> None:
    queue = SendQueue()
    with linked() as (stream, end):
        with queue.running():
            take_second(queue, stream, b"1")
        assert said(end) == b"1"  # what was kept back when it ended

        assert not queue.take(stream, b"x")
        assert not queue.take(stream, b"x")


@pytest.mark.parametrize("waits_already", [True, False])
async def test_the_receiver_sends_what_did_not_fit(waits_already: bool) -> None:
    queue = SendQueue()
    text = bytes(range(256)) * 60
    with linked() as (stream, end), queue.running(), trio.fail_after(LIMIT_S):
        filled = 0
        try:
            while True:
                filled += stream.send_now(b"x" * 500)
        except BlockingIOError:
            pass
        answers: list[bytes] = []

        async def receive() -> None:
            answers.append(await stream.receive())

        async with trio.open_nursery() as nursery:
            if waits_already:
                nursery.start_soon(receive)
                await trio.testing.wait_all_tasks_blocked()
            take_second(queue, stream, text)
            await trio.lowlevel.checkpoint()
            if not waits_already:
                nursery.start_soon(receive)
            got = b""
            while len(got) < filled + len(text):
                got += said(end)
                await trio.sleep(0.001)  # until there is more
            end.send(b"answer")

    assert got[filled:] == text
    assert answers == [b"answer"]


async def test_whoever_sent_is_told_that_the_peer_has_gone() -> None:
    queue, lost = SendQueue(), list[bool]()
    with linked() as (stream, end), queue.running():
        end.close()
        assert not queue.take(stream, b"first")
        assert queue.take(stream, b"x", lambda: lost.append(True))

        await trio.lowlevel.checkpoint()  # the end of this turn; what it sets wakes nobody
        await trio.lowlevel.checkpoint()
        assert lost
        with trio.fail_after(LIMIT_S), pytest.raises(StreamBroken):
            await stream.send(b"y")


async def test_a_connection_is_not_closed_before_its_last_words() -> None:
    queue = SendQueue()
    with linked() as (stream, end), queue.running():
        take_second(queue, stream, b"bye")
        stream.close()

        assert said(end) == b"bye"
        await trio.lowlevel.checkpoint()
        assert said(end) == b""


async def test_the_rest_outlasts_a_receiver_that_gives_up() -> None:
    queue = SendQueue()
    text = bytes(range(256)) * 60
    with linked() as (stream, end), queue.running(), trio.fail_after(LIMIT_S):
        take_second(queue, stream, text)
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(0.01):  # as whoever tells a client of progress meanwhile
            await stream.receive()
        got = said(end)
        assert 0 < len(got) < len(text)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.receive)
            while len(got) < len(text):
                got += said(end)
                await trio.sleep(0.001)  # until there is more
            nursery.cancel_scope.cancel()

    assert got == text


async def test_a_queue_that_rests_takes_none_and_keeps_none() -> None:
    queue = SendQueue()
    with linked() as (stream, end):
        with queue.running():
            take_second(queue, stream, b"before")
            queue.rest(rests=True)

            assert said(end) == b"before"
            assert [queue.take(stream, b"x") for _ in range(3)] == [False] * 3
            queue.rest(rests=False)
            take_second(queue, stream, b"after")
        queue.rest(rests=False)  # it has ended

        assert said(end) == b"after"
        assert [queue.take(stream, b"x") for _ in range(3)] == [False] * 3
