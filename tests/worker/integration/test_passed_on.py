"""Requests that name their model in the path or in the query, and are passed on as they are."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from wsproto import events as ws

from arriero.protocol.lease import Peek, Peeked, Report, Want, Welcome
from arriero.protocol.worker_config import (
    BodyFilters,
    ModelRoute,
    PeerModel,
    PeerRoute,
    ProfileRoute,
    SelectorRoute,
)
from tests.worker.rig import (
    JSON_RESPONSE,
    OpenRig,
    Rig,
    UpstreamExchange,
    read_response,
    rig_options,
    sends,
    unchunk,
)
from tests.worker.websocket_client import Talker, dialled, opened, serve_model

MODELS = (
    ModelRoute(model="m"),
    ModelRoute(model="org/m:q4", aliases=("short",), send_as="real"),
    ModelRoute(model="comfyui_auto"),
)
pytestmark = rig_options(models=MODELS, ignore_paths=(r"\.(js|css)$",), heartbeat_s=0.05)


def ask(method: str, target: str, *fields: str, body: bytes = b"") -> bytes:
    """One request as bytes."""
    lines = [f"{method} {target} HTTP/1.1", "Host: x", "Connection: close", *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def first_line(exchange: UpstreamExchange) -> bytes:
    return exchange.head.split(b"\r\n")[0]


async def answer_peeks(rig: Rig, *running: str) -> None:
    """Say that these run, and no others."""
    count = 1
    while True:
        peek = await rig.heard(Peek, count)
        rig.say(Peeked(ask=peek.ask, endpoint=rig.upstream.url if peek.model in running else ""))
        count += 1


@asynccontextmanager
async def with_running(
    open_rig: OpenRig, *running: str, **options: Any
) -> AsyncGenerator[Rig, None]:
    async with open_rig(**options) as rig:
        rig.nursery.start_soon(answer_peeks, rig, *running)
        yield rig


async def configure(rig: Rig, **changes: Any) -> None:
    """Let the worker follow another configuration."""
    config = replace(rig.config, generation=2, **changes)
    rig.say(Welcome(config=config, snapshot=rig.snapshot))
    while (await rig.heard(Report, rig.count(Report) + 1)).generation != 2:
        pass


# --- /upstream -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("/upstream/m/health", b"/health"),
        ("/upstream/m/", b"/"),
        ("/upstream/m/a%2Fb//c?x=%20&model=n", b"/a%2Fb//c?x=%20&model=n"),
        ("/upstream/org/m:q4/v1/models", b"/v1/models"),
        ("/upstream/org%2Fm%3Aq4/v1/models", b"/v1/models"),
        ("/upstream/short/props", b"/props"),
        ("/comfyui/", b"/"),
    ],
)
async def test_path_goes_on_byte_for_byte(open_rig: OpenRig, target: str, sent: bytes) -> None:
    async with open_rig() as rig:
        answer = await rig.ask(ask("GET", target))

        assert answer.endswith(JSON_RESPONSE.partition(b"\r\n\r\n")[2])
        assert first_line(rig.upstream.exchanges[0]) == b"GET %b HTTP/1.1" % sent
        assert rig.count(Want) == 1  # it is started, by GET as well
        assert rig.records == []


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_any_method_and_body_pass(open_rig: OpenRig, method: str) -> None:
    body = b'{"model":"other", "x":1.0, "stream": 3'
    async with open_rig() as rig:
        await rig.ask(ask(method, "/upstream/short/x", "Content-Type: a/b", body=body))
        (exchange,) = rig.upstream.exchanges

    assert first_line(exchange) == f"{method} /x HTTP/1.1".encode()
    assert exchange.body == body
    assert b"\r\nContent-Type: a/b\r\n" in exchange.head


async def test_long_bodies_and_forms_pass(open_rig: OpenRig) -> None:
    large = bytes(3 * 1024 * 1024)
    form = ask("POST", "/upstream/m/upload", "Content-Type: multipart/form-data", body=b"--x")
    async with open_rig(max_body_bytes=1000) as rig:
        await rig.ask(ask("PUT", "/upstream/m/x", body=large))
        await rig.ask(form)
        asked = [exchange.body for exchange in rig.upstream.exchanges]

    assert asked == [large, b"--x"]


@pytest.mark.parametrize(
    ("method", "target", "status", "location"),
    [
        ("GET", "/upstream/org/m:q4?a=b", 301, b"/upstream/org/m:q4/?a=b"),
        ("HEAD", "/upstream/m", 301, b"/upstream/m/"),
        ("POST", "/upstream/m", 308, b"/upstream/m/"),
        ("GET", "/comfyui", 301, b"/comfyui/"),
    ],
)
async def test_missing_slash_is_put_right(
    open_rig: OpenRig, method: str, target: str, status: int, location: bytes
) -> None:
    async with open_rig() as rig:
        answer = await rig.ask(ask(method, target))

        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert b"\r\nLocation: %b\r\n" % location in answer
        assert rig.count(Want) == 0


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("/upstream/none/health", b"cannot find a model named 'none'"),
        ("/upstream/short2/x", b"did you mean 'short'"),
        ("/upstream/", b"cannot find a model named ''"),
        ("/upstream/choice/x", b"cannot use the selector 'choice'"),
    ],
)
async def test_no_such_model_upstream_is_404(open_rig: OpenRig, target: str, text: bytes) -> None:
    choice = SelectorRoute(selector="choice", strategy="warm", targets=("m",))
    async with open_rig(selectors=(choice,)) as rig:
        answer = await rig.ask(ask("GET", target))

        assert answer.startswith(b"HTTP/1.1 404 ")
        assert text in answer
        assert rig.count(Want) == 0


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("/upstream/m/assets/index.js", b"ignorePaths"),
        ("/upstream/m/sw.js?v=1", b"ignorePaths"),
        ("/upstream/m/" + "x" * 5000, b"ignorePaths"),
        ("/comfyui/queue", b"only /comfyui/ starts it"),
    ],
)
async def test_assets_never_start_a_model(open_rig: OpenRig, target: str, why: bytes) -> None:
    async with with_running(open_rig) as rig:
        answer = await rig.ask(ask("GET", target))

        assert answer.startswith(b"HTTP/1.1 409 ")
        assert why in answer
        assert rig.count(Want) == 0
    async with with_running(open_rig, "m", "comfyui_auto") as rig:
        assert (await rig.ask(ask("GET", target))).startswith(b"HTTP/1.1 200 ")
        assert rig.count(Want) == 0


async def test_calls_of_apis_upstream_are_counted(open_rig: OpenRig) -> None:
    usage = b'{"model":"x","usage":{"prompt_tokens":3,"completion_tokens":2}}'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    filters = BodyFilters(strip_params=("x",))
    models = (ModelRoute(model="m", send_as="real", filters=filters),)
    async with open_rig(sends(head % len(usage), usage), models=models) as rig:
        body = b'{"model":"m","x":1}'
        await rig.ask(ask("POST", "/upstream/m/v1/chat/completions", body=body))
        record = await rig.record()

        assert (record.model, record.path) == ("m", "/upstream/m/v1/chat/completions")
        assert (record.input_tokens, record.output_tokens) == (3, 2)
        assert rig.upstream.exchanges[0].body == body


async def test_stream_upstream_has_nothing_of_ours(open_rig: OpenRig) -> None:
    frames = (b"data: {}\n\n", b"data: [DONE]\n\n")
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    models = (ModelRoute(model="m", progress="reasoning"),)
    handler = sends(head, frames[0], 0.3, frames[1])
    async with open_rig(handler, models=models, progress_delay_s=0.0) as rig:
        body = b'{"model":"m","stream":true}'
        answer = await rig.ask(ask("POST", "/upstream/m/v1/chat/completions", body=body))

    assert unchunk(answer) == b"".join(frames)


async def test_head_has_no_body(open_rig: OpenRig) -> None:
    told = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n"
    async with open_rig(sends(told, close=False)) as rig, await rig.connect() as stream:
        for _ in range(2):  # on one connection, here and there
            await stream.send_all(b"HEAD /upstream/m/x HTTP/1.1\r\nHost: x\r\n\r\n")
            data = b""
            while b"\r\n\r\n" not in data:
                data += await stream.receive_some()
            assert b"\r\nContent-Length: 5\r\n" in data
            assert data.endswith(b"\r\n\r\n")
        assert rig.upstream.connections == 1


async def test_only_calls_of_apis_have_records(open_rig: OpenRig) -> None:
    async with with_running(open_rig, "m") as rig:
        for method, target in (
            ("POST", "/upstream/m/x"),
            ("POST", "/upstream/m/v1/models"),
            ("GET", "/upstream/m/v1/chat/completions"),
            ("PUT", "/upstream/m/v1/chat/completions"),
            ("GET", "/comfyui/"),
            ("GET", "/props?model=m"),
        ):
            await rig.ask(ask(method, target, "X-Request-Id: other", body=b"{}"))
        await rig.ask(ask("POST", "/upstream/m/v1/messages", "X-Request-Id: it", body=b"{}"))
        assert (await rig.record()).request_id == "it"
        assert len(rig.upstream.exchanges) == 7


async def test_pins_act_upstream_and_change_no_byte(open_rig: OpenRig) -> None:
    pins = {"m": "short", "new": "org/m:q4", "org/m:q4": None}
    profiles = (ProfileRoute(profile="p", pins=pins),)
    body = b'{"model": "m"}'
    async with open_rig(profiles=profiles, profile="p") as rig:
        for count, name in enumerate(("m", "new", "org/m:q4"), 1):
            target = f"/upstream/{name}/v1/completions?x=%2F"
            answer = await rig.ask(ask("POST", target, body=body))
            assert answer.startswith(b"HTTP/1.1 404 " if ":" in name else b"HTTP/1.1 200 ")
            record = await rig.record(count)
            assert (record.asked, record.model) == (name, "" if ":" in name else "org/m:q4")
        first, second = rig.upstream.exchanges

        assert first.body == second.body == body
        assert first_line(first) == first_line(second) == b"POST /v1/completions?x=%2F HTTP/1.1"


async def test_peers_are_asked_under_upstream(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        peers = {"p": PeerRoute(peer="p", url=rig.upstream.url, api_key="sk")}
        names = {name: PeerModel(peer="p", model="v/big") for name in ("p/v/big", "v/big")}
        await configure(rig, peers=peers, peer_models=names)
        for target in ("/upstream/p/v/big/a%2Fb.js", "/upstream/p%2Fv%2Fbig/x", "/upstream/v/big/"):
            answer = await rig.ask(ask("GET", target))
            assert answer.startswith(b"HTTP/1.1 200 ")  # ignorePaths is for models here
        sent = rig.upstream.exchanges

    assert [first_line(it).split()[1] for it in sent] == [b"/a%2Fb.js", b"/x", b"/"]
    assert all(b"\r\nAuthorization: Bearer sk\r\n" in it.head for it in sent)


async def test_comfyui_is_a_model_of_that_id(open_rig: OpenRig) -> None:
    other = (ModelRoute(model="m", aliases=("comfyui_auto",)),)
    async with open_rig(models=other) as rig:
        assert (await rig.ask(ask("GET", "/comfyui/"))).startswith(b"HTTP/1.1 404 ")
        peers = {"p": PeerRoute(peer="p", url=rig.upstream.url)}
        names = {name: PeerModel(peer="p", model="x") for name in ("comfyui_auto", "p/x")}
        await configure(rig, models=(ModelRoute(model="m"),), peers=peers, peer_models=names)
        assert (await rig.ask(ask("GET", "/comfyui/"))).startswith(b"HTTP/1.1 404 ")
        async with dialled(rig, "/comfyui/ws") as client:
            assert (await client.next()).status_code == 404
        assert rig.upstream.exchanges == []
        assert rig.count(Want) == 0
    async with open_rig(api_keys=("k",)) as rig:
        assert (await rig.ask(ask("GET", "/comfyui/"))).startswith(b"HTTP/1.1 401 ")
        shown = ask("GET", "/comfyui/", "Authorization: Bearer k")
        assert (await rig.ask(shown)).startswith(b"HTTP/1.1 200 ")


async def echo(talker: Talker) -> None:
    await talker.text(await talker.message())


async def test_websocket_under_upstream_is_a_tunnel(open_rig: OpenRig) -> None:
    async with open_rig() as rig, serve_model(rig, echo) as model:
        async with opened(rig, "/upstream/org/m:q4/ws%2Fx?a=b") as client:
            await client.text("hi")
            assert await client.message() == "hi"
            await client.say(ws.CloseConnection(code=1000))
        assert rig.count(Want) == 1
    assert model.requests[0].target == "/ws%2Fx?a=b"


# --- ?model= -------------------------------------------------------------------------------------

READS = ("/props", "/slots", "/lora-adapters", "/v1/audio/voices", "/sdapi/v1/loras", "/v1/files")


async def test_reading_neither_starts_nor_keeps(open_rig: OpenRig) -> None:
    async with with_running(open_rig) as rig:
        for path in READS:
            answer = await rig.ask(ask("GET", f"{path}?model=m"))
            assert answer.startswith(b"HTTP/1.1 409 ")
            assert b"model m does not run" in answer
        assert rig.upstream.exchanges == []
    async with with_running(open_rig, "m") as rig:
        for path in READS:
            assert (await rig.ask(ask("GET", f"{path}?a&model=m"))).startswith(b"HTTP/1.1 200 ")
            exchange = rig.upstream.exchanges[-1]
            assert first_line(exchange) == f"GET {path}?a&model=m HTTP/1.1".encode()
        assert rig.count(Want) == 0
        assert rig.records == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/responses/r1"),
        ("DELETE", "/v1/responses/r1"),
        ("POST", "/v1/responses/r1/cancel"),
        ("GET", "/v1/responses/r1/input_items"),
        ("GET", "/v1/files/f1"),
        ("DELETE", "/v1/files/f1"),
        ("GET", "/v1/files/f1/content"),
        ("POST", "/v1/batches"),
        ("GET", "/v1/batches"),
        ("GET", "/v1/batches/b1"),
        ("POST", "/v1/batches/b1/cancel"),
        ("POST", "/slots/0"),
        ("POST", "/lora-adapters"),
        ("POST", "/props"),
    ],
)
async def test_what_is_kept_goes_to_its_server(open_rig: OpenRig, method: str, path: str) -> None:
    async with with_running(open_rig, "m", "org/m:q4") as rig:
        body = b"[]" if method == "POST" else b""
        await rig.ask(ask(method, f"{path}?model=m", body=body))
        await rig.ask(ask(method, f"{path}?model=short&x", body=body))
        here, renamed = rig.upstream.exchanges

    assert first_line(here) == f"{method} {path}?model=m HTTP/1.1".encode()
    assert first_line(renamed) == f"{method} {path}?model=real&x HTTP/1.1".encode()
    assert here.body == body


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/tokenize?model=m", b'{"content":"x"}'),
        ("/tokenize", b'{"model":"m","content":"x"}'),
        ("/detokenize?model=m", b'{"tokens":[1]}'),
        ("/apply-template", b'{"model":"m","messages":[]}'),
        ("/apply-template?model=m", b"[]"),
    ],
)
async def test_asking_starts_whoever_is_named(open_rig: OpenRig, target: str, body: bytes) -> None:
    async with open_rig() as rig:
        await rig.ask(ask("POST", target, body=body))
        (exchange,) = rig.upstream.exchanges
        record = await rig.record()

        assert first_line(exchange) == f"POST {target} HTTP/1.1".encode()
        assert exchange.body == body
        assert (record.model, rig.count(Want)) == ("m", 1)


async def test_query_without_model_is_told_how(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        for method, body in (("GET", b""), ("POST", b""), ("POST", b'{"content":"x"}')):
            target = "/props" if method == "GET" else "/tokenize"
            answer = await rig.ask(ask(method, target, body=body))
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert b"cannot tell which model is meant" in answer


async def test_file_for_a_peer_passes(open_rig: OpenRig) -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n--b--\r\n'
    kind = "Content-Type: multipart/form-data; boundary=b"
    async with open_rig() as rig:
        peers = {"p": PeerRoute(peer="p", url=rig.upstream.url + "/v1", api_key="sk")}
        names = {"p/big": PeerModel(peer="p", model="big")}
        await configure(rig, peers=peers, peer_models=names)
        for method, target, body in (
            ("POST", "/v1/files?model=p/big", form),
            ("GET", "/v1/responses/r1?model=p/big&include=x", b""),
        ):
            answer = await rig.ask(ask(method, target, *([kind] if body else []), body=body))
            assert answer.startswith(b"HTTP/1.1 200 ")
        first, second = rig.upstream.exchanges

    assert first_line(first) == b"POST /v1/files?model=big HTTP/1.1"
    assert (first.body, second.body) == (form, b"")
    assert first_line(second) == b"GET /v1/responses/r1?model=big&include=x HTTP/1.1"
    assert b"\r\nAuthorization: Bearer sk\r\n" in second.head


async def test_requests_on_one_connection_go_on(open_rig: OpenRig) -> None:
    async with with_running(open_rig, "m") as rig, await rig.connect() as stream:
        for target in ("/props?model=m", "/upstream/m/x", "/upstream/none/x", "/upstream/m/y"):
            await stream.send_all(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            with trio.fail_after(20):
                assert b"Connection: close" not in await read_response(stream)
