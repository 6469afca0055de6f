"""What a key with rights may do, of a whole worker; and that nothing of it is told on."""

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import trio

from arriero.protocol.lease import KeyAnswer, KeyLeft, KeyQuery, Report, Want, Welcome
from arriero.protocol.values import ErrorInfo
from arriero.protocol.worker_config import SCOPES, ClientKey, ModelRoute, Scope, SelectorRoute
from arriero.worker.apis.management.declared import PAGES
from arriero.worker.apis.routes import ROUTES
from tests.worker.http2_client import Http2Client
from tests.worker.rig import OpenRig, hangs_after, post, read_until
from tests.worker.sse import SSE_HEAD
from tests.worker.websocket_client import answer_turns, create, opened, serve_model

MODELS = (
    ModelRoute(model="small", aliases=("tiny",)),
    ModelRoute(model="big", aliases=("large",)),
)


def key(name: str, *scopes: Scope, **rights: Any) -> ClientKey:
    """Return a key that is shown by its name and ``-key``."""
    digest = hashlib.sha256(f"{name}-key".encode()).hexdigest()
    return ClientKey(name=name, sha256=digest, scopes=scopes or SCOPES, **rights)


def asked(
    method: str, path: str, name: str, body: bytes = b"", *fields: str, shown: str = ""
) -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: x",
        "Connection: close",
        shown or f"Authorization: Bearer {name}-key",
        f"Content-Length: {len(body)}",
        *fields,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def answered(data: bytes) -> tuple[int, Any]:
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body) if body.startswith(b"{") else body


def every_route() -> Iterator[tuple[str, str, str]]:
    for it in (*ROUTES.declared, *PAGES):
        path = re.sub(r"\{\w+(\.\.\.)?\}", "small", it.path)
        for method in it.methods:
            yield method, path, it.access


# --- scopes ---------------------------------------------------------------------------------------


async def test_each_route_refuses_keys_without_its_scope(open_rig: OpenRig) -> None:
    keys = tuple(key(f"no-{scope}", *(it for it in SCOPES if it != scope)) for scope in SCOPES)
    async with open_rig(models=MODELS, client_keys=keys, patience_s=60) as rig:
        http2 = Http2Client(await rig.connect())
        for n, (method, path, access) in enumerate(every_route()):
            if access in {"open", "key"}:
                continue
            if n % 2:
                fields = [(":method", method), (":scheme", "http"), (":path", path)]
                fields += [(":authority", "x"), ("x-api-key", f"no-{access}-key")]
                headers, said = await http2.exchange(fields, ends=True)
                status = int(headers[":status"])
            else:
                said = await rig.ask(asked(method, path, f"no-{access}"))
                status = int(said.split()[1])
            assert (method, path, status) == (method, path, 403)
            assert f"with the scope '{access}'".encode() in said or method == "HEAD"
        assert rig.count(Want) == 0
        await http2.stream.aclose()


async def test_keys_are_taken_wherever_clients_put_them(open_rig: OpenRig) -> None:
    body = b'{"model":"small"}'
    async with open_rig(models=MODELS, client_keys=(key("k", "infer"),)) as rig:
        for shown in (
            "Authorization: Bearer k-key",
            "Authorization: Basic bWU6ay1rZXk=",
            "X-Api-Key: k-key",
            "X-Goog-Api-Key: k-key",
            "Api-Key: k-key",
        ):
            data = await rig.ask(asked("POST", "/v1/embeddings", "", body, shown=shown))
            assert (shown, data.split()[1]) == (shown, b"200")
            assert b"k-key" not in rig.upstream.exchanges[-1].head
        path = "/v1beta/models/small:generateContent?key="
        for named in ("k-key", "k%2Dkey"):
            data = await rig.ask(asked("POST", path + named, "", b"{}", shown="X-A: b"))
            assert data.split()[1] == b"200"
            head = rig.upstream.exchanges[-1].head
            assert head.startswith(b"POST /v1beta/models/small:generateContent HTTP/1.1\r\n")
        data = await rig.ask(asked("POST", path + "wrong", "", b"{}", shown="X-A: b"))
        assert (data.split()[1], b"wrong" in data) == (b"401", False)
        data = await rig.ask(asked("POST", "/v1/embeddings?key=k-key", "", body, shown="X-A: b"))
        assert data.split()[1] == b"401"  # nobody but Gemini's clients does that
        await rig.record(7)
        assert {one.key for one in rig.records} == {"k"}
        assert "k-key" not in repr(rig.records)


async def test_upstream_takes_the_scope_of_the_path(open_rig: OpenRig) -> None:
    body = b'{"model":"small"}'
    async with open_rig(models=MODELS, client_keys=(key("k", "infer"), key("a", "admin"))) as rig:
        for method, path, name, status in (
            ("POST", "/upstream/small/v1/embeddings", "k", 200),
            ("POST", "/upstream/small/v1/embeddings", "a", 403),
            ("POST", "/upstream/small/v1/embeddings/", "k", 403),
            ("POST", "/upstream/small/slots/0", "k", 403),
            ("GET", "/upstream/small/slots", "k", 403),
            ("POST", "/upstream/small/anything", "a", 200),
            ("POST", "/upstream/small/comfyui/../slots/0", "k", 403),
            ("GET", "/unloa%64", "k", 403),
        ):
            data = await rig.ask(asked(method, path, name, body if method == "POST" else b""))
            assert (path, name, int(data.split()[1])) == (path, name, status)


async def test_who_only_reads_starts_nothing(open_rig: OpenRig) -> None:
    keys = (key("r", "read"), key("k", "infer"))
    async with open_rig(models=MODELS, client_keys=keys) as rig:
        for path in ("/upstream/small/v1/models", "/upstream/small/slots"):
            data = await rig.ask(asked("GET", path, "r"))
            assert (path, int(data.split()[1])) == (path, 503)
        assert rig.count(Want) == 0


async def test_sockets_take_the_scope_of_the_path(open_rig: OpenRig) -> None:
    lines = ("Upgrade: websocket", "Sec-WebSocket-Version: 12")  # which no model is asked for
    keys = (key("k", "infer"), key("r", "read"))
    async with open_rig(models=MODELS, client_keys=keys) as rig:
        for path, name, status in (
            ("/v1/realtime", "k", 404),
            ("/v1/responses", "k", 400),
            ("/slots?model=small", "k", 403),
            ("/anything?model=small", "k", 403),
            ("/upstream/small/ws", "k", 403),
            ("/health?model=small", "r", 403),
            ("/slots?model=small", "r", 403),
            ("/upstream/small/v1/models", "r", 403),
        ):
            request = asked("GET", path, name, b"", *lines)
            data = await rig.ask(request.replace(b"Connection: close", b"Connection: Upgrade", 1))
            assert (path, name, int(data.split()[1])) == (path, name, status)


# --- models ---------------------------------------------------------------------------------------


async def test_other_models_are_not_there(open_rig: OpenRig) -> None:
    keys = (key("some", models=("small",)), key("alias", models=("large",)), key("none", models=()))
    selectors = (SelectorRoute(selector="any", strategy="pin", targets=("small", "big")),)
    async with open_rig(models=MODELS, selectors=selectors, client_keys=keys) as rig:

        async def ask(name: str, model: str, path: str = "/v1/embeddings") -> int:
            data = await rig.ask(asked("POST", path, name, json.dumps({"model": model}).encode()))
            status, said = answered(data)
            if status == 404:
                assert said["error"]["code"] == "model_not_found"
                assert model == "big" or "big" not in str(said)
            return status

        async def listed(name: str) -> list[str]:
            _, said = answered(await rig.ask(asked("GET", "/v1/models", name)))
            return [one["id"] for one in said["data"]]

        found = {
            name: [await ask(name, it) for it in ("small", "tiny", "big", "large", "any", "bog")]
            for name in ("some", "alias", "none")
        }
        assert found == {
            "some": [200, 200, 404, 404, 404, 404],
            "alias": [404, 404, 404, 200, 404, 404],
            "none": [404] * 6,
        }
        assert [await listed(name) for name in found] == [["small"], ["large"], []]
        assert await ask("some", "big", "/upstream/big/v1/embeddings") == 404
        for method, path, status in (
            ("GET", "/v1/models/big", 404),
            ("GET", "/v1/models/tiny", 200),
            ("POST", "/api/models/unload/big", 404),
            ("POST", "/api/models/unload", 403),
            ("GET", "/unload", 403),
            ("GET", "/metrics", 403),
            ("GET", "/logs", 403),
            ("GET", "/logs/stream/proxy", 403),
            ("GET", "/logs/stream/big", 400),
            ("GET", "/api/events", 403),
            ("GET", "/slots?model=big", 404),
        ):
            data = await rig.ask(asked(method, path, "some"))
            assert (path, int(data.split()[1])) == (path, status)
        for path in ("/running", "/api/ps", "/api/tags", "/", "/v1/models", "/api/profiles"):
            data = await rig.ask(asked("GET", path, "some"))
            assert (path, data.split()[1]) == (path, b"200")
            assert b"big" not in data
        data = await rig.ask(asked("POST", "/v1/embeddings", "some", b"{}"))
        assert data.split()[1] == b"200"  # the only one that there is, for this key


# --- limits ---------------------------------------------------------------------------------------


async def test_supervisor_says_whether_a_limited_key_may(open_rig: OpenRig) -> None:
    keys = (key("k", is_limited=True), key("free"))
    body = b'{"model":"small"}'
    async with open_rig(models=MODELS, client_keys=keys) as rig:

        async def answer(count: int, error: ErrorInfo | None = None, again_s: float = 0.0) -> None:
            query = await rig.heard(KeyQuery, count)
            assert query.key == "k"
            rig.say(KeyAnswer(ask=query.ask, error=error, again_s=again_s))

        async def ask(path: str, name: str = "k") -> bytes:
            return await rig.ask(asked("POST", path, name, body))

        assert (await ask("/v1/embeddings", "free")).split()[1] == b"200"
        assert rig.count(KeyQuery) == 0
        rig.nursery.start_soon(answer, 1)
        assert (await ask("/v1/embeddings")).split()[1] == b"200"
        assert (await rig.heard(KeyLeft)).ask == (await rig.heard(KeyQuery)).ask
        wants = rig.count(Want)
        spent = ErrorInfo(code="key_budget", message="cannot run this: all is used")
        for n, path in enumerate(("/v1/chat/completions", "/v1/messages"), 2):
            rig.nursery.start_soon(answer, n, spent, 4321.2)
            data = await ask(path)
            status, said = answered(data)
            assert (status, said["error"]["type"]) == (429, "rate_limit_error")
            assert said["error"]["message"] == "cannot run this: all is used"
            assert b"\r\nRetry-After: 4322\r\n" in data
            assert b"\r\nx-should-retry: false\r\n" in data
        assert rig.count(Want) == wants
        assert (await rig.record(4)).outcome == "rejected"
        assert [one.key for one in rig.records] == ["free", "k", "k", "k"]


async def test_requests_without_records_have_limits(open_rig: OpenRig) -> None:
    """Whatever reaches a model takes a place of its key; what arriero answers itself takes none."""
    keys = (key("k", is_limited=True),)
    models = (*MODELS, ModelRoute(model="comfyui_auto"))
    full = ErrorInfo(code="key_concurrency", message="cannot run this now", transient=True)
    routes = (
        ("GET", "/comfyui/"),
        ("GET", "/props?model=small"),
        ("GET", "/slots?model=small"),
        ("GET", "/upstream/small/v1/models"),
        ("POST", "/upstream/small/anything"),
    )
    async with open_rig(models=models, client_keys=keys) as rig:

        async def answer(count: int, error: ErrorInfo | None) -> None:
            query = await rig.heard(KeyQuery, count)
            rig.say(KeyAnswer(ask=query.ask, error=error, again_s=1.0))

        count = 0
        for method, path in routes:
            for error in (full, None):
                count += 1
                rig.nursery.start_soon(answer, count, error)
                data = await rig.ask(asked(method, path, "k"))
                assert (path, data.split()[1] == b"429") == (path, error is not None)
                left = await rig.heard(KeyLeft, (count + 1) // 2) if error is None else None
                assert left is None or left.ask == (await rig.heard(KeyQuery, count)).ask
        for path in ("/v1/models", "/running", "/api/activity/none"):
            await rig.ask(asked("GET", path, "k"))
        assert rig.count(KeyQuery) == count


async def test_a_key_that_is_taken_out_cuts_no_stream(open_rig: OpenRig) -> None:
    keys = (key("k"), key("other"))
    handler = hangs_after(SSE_HEAD + b"data: {}\n\n")
    async with (
        open_rig(handler, models=MODELS, client_keys=keys) as rig,
        await rig.connect() as stream,
    ):
        await stream.send_all(
            post(b'{"model":"small","stream":true}', b"X-Api-Key: k-key", close=False)
        )
        await read_until(stream, b"data: {}")
        config = msgspec.structs.replace(rig.config, generation=2, client_keys=keys[1:])
        rig.say(Welcome(config=config, snapshot=rig.snapshot))
        while (await rig.heard(Report, rig.count(Report) + 1)).generation != 2:
            pass
        data = await rig.ask(asked("GET", "/v1/models", "k"))
        assert data.split()[1] == b"401"
        with trio.move_on_after(0.2) as waiting:  # nothing is said, and nothing ends
            await stream.receive_some()
        assert waiting.cancelled_caught


async def test_each_turn_of_a_socket_asks_whether_it_may(open_rig: OpenRig) -> None:
    keys = (key("k", is_limited=True),)
    shown = (b"X-Api-Key", b"k-key")
    async with open_rig(models=MODELS, client_keys=keys) as rig, serve_model(rig, answer_turns):

        async def answer(count: int, error: ErrorInfo | None = None) -> None:
            query = await rig.heard(KeyQuery, count)
            rig.say(KeyAnswer(ask=query.ask, error=error))

        async with opened(rig, "/v1/responses", shown) as client:
            for n in (1, 2):
                rig.nursery.start_soon(answer, n)
                await client.text(create(model="small"))
                assert (await client.json())["type"] == "heard"
                assert (await client.json())["type"] == "response.completed"
                assert (await rig.heard(KeyLeft, n)).ask == (await rig.heard(KeyQuery, n)).ask
            spent = ErrorInfo(code="key_budget", message="cannot run this: all is used")
            rig.nursery.start_soon(answer, 3, spent)
            await client.text(create(model="small"))
            assert await client.closed() == (1008, "cannot run this: all is used")
        assert [(await rig.record(n)).key for n in (1, 2)] == ["k", "k"]
        rig.nursery.start_soon(answer, 4)
        async with opened(rig, "/v1/realtime?model=small", shown):
            assert rig.count(KeyLeft) == 2
        assert (await rig.heard(KeyLeft, 3)).ask == (await rig.heard(KeyQuery, 4)).ask
