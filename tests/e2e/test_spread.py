"""Connections are spread over the workers, however they come."""

import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import psutil
import pytest
from trains import Train, eventually

# Answered at once, and the connection is kept: only pages close it.
BODY = b'{"model":"none","messages":[]}'
ASK = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
ANSWER = b"HTTP/1.1 404"
ROUNDS = 8


@pytest.fixture(scope="module")
def shared(start_shared_train: Callable[..., Train]) -> Train:
    return start_shared_train({"workers": 2, "models": {}})


@pytest.fixture
def train(shared: Train) -> Train:
    """A train with two workers that have no connections."""
    shared.ask("scale", workers=2)
    eventually(lambda: len(shared.workers()) == 2, what="both workers")
    wait_until_none(shared)
    return shared


@contextmanager
def connections(train: Train, count: int, *, at_once: bool) -> Iterator[list[socket.socket]]:
    """So many connections that have been answered once, and stay."""
    parts = urlsplit(train.url)
    address = (str(parts.hostname), int(parts.port or 0))
    with ExitStack() as stack:

        def connect() -> socket.socket:
            return stack.enter_context(socket.create_connection(address, timeout=20))

        socks = []
        if at_once:
            socks = [connect() for _ in range(count)]
            for sock in socks:
                sock.sendall(ASK)
            for sock in socks:
                assert sock.recv(65536).startswith(ANSWER)
        else:
            for _ in range(count):
                socks.append(sock := connect())
                sock.sendall(ASK)
                assert sock.recv(65536).startswith(ANSWER)
        yield socks


def workers(train: Train) -> list[psutil.Process]:
    return [psutil.Process(worker["pid"]) for worker in train.ask("status")["workers"]]


def counts(train: Train) -> list[int]:
    """How many clients' connections each worker has."""
    port = urlsplit(train.url).port
    return [
        sum(
            one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port
            for one in worker.net_connections("tcp")
        )
        for worker in workers(train)
    ]


def wait_until_none(train: Train) -> None:
    eventually(lambda: not any(counts(train)), what="workers without connections")


@pytest.mark.parametrize("number", [2, pytest.param(4, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("at_once", [True, False])
def test_sixteen_kept_connections_are_shared_evenly(
    train: Train, number: int, at_once: bool
) -> None:
    train.ask("scale", workers=number)
    eventually(lambda: len(train.workers()) == number, what="workers")
    found = []
    for _ in range(ROUNDS):
        with connections(train, 16, at_once=at_once):
            found.append(counts(train))
        wait_until_none(train)

    even = 16 // number
    assert all(sum(shares) == 16 for shares in found)
    # A worker that a busy machine does not let run for a hundredth of a second misses its turn, so
    # a single round proves nothing; the worst of them may be anything.
    found.sort(key=lambda shares: max(abs(share - even) for share in shares))
    assert set(found[ROUNDS // 2]) == {even}, found
    totals = [sum(shares) for shares in zip(*found[:-1], strict=True)]
    assert max(totals) <= 1.2 * min(totals), found


@pytest.mark.nightly
def test_a_crowd_is_shared_within_a_fifth(train: Train) -> None:
    with connections(train, 300, at_once=True):
        least, most = sorted(counts(train))

    assert least + most == 300
    assert most <= 1.2 * least


@pytest.mark.expects_errors("worker.hung")
def test_a_worker_that_is_hung_keeps_no_connection_waiting(train: Train) -> None:
    hung = workers(train)[0]
    hung.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        with connections(train, 60, at_once=False):
            took_s = time.monotonic() - began
            assert counts(train) == [0, 60]
    finally:
        hung.send_signal(signal.SIGCONT)

    # 60 times the whole patience are 0.6 s; with a worker that is given up after a while it is
    # about 0.3 s, and the rest is what a busy machine takes
    assert took_s < 20

    def has_its_share_again() -> bool:
        wait_until_none(train)
        with connections(train, 8, at_once=False):
            return counts(train) == [4, 4]

    eventually(has_its_share_again)


@pytest.mark.nightly
def test_the_share_of_a_worker_that_was_killed_is_free(train: Train) -> None:
    serving = " worker-1 worker.serving "
    begun = train.log.read_text().count(serving)
    with connections(train, 8, at_once=False):
        killed, _ = workers(train)
        killed.kill()
        eventually(
            lambda: train.log.read_text().count(serving) == begun + 1,
            what="a new worker that takes connections",
        )
        (survivors,) = filter(None, counts(train))
        found = []
        for _ in range(ROUNDS):
            with connections(train, 8, at_once=False):
                least, most = sorted(counts(train))
                found.append(most - least)
            eventually(lambda: sum(counts(train)) == survivors)

    # As above, a single round proves nothing. If its share were still taken it would be about 4.
    assert sorted(found)[ROUNDS // 2] <= 1, found
