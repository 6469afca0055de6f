"""A worker as a process."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import trio
import zmq

from arriero.protocol.codec import encode, read_from_worker
from arriero.protocol.lease import Finish, Hello, Welcome
from arriero.protocol.transport import bound, open_context
from arriero.protocol.values import Snapshot
from arriero.protocol.worker_config import WorkerConfig
from arriero.worker.__main__ import ORPHANED

WELCOME = Welcome(
    config=WorkerConfig(generation=1, models=()),
    snapshot=Snapshot(epoch="e", seq=0, t=0.0, models=()),
)


def command(fd: int, folder: Path, parent: int) -> list[str]:
    return [
        *(sys.executable, "-m", "arriero.worker", "--worker", "1", "--listen-fd", str(fd)),
        *("--socket-dir", str(folder), "--parent-pid", str(parent)),
    ]


def start(arguments: list[str], listener: socket.socket, **pipes: Any) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(arguments, pass_fds=[listener.fileno()], **pipes)


async def ask_health(listener: socket.socket) -> bytes:
    async with await trio.open_tcp_stream(*listener.getsockname()) as stream:
        await stream.send_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return bytes(await stream.receive_some())


# Starts the worker that its arguments tell of, with itself as parent, and ends when told to.
PARENT = """
import os, subprocess, sys
fd, folder = sys.argv[1:]
worker = subprocess.Popen(
    [sys.executable, "-m", "arriero.worker", "--worker", "1", "--listen-fd", fd,
     "--socket-dir", folder, "--parent-pid", str(os.getpid())], pass_fds=[int(fd)],
    stdin=subprocess.DEVNULL)
print(worker.pid, flush=True)
sys.stdin.read()
os._exit(0)
"""


def test_a_worker_whose_parent_is_another_leaves_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        worker = subprocess.run(
            command(listener.fileno(), tmp_path, 1), pass_fds=[listener.fileno()], timeout=20
        )

    assert worker.returncode == ORPHANED


async def test_a_worker_serves_soon_and_ends_when_told_to(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        open_context() as context,
        bound(context, zmq.ROUTER, tmp_path / "lease.sock") as lease,
        bound(context, zmq.XPUB, tmp_path / "events.sock"),
    ):
        began = time.monotonic()
        worker = start(
            command(listener.fileno(), tmp_path, os.getpid()),
            listener,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert worker.stdin is not None
        worker.stdin.write(b"secret\n")
        worker.stdin.flush()
        with trio.fail_after(20):
            identity, token, data = await lease.receive()
            assert read_from_worker(data) == Hello(worker=1, pid=worker.pid)
            assert token == b"secret"
            lease.send([identity, encode(WELCOME)])
            answer = await ask_health(listener)
            print(f"serving after {time.monotonic() - began:.2f} s")  # for whoever runs with -s
            lease.send([identity, encode(Finish())])
            _, errors = await trio.to_thread.run_sync(worker.communicate)

    assert answer.startswith(b"HTTP/1.1 200")
    assert worker.returncode == 0
    assert b'"worker.serving worker=1 pid=%d"' % worker.pid in errors
    assert b'"worker.finished worker=1"' in errors


@pytest.mark.parametrize("welcomed", [True, False])
async def test_a_worker_ends_with_its_supervisor(tmp_path: Path, welcomed: bool) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        open_context() as context,
        bound(context, zmq.ROUTER, tmp_path / "lease.sock") as lease,
        bound(context, zmq.XPUB, tmp_path / "events.sock"),
    ):
        parent = start(
            [sys.executable, "-c", PARENT, str(listener.fileno()), str(tmp_path)],
            listener,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert parent.stdout is not None
        worker_pid = int(await trio.to_thread.run_sync(parent.stdout.readline))
        pidfd = os.pidfd_open(worker_pid)
        try:
            with trio.fail_after(20):
                identity, _, _ = await lease.receive()
                if welcomed:
                    lease.send([identity, encode(WELCOME)])
                    await ask_health(listener)
            parent.kill()
            with trio.fail_after(20):
                await trio.lowlevel.wait_readable(pidfd)
        finally:
            os.close(pidfd)
            parent.communicate()
