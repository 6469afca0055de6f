import os
import socket

import pytest

from arriero.supervisor.processes import listening_sockets as module
from arriero.supervisor.processes.listening_sockets import (
    ListeningSocket,
    from_proc,
    listening_sockets,
)

PROC = ("/proc/net/tcp", "/proc/net/tcp6")


def of(port: int, found: list[ListeningSocket]) -> list[ListeningSocket]:
    return [listener for listener in found if listener.port == port]


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1"])
def test_netlink_and_proc_agree(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        server = socket.create_server((address, 0), family=family)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server:
        port = server.getsockname()[1]
        (found,) = of(port, listening_sockets())

        assert [found] == of(port, [row for path in PROC for row in from_proc(path)])
        assert found.uid == os.geteuid()
        assert found.inode == os.fstat(server.fileno()).st_ino
        assert str(found.address) == address.removeprefix("::ffff:")
    assert of(port, listening_sockets()) == []


def test_connections_are_left_out() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        assert of(client.getsockname()[1], listening_sockets()) == []


def test_hundreds_of_listeners_are_found() -> None:
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(300)]
    try:
        found = {listener.inode for listener in listening_sockets()}

        assert {os.fstat(server.fileno()).st_ino for server in servers} <= found
    finally:
        for server in servers:
            server.close()


def test_without_netlink_proc_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_NETLINK_SOCK_DIAG", 31)  # there is no such protocol
    with socket.create_server(("127.0.0.1", 0)) as server:
        (found,) = of(server.getsockname()[1], listening_sockets())

        assert found.inode == os.fstat(server.fileno()).st_ino
