"""Floods on the three sockets, by somebody of the same user: bounded log, bounded memory."""

import contextlib
import json
import os
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest
import zmq
from trains import Train, eventually

pytestmark = pytest.mark.e2e

MB = 1024 * 1024


@pytest.fixture(scope="module")
def of_all(start_shared_train: Callable[..., Train], scripted: Callable[..., str]) -> Train:
    """All tests flood one train, one after the other. `wordy` writes a log of a megabyte."""
    wordy = f"sh -c 'for i in $(seq 4000); do echo {'x' * 250}; done; exec {scripted()}'"
    commands = {"a": scripted(), "b": scripted(), "wordy": wordy}
    return start_shared_train({"models": {name: {"cmd": cmd} for name, cmd in commands.items()}})


@pytest.fixture
def train(of_all: Train) -> Generator[Train]:
    """The same, whole before and after a test: with the one worker that it had, and no model."""
    workers = of_all.emptied().workers()
    assert list(workers) == [1]
    yield of_all
    assert of_all.workers() == workers


@contextmanager
def stranger(
    train: Train, name: str, kind: int, identity: bytes = b""
) -> Generator["zmq.Socket[bytes]", None, None]:
    with zmq.Context() as context, context.socket(kind) as made:
        made.linger = 0
        made.sndhwm = 0
        if identity:
            made.setsockopt(zmq.IDENTITY, identity)
        made.connect(f"ipc://{train.socket_dir}/{name}")
        yield made


class Raw:
    """A subscriber without zmq, which would fall over its own long topics. ZMTP 3.0, RFC 23."""

    def __init__(self, train: Train) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(f"{train.socket_dir}/events.sock")
        self._socket.settimeout(20)
        self._socket.sendall(b"\xff" + bytes(8) + b"\x7f\3\0NULL" + bytes(16 + 1 + 31))
        ready = b"\5READY\x0bSocket-Type" + struct.pack(">I", 3) + b"SUB"
        self._socket.sendall(b"\4" + bytes([len(ready)]) + ready)
        self._socket.recv(64, socket.MSG_WAITALL)

    def send(self, *messages: bytes) -> None:
        """Send messages; whoever has cut the connection gets no more of them."""
        frames = [
            (b"\0%c" % len(message))
            if len(message) < 256
            else b"\2" + struct.pack(">Q", len(message))
            for message in messages
        ]
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(b"".join(a + b for a, b in zip(frames, messages, strict=True)))

    def is_cut(self) -> bool:
        """Wait until the other end hangs up; return True then."""
        with contextlib.suppress(ConnectionError):
            while self._socket.recv(4096):
                pass
        return True

    def close(self) -> None:
        self._socket.close()


def memory(train: Train) -> int:
    return psutil.Process(train.process.pid).memory_info().rss


def slowest_ping_s(train: Train, seconds: float) -> float:
    """Ask again and again; return how long the slowest answer took."""
    slowest, until = 0.0, time.monotonic() + seconds
    while time.monotonic() < until:
        asked_at = time.monotonic()
        assert train.ask("ping")["ok"]
        slowest = max(slowest, time.monotonic() - asked_at)
        time.sleep(0.05)  # the flood is for the processor, not this
    return slowest


def test_garbage_on_the_lease_socket_is_counted_not_logged(train: Train) -> None:
    hello = json.dumps({"type": "hello", "worker": 1, "pid": 1}).encode()
    before = train.log.stat().st_size
    with stranger(train, "lease.sock", zmq.DEALER) as other:
        for number in range(20_000):
            frames = ([b"garbage"], [b"", b"[" * 100], [b"t" * 32, hello], [b"x", b"y", b"z"])
            other.send_multipart(frames[number % 4])
        time.sleep(1.0)
        assert train.ask("ping")["ok"]

    assert train.log.stat().st_size - before < 10_000
    eventually(lambda: "lease.stranger" in train.log.read_text(), what="a line in the log")
    assert train.chat("a").status_code == 200


def test_nobody_takes_the_place_of_a_worker(train: Train) -> None:
    train.chat("a")
    workers = train.workers()
    hello = {"type": "hello", "worker": 1, "pid": workers[1]}
    with stranger(train, "lease.sock", zmq.DEALER, b"worker-1-%d" % workers[1]) as other:
        for token in ([], [b""], [b"0" * 32]):
            other.send_multipart([*token, json.dumps(hello).encode()])
            want = {"type": "want", "request": 1, "model": "a"}
            other.send_multipart([*token, json.dumps(want).encode()])
        assert train.ask("reload")["ok"]  # all workers are told of it
        assert train.chat("b").status_code == 200  # they are told of this, too

        assert not other.poll(1500)

    assert train.workers() == workers
    assert train.chat("a").status_code == 200


def test_a_long_subscription_costs_nothing(train: Train) -> None:
    before = memory(train)
    with contextlib.closing(Raw(train)) as greedy:
        greedy.send(b"\1" + b"x" * 15 * MB)
        assert greedy.is_cut()  # by its length, of which it is told first: no byte of it is read
        slowest_s = slowest_ping_s(train, 1.0)

    print(f"slowest ping {slowest_s:.3f} s")
    assert memory(train) - before < 32 * MB  # it was 257


@pytest.mark.nightly
def test_a_hundred_thousand_subscriptions_are_cut_and_others_hear_on(train: Train) -> None:
    with contextlib.closing(Raw(train)) as greedy, train.events("state/") as next_event:
        before = memory(train)
        for thousand in range(100):
            greedy.send(*(b"\1%d" % thousand + b"%0240d" % number for number in range(1000)))
        slowest_s = slowest_ping_s(train, 3.0)
        grown = memory(train) - before
        assert train.chat("a").status_code == 200
        eventually(lambda: next_event()["type"] == "state", what="an event")

    print(f"slowest ping {slowest_s:.3f} s, {grown / MB:.0f} MB more")
    assert grown < 100 * MB
    assert "events.cut" in train.log.read_text()


def test_answers_that_nobody_reads_are_bounded(train: Train) -> None:
    assert train.chat("wordy").status_code == 200
    assert len(train.ask("logs", lines=10_000)["lines"]) > 3000
    before = memory(train)
    with stranger(train, "control.sock", zmq.DEALER) as other:
        other.rcvhwm = 1
        for _ in range(300):
            other.send_multipart([b"", b'{"cmd":"logs","lines":10000}'])
        most = 0
        for _ in range(20):
            slowest_ping_s(train, 0.2)
            most = max(most, memory(train))

    print(f"{(most - before) / MB:.0f} MB more")
    assert most - before < 100 * MB  # all of them are 300
    eventually(lambda: "control.dropped" in train.log.read_text(), what="a line in the log")
    assert len(train.ask("logs", lines=10_000)["lines"]) > 3000


def test_a_client_that_asks_a_lot_at_once_and_reads_gets_all_its_answers(train: Train) -> None:
    with stranger(train, "control.sock", zmq.DEALER) as other:
        for _ in range(250):
            other.send_multipart([b"", b'{"cmd":"status"}'])
        answers: list[dict[str, Any]] = []
        while len(answers) < 250 and other.poll(10_000):
            answers.append(json.loads(other.recv_multipart()[1]))

    assert [answer["ok"] for answer in answers] == [True] * 250


@pytest.mark.nightly
def test_connections_without_end_are_cut_and_others_are_answered(train: Train) -> None:
    paths = [f"{train.socket_dir}/{name}.sock" for name in ("control", "events", "lease")]
    flood = (
        "import socket, sys\n"
        "held = []\n"
        "for n in range(3000):\n"
        "    held.append(socket.socket(socket.AF_UNIX))\n"
        "    held[-1].connect(sys.argv[1 + n % 3])\n"
        "print('all', flush=True)\n"
        "sys.stdin.read()\n"
    )
    workers = train.workers()
    supervisor = psutil.Process(train.process.pid)
    with subprocess.Popen(
        [sys.executable, "-c", flood, *paths], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as stranger:
        assert stranger.stdout is not None
        assert stranger.stdout.readline() == b"all\n"
        eventually(lambda: supervisor.num_fds() < 500, what="fewer connections")
        slowest_ping_s(train, 1.0)
        assert train.chat("a").status_code == 200
        stranger.communicate()

    assert train.workers() == workers
    assert "sockets.cut" in train.log.read_text()


def test_when_no_descriptor_is_left_nobody_is_let_in_and_nobody_is_lost(train: Train) -> None:
    assert train.chat("a").status_code == 200
    workers = train.workers()
    path = train.socket_dir / "control.sock"
    supervisor = psutil.Process(train.process.pid)
    usual = supervisor.rlimit(psutil.RLIMIT_NOFILE)
    supervisor.rlimit(psutil.RLIMIT_NOFILE, (supervisor.num_fds(), usual[1]))
    try:
        eventually(lambda: not path.exists(), what="doors that are closed")
        eventually(lambda: "sockets.closed" in train.log.read_text(), what="a line in the log")
        for _ in range(50):
            with socket.socket(socket.AF_UNIX) as late, contextlib.suppress(OSError):
                late.connect(os.fspath(path))
        assert train.chat("a").status_code == 200
        assert train.process.poll() is None
    finally:
        supervisor.rlimit(psutil.RLIMIT_NOFILE, usual)

    eventually(path.exists, what="doors that are open again")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert train.ask("ping")["ok"]
    assert train.workers() == workers
