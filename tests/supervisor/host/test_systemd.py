import os
import socket
from collections.abc import Generator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from arriero.supervisor.host.systemd import Notifier, feed_watchdog


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[socket.socket, None, None]:
    """What systemd holds in its hand: the socket to which services write."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        path = str(tmp_path / "notify")
        sock.bind(path if request.param == "path" else f"\0{path}")
        sock.settimeout(20)
        yield sock


def environ_of(manager: socket.socket) -> dict[str, str]:
    name = manager.getsockname()
    return {"NOTIFY_SOCKET": name if isinstance(name, str) else f"@{name[1:].decode()}"}


def test_notes_arrive_as_systemd_reads_them(manager: socket.socket) -> None:
    notifier = Notifier(environ_of(manager))

    notifier.ready("serving on\n127.0.0.1:8080")
    notifier.status("loading qwen, 43 %")
    notifier.watchdog()
    notifier.stopping()

    assert [manager.recv(1000) for _ in range(4)] == [
        b"READY=1\nSTATUS=serving on 127.0.0.1:8080",
        b"STATUS=loading qwen, 43 %",
        b"WATCHDOG=1",
        b"STOPPING=1",
    ]


def test_a_reload_tells_when_it_began(manager: socket.socket) -> None:
    Notifier(environ_of(manager)).reloading()

    first, second = manager.recv(1000).split(b"\n")
    assert first == b"RELOADING=1"
    assert int(second.removeprefix(b"MONOTONIC_USEC=")) > 0


@pytest.mark.parametrize("address", ["", "/nowhere/notify", "@nobody-is-there", "vsock:2:1", "\0"])
def test_without_somebody_who_listens_nothing_happens(address: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address})

    notifier.ready("serving")
    notifier.stopping()


def test_a_manager_that_does_not_read_is_not_waited_for(manager: socket.socket) -> None:
    notifier = Notifier(environ_of(manager))

    for _ in range(10_000):  # far more than the socket holds
        notifier.watchdog()


@pytest.mark.parametrize(
    ("environ", "interval_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_fed_twice_within_its_limit(
    environ: dict[str, str], interval_s: float | None
) -> None:
    assert Notifier(environ).watchdog_interval_s == interval_s


async def test_feeding_goes_on_at_the_interval(autojump_clock: MockClock) -> None:
    fed: list[float] = []

    class Counting(Notifier):
        def watchdog(self) -> None:
            fed.append(trio.current_time())

    with trio.move_on_after(35):
        await feed_watchdog(Counting({"WATCHDOG_USEC": "20000000"}))

    assert fed == [0, 10, 20, 30]


async def test_nobody_watching_means_nobody_to_feed() -> None:
    with trio.fail_after(20):
        await feed_watchdog(Notifier({}))
