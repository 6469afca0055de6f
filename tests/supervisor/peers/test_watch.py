"""A watcher and its peers, which send anything: real sockets."""

import gzip
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
import trio

from arriero.supervisor.config.names import PeerConfig
from arriero.supervisor.peers.keeper import PeerKeeper
from arriero.supervisor.peers.told import ThereModel
from arriero.supervisor.peers.watch import ReadAllowance, WatchLimits
from tests.supervisor.peers.peer_server import (
    FEED,
    HEAD,
    QUICK,
    PeerServer,
    Script,
    event,
    listing,
    peer_server,
    until,
    watched,
    whole,
)

CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


async def endless(head: bytes) -> AsyncGenerator[bytes, None]:
    yield CHUNKED
    while True:
        yield b'a\r\n{"id": 1},\r\n' * 1000


async def in_crumbs(head: bytes) -> AsyncGenerator[bytes, None]:
    yield CHUNKED
    while True:
        yield b"1\r\n \r\n" * 1000


async def large(head: bytes) -> AsyncGenerator[bytes, None]:
    yield HEAD + b"Content-Length: 100000000\r\n\r\n"
    while True:
        yield b" " * 100_000


async def silent(head: bytes) -> AsyncGenerator[bytes, None]:
    while True:
        await trio.sleep(3600)
        yield b""


async def slow(head: bytes) -> AsyncGenerator[bytes, None]:
    for byte in HEAD:
        yield bytes([byte])
        await trio.sleep(0.05)
    await trio.sleep_forever()


BOMB = gzip.compress(b" " * 10_000_000)


@pytest.mark.parametrize(
    ("bad", "link", "why"),
    [
        (endless, "up", "its list of models comes in too many pieces"),
        (in_crumbs, "up", "its list of models comes in too many pieces"),
        (large, "up", "its list of models is larger than"),
        (silent, "away", "its list took longer than"),
        (slow, "away", "its list took longer than"),
        (b"", "away", "the connection was closed before an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "away", "this is not HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000, "away", "this is not HTTP"),
        (listing("a")[:-1], "away", "this is not HTTP, or half of it"),
        (whole(b"", "503 Service Unavailable"), "away", "it answered with status 503"),
        (whole(b"", "401 Unauthorized"), "up", "it refuses the apiKey, with status 401"),
        (whole(b"", "302 Found", "Location: http://h/\r\n"), "up", "its list is somewhere else"),
        (whole(b"", "404 Not Found"), "up", "it answered with status 404"),
        (whole(BOMB, fields="Content-Encoding: gzip\r\n"), "up", "it came compressed"),
        (whole(b"<html>"), "up", "its list of models cannot be read"),
        (whole(b'{"data": [{"id": 1}]}'), "up", "its list of models cannot be read"),
    ],
)  # fmt: skip
async def test_what_is_no_list_is_told_and_the_last_one_stays(
    bad: bytes | Script, link: str, why: str
) -> None:
    limits = msgspec.structs.replace(QUICK, answer_s=1.0) if bad in {silent, slow} else QUICK
    async with peer_server() as server:
        server.lists = [listing("a", "b")]
        async with watched(server.url, limits) as box:
            await box.until(lambda: box.models)
            server.lists = [bad]
            await box.until(lambda: box.status.why)
            told = box.status
            server.lists = [listing("c")]
            await box.until(lambda: box.models == ("c",))

            assert (told.link, told.models) == (link, 2)
            assert told.why.startswith(why)
            assert (told.circuit != "closed") == (link == "away")
            assert (box.status.link, box.status.circuit, box.status.why) == ("up", "closed", "")
            assert box.changes == 2
            head = server.heads[0].decode()
            assert head.startswith("GET /v1/models HTTP/1.1\r\n")
            assert "authorization: Bearer k\r\n" in head.lower().replace("bearer", "Bearer")


@pytest.mark.parametrize(
    ("base", "path"),
    [
        ("", "/v1/models"),
        ("/v1", "/v1/models"),
        ("/v1/", "/v1/models"),
        ("/behind/nginx", "/behind/nginx/v1/models"),
        ("/api/v2?key=x", "/api/v2/models"),
    ],
)
async def test_where_the_list_is(base: str, path: str) -> None:
    async with peer_server() as server, watched(server.url + base) as box:
        await box.until(lambda: box.status.link == "up")
    assert server.heads[0].startswith(f"GET {path} HTTP/1.1\r\n".encode())


async def test_a_peer_may_be_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "peer.sock"
    server = PeerServer()
    server.lists = [listing("a")]
    sock = trio.socket.socket(trio.socket.AF_UNIX)
    await sock.bind(str(path))
    sock.listen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, server.serve, [trio.SocketListener(sock)])
        async with watched(f"unix:{path}") as box:
            await box.until(lambda: box.models == ("a",))
        nursery.cancel_scope.cancel()


# --- the feed ------------------------------------------------------------------------------------

OURS = listing("a", "b", owner="arriero")
ALL = event(
    "e.1.0",
    all=True,
    models=[{"model": "a", "state": "ready", "in_flight": 2}, {"model": "b", "state": "stopped"}],
    queue=[],
    catalog=[{"id": "a"}, {"id": "b", "limit": 2}],
)
LOADS = event(
    "e.2.0",
    models=[{"model": "b", "state": "starting", "progress": {"phase": "loading", "fraction": 0.4}}],
)


def feed(*messages: bytes, then: Script = silent) -> Script:
    """Return a feed that says these messages."""

    async def script(head: bytes) -> AsyncGenerator[bytes, None]:
        yield FEED + b"".join(messages)
        async with aclosing(then(head)) as parts:
            async for data in parts:
                yield data

    return script


async def over(head: bytes) -> AsyncGenerator[bytes, None]:
    yield b""


async def test_a_feed_is_followed_and_gone_on_with() -> None:
    async with peer_server() as server:
        server.lists = [OURS]
        who = event("e.1.0", host={"version": "1", "instance": "9f2c61d07be4a835"})
        server.feeds = [feed(ALL, who, then=over), feed(b":\n\n", LOADS)]
        async with watched(server.url) as box:
            there = box.states.find("box2")
            assert there is not None
            await box.until(lambda: there.model("b").state == "starting")

            assert there.model("a") == ThereModel(state="ready", running=2)
            assert there.model("b") == ThereModel(
                state="starting", slots=2, phase="loading", fraction=0.4
            )
            assert box.status.followed
            assert there.ident == "9f2c61d07be4a835"
            assert (box.status.kind, box.status.why) == ("arriero", "")
            feeds = [it for it in server.heads if b"/api/live" in it]
            assert feeds[0].startswith(
                b"GET /api/live?parts=models,queue,catalog,host&after= HTTP/1.1\r\n"
            )
            assert b"&after=e.1.0 " in feeds[1]


async def test_another_catalog_has_the_list_read_again() -> None:
    more = event("e.3.0", catalog=[{"id": "a"}, {"id": "c"}])
    async with peer_server() as server:
        server.lists = [OURS, OURS, listing("a", "c", owner="arriero")]
        server.feeds = [feed(ALL, then=over), feed(more)]
        async with watched(server.url) as box:
            await box.until(lambda: set(box.models) == {"a", "c"})


async def endless_message(head: bytes) -> AsyncGenerator[bytes, None]:
    yield b"data:"
    while True:
        yield b"x" * 100_000


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (feed(b"data:{\n\n"), "a message of its feed cannot be read"),
        (feed(b'data:{"models": {}}\n\n'), "a message of its feed cannot be read"),
        (feed(then=endless_message), "a message of its feed is too long"),
        (whole(b"", "429 Too Many Requests"), "it answered with status 429"),
        (whole(b"<html>"), "it answered with status 200 in the place of its feed"),
        (FEED.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n"), "it came compressed"),
        (whole(b"", "404 Not Found"), "it does not tell how its models stand"),
        (whole(b"", "403 Forbidden"), "its apiKey may not see how models stand"),
        (CHUNKED.replace(b"Transfer", b"Content-Type: text/event-stream\r\nTransfer") + b"zz\r\n",
         "this is not HTTP, or half of it"),
    ],
)  # fmt: skip
async def test_what_is_no_feed_leaves_the_list(bad: bytes | Script, why: str) -> None:
    limits = msgspec.structs.replace(QUICK, refused_s=0.01, bytes_per_s=1e9)
    async with peer_server() as server:
        server.lists = [OURS]
        server.feeds = [bad]
        async with watched(server.url, limits) as box:
            seen: list[str] = []

            def has_a_reason() -> bool:
                seen.append(box.status.why)
                return any(seen)

            await box.until(has_a_reason)
            assert (box.status.models, box.status.circuit) == (2, "closed")
            server.feeds = [feed(ALL)]
            await box.until(lambda: box.status.followed)
    assert next(filter(None, seen)).startswith(why)


async def test_why_it_is_not_followed_stays_known() -> None:
    async with peer_server() as server:
        server.lists, server.feeds = [OURS], [whole(b"", "403 Forbidden")]
        async with watched(server.url) as box:
            await box.until(lambda: server.asked(b"/v1/models") > 5)

            assert box.status.why.startswith("its apiKey may not see how models stand")
            assert (box.status.link, box.status.followed) == ("up", False)
    assert server.asked(b"/api/live") == 1


async def test_a_feed_with_nothing_new_goes_on() -> None:
    async with peer_server() as server:
        server.lists, server.feeds = [OURS], [feed(ALL, then=over), feed(b":\n\n")]
        async with watched(server.url) as box:
            await box.until(lambda: server.asked(b"/api/live") == 2 and box.status.followed)
            there = box.states.find("box2")
            assert there is not None
            assert there.model("a").running == 2


async def flood(head: bytes) -> AsyncGenerator[bytes, None]:
    while True:
        yield event("e.9.0", models=[{"model": "a\x1b[2J", "state": "ready"}]) * 500


async def test_a_flood_waits_in_its_own_socket() -> None:
    limits = msgspec.structs.replace(QUICK, burst_bytes=64 * 1024, bytes_per_s=64 * 1024)
    async with peer_server() as server, peer_server() as calm:
        server.lists, server.feeds = [OURS], [feed(ALL, then=flood)]
        calm.lists = [listing("x")]
        async with watched(server.url, limits) as box, watched(calm.url) as other:
            await box.until(lambda: box.status.followed)
            asked = calm.asked(b"/v1/models")
            await other.until(lambda: calm.asked(b"/v1/models") > asked + 20)

            there = box.states.find("box2")
            assert there is not None
            assert there.followed.keys() == {"a", "b"}
            assert server.asked(b"/api/live") == 1


def test_so_much_is_read_in_a_second() -> None:
    allowance = ReadAllowance(WatchLimits(burst_bytes=1000, bytes_per_s=100))

    assert allowance.take(1000, 0.0) == 0.0
    assert allowance.take(50, 0.0) == 0.5
    assert allowance.take(100, 0.5) == 1.0
    assert allowance.take(100, 1000.0) == 0.0  # no more than the burst is saved up
    assert allowance.take(1000, 1000.0) == 1.0


async def test_a_peer_that_is_this_program_has_no_models() -> None:
    async with peer_server() as server:
        server.lists, server.feeds = [OURS], [feed(event("own.1.0", all=True))]
        async with watched(server.url) as box:
            await box.until(lambda: box.changes == 2)

            assert box.models == ()
            assert box.status.why == "this is this arriero itself; remove it"


async def test_a_failed_request_has_the_peer_asked_at_once() -> None:
    limits = msgspec.structs.replace(QUICK, plain_poll_s=1000.0)
    async with peer_server() as server:
        server.lists = [listing("a")]
        async with watched(server.url, limits) as box:
            await box.until(lambda: box.status.link == "up")
            box.states.failed("box2", "a", "unreachable", "refused", trio.current_time())
            assert box.status.circuit != "closed"
            box.watch.wake()
            await box.until(lambda: box.status.circuit == "closed")
    assert server.asked(b"/v1/models") == 2


async def test_a_peer_that_does_not_answer_is_told_each_time() -> None:
    async with peer_server() as server:
        server.lists = [listing("a")]
        async with watched(server.url) as box:
            await box.until(lambda: box.status.link == "up")
            assert box.losses == 0
            server.lists = [b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"]
            await box.until(lambda: box.losses >= 2)
            assert box.status.link == "away"


# --- all peers -----------------------------------------------------------------------------------


async def test_peers_come_and_go_and_lists_outlive_the_keeper(tmp_path: Path) -> None:
    file = tmp_path / "peers.json"
    told = 0

    def tell() -> None:
        nonlocal told
        told += 1

    def peer(name: str, server: PeerServer) -> PeerConfig:
        return PeerConfig(peer=name, url=server.url, written_models="auto")

    async with peer_server() as one, peer_server() as two:
        one.lists, two.lists = [listing("a")], [listing("b")]
        keeper = PeerKeeper(file, tell, "own", QUICK, tell_s=0.01)
        keeper.follow([peer("one", one), peer("two", two)])
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(keeper.run)
                await until(lambda: keeper.states.told() == {"one": ("a",), "two": ("b",)})
                keeper.follow([peer("two", two)])
                of_two = two.asked(b"/v1/models")
                await until(lambda: two.asked(b"/v1/models") > of_two + 3)
                of_one = one.asked(b"/v1/models")
                await until(lambda: two.asked(b"/v1/models") > of_two + 20)
                assert one.asked(b"/v1/models") == of_one
                nursery.cancel_scope.cancel()
        again = PeerKeeper(file, tell, "own")
        again.follow([peer("two", two)])
        await again.load()

    assert again.states.told() == {"two": ("b",)}
    assert 1 <= told <= 2


async def test_a_list_that_changes_all_the_time_is_told_now_and_then(tmp_path: Path) -> None:
    told_at: list[float] = []
    async with peer_server() as server:
        server.lists = [listing(f"m{n}") for n in range(1000)]
        peer = PeerConfig(peer="box2", url=server.url, written_models="auto")
        keeper = PeerKeeper(
            tmp_path / "peers.json",
            lambda: told_at.append(trio.current_time()),
            "own",
            QUICK,
            tell_s=0.2,
        )
        keeper.follow([peer])
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(keeper.run)
                await until(lambda: server.asked(b"/v1/models") > 30 and len(told_at) > 2)
                nursery.cancel_scope.cancel()

    assert min(b - a for a, b in pairwise(told_at)) >= 0.2
    assert len(keeper.states.told()["box2"]) == 1
