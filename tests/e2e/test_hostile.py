"""Whatever strangers send to the sockets, the supervisor and its workers go on."""

import os
import random
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq
from trains import PATIENCE_S, Train, eventually

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def train(start_shared_train: Callable[..., Train], scripted: Callable[..., str]) -> Train:
    """One for all tests: nothing that they do may do anything to it."""
    return start_shared_train({"models": {"a": {"cmd": scripted()}}})


NASTY = [
    b"",
    b"\x00" * 100,
    b"{}",
    b"[" * 50_000,
    b'{"cmd":"swap"}',
    b'{"cmd":"swap","model":"' + b"x" * 60_000 + b'"}',
    b'{"cmd":"logs","lines":99999999999999999999}',
    b'{"cmd":"scale","workers":-1}',
    b'{"v":2,"cmd":"shutdown"}',
    b'{"type":"hello","worker":1,"pid":1}',
    b'{"type":"want","request":1,"model":"a"}',
    b'{"type":"release","model":"a","lease":1}',
    b'{"type":"report","in_flight":{"a":-5}}',
    b'{"cmd":"ping"}' + b" " * 100_000,
]


def test_garbage_on_the_zmq_sockets_changes_nothing(train: Train) -> None:
    train.chat("a")
    before = train.workers()
    rng = random.Random(7)
    garbage = NASTY + [rng.randbytes(rng.randrange(300)) for _ in range(100)]
    with zmq.Context() as context:
        for name, kind in (
            ("control.sock", zmq.DEALER),
            ("lease.sock", zmq.DEALER),
            ("events.sock", zmq.XSUB),
        ):
            with context.socket(kind) as stranger:
                stranger.linger = 2000
                stranger.connect(f"ipc://{train.socket_dir}/{name}")
                for data in garbage:
                    for frames in ([data], [b"", data], [data, data, data], [b""] * 5):
                        stranger.send_multipart(frames)

    assert train.ask("ping")["ok"]
    assert train.chat("a").status_code == 200
    assert train.model("a")["in_flight"] >= 0
    assert train.workers() == before
    assert train.process.poll() is None


def test_garbage_on_the_http_socket_is_answered_or_cut(train: Train) -> None:
    host, _, port = train.url.removeprefix("http://").partition(":")
    rng = random.Random(7)
    before = train.workers()
    for data in [
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n"
        b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(200),
        b"\x16\x03\x01" + bytes(100),
        b"A" * 100_000,
        *(rng.randbytes(200) for _ in range(50)),
    ]:
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as stranger:
            try:
                stranger.sendall(data)
                stranger.shutdown(socket.SHUT_WR)
                while stranger.recv(65536):
                    pass
            except ConnectionError:
                pass  # cut: as good an answer as any

    assert train.workers() == before
    assert train.chat("a").status_code == 200


def test_systemd_is_told_how_it_goes(
    start_train: Callable[..., Train], scripted: Callable[..., str], tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.settimeout(PATIENCE_S)
        systemd.bind(os.fspath(tmp_path / "notify"))
        config = {"models": {"a": {"cmd": scripted()}}}
        train = start_train(config, environ={"NOTIFY_SOCKET": str(tmp_path / "notify")})

        assert systemd.recv(4096).startswith(b"READY=1\nSTATUS=serving 1 model on 127.0.0.1:")
        assert train.stop() == 0
        assert systemd.recv(4096) == b"STOPPING=1"


def test_a_second_supervisor_in_the_same_folder_is_refused(
    train: Train, start_train: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    with pytest.raises(AssertionError, match=f"process id {train.process.pid}"):
        start_train({"models": {"a": {"cmd": scripted()}}}, "--socket-dir", str(train.socket_dir))
    eventually(lambda: train.ask("ping")["ok"])
