"""Bytes that are made to make work: whatever their size, the time grows with it and no faster."""

import time
from collections.abc import Callable

import msgspec
import pytest

from arriero.protocol.worker_config import ModelRoute, WorkerConfig
from arriero.worker.accounting.account import Account, open_account
from arriero.worker.accounting.response_reader import read_frames, read_further_frames
from arriero.worker.apis.chat.chunk_filter import ChunkFilter
from arriero.worker.apis.messages.merge import MessagesMerge
from arriero.worker.apis.model_names import ModelNames
from arriero.worker.apis.routes import CHAT, ROUTES
from arriero.worker.connections.stream import RECEIVE_BYTES
from arriero.worker.errors import RelayError, UnknownModel
from arriero.worker.http import multipart
from arriero.worker.http.multipart import FormFinder
from arriero.worker.http.request_head import parse_head
from arriero.worker.relay.frame_pipeline import FramePipeline
from arriero.worker.streams.aws_event_stream import MessageSplitter
from arriero.worker.streams.merge import MergingSplitter
from arriero.worker.streams.sse_events import EventReader
from arriero.worker.streams.sse_frames import FrameSplitter
from tests.worker.growth import assert_linear, slowness

# What nobody may hold the loop for.
STEP_S = 0.05


def open_chat() -> Account:
    return open_account(request_id="r", path=b"/x", api=CHAT, now=0.0, t=0.0)


PART = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n\r\n'


@pytest.mark.parametrize(
    "piece",
    [
        PART,
        b"--b\r\n" + b"a:\r\n" * 200 + b"\r\n\r\n",
        b'--b\r\nContent-Disposition: form-data%b; name="x"\r\n\r\n\r\n' % (b";" * 2000),
        b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n\r\n' % (b"\\x" * 1000),
        b"--b\r\n\r\n" + b"\r\n--" * 500 + b"\r\n",
    ],
)
def test_forms(piece: bytes) -> None:
    def at_once(count: int) -> None:
        FormFinder(b"multipart/form-data; boundary=b", max_parts=10**9).push(piece * count)

    def byte_by_byte(count: int) -> None:
        finder = FormFinder(b"multipart/form-data; boundary=b", max_parts=10**9)
        for byte in piece * count:
            finder.push(bytes((byte,)))

    assert_linear(at_once, 60)
    assert_linear(byte_by_byte, 3)


@pytest.mark.parametrize("piece", [b"a=b&", b"=", b"%41", b"+", b"model", b"a"])
def test_forms_like_a_query(piece: bytes) -> None:
    assert_linear(lambda size: multipart.read_query(piece * size, max_parts=10**9), 20_000)


def test_names_that_are_like_many_others() -> None:
    """The number of comparisons is bounded, and so is the length of what is compared."""
    models = tuple(ModelRoute(model="ab" * 40 + str(number)) for number in range(3000))
    names = ModelNames(WorkerConfig(generation=1, models=models))

    def ask(size: int) -> None:
        with pytest.raises(UnknownModel):
            names.find("ba" * size)

    assert_linear(ask, 40)
    with pytest.raises(UnknownModel, match="did you mean 'ababab"):
        names.find("ab" * 39)


@pytest.mark.parametrize(
    "path",
    [
        b"/v1beta/models/%b:generateContents",
        b"/model/%b/converse-",
        b"/model/%b",
        b"/v1/models/%b%%",
    ],
)
def test_paths(path: bytes) -> None:
    for piece in (b":generateContent", b"/converse", b"/", b":", b"%3a"):
        assert_linear(lambda size, piece=piece: ROUTES.find(path % (piece * size)), 2000)  # type: ignore[misc]


@pytest.mark.parametrize(
    "field",
    [
        b"a:\r\n",
        b"Content-Type: a\r\n",
        b"Connection: a\r\n",
        b"X-Api-Key: a\r\n",
        b"Origin: a\r\n",
    ],
)
def test_heads(field: bytes) -> None:
    def parse(count: int) -> None:
        with pytest.raises(RelayError):
            parse_head(b"POST / HTTP/1.1\r\n" + field * count + b"\r\n")

    assert_linear(parse, 1000)


FRAMES = [
    b"data: {}\n\n",
    b"\n",
    b"\r",
    b": x\n",
    b"data: x",
    b"data\n",
    b"id\r\n\r\n",
    b'"finish_',
]


@pytest.mark.parametrize("piece", FRAMES)
def test_streams_of_an_upstream(piece: bytes) -> None:
    def in_pieces(size: int) -> None:
        splitter, reader = FrameSplitter(), EventReader()
        merging = MergingSplitter(MessagesMerge(b""))
        for _ in range(size):
            splitter.push(piece)
            merging.push(piece)
            list(reader.push(piece))

    def at_once(size: int) -> None:
        data = piece * size
        FrameSplitter().push(data)
        MergingSplitter(MessagesMerge(b"")).push(data)
        list(EventReader().push(data))
        read_further_frames(open_chat(), data + b"\n\n")
        ChunkFilter(usage=True, progress=True).filter(data + b'"usage"\n\n')

    assert_linear(in_pieces, 4000)
    assert_linear(at_once, 4000)


@pytest.mark.parametrize("frame", [b"\n", b"\r", b": x\n\n", b"data: x\n\n", b"data:\r\r"])
def test_a_read_of_tiny_frames_holds_the_loop_for_a_moment(frame: bytes) -> None:
    read = frame * (RECEIVE_BYTES // len(frame))
    account = open_chat()
    pipeline = FramePipeline(account, 0.0, chunks=ChunkFilter(usage=True, progress=True))
    merging = MergingSplitter(
        MessagesMerge(b""), look=lambda frames: read_frames(merged, frames, 0)
    )
    merged = open_chat()

    def step_s(step: Callable[[bytes], object]) -> float:
        began = time.thread_time()
        step(read)
        return time.thread_time() - began

    steps = [
        (step_s(lambda data: pipeline.take(data, 0.0)), step_s(merging.push)) for _ in range(4)
    ]

    assert max(map(max, steps)) < STEP_S * slowness(), steps


def test_binary_streams_of_an_upstream() -> None:
    def byte_by_byte(size: int) -> None:
        splitter = MessageSplitter()
        for byte in b"\0\0\x10\0\0\0\0\0" * size:
            splitter.push(bytes((byte,)))

    assert_linear(byte_by_byte, 1000)


def test_huge_event_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight MiB of brackets are 200 MB of lists."""
    built: list[int] = []
    decode = msgspec.json.decode

    def noted(data: bytes) -> object:
        built.append(len(data))
        return decode(data)

    monkeypatch.setattr("msgspec.json.decode", noted)
    frame = b'data: {"usage":{"prompt_tokens":1},"x":[%b0]}\n\n' % (b"[]," * 300_000)
    account = open_chat()
    read_further_frames(account, frame)
    ChunkFilter(usage=True, progress=True).filter(frame)
    assert built == []
    long = b'data: {"x":"%b","usage":{"prompt_tokens":1}}\n\n' % (b"a" * 900_000)
    read_further_frames(account, long)
    assert len(built) == 1
