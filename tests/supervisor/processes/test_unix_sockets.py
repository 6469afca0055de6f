"""Unix sockets on which servers listen: whose they are, and what an earlier server has left."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from arriero.supervisor.errors import PortError
from arriero.supervisor.host.http_get import Access
from arriero.supervisor.models.signs.health import probe
from arriero.supervisor.processes.port_owner import stranger_at
from arriero.supervisor.processes.unix_sockets import (
    is_listening_at,
    listener_at,
    make_way,
    wait_socket_closed,
)
from arriero.supervisor.text.addresses import unix_path
from tests.supervisor.config.reading import parse, problems
from tests.supervisor.processes.helpers import PATIENCE_S

LISTENS = """
import socket, sys, time
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print(flush=True)
time.sleep(60)
"""


@contextmanager
def listening(path: Path, backlog: int = 5) -> Generator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(backlog)
        yield listener


@contextmanager
def server(path: Path) -> Generator["subprocess.Popen[bytes]"]:
    """Another process that listens, and leads a group of its own."""
    command = [sys.executable, "-c", LISTENS, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, process_group=0) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_who_listens_is_seen_and_what_is_left_is_not_taken_for_one(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    assert not is_listening_at(str(path))
    with listening(path):
        assert is_listening_at(str(path))
        assert listener_at(str(path)) == os.getpid()
    assert path.exists()  # nobody removes it
    assert not is_listening_at(str(path))
    assert listener_at(str(path)) is None


def test_one_that_is_too_busy_to_accept_listens(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with listening(path, backlog=0), socket.socket(socket.AF_UNIX) as first:
        first.connect(str(path))
        assert is_listening_at(str(path))
        assert is_listening_at(str(path))


async def test_the_end_of_listening_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            with listening(path):
                nursery.start_soon(wait_socket_closed, str(path))
                await trio.testing.wait_all_tasks_blocked(0.01)


def test_what_an_earlier_server_has_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    make_way(str(path))
    with listening(path), pytest.raises(PortError, match="another program listens there"):
        make_way(str(path))
    make_way(str(path))
    assert not path.exists()
    path.write_text("something of somebody's")
    with pytest.raises(PortError, match=r"cannot use the socket 'a\.sock': a file is there"):
        make_way(str(path))
    assert path.exists()
    link = tmp_path / "link.sock"
    link.symlink_to(path)
    with pytest.raises(PortError, match="a file is there that is no socket"):
        make_way(str(link))
    with pytest.raises(PortError, match="its path is too long; write one of at most 107 bytes"):
        make_way(f"/{'x' * 200}.sock")


def test_a_stranger_on_a_socket_is_told_from_what_was_started(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with server(path) as mine:
        time.sleep(3 / os.sysconf("SC_CLK_TCK"))  # the other one is younger, as the kernel counts
        assert stranger_at(str(path), mine.pid) is None
        with server(tmp_path / "b.sock") as other:
            assert stranger_at(str(path), other.pid) == mine.pid
            mine.kill()
            mine.wait()
            assert stranger_at(str(path), other.pid) is None  # nobody listens


async def test_a_socket_is_probed_with_a_key(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    asked: list[bytes] = []

    async def answer(stream: trio.abc.Stream) -> None:
        async with stream:
            asked.append(bytes(await stream.receive_some(4096)))
            await stream.send_all(b"HTTP/1.1 204 No Content\r\n\r\n")

    with listening(path) as listener:
        listener.setblocking(False)
        async with trio.open_nursery() as nursery:
            taken = trio.SocketListener(trio.socket.from_stdlib_socket(listener.dup()))
            await nursery.start(trio.serve_listeners, answer, [taken])
            access = Access("s3cret", str(path))
            found = await probe("http://localhost/health", access=access)
            nursery.cancel_scope.cancel()
    assert found is not None
    assert found.status == 204
    assert b"\r\nAuthorization: Bearer s3cret\r\n" in asked[0]
    assert "s3cret" not in repr(access)


# --- what the configuration makes of it -----------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "endpoint"),
    [
        ("cmd: 'llama-server --host /r/a.sock'", "unix:/r/a.sock"),
        ("cmd: 'llama-server --host /r/${MODEL_ID}.sock'", "unix:/r/a.sock"),
        ("cmd: 'llama-server --host /r/${PORT}.sock'", "unix:/r/7.sock"),
        ("cmd: 'llama-server --host a.sock'", f"unix:{os.getcwd()}/a.sock"),
        ("cmd: 'llama-server', env: [LLAMA_ARG_HOST=/r/a.sock]", "unix:/r/a.sock"),
        ("cmd: 'nice llama-server --host /r/a.sock'", "unix:/r/a.sock"),
        ("cmd: 'run', proxy: 'unix:/r/a.sock'", "unix:/r/a.sock"),
        ("cmd: 'run', proxy: 'unix:///r/a b?#%.sock'", "unix:/r/a b?#%.sock"),
        ("cmd: 'run ${PORT}', proxy: 'unix:/r/${PORT}.sock'", "unix:/r/7.sock"),
        ("cmd: 'llama-server --host a.sock', proxy: 'http://127.0.0.1:5'", "http://127.0.0.1:5"),
    ],
)
def test_the_socket_of_a_server_is_where_it_is_asked(said: str, endpoint: str) -> None:
    launch = parse(f"models: {{a: {{{said}}}}}").models["a"].launch(7)
    assert launch.endpoint == endpoint
    if launch.socket is not None:
        assert (launch.health_url, launch.port) == ("http://localhost/health", None)
        assert launch.socket == unix_path(endpoint)


@pytest.mark.parametrize("path", ["", "//", "/" + "x" * 107, "/a\\tb"])
def test_a_path_that_cannot_be_one_is_a_mistake(path: str) -> None:
    told = problems(f'models: {{a: {{cmd: run, proxy: "unix:{path}"}}}}')
    assert "write unix: and a path of at most 107 bytes" in " ".join(told)
