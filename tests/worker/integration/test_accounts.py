"""The account of each request: what the supervisor gets, and what the client is told of it."""

import gzip
import json
import random
from collections import Counter
from decimal import Decimal
from functools import partial
from typing import Any

import h11
import httpx
import pytest
import trio

from arriero.protocol.records import Prices, UpstreamKind
from arriero.protocol.worker_config import ModelRoute, UsageSetting
from tests.examples import examples
from tests.official import openai_at
from tests.worker.rig import OpenRig, Rig, UpstreamExchange, post, rig_options, sends
from tests.worker.sse import CHUNKED_HEAD, DONE, SSE_HEAD, STREAM, chunk, streams

USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 500,
    "total_tokens": 1500,
    "prompt_tokens_details": {"cached_tokens": 800},
}
PRICED = ModelRoute(
    model="m", prices=Prices(input=Decimal(3), output=Decimal(15), cache_read=Decimal("1.5"))
)


pytestmark = rig_options(models=(PRICED,), trailers=True)


def word(text: str | None, finish: str | None = None) -> bytes:
    return chunk({"content": text} if text is not None else {}, finish)


WORDS = word("Hello") + word(" you") + word(None, "stop")
USAGE_FRAME = chunk(None, usage=USAGE)


def json_of(value: object, *fields: bytes, encode: Any = bytes) -> Any:
    async def answer(exchange: UpstreamExchange) -> None:
        body = encode(json.dumps(value).encode())
        lines = [b"HTTP/1.1 200 OK", b"Content-Type: application/json", *fields]
        lines.append(b"Content-Length: %d\r\n\r\n" % len(body))
        await exchange.stream.send_all(b"\r\n".join(lines) + body)

    return answer


async def read_with_trailers(
    stream: trio.SocketStream,
) -> tuple[h11.Response, bytes, h11.EndOfMessage]:
    """Read one answer with h11, which takes trailers."""
    http = h11.Connection(h11.CLIENT)
    http.send(h11.Request(method="POST", target="/", headers=[("Host", "x")]))
    http.send(h11.EndOfMessage())
    head: Any = None
    body = b""
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await stream.receive_some())
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return head, body, event


async def ask(rig: Rig, request: bytes) -> tuple[h11.Response, bytes, dict[bytes, bytes]]:
    async with await rig.connect() as stream:
        await stream.send_all(request)
        head, body, end = await read_with_trailers(stream)
        return head, body, dict(end.headers)


async def test_stream_ends_with_declared_trailers(
    open_rig: OpenRig,
) -> None:
    async with open_rig(streams(WORDS + USAGE_FRAME + DONE)) as rig:
        head, body, trailers = await ask(rig, post(STREAM))
        record = await rig.record()

    assert body == WORDS + USAGE_FRAME + DONE
    declared = dict(head.headers)[b"trailer"].lower().split(b",")
    assert trailers == {
        b"x-gateway-cost": b"0.009300",
        b"x-gateway-prompt-tokens": b"1000",
        b"x-gateway-completion-tokens": b"500",
        b"x-gateway-cached-tokens": b"800",
        b"x-gateway-outcome": b"ok",
    }
    assert sorted(declared) == sorted(trailers)
    assert (record.input_tokens, record.output_tokens, record.cost_usd) == (
        1000,
        500,
        Decimal("0.0093"),
    )
    assert dict(head.headers)[b"x-request-id"].decode() == record.request_id


async def test_without_price_no_cost_is_told(open_rig: OpenRig) -> None:
    async with open_rig(
        streams(WORDS + USAGE_FRAME + DONE), models=(ModelRoute(model="m"),)
    ) as rig:
        head, _, trailers = await ask(rig, post(STREAM))
        record = await rig.record()

    assert b"cost" not in dict(head.headers)[b"trailer"].lower()
    assert b"x-gateway-cost" not in trailers
    assert record.cost_usd is None


async def test_stream_without_usage_has_outcome_only(
    open_rig: OpenRig,
) -> None:
    # a stream of a shape in which nothing can be counted either
    async with open_rig(streams(b"data: {}\n\n" + DONE)) as rig:
        _, _, trailers = await ask(rig, post(STREAM))

    assert trailers == {b"x-gateway-outcome": b"ok"}


@pytest.mark.parametrize(
    "request_line",
    [b"HTTP/1.0\r\nHost: x", b"HTTP/1.1\r\nHost: x"],
)
async def test_http_1_0_gets_no_trailers(open_rig: OpenRig, request_line: bytes) -> None:
    request = post(STREAM).replace(b"HTTP/1.1\r\nHost: x", request_line)
    is_old = b"1.0" in request_line
    async with open_rig(streams(WORDS + DONE), trailers=is_old) as rig:
        answer = await rig.ask(request)

    assert b"railer" not in answer
    assert b"Gateway" not in answer
    assert answer.endswith(DONE if is_old else b"\r\n0\r\n\r\n")


async def test_upstream_trailers_stay_beside_ours(open_rig: OpenRig) -> None:
    chunked = b"%x\r\n%b\r\n0\r\nX-Theirs: 1\r\n\r\n" % (len(WORDS + DONE), WORDS + DONE)
    async with open_rig(sends(CHUNKED_HEAD, chunked)) as rig:
        _, _, trailers = await ask(rig, post(STREAM))

    assert trailers[b"x-theirs"] == b"1"
    assert trailers[b"x-gateway-outcome"] == b"ok"


async def test_plain_response_says_usage_in_head(open_rig: OpenRig) -> None:
    value = {"model": "served", "choices": [{"finish_reason": "length"}], "usage": USAGE}
    async with open_rig(json_of(value)) as rig:
        head, body, trailers = await ask(rig, post())
        record = await rig.record()

    assert json.loads(body) == value
    assert trailers == {}
    fields = dict(head.headers)
    assert fields[b"x-gateway-cost"] == b"0.009300"
    assert fields[b"x-gateway-cached-tokens"] == b"800"
    assert (record.served_as, record.finish_reason, record.outcome) == ("served", "length", "ok")


async def test_compressed_response_passes_and_is_counted(
    open_rig: OpenRig,
) -> None:
    value = {"model": "served", "usage": USAGE}
    handler = json_of(value, b"Content-Encoding: gzip", encode=gzip.compress)
    async with open_rig(handler) as rig:
        _, body, _ = await ask(rig, post())
        record = await rig.record()

    assert json.loads(gzip.decompress(body)) == value
    assert (record.outcome, record.input_tokens) == ("ok", 1000)


async def test_compressed_stream_passes_and_has_record(open_rig: OpenRig) -> None:
    packed = gzip.compress(WORDS + DONE)
    head = SSE_HEAD[:-2] + b"Content-Encoding: gzip\r\n\r\n"
    async with open_rig(sends(head, packed)) as rig:
        _, body, _ = await ask(rig, post(STREAM))
        record = await rig.record()

    assert body == packed
    assert (record.status, record.usage_source) == (200, "none")


@pytest.mark.parametrize(
    ("kind", "usage", "body", "sent", "is_seen"),
    [
        ("vllm", "auto", STREAM, True, False),
        ("openai", "auto", STREAM, True, False),
        ("llama-server", "auto", STREAM, None, True),
        ("llama-server", "inject", STREAM, True, False),
        ("unknown", "auto", STREAM, None, True),
        ("anthropic", "inject", STREAM, None, True),
        ("vllm", "observe", STREAM, None, True),
        ("vllm", "auto", STREAM[:-1] + b',"stream_options":{"include_usage":true}}', True, True),
        ("vllm", "auto", STREAM[:-1] + b',"stream_options":{"include_usage":false}}', True, False),
        ("vllm", "auto", b'{"model":"m"}', None, True),
    ],
)
async def test_usage_chunk_is_hidden_unless_wanted(
    open_rig: OpenRig,
    kind: UpstreamKind,
    usage: UsageSetting,
    body: bytes,
    sent: bool | None,
    is_seen: bool,
) -> None:
    models = (ModelRoute(model="m", usage=usage),)
    async with open_rig(streams(WORDS + USAGE_FRAME + DONE), models=models) as rig:
        rig.kind = kind
        _, got, _ = await ask(rig, post(body))
        record = await rig.record()
        (exchange,) = rig.upstream.exchanges

    options = json.loads(exchange.body).get("stream_options", {})
    assert options.get("include_usage") is sent
    assert got == WORDS + (USAGE_FRAME if is_seen else b"") + DONE
    assert record.upstream_kind == kind
    if json.loads(body).get("stream"):
        assert record.input_tokens == 1000


BODY_WITH_PECULIARITIES = (
    b'{ "stream" :true,"seed":12345678901234567890,"t":1.0,"a":"<&\\u00e9\xc3\xa9", "model":"m" }'
)


async def test_body_without_edit_passes_unchanged(open_rig: OpenRig) -> None:
    async with open_rig(streams(WORDS + DONE)) as rig:
        rig.kind = "llama-server"
        await ask(rig, post(BODY_WITH_PECULIARITIES))
        (exchange,) = rig.upstream.exchanges

    assert exchange.body == BODY_WITH_PECULIARITIES


async def test_body_with_two_models_is_refused(
    open_rig: OpenRig,
) -> None:
    async with open_rig(json_of({})) as rig:
        head, _, _ = await ask(rig, post(b'{"model":"m","x":1,"model":"other"}'))
        assert head.status_code == 400
        assert rig.upstream.exchanges == []


async def test_client_gone_midway_has_used_tokens(
    open_rig: OpenRig,
) -> None:
    async def answer(exchange: UpstreamExchange) -> None:
        await exchange.stream.send_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + word("a") * 10
        )
        await trio.sleep_forever()

    async with open_rig(answer) as rig:
        async with await rig.connect() as stream:
            await stream.send_all(post(STREAM))
            got = b""
            while got.count(b"data:") < 10:
                got += await stream.receive_some()
        with trio.fail_after(20):
            record = await rig.record()

    assert (record.outcome, record.output_tokens, record.usage_source) == (
        "client_gone",
        10,
        "estimated",
    )
    assert record.bytes_out == len(word("a") * 10)


async def test_who_gives_up_during_the_prompt_has_used_it(open_rig: OpenRig) -> None:
    """Of a budget as well: else it would be free to have a model read whatever there is."""
    read = trio.Event()

    async def answer(exchange: UpstreamExchange) -> None:
        read.set()
        await trio.sleep_forever()

    asked = b'{"model":"m","stream":true ,"input":"%b"}' % (b"and then? " * 100)
    async with open_rig(answer) as rig:
        for body in (asked, asked.replace(b"true ", b"false")):
            async with await rig.connect() as stream:
                await stream.send_all(post(body))
                with trio.fail_after(20):
                    await read.wait()
            read = trio.Event()
        with trio.fail_after(20):
            await rig.record(2)
    for record in rig.records:
        assert (record.outcome, record.usage_source) == ("client_gone", "estimated")
        assert (record.input_tokens, record.output_tokens) == (len(asked) // 4, 0)
        assert record.cost_usd == record.input_tokens * Decimal(3) / 1_000_000
        assert record.prompt_per_s is None


async def test_both_views_of_llama_server_agree(open_rig: OpenRig) -> None:
    timings = {"cache_n": 800, "prompt_n": 200, "predicted_n": 500, "predicted_ms": 1.0}
    records = []
    for last in (
        chunk(None, usage=USAGE, timings=timings),
        chunk(None, timings=timings),
    ):
        async with open_rig(streams(WORDS + last + DONE)) as rig:
            rig.kind = "llama-server"
            await ask(rig, post(STREAM))
            records.append(await rig.record())

    assert [record.usage_source for record in records] == ["final", "timings"]
    for record in records:
        assert (record.input_tokens, record.cached_tokens, record.output_tokens) == (1000, 800, 500)


async def test_every_fate_has_one_record(open_rig: OpenRig) -> None:
    chance = random.Random(7)

    async def answer(exchange: UpstreamExchange) -> None:
        fate = json.loads(exchange.body)["fate"]
        if fate == "stream":
            await streams(WORDS + DONE)(exchange)
        elif fate == "json":
            await json_of({"usage": USAGE})(exchange)
        elif fate == "error":
            await exchange.stream.send_all(b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno")
        elif fate == "cut":
            await streams(word("a"))(exchange)
        elif fate == "dead":
            await exchange.stream.aclose()

    fates = {
        "stream": ("ok", True),
        "json": ("ok", False),
        "error": ("upstream_error", False),
        "cut": ("upstream_error", True),
        "dead": ("upstream_error", False),
        "nonsense": ("rejected", False),
        "nobody": ("rejected", False),
    }
    asked = [chance.choice(list(fates)) for _ in range(examples(150, 2000))]

    async def request(rig: Rig, limit: trio.CapacityLimiter, fate: str) -> None:
        body: dict[str, Any] = {"model": "nobody" if fate == "nobody" else "m", "fate": fate}
        if fates[fate][1]:
            body["stream"] = True
        raw = b"{" if fate == "nonsense" else json.dumps(body).encode()
        async with limit:
            await rig.ask(post(raw))

    async with open_rig(answer) as rig:
        limit = trio.CapacityLimiter(20)
        async with trio.open_nursery() as nursery:
            for fate in asked:
                nursery.start_soon(partial(request, rig, limit, fate))
        await rig.record(len(asked))
        records = rig.records

    assert len({record.request_id for record in records}) == len(records) == len(asked)
    assert Counter(record.outcome for record in records) == Counter(
        fates[fate][0] for fate in asked
    )


async def test_client_request_id_is_kept_everywhere(
    open_rig: OpenRig,
) -> None:
    trace = b"00-%b-%b-01" % (b"a" * 32, b"b" * 16)
    async with open_rig(json_of({})) as rig:
        request = post(b'{"model":"m"}', b"X-Request-Id: mine", b"traceparent: " + trace)
        head, _, _ = await ask(rig, request)
        record = await rig.record()
        (exchange,) = rig.upstream.exchanges

    assert dict(head.headers)[b"x-request-id"] == b"mine"
    assert record.request_id == "mine"
    assert b"\r\nX-Request-Id: mine\r\n" in exchange.head
    assert b"\r\ntraceparent: 00-%b-" % (b"a" * 32) in exchange.head
    assert b"b" * 16 not in exchange.head


async def test_official_clients_do_not_mind_trailers(open_rig: OpenRig) -> None:
    async with open_rig(streams(WORDS + USAGE_FRAME + DONE)) as rig:

        def read() -> list[str | None]:
            with openai_at(rig.port, max_retries=2) as client:
                chunks = client.chat.completions.create(model="m", messages=[], stream=True)
                return [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]

        assert await trio.to_thread.run_sync(read) == ["Hello", " you", None]


async def test_price_of_zero_is_a_price(open_rig: OpenRig) -> None:
    free = ModelRoute(model="m", prices=Prices(input=Decimal(0), output=Decimal(0)))
    async with (
        open_rig(json_of({"usage": USAGE}), models=(free,)) as rig,
        httpx.AsyncClient() as http,
    ):
        url = f"http://127.0.0.1:{rig.port}/v1/embeddings"
        answer = await http.post(url, json={"model": "m"})

    assert answer.headers["x-gateway-cost"] == "0.000000"
