"""Frames and bytes that nobody thought of, on both doors of a worker that serves others as well."""

import contextlib
import socket
from collections.abc import Callable

import h2.config
import h2.connection
import pytest
from hpack import Encoder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packets import DEADLY, GET, HELLO, OF_HTTP_1, POST, WRONG, Fields, raw_frame, upgrade
from test_connections import connect, is_well
from trains import Train, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]  # over night there are many examples

# Each costs some 10 ms; twenty, as elsewhere, would find little.
EXAMPLES = max(60, settings().max_examples)
often = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))

# Seconds for an answer to something that may well have none.
MOMENT_S = 0.03


@pytest.fixture(scope="module")
def train(start_shared_train: Callable[..., Train], scripted: Callable[..., str]) -> Train:
    train = start_shared_train({"models": {"a": {"cmd": scripted("--name", "a")}}})
    assert train.chat("a").status_code == 200
    return train


class Watch:
    """Sends, and knows whether the worker takes it well."""

    def __init__(self, train: Train) -> None:
        self.train = train
        self.worker = train.worker()
        assert is_well(train)
        self.open_files = self.worker.num_fds()

    def send(self, pieces: list[bytes], *, leaves: bool) -> None:
        """Send on a connection of its own, which is closed before or after an answer comes."""
        with connect(self.train) as stranger, contextlib.suppress(OSError):
            stranger.settimeout(5)
            for piece in pieces:
                stranger.sendall(piece)
            if leaves:
                stranger.shutdown(socket.SHUT_WR)
            stranger.settimeout(5 if leaves else MOMENT_S)
            while stranger.recv(65536):
                pass
        assert self.worker.is_running()

    def check(self) -> None:
        """Say that others were served all the time, and that nothing is left."""
        assert self.train.worker() == self.worker
        assert is_well(self.train)
        assert self.train.chat("a").status_code == 200
        eventually(lambda: self.worker.num_fds() <= self.open_files + 1)  # one is kept: upstream
        assert "connection.failed" not in self.train.log.read_text()


@pytest.fixture
def watch(train: Train) -> Watch:
    return Watch(train)


# --- frames ------------------------------------------------------------------------------------

HEADS: list[Fields] = [
    GET,
    POST,
    [*POST, (b"content-length", b"13")],
    [*GET, (b"te", b"trailers"), (b"cookie", b"a"), (b"cookie", b"b")],
    [(b":method", b"HEAD"), *GET[1:]],
    [(b":method", b"CONNECT"), (b":authority", b"x")],
    [(b"x-trailer", b"1")],
]
BLOCKS = st.sampled_from(HEADS).map(lambda fields: Encoder().encode(fields)) | st.binary(
    max_size=40
)
PAYLOADS = (
    BLOCKS
    | st.just(b'{"model":"a"}')
    | st.sampled_from(
        [b"", bytes(4), bytes(5), bytes(6), bytes(8), b"\xff" * 4, b"\x7f\xff\xff\xff"]
    )
    | st.builds(
        lambda key, value: key.to_bytes(2) + value.to_bytes(4),
        st.integers(0, 9),
        st.sampled_from([0, 1, 100, 16_384, 65_535, 2**31 - 1, 2**32 - 1]),
    )
    | st.binary(max_size=20)
)
NUMBERS = st.sampled_from([0, 1, 1, 1, 3, 3, 5, 7, 2, 2**31 - 1])
KINDS = st.sampled_from([0, 0, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 200])
FLAGS = st.sampled_from([0, 1, 4, 4, 5, 5, 0x24, 0x25, 0x0C, 0x0D, 0xFF])
FRAMES = st.builds(raw_frame, KINDS, NUMBERS, PAYLOADS, FLAGS)


@often
@given(frames=st.lists(FRAMES, max_size=12), leaves=st.booleans())
def send_frames(watch: Watch, frames: list[bytes], leaves: bool) -> None:
    watch.send([HELLO + b"".join(frames)], leaves=leaves)


def test_any_frames(watch: Watch) -> None:
    send_frames(watch)
    watch.check()


def asked(*, path: str, body: bytes = b"", times: int = 1) -> bytes:
    """What a good client of HTTP/2 sends."""
    client = h2.connection.H2Connection(h2.config.H2Configuration())
    client.initiate_connection()
    for _ in range(times):
        number = client.get_next_available_stream_id()
        method = "POST" if body else "GET"
        client.send_headers(
            number,
            [(":method", method), (":path", path), (":scheme", "http"), (":authority", "x")],
            end_stream=not body,
        )
        if body:
            client.send_data(number, body, end_stream=True)
    return client.data_to_send()


CHAT = b'{"model":"a","stream":true,"messages":[{"role":"user","content":"hi"}]}'
CHUNKED = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'5\r\n{"mod\r\n8;a=b\r\nel":"a"}\r\n0\r\nT: x\r\n\r\n'
)
FORM = (
    b'--B\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nabc\r\n'
    b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\na\r\n--B--\r\n'
)
SOCKET = (
    b"GET /v1/responses HTTP/1.1\r\nHost: localhost\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    b"\x81\x85\x00\x00\x00\x00hello\x88\x80\x00\x00\x00\x00"
)
RECORDED = [
    asked(path="/health"),
    asked(path="/v1/models", times=3),
    asked(path="/v1/chat/completions", body=CHAT, times=2),
    b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    % len(CHAT)
    + CHAT,
    CHUNKED,
    b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n"
    b"Content-Type: multipart/form-data; boundary=B\r\n\r\n" % len(FORM) + FORM,
    SOCKET,
    upgrade(b"AAMAAABkAAQAAP__", HELLO),
    *(data for data in (DEADLY | WRONG | OF_HTTP_1).values() if 0 < len(data) < 5000),
]


@st.composite
def mutated(draw: st.DrawFn) -> list[bytes]:
    """A recording in which some bytes are others, missing, or there twice; in a few pieces."""
    data = bytearray(draw(st.sampled_from(RECORDED)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        size = draw(st.integers(1, 30))
        match draw(st.sampled_from(["flip", "drop", "again", "more", "other", "end"])):
            case "flip" if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "drop":
                del data[at : at + size]
            case "again":
                data[at:at] = data[at : at + size] * draw(st.integers(1, 5))
            case "more":
                data[at:at] = draw(st.binary(min_size=1, max_size=20))
            case "other":
                data[at:at] = draw(st.sampled_from(RECORDED))
            case "end":
                del data[at:]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=3)))
    return [bytes(data[a:b]) for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@often
@given(pieces=mutated(), leaves=st.booleans())
def send_mutated(watch: Watch, pieces: list[bytes], leaves: bool) -> None:
    watch.send(pieces, leaves=leaves)


def test_any_bytes(watch: Watch) -> None:
    send_mutated(watch)
    watch.check()
