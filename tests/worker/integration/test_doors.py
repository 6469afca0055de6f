"""Every route, with every method, in every version of HTTP: who is answered, and who is not.

All of it goes over real connections to a whole worker, whose supervisor is the test: it sees that
nothing was asked for in the name of who was refused.
"""

import itertools
import json
import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, cast

import pytest
from msgspec.structs import replace

from arriero.protocol.lease import CancelQuery, Report, Want, Welcome
from arriero.worker.apis.routes import ROUTES
from arriero.worker.server.management_api import make_pages
from tests.examples import IS_NIGHT
from tests.worker.http2_client import Http2Client
from tests.worker.rig import OpenRig, Rig, post, read_response

BODY = b'{"model":"m","messages":[],"request_id":"r"}'
KEY = ("authorization", "Bearer right")
WRONG = ("authorization", "Bearer wrong")
FOREIGN = ("origin", "https://evil.example")
CROSS = ("sec-fetch-site", "cross-site")
PREFLIGHT = (("origin", "http://localhost:3000"), ("access-control-request-method", "POST"))

# For DELETE there is no route at all: it stands for all methods that there are.
METHODS = ("GET", "HEAD", "POST", "OPTIONS", "DELETE")
VERSIONS = ("1.1", "absolute", "1.0", "2")
SOCKETS = ("1.1 websocket", "absolute websocket", "2 websocket")

# Where all of them would take too long: those that differ in more than how a target is written.
FEW_METHODS = ("GET", "HEAD", "POST", "OPTIONS")
FEW_VERSIONS = ("1.1", "2")
FEW_SOCKETS = ("1.1 websocket", "2 websocket")

# Asked without a key, and what the answer is.
OPEN_PATHS = {
    "/health": 200,
    "/wol-health": 200,
    "/favicon.ico": 200,
    "/ui": 307,
    "/ui/": 200,
    "/ui/<id:path>": 404,  # no view, and no file, has such a name
    "/ui/static/<id:path>": 404,
}
OPEN = set(itertools.product(("GET", "HEAD"), OPEN_PATHS))


def paths() -> Iterator[str]:
    """Give each path that there is, and some that look like one that is open."""
    for rule in make_pages(cast("Any", None), 0).url_map.iter_rules():
        yield rule.rule.replace("<path:name>", "m").replace("<id:request_id>", "r")
    yield from (re.sub(r"\{\w+(\.\.\.)?\}", "m", it.path) for it in ROUTES.declared)
    yield from ("/v1/realtime", "/nothing", "/upstream/m/health")
    yield from (
        "/health/",
        "//health",
        "/HEALTH",
        "/%68ealth",
        "/health;a",
        "/./health",
        "/health%00",
    )


PATHS = tuple(dict.fromkeys(paths()))


class Asked(NamedTuple):
    """One request."""

    version: str
    method: str
    path: str
    fields: tuple[tuple[str, str], ...] = ()
    host: str = "127.0.0.1"

    @property
    def is_socket(self) -> bool:
        return self.version.endswith("websocket")

    @property
    def target(self) -> str:
        path = f"{self.path}?model=m"  # which says to a WebSocket what to load
        return f"http://{self.host}{path}" if self.version.startswith("absolute") else path


def every_pair(versions: Sequence[str], methods: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Give version, method and path, so that any two of them come together somewhere."""
    for (n, path), (m, method) in itertools.product(enumerate(PATHS), enumerate(methods)):
        yield versions[(n + m) % len(versions)], method, path


def everything(*fields: tuple[str, str]) -> Iterator[Asked]:
    for version, method, path in every_pair(VERSIONS, METHODS):
        yield Asked(version, method, path, fields)
    for pair, version in itertools.product(sorted(OPEN), VERSIONS):
        yield Asked(version, *pair, fields)
    for version, path in itertools.product(SOCKETS, PATHS):
        yield Asked(version, "GET", path, fields)


def every_route(*fields: tuple[str, str], host: str = "127.0.0.1") -> Iterator[Asked]:
    """Give each path, with all methods in turn; over night with all of them."""
    for n, (version, method, path) in enumerate(every_pair(FEW_VERSIONS, FEW_METHODS)):
        turn = n // len(FEW_METHODS) // 2  # of both versions
        if IS_NIGHT or method == FEW_METHODS[turn % len(FEW_METHODS)]:
            yield Asked(version, method, path, fields, host)
    for pair, version in itertools.product(sorted(OPEN), FEW_VERSIONS):
        yield Asked(version, *pair, fields, host)
    for n, path in enumerate(PATHS):
        yield Asked(FEW_SOCKETS[n % len(FEW_SOCKETS)], "GET", path, fields, host)


def written(asked: Asked) -> bytes:
    """Return a request of HTTP/1, whose body is only said to come: nobody may wait for it."""
    version = "1.0" if asked.version == "1.0" else "1.1"
    lines = [f"{asked.method} {asked.target} HTTP/{version}", f"Host: {asked.host}"]
    lines += [f"{name}: {value}" for name, value in asked.fields]
    if asked.is_socket:
        lines += ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    else:
        lines += ["Connection: close"]
        if asked.method == "POST":
            lines += [f"Content-Length: {len(BODY)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def http2_fields(asked: Asked) -> list[tuple[str, str]]:
    """Return a request of HTTP/2, without a body."""
    method = "CONNECT" if asked.is_socket else asked.method
    fields = [(":method", method), (":scheme", "http"), (":path", asked.target)]
    if asked.is_socket:
        fields += [(":protocol", "websocket")]
    fields += [(":authority", asked.host), *asked.fields]
    return [*fields, ("sec-websocket-version", "13")] if asked.is_socket else fields


class Client:
    """Asks in all versions."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.http2: Http2Client | None = None

    async def ask(self, asked: Asked) -> tuple[int, bytes]:
        """Return the status, and all that came."""
        if not asked.version.startswith("2"):
            data = await self.rig.ask(written(asked))
            return int(data.split()[1]), data
        if self.http2 is None:
            self.http2 = Http2Client(await self.rig.connect())
        headers, body = await self.http2.exchange(http2_fields(asked), ends=not asked.is_socket)
        return int(headers[":status"]), body

    async def aclose(self) -> None:
        if self.http2 is not None:
            await self.http2.stream.aclose()


@asynccontextmanager
async def worker(open_rig: OpenRig, **options: Any) -> AsyncGenerator[Client, None]:
    options = {"api_keys": ("right",), "cors": (), "allowed_hosts": ()} | options
    async with open_rig(patience_s=120, **options) as rig:
        client = Client(rig)
        try:
            yield client
        finally:
            await client.aclose()


def is_head(asked: Asked) -> bool:
    return asked.method == "HEAD"  # its answer has no body


def asked_in_their_name(rig: Rig) -> int:
    return sum(rig.count(kind) for kind in (Want, CancelQuery))


@pytest.mark.parametrize(
    ("all_of_it", "versions"),
    [(everything(), VERSIONS), (every_route(WRONG), FEW_VERSIONS)],
    ids=["no key", "wrong key"],
)
async def test_without_key_only_open_pairs_answer(
    open_rig: OpenRig, all_of_it: Iterator[Asked], versions: tuple[str, ...]
) -> None:
    answered = set()
    async with worker(open_rig) as client:
        for asked in all_of_it:
            status, data = await client.ask(asked)
            if asked.version == "2 websocket":
                assert status == 400  # nobody opens one that way
            elif status == 401:
                assert b"API key is needed" in data or b"not known here" in data or is_head(asked)
            else:
                answered.add((asked.version, asked.method, asked.path, status))
        assert asked_in_their_name(client.rig) == 0

    assert answered == {
        (version, *pair, OPEN_PATHS[pair[1]]) for version in versions for pair in OPEN
    }


async def test_preflights_need_no_key(open_rig: OpenRig) -> None:
    async with worker(open_rig) as client:
        for n, path in enumerate(PATHS):
            version = FEW_VERSIONS[n % len(FEW_VERSIONS)]
            status, _ = await client.ask(Asked(version, "OPTIONS", path, PREFLIGHT))
            assert status == 204
        for field in PREFLIGHT:  # one of them alone makes none
            status, _ = await client.ask(Asked("1.1", "OPTIONS", "/v1/models", (field,)))
            assert status == 401
        for method, path in itertools.product(("GET", "POST"), ("/", "/v1/models")):
            status, _ = await client.ask(Asked("1.1", method, path, PREFLIGHT))
            assert status == 401
        assert asked_in_their_name(client.rig) == 0


@pytest.mark.parametrize(
    ("fields", "host", "code"),
    [
        ((FOREIGN, KEY), "127.0.0.1", b"origin_not_allowed"),
        ((CROSS, KEY), "127.0.0.1", b"origin_not_allowed"),
        ((KEY,), "evil.example", b"host_not_allowed"),
    ],
    ids=["Origin", "Sec-Fetch-Site", "Host"],
)
async def test_foreign_origins_and_hosts_are_refused(
    open_rig: OpenRig, fields: tuple[tuple[str, str], ...], host: str, code: bytes
) -> None:
    async with worker(open_rig) as client:
        for asked in every_route(*fields, host=host):
            status, data = await client.ask(asked)
            assert (asked, status) == (asked, 400 if asked.version == "2 websocket" else 403)
            assert code in data or b"cannot " in data or is_head(asked)
        assert asked_in_their_name(client.rig) == 0


SOME_PATHS = ("/v1/models", "/health", "/nothing", "/v1/chat/completions", "/v1/responses")


async def test_who_may_ask_is_not_refused(open_rig: OpenRig) -> None:
    page = (("origin", "http://localhost:3000"), ("sec-fetch-site", "same-site"))
    async with worker(open_rig) as client:
        for version, method, path in itertools.product(VERSIONS, METHODS, SOME_PATHS):
            if method != "POST":
                status, _ = await client.ask(Asked(version, method, path, (KEY, *page)))
                assert status not in {401, 403}
        fields = (KEY, *page, ("connection", "close"))
        post = written(Asked("1.1", "POST", "/", fields)) + BODY
        assert (await client.rig.ask(post)).startswith(b"HTTP/1.1 200")
        assert client.rig.count(Want) == 1


async def test_allowed_page_reads_the_401(open_rig: OpenRig) -> None:
    page = ("origin", "http://localhost:3000")
    async with worker(open_rig) as client:
        for method, path in (("GET", "/v1/models"), ("POST", "/v1/messages")):
            _, data = await client.ask(Asked("1.1", method, path, (page,)))
            assert b"\r\naccess-control-allow-origin: http://localhost:3000\r\n" in (
                data.replace(b"Access-Control-Allow-Origin", b"access-control-allow-origin")
            )


async def test_new_configuration_holds_for_next_request(
    open_rig: OpenRig,
) -> None:
    async with worker(open_rig, api_keys=()) as client:
        rig = client.rig
        request = post(close=False).replace(b"Host: x", b"Host: localhost")
        async with await rig.connect() as stream:
            await stream.send_all(request)
            assert (await read_response(stream)).startswith(b"HTTP/1.1 200")
            config = replace(rig.config, generation=2, api_keys=("right",))
            rig.say(Welcome(config=config, snapshot=rig.snapshot))
            while (await rig.heard(Report, rig.count(Report) + 1)).generation != 2:
                pass
            await stream.send_all(request)
            assert (await read_response(stream)).startswith(b"HTTP/1.1 401")


# --- requests that nobody can read in one way only ------------------------------------------------

BROKEN_TARGETS = ("http://[::1/health", "http://h:99999/health", "http://u@h/health", "/health#a")


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_broken_target_or_host_is_400(open_rig: OpenRig, method: str) -> None:
    async with worker(open_rig, api_keys=()) as client:
        for target in (*BROKEN_TARGETS, "*" if method != "OPTIONS" else "ftp://h/health"):
            raw = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            data = await client.rig.ask(raw)
            assert data.startswith(b"HTTP/1.1 400 ")
            assert json.loads(data.partition(b"\r\n\r\n")[2])["error"]["code"] == "bad_request"
        for host in ("[::1", "a b", "localhost:99999", "u@localhost", "localhost/", "[::g]"):
            status, data = await client.ask(Asked("1.1", method, "/v1/models", host=host))
            assert status == 400
            assert json.loads(data.partition(b"\r\n\r\n")[2])["error"]["code"] == "bad_request"
            for path in ("/v1/models", "/v1/embeddings"):
                status, data = await client.ask(Asked("2", method, path, host=host))
                assert (status, json.loads(data)["error"]["code"]) == (400, "bad_request")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_http2_path_is_no_url(open_rig: OpenRig, method: str) -> None:
    async with worker(open_rig, api_keys=()) as client:
        for path in (
            "http://localhost/v1/models",
            "http://[::1/health",
            "/model/m HTTP/1.1 /converse",
            "/v1/models/a b",
            "/v1/models#a",
            "*",
            "x",
        ):
            status, data = await client.ask(Asked("2", method, path))
            assert (path, status) == (path, 400)
            assert b"cannot read the " in data
        assert asked_in_their_name(client.rig) == 0
