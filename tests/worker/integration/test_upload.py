"""Forms on their way through a worker: what is kept, what is sent, what is refused."""

import resource
import socket
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from arriero.protocol.lease import Want
from arriero.protocol.worker_config import ModelRoute
from arriero.worker.connections.connection import Connection, ConnectionMonitor, WaitingFor
from arriero.worker.connections.stream import SocketStream
from arriero.worker.errors import (
    BadRequest,
    ClientGone,
    RequestCancelled,
    TooLarge,
    TooSlow,
    Unavailable,
)
from arriero.worker.http.body_memory import BodyMemory, MemoryHold
from arriero.worker.http.request_head import RequestHead, parse_head
from arriero.worker.upstreams import upload
from arriero.worker.upstreams.upload import (
    KEPT_BYTES,
    PIECE_BYTES,
    BodySource,
    read_upload,
    upload_of,
)
from tests.examples import examples
from tests.worker.rig import OpenRig

MODEL = b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper\r\n'
FILE = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n%b\r\n'
STREAM = b'--B\r\nContent-Disposition: form-data; name="stream"\r\n\r\ntrue\r\n'
END = b"--B--\r\n"

LARGE = bytes(range(256)) * 12 * 1024  # 3 MiB
FIRST = MODEL + FILE % LARGE + STREAM + END  # the name comes first
LAST = FILE % LARGE + MODEL + STREAM + END


def head_bytes(length: int | None, *fields: bytes) -> bytes:
    """Head of a form; in chunks without a `length`."""
    lines = (
        b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x",
        b"Content-Type: multipart/form-data; boundary=B",
        b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length,
        *fields,
    )
    return b"\r\n".join(lines) + b"\r\n\r\n"


def head_of(body: bytes | None, *fields: bytes) -> RequestHead:
    """Head of the form `body`; in chunks without one."""
    return parse_head(head_bytes(None if body is None else len(body), *fields))


def chunked(body: bytes, size: int = 100_000) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def unchunked(data: bytes) -> bytes:
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        if size == b"0":
            assert data == b"\r\n"
            return body
        body += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]


@dataclass
class Bench:
    """A client's connection and an upstream's, with the far ends of both."""

    conn: Connection
    client: trio.SocketStream
    transport: SocketStream
    upstream: trio.SocketStream
    memory: BodyMemory
    hold: MemoryHold


async def sent_by(what: Callable[[SocketStream], Awaitable[object]]) -> bytes:
    """Return all that `what` sends to an upstream."""
    ours, theirs = socket.socketpair()
    transport, upstream = (
        SocketStream(ours),
        trio.SocketStream(trio.socket.from_stdlib_socket(theirs)),
    )
    sent = bytearray()

    async def collect() -> None:
        async for data in upstream:
            sent.extend(data)

    try:
        async with upstream, trio.open_nursery() as nursery:
            nursery.start_soon(collect)
            await what(transport)
            transport.cut()
    finally:
        transport.close()
    return bytes(sent)


@asynccontextmanager
async def open_bench(sent: bytes = b"", *, ends: bool = False) -> AsyncGenerator[Bench]:
    """Open both; the client sends `sent` meanwhile, and ends if it `ends`."""
    near, far = socket.socketpair()
    ours, theirs = socket.socketpair()
    conn = Connection(SocketStream(near), b"", ConnectionMonitor())
    client = trio.SocketStream(trio.socket.from_stdlib_socket(far))
    upstream = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
    conn.wait_for(WaitingFor.UPSTREAM, 3600)

    async def send() -> None:
        try:
            await client.send_all(sent)
            if ends:
                await client.send_eof()
        except trio.BrokenResourceError:
            pass

    transport = SocketStream(ours)
    try:
        async with client, upstream, trio.open_nursery() as nursery:
            if sent:
                nursery.start_soon(send)
            memory = BodyMemory()
            yield Bench(conn, client, transport, upstream, memory, MemoryHold(memory))
            nursery.cancel_scope.cancel()
    finally:
        conn.transport.close()
        transport.close()


async def test_short_form_can_be_sent_again() -> None:
    body = MODEL + FILE % b"abc" + STREAM + END
    begun = len(MODEL) + 10  # its name is known by then
    async with open_bench(body[begun:] + b"next") as bench:
        bench.conn.buffer = body[:begun]
        form = await read_upload(bench.conn, head_of(body), bench.hold)
        sent = [await sent_by(form.send), await sent_by(form.send)]

        assert (form.model, form.stream, form.length) == ("whisper", True, len(body))
        assert (form.replayable, form.drained) == (True, True)
        assert sent == [body, body]
        assert bench.conn.buffer in {b"", b"next"}


async def test_long_form_is_read_piecewise() -> None:
    async with open_bench(FIRST) as bench:
        form = await read_upload(bench.conn, head_of(FIRST), bench.hold)
        assert (form.model, form.length) == ("whisper", len(FIRST))
        assert (form.replayable, form.drained, form.stream) == (True, False, False)
        assert form._store.size < KEPT_BYTES + PIECE_BYTES

        assert await sent_by(form.send) == FIRST
        assert (form.replayable, form.drained, form.stream) == (False, True, True)


async def test_late_name_waits_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with open_bench(LAST) as bench:
        form = await read_upload(bench.conn, head_of(LAST), bench.hold)
        file = form._store._file
        assert file is not None
        assert not any(tmp_path.iterdir())  # noqa: ASYNC240
        assert (form.model, form.length, form.replayable) == ("whisper", len(LAST), True)

        form.rename("w2")
        sent = await sent_by(form.send)
        await form.aclose()

    assert sent == LAST.replace(b"\r\nwhisper\r\n", b"\r\nw2\r\n")
    assert file.closed


def forms() -> st.SearchStrategy[bytes]:
    sizes = st.integers(0, 300)
    return st.tuples(sizes, sizes, st.booleans()).map(
        lambda it: FILE % LARGE[: it[0]] + MODEL + FILE % LARGE[: it[1]] + STREAM * it[2] + END
    )


@given(forms(), st.booleans(), st.integers(1, 400), st.sampled_from(["", "w", "long-" * 20]))
def test_form_arrives_unchanged_but_its_name(
    body: bytes, in_chunks: bool, size: int, name: str
) -> None:
    """Sizes are small, so that all ways are gone: in memory, in a file, past both."""

    async def run() -> None:
        sent = chunked(body, size) if in_chunks else body
        async with open_bench(sent) as bench:
            form = await read_upload(bench.conn, head_of(None if in_chunks else body), bench.hold)
            if name:
                form.rename("another one")
                form.rename(name)
            length = form.length
            data = await sent_by(form.send)
            assert form.drained
            await form.aclose()
        got = unchunked(data) if length is None else data
        assert length in {None, len(got)}
        assert got == (
            body.replace(b"\r\nwhisper\r\n", b"\r\n%b\r\n" % name.encode()) if name else body
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upload, "KEPT_BYTES", 200)
        patch.setattr(upload, "PIECE_BYTES", 50)
        trio.run(run)


async def test_chunked_form_has_length_once_complete() -> None:
    body = MODEL + END
    async with open_bench(chunked(body)) as bench:
        form = await read_upload(bench.conn, head_of(None), bench.hold)
        assert form.length == len(body)
    async with open_bench(chunked(FIRST)) as bench:
        form = await read_upload(bench.conn, head_of(None), bench.hold)
        assert form.length is None
        assert unchunked(await sent_by(form.send)) == FIRST


# --- clients that break off ----------------------------------------------------------------------


@pytest.mark.parametrize("length", [100, KEPT_BYTES // 2, len(FIRST) - 1])
@pytest.mark.parametrize("whole", [FIRST, LAST])
async def test_client_gone_midway_is_gone(whole: bytes, length: int) -> None:
    async def take(transport: SocketStream) -> None:
        form = await read_upload(bench.conn, head_of(whole), bench.hold)
        await form.send(transport)

    async with open_bench(whole[:length], ends=True) as bench:
        with pytest.RaisesGroup(ClientGone):
            await sent_by(take)


async def test_stopped_client_is_too_slow(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench(FIRST[:-1]) as bench, trio.open_nursery() as nursery:
        monitor = bench.conn.monitor
        monitor.connections.add(bench.conn)
        nursery.start_soon(monitor.run)
        form = await read_upload(bench.conn, head_of(FIRST), bench.hold)
        with pytest.RaisesGroup(TooSlow):
            await sent_by(form.send)
        nursery.cancel_scope.cancel()


async def test_cancel_ends_the_upload() -> None:
    async with open_bench(FIRST) as bench:
        form = await read_upload(bench.conn, head_of(FIRST), bench.hold)
        bench.conn.upstream = bench.transport
        bench.conn.cancel(by_client=True)

        with pytest.raises(RequestCancelled):
            await form.send(bench.transport)


# --- upstreams that do not take it ---------------------------------------------------------------


async def test_closed_upstream_ends_the_sending() -> None:
    async with open_bench(FIRST) as bench:
        form = await read_upload(bench.conn, head_of(FIRST), bench.hold)
        await bench.upstream.aclose()

        assert not await form.send(bench.transport)

        assert not form.drained


async def test_backpressure_reaches_the_client() -> None:
    body = MODEL + FILE % (LARGE * 10) + END
    taken = 0
    async with open_bench() as bench, trio.open_nursery() as nursery:

        async def give() -> None:
            nonlocal taken
            for at in range(0, len(body), 65536):
                await bench.client.send_all(body[at : at + 65536])
                taken += 65536

        nursery.start_soon(give)
        form = await read_upload(bench.conn, head_of(body), bench.hold)
        nursery.start_soon(form.send, bench.transport)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert bench.conn.waits is WaitingFor.UPSTREAM
        nursery.cancel_scope.cancel()

    assert taken < 5 * 1024 * 1024
    assert not form.drained


@pytest.mark.parametrize("is_whole", [True, False])
async def test_upstream_deadline_is_restored_after_sending(
    is_whole: bool,
) -> None:
    """Because all is sent, or because it was cancelled while it waited for the client."""
    async with open_bench(chunked(FIRST)[:-5]) as bench, trio.open_nursery() as nursery:
        form = await read_upload(bench.conn, head_of(None), bench.hold)
        bench.conn.wait_for(WaitingFor.UPSTREAM, 1234)
        nursery.start_soon(sent_by, form.send)
        await trio.testing.wait_all_tasks_blocked()
        waited = [bench.conn.waits]
        if is_whole:
            await bench.client.send_all(b"0\r\n\r\n")
        else:
            nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await trio.testing.wait_all_tasks_blocked()
        waited.append(bench.conn.waits)

        assert waited == [WaitingFor.REQUEST, WaitingFor.UPSTREAM]
        assert bench.conn.deadline == pytest.approx(bench.conn.monitor.now + 1234)


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (FILE % b"x", "ends before"),
        (b"", "ends before"),
        (b"{}", "ends before"),
        (bytes(70_000), "does not begin"),
    ],
)
async def test_form_without_end_is_refused(body: bytes, words: str) -> None:
    async with open_bench(body) as bench:
        with pytest.raises(BadRequest, match=words):
            await read_upload(bench.conn, head_of(body), bench.hold)


@pytest.mark.parametrize("body", [FILE % b"x" + END, FILE % LARGE + END])
async def test_form_without_model_names_none(body: bytes) -> None:
    async with open_bench(body) as bench:
        form = await read_upload(bench.conn, head_of(body), bench.hold)
        assert form.model == ""
        assert form.drained
        await form.aclose()


async def test_second_model_never_reaches_the_upstream() -> None:
    body = MODEL + FILE % LARGE + MODEL + END
    sent = b""
    async with open_bench(body) as bench:
        form = await read_upload(bench.conn, head_of(body), bench.hold)

        async def send(transport: SocketStream) -> None:
            with pytest.raises(BadRequest, match="two fields"):
                await form.send(transport)

        sent = await sent_by(send)

    assert sent.count(b"whisper") == 1


async def test_long_upload_is_refused_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_bench(FIRST) as bench:
        with pytest.raises(TooLarge):
            await read_upload(bench.conn, parse_head(head_bytes(2 * 1024**3 + 1)), bench.hold)
        BodySource(bench.conn, parse_head(head_bytes(2 * 1024**3)), upload.MAX_UPLOAD_BYTES)
    monkeypatch.setattr(upload, "MAX_UPLOAD_BYTES", len(FIRST) - 1)
    async with open_bench(chunked(FIRST)) as bench:
        form = await read_upload(bench.conn, head_of(None), bench.hold)
        with pytest.RaisesGroup(TooLarge):
            await sent_by(form.send)


@pytest.mark.parametrize(("folder", "limit"), [("missing", -1), ("", 0), ("", len(LAST) - 1)])
async def test_full_disk_is_our_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, limit: int
) -> None:
    """Files are as short as the system lets them be, which is what a full disk looks like."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / folder))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with open_bench(LAST) as bench:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(Unavailable, match="before the file") as caught:
                await read_upload(bench.conn, head_of(LAST), bench.hold)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert str(tmp_path) not in caught.value.message


# --- 100 Continue --------------------------------------------------------------------------------


async def test_waiting_client_is_told_once() -> None:
    body = MODEL + END
    async with open_bench() as bench, trio.open_nursery() as nursery:
        nursery.start_soon(
            read_upload, bench.conn, head_of(body, b"Expect: 100-continue"), bench.hold
        )
        assert await bench.client.receive_some() == b"HTTP/1.1 100 Continue\r\n\r\n"
        for byte in body:
            await bench.client.send_all(bytes([byte]))
        await trio.testing.wait_all_tasks_blocked()
        bench.conn.transport.cut()
        assert await bench.client.receive_some() == b""


async def test_client_that_sends_is_told_nothing() -> None:
    body = MODEL + END
    async with open_bench(body[20:]) as bench:
        bench.conn.buffer = body[:20]
        await read_upload(bench.conn, head_of(body, b"Expect: 100-continue"), bench.hold)
        bench.conn.transport.cut()

        assert await bench.client.receive_some() == b""


# --- forms that are written like a query ---------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "body", "model", "sent"),
    [
        (b"/x", b"a=1&model=m%2F1&b=2", "m/1", b"a=1&model=new+%26+name&b=2"),
        (b"/x?model=q", b"a=1&model=m", "m", b"a=1&model=new+%26+name"),
        (b"/x?model=q", b"a=1", "q", b"a=1"),
    ],
)
async def test_query_is_read_and_renamed(
    target: bytes, body: bytes, model: str, sent: bytes
) -> None:
    head = parse_head(b"POST %b HTTP/1.1\r\nHost: x\r\n\r\n" % target)
    async with open_bench() as bench:
        form = upload_of(bench.conn, head, body, bench.hold)
        form.rename("new & name")

        assert (form.model, form.length, form.drained) == (model, len(sent), True)
        assert await sent_by(form.send) == sent


async def test_query_without_model_names_none() -> None:
    head = parse_head(b"POST /x HTTP/1.1\r\nHost: x\r\n\r\n")
    async with open_bench() as bench:
        assert upload_of(bench.conn, head, b"a=b", bench.hold).model == ""


# --- as a whole ----------------------------------------------------------------------------------

MIB = 1024 * 1024


def memory_bytes(name: str) -> int:
    """Return a figure of this process: `VmRSS`, or `VmHWM` for its peak."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0]) * 1024


def forget_peak() -> None:
    """Let the peak be that from now on (proc(5), `clear_refs`)."""
    Path("/proc/self/clear_refs").write_text("5")


@pytest.mark.e2e
@pytest.mark.parametrize("name_first", [True, False])
async def test_large_upload_takes_little_memory(open_rig: OpenRig, name_first: bool) -> None:
    """Client and upstream are in this process as well, which makes it a harder test."""
    size = examples(128, 256) * MIB
    block = bytes(range(256)) * 4096  # 1 MiB
    before, after = (FILE % b"%").split(b"%")
    before, after = (MODEL + before, after) if name_first else (before, after + MODEL)
    length = len(before) + size + len(after) + len(END)
    given = got = 0
    is_fast = trio.Event()

    async def sink(stream: trio.SocketStream) -> None:
        nonlocal got
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.receive_some()
        assert b"Content-Length: %d\r\n" % length in data
        got = len(data.partition(b"\r\n\r\n")[2])
        await is_fast.wait()
        while got < length:
            got += len(await stream.receive_some(65536))
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with open_rig(models=(ModelRoute(model="whisper"),)) as rig:
        rig.grants = False
        serve = partial(trio.serve_tcp, sink, 0, host="127.0.0.1")
        (listener,) = await rig.nursery.start(serve)

        async def give(stream: trio.SocketStream) -> None:
            nonlocal given
            await stream.send_all(head_bytes(length) + before)
            for _ in range(size // MIB):
                await stream.send_all(block)
                given += MIB
            await stream.send_all(after + END)

        forget_peak()
        at_first = memory_bytes("VmRSS")
        async with await rig.connect() as client, trio.open_nursery() as nursery:
            nursery.start_soon(give, client)
            want = await rig.heard(Want)
            rig.grant(want, f"http://127.0.0.1:{listener.socket.getsockname()[1]}")
            await trio.testing.wait_all_tasks_blocked(0.3)
            assert given < 32 * MIB or not name_first
            is_fast.set()
            assert (await client.receive_some()).startswith(b"HTTP/1.1 200")
        assert got == length
        assert memory_bytes("VmHWM") - at_first < 64 * MIB


async def test_query_form_has_a_shorter_limit() -> None:
    head = parse_head(head_bytes(1))
    async with open_bench() as bench:
        longest = b"model=m&x=" + b"x" * (upload.MAX_QUERY_BYTES - 10)
        assert upload_of(bench.conn, head, longest, bench.hold).model == "m"
        with pytest.raises(TooLarge, match="send it as multipart/form-data"):
            upload_of(bench.conn, head, longest + b"x", bench.hold)
