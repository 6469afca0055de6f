import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from arriero.supervisor.errors import SupervisorError
from arriero.supervisor.host.listen_socket import (
    listening_socket,
    private_socket,
    second_socket,
)
from arriero.supervisor.text.addresses import Address


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "", "0.0.0.0"])
def test_clients_queue_before_anybody_accepts(host: str) -> None:
    with listening_socket(host, 0, {}) as server:
        assert not server.getblocking()
        assert not server.get_inheritable()
        with socket.create_connection(("127.0.0.1", server.getsockname()[1]), timeout=20) as client:
            client.sendall(b"hello")


def test_second_socket_s_errors_name_its_key() -> None:
    with listening_socket("127.0.0.1", 0, {}) as first:
        taken = Address("127.0.0.1", first.getsockname()[1])
        with pytest.raises(SupervisorError, match=r"^ollamaListen: .*another program listens"):
            second_socket("ollamaListen", taken, None)


def test_a_port_that_is_taken_is_told_with_what_would_do() -> None:
    with listening_socket("127.0.0.1", 0, {}) as first:
        port = first.getsockname()[1]

        with pytest.raises(SupervisorError, match=rf"on 127.0.0.1:{port}: another program listens"):
            listening_socket("127.0.0.1", port, {})


@pytest.mark.parametrize(
    ("host", "port", "reason"),
    [
        ("192.0.2.1", 0, "no such address"),
        ("127.0.0.1", 70_000, "the last port is 65535"),
        ("no-such-host.invalid", 0, "cannot listen on no-such-host.invalid:0: "),
    ],
)
def test_an_address_that_cannot_be_is_told_so(host: str, port: int, reason: str) -> None:
    with pytest.raises(SupervisorError, match=reason):
        listening_socket(host, port, {})


# What systemd starts: it finds the socket at descriptor 3.
ACTIVATED = """
import os, socket, sys
from arriero.supervisor.errors import SupervisorError
from arriero.supervisor.host.listen_socket import listening_socket
os.dup2(int(sys.argv[1]), 3, inheritable=True)
environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": sys.argv[2]}
try:
    with listening_socket("192.0.2.1", 1, environ) as server:
        print(server.getsockname()[1], server.getblocking(), server.get_inheritable())
except SupervisorError as exc:
    print(exc)
"""


def activated(given: socket.socket, count: str = "1") -> str:
    return subprocess.run(
        [sys.executable, "-c", ACTIVATED, str(given.fileno()), count],
        pass_fds=[given.fileno()],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.strip()


def test_a_socket_that_systemd_opened_is_taken_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        assert activated(given) == f"{given.getsockname()[1]} False False"


def test_a_socket_of_systemd_that_does_not_listen_is_refused() -> None:
    with socket.socket() as given:
        assert "does not accept connections" in activated(given)


def test_more_than_one_socket_of_systemd_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        assert activated(given, "2").startswith("cannot use 2 sockets of systemd: exactly one")


def test_a_socket_that_was_meant_for_another_process_is_not_taken() -> None:
    environ = {"LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDS": "1"}

    with listening_socket("127.0.0.1", 0, environ) as server:
        assert server.fileno() != 3 or server.getsockname()[0] == "127.0.0.1"


def test_a_private_socket_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with private_socket(str(path), None) as server:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert not server.getblocking()
        with pytest.raises(SupervisorError, match=r"^adminListen: .* another program listens"):
            private_socket(str(path), None)
        card = str(path).encode()
        with private_socket(str(path), (card, os.dup(server.fileno()))) as again:
            assert again.getsockname() == str(path)
    with private_socket(str(path), None) as server:  # its owner was killed
        assert server.getsockname() == str(path)
    path.unlink()
    path.write_text("mine")
    with pytest.raises(SupervisorError, match="this is there, and is no socket"):
        private_socket(str(path), None)
    assert path.read_text() == "mine"
    with pytest.raises(SupervisorError, match=r"^adminListen: cannot listen on .*No such file"):
        private_socket(str(tmp_path / "none" / "admin.sock"), None)
