"""A peer for tests, of any manners: real sockets, and a list and a feed that are scripts."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager, suppress

import trio

from arriero.protocol.values import PeerStatus
from arriero.supervisor.config.names import PeerConfig
from arriero.supervisor.peers.circuit import CircuitLimits
from arriero.supervisor.peers.state import PeerStates
from arriero.supervisor.peers.watch import PeerWatch, WatchLimits

# Times for tests: what is waited for comes soon, what must not happen would take long.
QUICK = WatchLimits(
    answer_s=20.0,
    silence_s=20.0,
    poll_s=0.01,
    plain_poll_s=0.01,
    followed_poll_s=60.0,
    soon_s=0.01,
    again_s=0.01,
    least_s=0.01,
)

HEAD = b"HTTP/1.1 200 OK\r\n"
FEED = HEAD + b"Content-Type: text/event-stream\r\n\r\n"

Script = Callable[[bytes], AsyncGenerator[bytes, None]]


def whole(body: bytes, status: str = "200 OK", fields: str = "") -> bytes:
    """Return a whole answer."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode() + body


def listing(*names: str, owner: str = "vllm") -> bytes:
    """Return an answer with a list."""
    return whole(json.dumps({"data": [{"id": it, "owned_by": owner} for it in names]}).encode())


def event(place: str, **message: object) -> bytes:
    """Return a message of a feed."""
    return b"id:%b\ndata:%b\n\n" % (place.encode(), json.dumps(message).encode())


async def until(holds: Callable[[], object]) -> None:
    """Wait for a fact."""
    with trio.fail_after(30):
        while not holds():  # noqa: ASYNC110  it comes from anywhere
            await trio.sleep(0.002)


class PeerServer:
    """Answers on 127.0.0.1.

    Attributes:
        lists, feeds: What is sent, one after the other, and the last one for ever: bytes, or a
            script that gets the head of the request.
        heads: Of the requests so far.
    """

    def __init__(self) -> None:
        self.port = 0
        self.lists: list[bytes | Script] = [listing()]
        self.feeds: list[bytes | Script] = [whole(b"", "404 Not Found")]
        self.heads: list[bytes] = []

    @property
    def url(self) -> str:
        """Of the server."""
        return f"http://127.0.0.1:{self.port}"

    def asked(self, path: bytes) -> int:
        """Return how often `path` was asked for."""
        return sum(path in head.split(b"\r\n")[0] for head in self.heads)

    async def serve(self, stream: trio.SocketStream) -> None:
        """Answer one request."""
        with suppress(trio.BrokenResourceError):
            head = bytes(await stream.receive_some())
            self.heads.append(head)
            is_feed = b" /api/live" in head
            scripts, path = (self.feeds, b"/api/live") if is_feed else (self.lists, b"/v1/models")
            script = scripts[min(self.asked(path), len(scripts)) - 1]
            if isinstance(script, bytes):
                await stream.send_all(script)
                return
            async with aclosing(script(head)) as parts:
                async for data in parts:
                    await stream.send_all(data)


@asynccontextmanager
async def peer_server() -> AsyncGenerator[PeerServer, None]:
    """Answer while the block runs."""
    server = PeerServer()
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    server.port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, server.serve, [listener])
        yield server
        nursery.cancel_scope.cancel()


class Watched:
    """A peer that is watched, and what is known of it."""

    def __init__(self, url: str, limits: WatchLimits = QUICK) -> None:
        self.changes = self.losses = 0
        self.states = PeerStates(CircuitLimits(first_s=0.01, longest_s=0.01), lambda: 0.0)
        peer = PeerConfig(peer="box2", url=url, written_models="auto", api_key="k")
        self.states.follow([peer])
        self.watch = PeerWatch(
            peer, self.states, self._changed, lambda: 1000.0, "own", limits, self._lost
        )

    def _changed(self) -> None:
        self.changes += 1

    def _lost(self) -> None:
        self.losses += 1

    @property
    def status(self) -> PeerStatus:
        """How it stands."""
        return self.states.statuses(trio.current_time(), 1000.0)[0]

    @property
    def models(self) -> tuple[str, ...]:
        """Names of its models."""
        return self.states.told()["box2"]

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait for a fact."""
        await until(holds)


@asynccontextmanager
async def watched(url: str, limits: WatchLimits = QUICK) -> AsyncGenerator[Watched, None]:
    """Watch while the block runs."""
    found = Watched(url, limits)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(found.watch.run)
        yield found
        nursery.cancel_scope.cancel()
