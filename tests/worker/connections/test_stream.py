"""One connection when the machine is short of something."""

import socket
from collections.abc import Callable
from typing import Any

import pytest

from arriero.worker.connections.stream import SocketStream

Receive = Callable[[SocketStream], Any]


@pytest.mark.parametrize("receive", [SocketStream.receive, SocketStream.receive_now])
async def test_bytes_for_which_there_is_no_memory_are_read_a_moment_later(
    receive: Receive, autojump_clock: object
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

        assert await receive(transport) == b"x" * 4096
        assert asked[0] == 65536
        assert asked[-1] == 4096
        transport.recv = recv
        assert await transport.receive() == b"x" * 904
