"""Hundreds of streams wait for one model: none is lost, whatever happens around them."""

import json
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from trains import Train, eventually

CROWD = 300


@dataclass
class Stream:
    """One client, and all that it was sent."""

    sock: socket.socket
    data: bytearray = field(default_factory=bytearray)
    over: bool = False

    @property
    def has_begun(self) -> bool:
        return b"\r\n\r\n" in self.data

    @property
    def has_ended(self) -> bool:
        """Whether it has the good end of a chunked body, be it with trailers."""
        return b"\r\n0\r\n" in self.data[-400:] and self.data.endswith(b"\r\n\r\n")

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole answer of the model."""
        return b'"finish_reason": "stop"' in self.data and self.has_ended


@dataclass
class Crowd:
    """All of them; reading them is the test's only task."""

    streams: list[Stream]
    selector: selectors.BaseSelector

    def read_until(self, holds: Callable[[list[Stream]], bool], within_s: float = 60.0) -> None:
        """Read what comes until `holds`; fail when it does not."""
        deadline = time.monotonic() + within_s
        while not holds(self.streams):
            assert time.monotonic() < deadline, self.summary()
            for key, _ in self.selector.select(0.1):
                stream: Stream = key.data
                try:
                    data = stream.sock.recv(65536)
                except ConnectionResetError:
                    data = b""
                stream.data += data
                if not data:
                    stream.over = True
                    self.selector.unregister(stream.sock)

    def summary(self) -> str:
        begun = sum(stream.has_begun for stream in self.streams)
        whole = sum(stream.is_whole for stream in self.streams)
        odd = next((bytes(s.data[-300:]) for s in self.streams if not s.is_whole), b"")
        return f"{begun} of {len(self.streams)} have begun, {whole} are whole; one ends: {odd!r}"


@contextmanager
def waiting(train: Train, count: int = CROWD) -> Iterator[Crowd]:
    """So many streams that ask for the model `slow`, all opened at once."""
    parts = urlsplit(train.url)
    body = {"model": "slow", "messages": [{"role": "user", "content": "Hello?"}], "stream": True}
    data = json.dumps(body).encode()
    request = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        "Content-Type: application/json\r\nConnection: close\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    ).encode() + data
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        streams = []
        for _ in range(count):
            sock = socket.create_connection((str(parts.hostname), int(parts.port or 0)), 30)
            streams.append(Stream(stack.enter_context(sock)))
            selector.register(sock, selectors.EVENT_READ, streams[-1])
        for stream in streams:
            stream.sock.sendall(request)
        yield Crowd(streams, selector)


def all_begun(streams: list[Stream]) -> bool:
    return all(stream.has_begun for stream in streams)


def all_whole(streams: list[Stream]) -> bool:
    return all(stream.is_whole for stream in streams)


def all_told(streams: list[Stream]) -> bool:
    return all(b"swap-progress: slow: " in stream.data for stream in streams)


def of_crowds(scripted: Callable[..., str], gate: Path) -> dict[str, Any]:
    """A configuration whose model `slow` loads until there is a file, and `fast` not at all."""
    return {
        "workers": 2,
        "progress": "reasoning",
        "progressDelay": "0s",
        "models": {
            "slow": {"cmd": scripted("--name", "slow", "--report", "--load-gate", str(gate))},
            "fast": {"cmd": scripted("--name", "fast")},
        },
    }


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file for which `slow` waits."""
    return tmp_path_factory.mktemp("gate") / "open"


@pytest.fixture(scope="module")
def shared(
    start_shared_train: Callable[..., Train], scripted: Callable[..., str], gate: Path
) -> Train:
    return start_shared_train(of_crowds(scripted, gate))


@pytest.fixture
def slow_train(shared: Train, gate: Path) -> Train:
    """A train of which no model runs; nobody waits, and the gate is closed."""
    gate.unlink(missing_ok=True)
    return shared.emptied()


def queue_length(train: Train) -> int:
    return sum(entry["waiting"] for entry in train.ask("status")["queue"])


def test_a_crowd_is_told_and_served_and_none_is_lost(slow_train: Train, gate: Path) -> None:
    with waiting(slow_train) as crowd:
        crowd.read_until(all_told)
        gate.touch()
        crowd.read_until(all_whole)

        assert all(b"ready after" in stream.data for stream in crowd.streams)
    assert queue_length(slow_train) == 0


@pytest.mark.nightly
def test_a_crowd_that_leaves_at_once_leaves_nothing(slow_train: Train) -> None:
    with waiting(slow_train) as crowd:
        crowd.read_until(all_begun)

    eventually(lambda: queue_length(slow_train) == 0, what="a queue without those who left")
    slow_train.ask("swap", model="fast")  # nothing keeps the place


@pytest.mark.nightly
def test_a_crowd_waits_on_through_a_reload(slow_train: Train, gate: Path) -> None:
    with waiting(slow_train) as crowd:
        crowd.read_until(all_begun)
        slow_train.process.send_signal(signal.SIGHUP)
        reloaded = "config.reloaded"
        eventually(lambda: reloaded in slow_train.log.read_text(), what=reloaded)
        gate.touch()

        crowd.read_until(all_whole)


@pytest.mark.nightly
def test_a_crowd_hears_that_its_model_has_failed(
    start_train: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    broken = scripted("--name", "slow", "--load-s", "60", "--die-at-s", "3")
    train = start_train(
        {
            "workers": 2,
            "progress": "reasoning",
            "progressDelay": "0s",
            "models": {"slow": {"cmd": broken}},
        }
    )
    with waiting(train) as crowd:
        crowd.read_until(lambda streams: all(stream.over for stream in streams))

        assert all(b'"error"' in stream.data for stream in crowd.streams), crowd.summary()
        assert all(stream.has_ended for stream in crowd.streams)


@pytest.mark.nightly
def test_a_crowd_does_not_outlive_its_supervisor(
    start_train: Callable[..., Train], scripted: Callable[..., str], tmp_path: Path
) -> None:
    train = start_train(of_crowds(scripted, tmp_path / "closed"))
    with waiting(train) as crowd:
        crowd.read_until(all_begun)
        train.process.kill()

        crowd.read_until(lambda streams: all(stream.over for stream in streams))
        assert not any(stream.is_whole for stream in crowd.streams)
