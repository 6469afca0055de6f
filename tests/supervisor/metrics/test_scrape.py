"""Servers are asked over real sockets: those that hang, flood or fail keep nobody waiting."""

from collections.abc import Awaitable, Callable

import pytest
import trio

from arriero.supervisor.host.http_get import Access
from arriero.supervisor.metrics import scrape
from arriero.supervisor.metrics.merge import MAX_BYTES
from arriero.supervisor.metrics.scrape import ScrapedServer, ask_all

Serve = Callable[[trio.SocketStream], Awaitable[None]]


def answering(head: bytes, body: bytes) -> Serve:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 " + head + b"\r\nConnection: close\r\n\r\n" + body)

    return serve


async def hang(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def drip(stream: trio.SocketStream) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        await stream.send_all(b"x 1\n")
        await trio.sleep(0.01)


SERVERS: dict[str, Serve] = {
    "good": answering(b"200 OK", b"x 1\ny 2\n"),
    "failing": answering(b"501 Not Implemented", b"x 1\n"),
    "elsewhere": answering(b"302 Found\r\nLocation: http://127.0.0.1:1/", b""),
    "flooding": answering(b"200 OK", b"abc 1\n" * MAX_BYTES),
    "strange": answering(b"200 OK\r\nContent-Length: x", b""),
    "hanging": hang,
    "dripping": drip,
}


async def test_no_server_keeps_others_waiting(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrape, "_ONE_S", 2.0)
    servers = [ScrapedServer("gone", "http://127.0.0.1:1", Access())]
    for model, serve in SERVERS.items():

        async def contained(stream: trio.SocketStream, serve: Serve = serve) -> None:
            try:
                await serve(stream)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # it was cut off
            finally:
                await trio.aclose_forcefully(stream)

        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, contained, [listener])
        servers.append(ScrapedServer(model, f"http://127.0.0.1:{port}", Access()))

    told = await ask_all(servers)

    flood = told.pop("flooding")
    assert flood is not None
    assert set(flood.split(b"\n")) == {b"abc 1"}  # whole lines only
    assert len(flood) <= MAX_BYTES
    silent = {"gone", *SERVERS} - {"good", "flooding"}
    assert told == {"good": b"x 1\ny 2\n", **dict.fromkeys(silent)}
