"""The door for TLS, on real sockets: what its clients see of how a connection ends."""

import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio
import trustme

from arriero.protocol.worker_config import TlsFiles
from arriero.worker.connections.stream import SocketStream, StreamBroken
from arriero.worker.limits import Limits
from arriero.worker.server.tls_door import Certificate, TlsDoor

LARGE = bytes(8 * 1024**2)  # more than any buffer on the way


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Path) -> TlsFiles:
    return issued(authority, tmp_path)


def issued(authority: trustme.CA, folder: Path) -> TlsFiles:
    made = authority.issue_cert("localhost")
    cert, key = folder / "cert.pem", folder / "key.pem"
    made.cert_chain_pems[0].write_to_path(str(cert))
    made.private_key_pem.write_to_path(str(key))
    return TlsFiles(cert=str(cert), key=str(key))


Serve = Callable[[SocketStream], Awaitable[None]]


@asynccontextmanager
async def connected(
    authority: trustme.CA, files: TlsFiles, serve: Serve, limits: Limits | None = None
) -> AsyncGenerator[trio.SSLStream[trio.SocketStream]]:
    """Give a client of the door, behind which `serve` answers."""

    async def serve_it(transport: SocketStream, peer: bytes) -> None:
        assert peer == b"1.2.3.4"
        await serve(transport)
        transport.close()

    door = TlsDoor(serve_it, limits or Limits())
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = await trio.open_tcp_stream("127.0.0.1", listener.getsockname()[1])
        accepted, _ = listener.accept()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(door, accepted, b"1.2.3.4", files)
        stream = trio.SSLStream(client, context, server_hostname="localhost")
        yield stream
        await trio.aclose_forcefully(stream)


async def read_all(stream: trio.abc.ReceiveStream) -> None:
    while await stream.receive_some():
        pass


async def test_both_directions_are_passed_to_their_ends(
    authority: trustme.CA, files: TlsFiles
) -> None:
    async def echo(transport: SocketStream) -> None:
        while data := await transport.receive():
            await transport.send(data)

    async with connected(authority, files, echo) as client:
        sent, got = LARGE[: 2 * 1024**2], bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_all, sent)
            while len(got) < len(sent):
                got += await client.receive_some()
    assert got == sent


async def test_an_end_is_said_and_a_cut_is_not(authority: trustme.CA, files: TlsFiles) -> None:
    """Nobody who reads to the end may take half an answer for all of it."""

    async def answer(transport: SocketStream, *, is_whole: bool) -> None:
        await transport.send(b"half")
        if not is_whole:
            transport.reset()

    async with connected(authority, files, partial(answer, is_whole=True)) as client:
        assert await client.receive_some() == b"half"
        assert await client.receive_some() == b""
    async with connected(authority, files, partial(answer, is_whole=False)) as client:
        with pytest.raises(trio.BrokenResourceError):
            await read_all(client)


async def test_who_serves_hears_that_the_client_has_left(
    authority: trustme.CA, files: TlsFiles
) -> None:
    left = trio.Event()

    async def wait(transport: SocketStream) -> None:
        await transport.send(b"x")
        assert await transport.receive() == b""
        assert transport.peer_gone()
        left.set()

    async with connected(authority, files, wait) as client:
        await client.receive_some()
        await client.transport_stream.aclose()
        with trio.fail_after(20):
            await left.wait()


async def test_a_client_that_reads_nothing_is_let_go(
    authority: trustme.CA, files: TlsFiles
) -> None:
    over = trio.Event()

    async def talk(transport: SocketStream) -> None:
        with pytest.raises(StreamBroken):
            await transport.send(LARGE)
        over.set()

    async with connected(authority, files, talk, Limits(write_s=0.2)) as client:
        await client.do_handshake()
        with trio.fail_after(20):
            await over.wait()


@pytest.mark.parametrize(
    "said", [b"", b"GET / HTTP/1.1\r\n\r\n", bytes(range(64))], ids=["nothing", "http", "noise"]
)
async def test_who_speaks_no_tls_is_served_nothing(
    authority: trustme.CA, files: TlsFiles, said: bytes
) -> None:
    async def never(_: SocketStream) -> None:
        raise AssertionError

    async with connected(authority, files, never, Limits(head_s=0.3)) as client:
        await client.transport_stream.send_all(said)
        with trio.fail_after(20), suppress(trio.BrokenResourceError):
            await read_all(client.transport_stream)


@pytest.mark.parametrize(
    ("said", "begins"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"{"),
        (b"PATCH /x HTTP/1.1\r\nACCEPT: text/plain\r\n\r\n", b"arriero: "),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"{"),
    ],
)
async def test_plain_http_is_answered_in_words(
    authority: trustme.CA, files: TlsFiles, said: bytes, begins: bytes
) -> None:
    async def never(_: SocketStream) -> None:
        raise AssertionError

    data = b""
    async with connected(authority, files, never) as client:
        plain = client.transport_stream
        await plain.send_all(said)
        with trio.fail_after(20):
            while more := await plain.receive_some():
                data += more
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert body.startswith(begins)
    assert b"https://" in body


def test_another_certificate_is_found_and_half_of_one_is_not_used(
    authority: trustme.CA, files: TlsFiles, tmp_path: Path
) -> None:
    certificate = Certificate()
    first = certificate.context(files, 0.0)
    assert certificate.context(files, 5.0) is first  # nothing has changed

    key = Path(files.key).read_text()
    Path(files.key).write_text(key[: len(key) // 2])
    assert certificate.context(files, 10.0) is first
    issued(authority, tmp_path)
    assert certificate.context(files, 10.5) is first  # just looked
    assert certificate.context(files, 15.0) is not first


def test_without_any_certificate_nothing_is_begun(tmp_path: Path) -> None:
    missing = TlsFiles(cert=str(tmp_path / "no"), key=str(tmp_path / "no"))
    with pytest.raises(OSError, match="No such file"):
        Certificate().context(missing, 0.0)
