"""Whatever one connection does, on either door, it ends at most itself."""

import contextlib
import socket
import threading
from collections.abc import Callable, Generator

import httpx
import psutil
import pytest
from hyperframe.frame import DataFrame
from packets import DEADLY, FLOODS, HELLO, OF_HTTP_1, POST, WRONG, headers, made
from trains import PATIENCE_S, Stream, Train, eventually

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def train(
    start_shared_train: Callable[..., Train], scripted: Callable[..., str]
) -> Generator[Train]:
    """One worker, so that every connection meets the same; in the end it stops at once."""
    config = {"models": {"a": {"cmd": scripted("--name", "a")}}}
    train = start_shared_train(config)
    assert train.chat("a").status_code == 200
    yield train
    assert train.stop(within_s=20) == 0


def connect(train: Train) -> socket.socket:
    host, _, port = train.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE_S)


def send(train: Train, data: bytes) -> bytes:
    """Send `data` on a connection of its own, and return what comes until its end."""
    answer = b""
    with connect(train) as stranger, contextlib.suppress(ConnectionError):

        def write() -> None:
            with contextlib.suppress(OSError):
                stranger.sendall(data)
                stranger.shutdown(socket.SHUT_WR)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            while more := stranger.recv(65536):
                answer += more
        finally:
            with contextlib.suppress(OSError):
                stranger.shutdown(socket.SHUT_RDWR)
            writer.join()
    return answer


def is_well(train: Train) -> bool:
    return httpx.get(f"{train.url}/health", timeout=PATIENCE_S).text == "OK"


def held(worker: psutil.Process) -> int:
    """How many sockets and other files it has open."""
    return worker.num_fds()


@pytest.mark.parametrize("name", DEADLY)
def test_what_once_ended_a_worker_ends_its_own_connection(train: Train, name: str) -> None:
    before = train.workers()
    stream = Stream(train, "a", chunks=8, delay_s=0.05)
    for _ in range(3):
        send(train, DEADLY[name])
    whole = stream.finish()

    assert whole.error is None
    assert whole.frames[-1] == "data: [DONE]"
    assert train.workers() == before
    assert is_well(train)


@pytest.mark.parametrize(
    "packets",
    [WRONG, OF_HTTP_1, pytest.param(FLOODS, marks=pytest.mark.nightly)],
    ids=["wrong", "http1", "floods"],
)
def test_of_what_no_client_should_send_nothing_stays(
    train: Train, packets: dict[str, bytes | Callable[[], bytes]]
) -> None:
    is_well(train)
    worker = train.worker()
    before = held(worker)
    for name, data in packets.items():
        send(train, data if isinstance(data, bytes) else data())
        assert worker.is_running(), name
        assert is_well(train), name

    assert train.worker() == worker
    eventually(lambda: held(worker) <= before, what=f"{before} open files, not {held(worker)}")


@pytest.mark.parametrize("settings", ["AAA", "AAMAAABkAAQAAP__"])
def test_who_would_change_to_http_2_is_answered_in_http_1(train: Train, settings: str) -> None:
    fields = {
        "Connection": "Upgrade, HTTP2-Settings",
        "Upgrade": "h2c",
        "HTTP2-Settings": settings,
    }

    answer = httpx.get(f"{train.url}/health", headers=fields)

    assert (answer.status_code, answer.text) == (200, "OK")
    assert "upgrade" not in answer.headers


def begin_streams(train: Train, number: int) -> tuple[socket.socket, Callable[[], int]]:
    """Ask for long answers on one connection, and read as few bytes of each as there have to be.

    Returns:
        The connection, and what says how many answers have begun.
    """
    body = b'{"model":"a","stream":true,"messages":[],"script":"chunks=40000"}'
    stranger = connect(train)
    stranger.sendall(
        HELLO
        + b"".join(
            headers(n, POST) + made(DataFrame(n, body, flags=["END_STREAM"]))
            for n in range(1, 2 * number, 2)
        )
    )
    came = bytearray()

    def begun() -> int:
        stranger.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while more := stranger.recv(65536):
                came.extend(more)
        return len(heads_in(bytes(came)))

    return stranger, begun


def heads_in(data: bytes) -> set[int]:
    """The streams of which a head has come."""
    found = set()
    while len(data) >= 9:
        size = int.from_bytes(data[:3])
        if data[3] == 1:
            found.add(int.from_bytes(data[5:9]))
        data = data[9 + size :]
    return found


@pytest.mark.nightly
def test_of_streams_whose_client_leaves_with_a_full_window_nothing_stays(train: Train) -> None:
    connections, streams = 2, 40
    assert train.chat("a").status_code == 200
    worker = train.worker()
    opened = worker.num_fds()
    resident = worker.memory_info().rss

    clients = [begin_streams(train, streams) for _ in range(connections)]
    eventually(
        lambda: all(begun() == streams for _, begun in clients), what="all streams have begun"
    )
    assert worker.num_fds() >= opened + connections * streams  # they run, and cannot end
    assert worker.memory_info().rss - resident < connections * streams * 256 * 1024
    for client, _ in clients:
        client.close()

    eventually(lambda: worker.num_fds() <= opened, what=f"{opened} open files again")
    eventually(lambda: train.model("a")["in_flight"] == 0, what="no request under way")
