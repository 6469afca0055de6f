"""TLS against a real server on this machine, with certificates made here."""

import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
import trio
import trio.testing
import trustme

from arriero.worker.connections.stream import SocketStream, StreamBroken, connect
from arriero.worker.connections.tls_stream import CertificateRefused, TlsStream, make_context

Handler = Callable[[trio.SSLStream[trio.SocketStream]], Awaitable[None]]

LARGE = bytes(range(256)) * 16 * 1024  # 4 MiB: more than any buffer of the kernel


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = make_context()
    authority.configure_trust(context)
    return context


class Server:
    """A TLS server for `localhost`.

    Attributes:
        names: What clients have asked for by SNI.
    """

    def __init__(self, authority: trustme.CA) -> None:
        self.names: list[str | None] = []
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.set_alpn_protocols(["h2", "http/1.1"])
        self.context.sni_callback = lambda _, name, __: self.names.append(name)
        authority.issue_cert("localhost", "127.0.0.1").configure_cert(self.context)

    @asynccontextmanager
    async def run(self, handler: Handler) -> AsyncGenerator[int, None]:
        """Answer each connection with `handler`; gives the port."""

        async def serve(stream: trio.SSLStream[trio.SocketStream]) -> None:
            with suppress(trio.BrokenResourceError):
                await handler(stream)

        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(
                partial(trio.serve_ssl_over_tcp, serve, 0, self.context, host="127.0.0.1")
            )
            yield listeners[0].transport_listener.socket.getsockname()[1]
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def connected(
    authority: trustme.CA, handler: Handler, host: str = "localhost"
) -> AsyncGenerator[TlsStream, None]:
    async with Server(authority).run(handler) as port:
        transport = TlsStream(
            await connect(socket.AF_INET, ("127.0.0.1", port)), trusting(authority), host
        )
        try:
            await transport.handshake()
            yield transport
        finally:
            transport.close()


async def echo(stream: trio.SSLStream[trio.SocketStream]) -> None:
    async with stream:
        async for data in stream:
            await stream.send_all(data)


async def read(transport: TlsStream, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        more = await transport.receive()
        assert more
        data += more
    return bytes(data)


async def test_bytes_go_both_ways_at_the_same_time(authority: trustme.CA) -> None:
    async with connected(authority, echo) as transport, trio.open_nursery() as nursery:
        nursery.start_soon(transport.send, LARGE)

        assert await read(transport, len(LARGE)) == LARGE


async def test_a_read_takes_no_more_than_is_wanted(authority: trustme.CA) -> None:
    async with connected(authority, echo) as transport:
        await transport.send(b"abc")

        assert [await transport.receive(2), await transport.receive(2)] == [b"ab", b"c"]


async def test_a_read_gathers_what_has_come(authority: trustme.CA) -> None:
    async def pour(stream: trio.SSLStream[trio.SocketStream]) -> None:
        await stream.send_all(LARGE)

    async with connected(authority, pour) as transport:
        sizes: list[int] = []
        while sum(sizes) < len(LARGE):
            sizes.append(len(await transport.receive()))

        assert max(sizes) > 16 * 1024  # the most that TLS puts into one record


async def test_a_read_that_is_given_up_loses_nothing(authority: trustme.CA) -> None:
    async with connected(authority, echo) as transport:
        with trio.CancelScope() as scope:
            scope.cancel()
            await transport.receive()
        assert scope.cancelled_caught  # nothing had come
        await transport.send(b"abc")
        assert await transport.receive(1) == b"a"

        with trio.CancelScope() as scope:
            scope.cancel()
            assert await transport.receive() == b"bc"
        assert not scope.cancelled_caught  # what has come already is given all the same


async def test_the_end_of_a_peer_that_says_so_is_an_end(authority: trustme.CA) -> None:
    async def end(stream: trio.SSLStream[trio.SocketStream]) -> None:
        await stream.send_all(b"abc")
        await stream.aclose()

    async with connected(authority, end) as transport:
        assert await read(transport, 3) == b"abc"
        assert await transport.receive() == b""
        assert await transport.receive() == b""


async def test_the_end_of_a_connection_alone_may_be_a_cut(authority: trustme.CA) -> None:
    """In all versions of Python: in some it is no error by default."""
    assert not make_context().options & ssl.OP_IGNORE_UNEXPECTED_EOF

    async def vanish(stream: trio.SSLStream[trio.SocketStream]) -> None:
        await stream.send_all(b"abc")
        await stream.transport_stream.aclose()

    async with connected(authority, vanish) as transport:
        assert await read(transport, 3) == b"abc"
        for _ in range(2):
            with pytest.raises(StreamBroken):
                await transport.receive()


async def test_what_came_before_nonsense_is_given(authority: trustme.CA) -> None:
    sent = trio.Event()

    async def babble(stream: trio.SSLStream[trio.SocketStream]) -> None:
        await stream.send_all(b"abc")
        await stream.transport_stream.send_all(b"nonsense")
        sent.set()
        await trio.sleep_forever()

    async with connected(authority, babble) as transport:
        await sent.wait()

        assert await transport.receive() == b"abc"
        with pytest.raises(StreamBroken):
            await transport.receive()


async def test_whoever_reads_is_woken_by_a_cut(authority: trustme.CA) -> None:
    async with connected(authority, echo) as transport, trio.open_nursery() as nursery:

        async def wait() -> None:
            with pytest.raises(StreamBroken):
                await transport.receive()

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        transport.cut()


async def test_nothing_can_be_sent_over_a_connection_that_was_cut(authority: trustme.CA) -> None:
    async with connected(authority, echo) as transport:
        transport.cut()

        with pytest.raises(StreamBroken):
            await transport.send(b"abc")


async def test_a_close_is_told_to_the_peer(authority: trustme.CA) -> None:
    ended = trio.Event()

    async def expect_end(stream: trio.SSLStream[trio.SocketStream]) -> None:
        assert await stream.receive_some() == b""  # a cut would be an error
        ended.set()

    async with connected(authority, expect_end) as transport:
        transport.close()
        transport.close()
        await ended.wait()


async def test_an_idle_connection_is_of_use_although_tickets_have_come(
    authority: trustme.CA,
) -> None:
    context = Server(authority).context
    ours, theirs = socket.socketpair()
    transport = TlsStream(SocketStream(ours), trusting(authority), "localhost")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.handshake)
        # sends its tickets as soon as it is done, as most servers do; trio's waits for an answer
        server = await trio.to_thread.run_sync(
            partial(context.wrap_socket, theirs, server_side=True)
        )
    with server:
        await trio.lowlevel.wait_readable(ours)

        assert not transport.is_stale()
        with pytest.raises(BlockingIOError):
            ours.recv(1)
        server.sendall(b"abc")
        assert await read(transport, 3) == b"abc"
    transport.close()


@pytest.mark.parametrize("words", [b"unasked", b""])
async def test_an_idle_connection_that_says_something_is_of_no_use(
    authority: trustme.CA, words: bytes
) -> None:
    async def speak(stream: trio.SSLStream[trio.SocketStream]) -> None:
        await stream.receive_some()
        await stream.send_all(b"answer" + words)
        if not words:
            await stream.aclose()
        await trio.sleep_forever()

    async with connected(authority, speak) as transport:
        await transport.send(b"x")
        assert await transport.receive(6) == b"answer"
        if not words:
            await trio.lowlevel.wait_readable(transport._transport.fd)

        assert transport.is_stale()


async def test_a_connection_that_is_closed_is_of_no_use(authority: trustme.CA) -> None:
    async with connected(authority, echo) as transport:
        transport.close()

        assert transport.is_stale()


@pytest.mark.parametrize(
    ("host", "reason"), [("elsewhere.example", "Hostname mismatch"), ("127.0.0.2", "IP address")]
)
async def test_a_certificate_has_to_show_the_name(
    authority: trustme.CA, host: str, reason: str
) -> None:
    async with Server(authority).run(echo) as port:
        plain = await connect(socket.AF_INET, ("127.0.0.1", port))
        transport = TlsStream(plain, trusting(authority), host)

        with pytest.raises(CertificateRefused, match=reason):
            await transport.handshake()
        transport.close()


async def test_a_certificate_has_to_come_from_somebody_known(authority: trustme.CA) -> None:
    async with Server(trustme.CA()).run(echo) as port:
        plain = await connect(socket.AF_INET, ("127.0.0.1", port))
        transport = TlsStream(plain, trusting(authority), "localhost")

        with pytest.raises(CertificateRefused, match="issuer"):
            await transport.handshake()
        transport.close()


@pytest.mark.parametrize(
    ("host", "names"),
    [("localhost", ["localhost"]), ("127.0.0.1", [None])],  # addresses are not sent: RFC 6066
)
async def test_the_peer_is_told_which_name_is_meant(
    authority: trustme.CA, host: str, names: list[str | None]
) -> None:
    server = Server(authority)
    async with server.run(echo) as port:
        plain = await connect(socket.AF_INET, ("127.0.0.1", port))
        transport = TlsStream(plain, trusting(authority), host)
        await transport.handshake()

        assert server.names == names
        assert transport._tls.selected_alpn_protocol() == "http/1.1"
        transport.close()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
async def test_a_peer_without_tls_is_noticed(authority: trustme.CA, answer: bytes) -> None:
    async def speak(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(answer)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, speak, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        plain = await connect(socket.AF_INET, ("127.0.0.1", port))
        transport = TlsStream(plain, trusting(authority), "localhost")
        with pytest.raises(StreamBroken):
            await transport.handshake()
        transport.close()
        nursery.cancel_scope.cancel()
