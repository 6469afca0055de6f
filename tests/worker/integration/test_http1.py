"""Both doors: limits, refusals, pages, HTTP/2, and the end of a worker."""

import json
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from arriero.protocol.events import ConfigChanged, StateChanged
from arriero.protocol.lease import Finish, Hello, Probe, Report, Want, Welcome
from arriero.protocol.worker_config import ModelRoute
from arriero.worker.limits import Limits
from tests.worker.http2_client import open_http2
from tests.worker.rig import (
    QUICK,
    OpenRig,
    Rig,
    UpstreamExchange,
    answer_json,
    post,
    read_response,
    read_to_end,
    rig_options,
)

SSE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    b'data: {"choices":[{"finish_reason":"stop"}]}\n\n'
)


def get(path: bytes, method: bytes = b"GET") -> bytes:
    return b"%b %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % (method, path)


def body_of(answer: bytes) -> Any:
    return json.loads(answer.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"POST /v1/chat/completions HTTP/1.1\r\n\r\n", b"400", "bad_request"),
        (b"\x16\x03\x01\x02\x00", b"400", "bad_request"),
        (b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
         b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400", "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", b"400", "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 128 + b"\r\n", b"431",
         "request_header_fields_too_large"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 70_000, b"431",
         "request_header_fields_too_large"),
        (b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", b"413",
         "request_too_large"),
        (b"PUT /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", b"413",
         "request_too_large"),
        (b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
         b"fffffff\r\n", b"413", "request_too_large"),
        (b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nExpect: x\r\nContent-Length: 1\r\n\r\n",
         b"417", "expectation_failed"),
    ],
)  # fmt: skip
async def test_unreadable_request_is_refused_and_closed(
    rig: Rig, request_bytes: bytes, status: bytes, code: str
) -> None:
    answer = await rig.ask(request_bytes)

    assert answer.startswith(b"HTTP/1.1 %b " % status)
    assert b"\r\nConnection: close\r\n" in answer
    assert body_of(answer)["error"]["code"] == code
    assert rig.upstream.exchanges == []


@rig_options(models=(ModelRoute(model="m"), ModelRoute(model="n")))
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", b"400", "bad_request"),
        (b"{}", b"400", "bad_request"),
        (b'{"model":"\\ud800"}', b"400", "bad_request"),  # which no answer could repeat
        (b'{"model":"x"}', b"404", "model_not_found"),
    ],
)
async def test_body_without_model_keeps_the_connection(
    rig: Rig, body: bytes, status: bytes, code: str
) -> None:
    async with await rig.connect() as stream:
        await stream.send_all(post(body, close=False))
        answer = await read_response(stream)
        await stream.send_all(post())
        assert (await read_response(stream)).startswith(b"HTTP/1.1 200")

    assert answer.startswith(b"HTTP/1.1 %b " % status)
    assert body_of(answer)["error"]["code"] == code


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"POST /v1/emb", b"HTTP/1.1 408"),
        (b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{", b"HTTP/1.1 408"),
        (b"", b""),
    ],
)
async def test_incomplete_request_ends_in_time(
    open_rig: OpenRig, sent: bytes, answered: bytes
) -> None:
    async with open_rig(limits=Limits(head_s=0.2, body_s=0.2)) as rig:
        answer = await rig.ask(sent)

    assert answer[:12] == answered


async def test_idle_connection_is_closed_silently(open_rig: OpenRig) -> None:
    async with open_rig(limits=Limits(idle_s=0.2)) as rig, await rig.connect() as stream:
        await stream.send_all(post(close=False))
        await read_response(stream)

        assert await read_to_end(stream) == b""


async def test_any_bytes_leave_the_worker_alive(rig: Rig) -> None:
    """One worker for all: had one of them ended it, the last request would have no answer."""

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def collect(data: st.DataObject) -> None:
        start = data.draw(
            st.sampled_from(
                [b"", b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\n", b"GET /health HTTP/1.1\r\n"]
            )
        )
        examples.append(start + data.draw(st.binary(max_size=60)) + b"\r\n\r\n")

    examples: list[bytes] = []
    collect()
    for example in examples:
        async with await rig.connect() as stream:
            await stream.send_all(example)
            await stream.send_eof()
            try:
                while await stream.receive_some():
                    pass
            except trio.BrokenResourceError:
                pass

    assert (await rig.ask(get(b"/health"))).startswith(b"HTTP/1.1 200")


def form(*parts: tuple[str, bytes], fields: bytes = b"") -> bytes:
    """A POST of a form with these fields."""
    body = b"".join(
        b'--B\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name.encode(), value)
        for name, value in parts
    )
    body += b"--B--\r\n"
    return (
        b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\n%b"
        b"Content-Type: multipart/form-data; boundary=B\r\nContent-Length: %d\r\n\r\n%b"
        % (fields, len(body), body)
    )


async def test_form_reaches_the_renamed_model(open_rig: OpenRig) -> None:
    models = (ModelRoute(model="m", aliases=("em",), send_as="upstream's own"),)
    posted = form(("file", b"x" * 3_000_000), ("model", b"em"))
    written = (
        b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
    )
    curl = b"application/x-www-form-urlencoded"
    async with open_rig(models=models) as rig, await rig.connect() as stream:
        await stream.send_all(posted)
        answers = [await read_response(stream)]
        for body in (b"model=em&x=1", b' {"model":"em"}'):
            await stream.send_all(written % (curl, len(body)) + body)
            answers.append(await read_response(stream))
        sent = [exchange.body for exchange in rig.upstream.exchanges]

    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 200"] * 3
    assert sent[0] == posted.partition(b"\r\n\r\n")[2].replace(
        b"\r\nem\r\n", b"\r\nupstream's own\r\n"
    )
    assert sent[1:] == [b"model=upstream%27s+own&x=1", b' {"model":"upstream\'s own"}']


@rig_options(models=(ModelRoute(model="m"), ModelRoute(model="n")))
@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (form(("file", b"x"), fields=b"Connection: close\r\n"), b"400"),
        (form(("model", b"m"), ("model", b"m"), ("file", b"x" * 20_000_000)), b"400"),
        (form(("model", b"unknown"), ("file", b"x" * 20_000_000)), b"404"),
        (form(("model", b"m")).replace(b"boundary=B", b"charset=x"), b"400"),
        (b"POST /v1/images/edits HTTP/1.1\r\nHost: x\r\nContent-Length: 2147483649\r\n"
         b"Content-Type: multipart/form-data; boundary=B\r\n\r\n", b"413"),
    ],
)  # fmt: skip
async def test_bad_form_is_refused_with_reason(
    rig: Rig, request_bytes: bytes, status: bytes
) -> None:
    """Even a client that sends all of it before it reads the answer."""
    answer = await rig.ask(request_bytes)

    assert answer.startswith(b"HTTP/1.1 %b " % status)
    assert answer.count(b"HTTP/1.1") == 1
    assert rig.upstream.exchanges == []


async def test_refusal_speaks_the_api(rig: Rig) -> None:
    head = b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"

    assert body_of(await rig.ask(head))["type"] == "error"


@pytest.mark.parametrize(
    ("key", "begins"), [(b"right", b"HTTP/1.1 100 Continue\r\n\r\n"), (b"wrong", b"HTTP/1.1 401 ")]
)
@pytest.mark.parametrize("kind", [b"application/json", b"multipart/form-data; boundary=B"])
async def test_only_authorized_clients_may_continue(
    open_rig: OpenRig, key: bytes, begins: bytes, kind: bytes
) -> None:
    head = (
        b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n"
        b"Expect: 100-continue\r\nContent-Length: 100\r\nContent-Type: %b\r\n\r\n" % (key, kind)
    )
    async with (
        open_rig(api_keys=("right",)) as rig,
        await rig.connect() as stream,
    ):
        await stream.send_all(head)

        assert (await stream.receive_some()).startswith(begins)


async def test_request_trailers_are_dropped(rig: Rig) -> None:
    body = b'd\r\n{"model":"m"}\r\n0\r\nX-Checksum: 1\r\n\r\n'
    chunked = (
        b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    )

    answer = await rig.ask(chunked + post())

    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert rig.upstream.exchanges[0].body == b'{"model":"m"}'
    assert b"X-Checksum" not in rig.upstream.exchanges[0].head


async def test_old_response_ends_with_the_connection(
    open_rig: OpenRig,
) -> None:
    async def handler(exchange: UpstreamExchange) -> None:
        await exchange.stream.send_all(SSE)
        await exchange.stream.aclose()

    body = b'{"model":"m","stream":true}'
    old = b"POST /v1/completions HTTP/1.0\r\nContent-Length: %d\r\nConnection: keep-alive\r\n\r\n"
    async with open_rig(handler) as rig:
        answer = await rig.ask(old % len(body) + body)

    head, _, frames = answer.partition(b"\r\n\r\n")
    assert frames == SSE.partition(b"\r\n\r\n")[2]
    assert b"transfer-encoding" not in head.lower()


@pytest.mark.parametrize(
    ("path", "status"),
    [(b"/health", b"200"), (b"/v1/chat/completions", b"405"), (b"/nothing", b"404")],
)
async def test_head_response_has_no_body(rig: Rig, path: bytes, status: bytes) -> None:
    answer = await rig.ask(get(path, b"HEAD"))

    assert answer.startswith(b"HTTP/1.1 %b " % status)
    assert answer.endswith(b"\r\n\r\n")
    assert answer.count(b"\r\n\r\n") == 1


async def test_unreadable_request_has_no_api(rig: Rig) -> None:
    """Nobody knows its API, though Anthropic's was spoken on this connection."""
    async with await rig.connect() as stream:
        await stream.send_all(post(path=b"/v1/messages", close=False))
        await read_response(stream)
        await stream.send_all(b"NONSENSE\r\n\r\n")
        answer = await read_to_end(stream)

    assert body_of(answer)["error"]["code"] == "bad_request"


# --- the page door -------------------------------------------------------------------------------


async def test_models_are_listed_with_their_state(rig: Rig) -> None:
    rig.publish(StateChanged, model="m", state="ready", swap=1, endpoint="http://127.0.0.1:1")
    rig.say(Probe(probe=5))
    number = 1
    while (await rig.heard(Report, number)).probe != 5:
        number += 1

    listed = body_of(await rig.ask(get(b"/v1/models")))
    running = body_of(await rig.ask(get(b"/running")))

    (model,) = listed["data"]
    assert listed["object"] == "list"
    assert isinstance(model.pop("created"), int)
    assert model == {
        "id": "m",
        "object": "model",
        "owned_by": "arriero",
        "status": {"value": "loaded"},
        "meta": {"llamaswap": {"type": "model", "aliases": ["em"]}},
    }
    assert running == {
        "running": [
            {
                "model": "m",
                "state": "ready",
                "cmd": "",
                "proxy": "http://127.0.0.1:1",
                "ttl": 0.0,
                "name": "",
                "description": "",
            }
        ]
    }


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (get(b"/nothing"), b"404", "not_found"),
        (get(b"/v1/models/x"), b"404", "model_not_found"),
        (get(b"/v1/chat/completions"), b"405", "method_not_allowed"),
        (get(b"/health", b"DELETE"), b"405", "method_not_allowed"),
        (b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", b"404", "not_found"),
    ],
)
async def test_unknown_page_is_refused_in_json(
    rig: Rig, request_bytes: bytes, status: bytes, code: str
) -> None:
    answer = await rig.ask(request_bytes)

    assert answer.startswith(b"HTTP/1.1 %b " % status)
    assert body_of(answer)["error"]["code"] == code
    assert (b"allow: " in answer.lower()) is (status == b"405")


async def test_page_never_starts_a_model(rig: Rig) -> None:
    for path in (b"/health", b"/v1/models", b"/models/m", b"/running"):
        answer = await rig.ask(get(path))
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"connection: close\r\n" in answer.lower()
    head = await rig.ask(get(b"/health", b"HEAD"))

    assert head.startswith(b"HTTP/1.1 200")
    assert head.endswith(b"\r\n\r\n")
    assert rig.count(Want) == 0


async def test_page_follows_requests_on_a_connection(rig: Rig) -> None:
    answer = await rig.ask(post(close=False) + get(b"/health"))

    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"200", b"200"]
    assert answer.endswith(b"OK")


async def test_health_keeps_the_connection(rig: Rig) -> None:
    health = b"GET /health HTTP/1.1\r\nHost: x\r\n"
    async with await rig.connect() as stream:
        for fields in (b"", b"Origin: http://localhost:3000\r\n", b"X-Request-Id: mine\r\n"):
            await stream.send_all(health + fields + b"\r\n")
            answer = await read_response(stream)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; ")
            assert answer.endswith(b"\r\n\r\nOK")
            assert (b"\r\nX-Request-Id: mine\r\n" in answer) is (b"mine" in fields)
            assert (b"\r\nAccess-Control-Allow-Origin: *\r\n" in answer) is (b"Origin" in fields)
        await stream.send_all(health + b"Connection: close\r\n\r\n")
        answer = await read_to_end(stream)

    assert b"\r\nConnection: close\r\n" in answer
    assert answer.endswith(b"OK")


async def test_health_with_body_is_answered(rig: Rig) -> None:
    head = b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"

    assert (await rig.ask(head + b"abc")).endswith(b"OK")


async def test_health_is_answered_while_others_wait(rig: Rig) -> None:
    rig.grants = False
    async with await rig.connect() as stream:
        await stream.send_all(post())
        await rig.heard(Want)

        assert (await rig.ask(get(b"/health"))).endswith(b"OK")


async def test_http2_reaches_pages_and_relay(rig: Rig) -> None:
    async with open_http2(rig) as client:
        _, health = await client.ask("GET", "/health")
        headers, answer = await client.ask("POST", "/v1/embeddings", b'{"model":"m"}')
        posted = form(("model", b"m")).partition(b"\r\n\r\n")[2]
        kind = ("content-type", "multipart/form-data; boundary=B")
        uploaded, _ = await client.ask("POST", "/v1/audio/transcriptions", posted, kind)
        missing, _ = await client.ask("POST", "/v1/embeddings", b'{"model":"x"}')

    assert health == b"OK"
    assert (headers[":status"], answer) == ("200", b'{"hello":"x"}')
    assert (uploaded[":status"], rig.upstream.exchanges[1].body) == ("200", posted)
    assert missing[":status"] == "404"
    assert b"X-Forwarded-For: 127.0.0.1\r\n" in rig.upstream.exchanges[0].head


async def test_http2_stream_has_id_and_trailers(
    open_rig: OpenRig,
) -> None:
    async def handler(exchange: UpstreamExchange) -> None:
        await exchange.stream.send_all(SSE)
        await exchange.stream.aclose()

    body = b'{"model":"m","stream":true}'
    async with open_rig(handler, trailers=True) as rig, open_http2(rig) as client:
        headers, _ = await client.ask("POST", "/v1/chat/completions", body)
        assert client.trailers == {}
        await client.ask("POST", "/v1/chat/completions", body, ("te", "trailers"))

    assert len(headers["x-request-id"]) == 32
    assert "connection" not in headers
    assert client.trailers["x-gateway-outcome"] == "ok"


async def test_http2_cut_response_does_not_end(open_rig: OpenRig) -> None:
    async def handler(exchange: UpstreamExchange) -> None:
        whole = exchange.number == 0
        await exchange.stream.send_all(
            SSE if whole else b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1234"
        )
        await exchange.stream.aclose()

    async with open_rig(handler) as rig, open_http2(rig) as client:
        body = b'{"model":"m","stream":true}'
        _, streamed = await client.ask("POST", "/v1/chat/completions", body)
        with pytest.raises(EOFError):
            await client.ask("POST", "/v1/chat/completions", b'{"model":"m"}')
        _, health = await client.ask("GET", "/health")  # the stream was cut, not the connection

    assert health == b"OK"
    assert streamed == SSE.partition(b"\r\n\r\n")[2]


# --- beginning and end ---------------------------------------------------------------------------


async def test_finishing_worker_lets_requests_run(
    open_rig: OpenRig,
) -> None:
    go_on = trio.Event()

    async def handler(exchange: UpstreamExchange) -> None:
        if exchange.number:
            await go_on.wait()
        await answer_json(exchange)

    async with (
        open_rig(handler) as rig,
        await rig.connect() as idle,
        await rig.connect() as busy,
    ):
        await idle.send_all(post(close=False))
        await read_response(idle)
        await busy.send_all(post(close=False))
        while len(rig.upstream.exchanges) < 2:
            await rig.heard(Report, rig.count(Report) + 1)

        rig.say(Finish())
        assert await read_to_end(idle) == b""
        assert not rig.ended.is_set()
        go_on.set()
        assert (await read_to_end(busy)).endswith(b'{"hello":"x"}')
        await rig.ended.wait()


async def test_configuration_event_fetches_configuration(open_rig: OpenRig) -> None:
    # the silence of the supervisor leads to no greeting
    async with open_rig(limits=replace(QUICK, lost_s=600.0)) as rig:
        assert (await rig.ask(post())).startswith(b"HTTP/1.1 200")
        rig.config = replace(rig.config, generation=2, models=(ModelRoute(model="new"),))
        rig.publish(ConfigChanged, generation=2)
        await rig.heard(Hello, 2)
        await follows(rig, 2)

        assert (await rig.ask(post())).startswith(b"HTTP/1.1 404")
        assert (await rig.ask(post(b'{"model":"new"}'))).startswith(b"HTTP/1.1 200")


async def test_new_configuration_is_confirmed_at_once(open_rig: OpenRig) -> None:
    # no report is due anyway
    async with open_rig(limits=replace(QUICK, report_s=600.0, lost_s=600.0)) as rig:
        assert (await rig.ask(post())).startswith(b"HTTP/1.1 200")
        models = (ModelRoute(model="new", aliases=("m",)),)
        config = replace(rig.config, generation=2, models=models)

        rig.say(Welcome(config=config, snapshot=rig.snapshot))
        await follows(rig, 2)

        await rig.ask(post())
        assert (await rig.heard(Want, rig.count(Want))).model == "new"
        assert rig.count(Hello) == 1


async def follows(rig: Rig, generation: int) -> None:
    """Return when the worker has said that it follows that configuration."""

    def said(message: object) -> bool:
        return isinstance(message, Report) and message.generation == generation

    while not any(map(said, rig.received)):
        await rig.heard(Report, rig.count(Report) + 1)
