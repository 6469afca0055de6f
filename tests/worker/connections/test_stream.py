"""One connection when the machine is short of something."""

import socket

import pytest
import trio

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
