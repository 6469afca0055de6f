import math
import socket
import ssl
from functools import partial

import pytest
import trio
import trustme

from arriero.protocol.worker_config import Timeouts
from arriero.worker.connections.stream import SocketStream
from arriero.worker.connections.tls_stream import TlsStream, make_context
from arriero.worker.upstreams.pool import (
    IDLE_S,
    TLS_IDLE_S,
    Endpoint,
    Upstreams,
    UpstreamUnreachable,
)


@pytest.mark.parametrize(
    ("url", "host", "port", "base_path", "is_secure"),
    [
        ("http://h:1/a/b/", "h", 1, b"/a/b", False),
        ("http://h", "h", 80, b"", False),
        ("https://h/v1", "h", 443, b"/v1", True),
        ("https://u:p@h:8443?a=b", "h", 8443, b"", True),
        ("https://[::1]:1", "::1", 1, b"", True),
        ("unix:///run/m.sock", "/run/m.sock", None, b"", False),
        ("unix:/run/a b?c#%41.sock", "/run/a b?c#%41.sock", None, b"", False),
    ],
)
def test_an_endpoint_is_read_from_its_url(
    url: str, host: str, port: int | None, base_path: bytes, is_secure: bool
) -> None:
    endpoint = Endpoint.parse(url)

    assert (endpoint.host, endpoint.port, endpoint.base_path) == (host, port, base_path)
    assert (endpoint.trust is not None) is is_secure
    assert endpoint.idle_s == (TLS_IDLE_S if is_secure else IDLE_S)


@pytest.mark.parametrize("url", ["", "h:1", "ftp://h", "https://", "http://h:x", "https://[::1"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(UpstreamUnreachable, match="it is not http://, https:// or unix://"):
        Endpoint.parse(url)


async def answer(stream: trio.abc.Stream) -> None:
    try:
        while await stream.receive_some():
            await stream.send_all(b"x")
    except trio.BrokenResourceError:
        pass


async def serve_tls(nursery: trio.Nursery, authority: trustme.CA) -> int:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    listeners = await nursery.start(
        partial(trio.serve_ssl_over_tcp, answer, 0, context, host="localhost")
    )
    port = listeners[0].transport_listener.socket.getsockname()[1]
    assert isinstance(port, int)
    return port


async def test_a_secure_endpoint_is_spoken_to_over_tls_and_trust_is_made_once() -> None:
    authority = trustme.CA()
    made = []

    def trust() -> ssl.SSLContext:
        made.append(context := make_context())
        authority.configure_trust(context)
        return context

    async with trio.open_nursery() as nursery:
        port = await serve_tls(nursery, authority)
        upstreams = Upstreams(trust)
        assert not made
        for path in ("a", "b"):
            endpoint = upstreams.at(f"https://localhost:{port}/{path}")
            link = await endpoint.open()
            assert isinstance(link.transport, TlsStream)
            await link.transport.send(b"y")
            assert await link.transport.receive() == b"x"
            endpoint.keep(link, trio.current_time())
            assert endpoint.take_idle(trio.current_time()) is link
            endpoint.keep(link, trio.current_time())

            upstreams.trim(trio.current_time() + TLS_IDLE_S / 2)
            assert endpoint.take_idle(trio.current_time()) is link
            endpoint.keep(link, trio.current_time())
            upstreams.trim(trio.current_time() + TLS_IDLE_S + 1)
            assert endpoint.take_idle(trio.current_time()) is None
        assert len(made) == 1
        nursery.cancel_scope.cancel()


async def test_a_certificate_that_is_not_trusted_is_told_with_what_would_do() -> None:
    async with trio.open_nursery() as nursery:
        port = await serve_tls(nursery, trustme.CA())
        endpoint = Endpoint.parse(f"https://localhost:{port}")

        with pytest.raises(
            UpstreamUnreachable, match=r"certificate is not accepted: .*issuer.*system's"
        ):
            await endpoint.open()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_without_a_listener_an_endpoint_is_out_of_reach(scheme: str) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()

    with pytest.raises(UpstreamUnreachable):
        await Endpoint.parse(f"{scheme}://127.0.0.1:{port}").open()


async def test_a_handshake_has_a_limit() -> None:
    closed = trio.Event()

    async def say_nothing(stream: trio.SocketStream) -> None:
        async with stream:
            async for _ in stream:
                pass
        closed.set()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, say_nothing, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]

        began = trio.current_time()
        with pytest.raises(UpstreamUnreachable):
            await Endpoint.parse(f"https://localhost:{port}").open(Timeouts(tls_handshake_s=0.05))
        assert trio.current_time() - began < Timeouts().tls_handshake_s
        await closed.wait()
        nursery.cancel_scope.cancel()


async def test_without_tls_the_socket_is_used_as_it_is() -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, answer, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        link = await Endpoint.parse(f"http://127.0.0.1:{port}").open()

        assert isinstance(link.transport, SocketStream)
        link.transport.close()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("host", ["." * 3 + "x", "a" * 70 + ".example"])
async def test_a_name_that_is_none_is_out_of_reach(host: str) -> None:
    with pytest.raises(UpstreamUnreachable):
        await Endpoint.parse(f"https://{host}:1").open()


async def test_tcp_asks_another_machine_that_is_silent() -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, answer, 0, host="localhost"))
        port = listeners[0].socket.getsockname()[1]
        endpoint = Endpoint.parse(f"http://localhost:{port}")
        found = []
        for keepalive_s in (7.5, 0.0, 1e9):
            link = await endpoint.open(Timeouts(keepalive_s=keepalive_s))
            assert isinstance(link.transport, SocketStream)
            sock = link.transport.sock
            asks = sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            after_s = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
            found.append(after_s if asks else 0)
            link.transport.close()
        nursery.cancel_scope.cancel()
    assert found == [8, 0, 32767]


@pytest.mark.parametrize(("written", "kept_s"), [(None, IDLE_S), (5.0, 5.0), (0.0, math.inf)])
async def test_an_unused_connection_is_kept_as_long_as_is_written(
    written: float | None, kept_s: float
) -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, answer, 0, host="127.0.0.1"))
        endpoint = Endpoint.parse(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}")
        link = await endpoint.open(Timeouts(idle_connection_s=written))
        assert endpoint.idle_s == kept_s
        link.transport.close()
        nursery.cancel_scope.cancel()
