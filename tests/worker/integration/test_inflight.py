"""Requests that run, as a worker tells of them while somebody wants to know."""

from collections.abc import Callable

import trio

from arriero.protocol.lease import (
    Deselect,
    InflightOrder,
    InflightReport,
    Peek,
    Peeked,
    Select,
    Selected,
)
from arriero.protocol.records import InflightRequest
from arriero.protocol.worker_config import ModelRoute, SelectorRoute
from tests.worker.rig import OpenRig, Rig, UpstreamExchange, post
from tests.worker.sse import DONE, SSE_HEAD, chunk
from tests.worker.websocket_client import Talker, opened, serve_model

CHAT_UPSTREAM = b"/upstream/m/v1/chat/completions"


async def told(
    rig: Rig, fits: Callable[[tuple[InflightRequest, ...]], object]
) -> tuple[InflightRequest, ...]:
    """Wait for a report that fits; return what runs by it."""
    count = rig.count(InflightReport) or 1
    while not fits(found := (await rig.heard(InflightReport, count)).requests):
        count += 1
    return found


async def test_calls_of_models_are_told_while_they_run(open_rig: OpenRig) -> None:
    goes_on, ends = trio.Event(), trio.Event()

    async def answer(exchange: UpstreamExchange) -> None:
        await exchange.stream.send_all(SSE_HEAD)
        await goes_on.wait()
        await exchange.stream.send_all(chunk({"content": "x"}))
        await ends.wait()
        await exchange.stream.send_all(chunk({}, "stop") + DONE)
        await exchange.stream.aclose()

    fields = (b"X-Request-Id: it", b"Authorization: s3cret", b"X-Forwarded-For: 9.9.9.9")
    async with open_rig(answer) as rig, trio.open_nursery() as asking:
        rig.say(InflightOrder(wanted=True))
        assert await told(rig, lambda _: True) == ()
        asking.start_soon(rig.ask, b"GET /upstream/m/x HTTP/1.0\r\nHost: x\r\n\r\n")
        asking.start_soon(rig.ask, post(b'{"stream":true}', *fields, path=CHAT_UPSTREAM))
        (begun,) = await told(rig, lambda it: it and it[0].response_fields)

        assert (begun.id, begun.model, begun.method) == ("it", "m", "POST")
        assert (begun.path, begun.peer) == (CHAT_UPSTREAM.decode(), "127.0.0.1")
        assert begun.request_fields["authorization"] == "[REDACTED]"
        assert begun.response_fields["content-type"] == "text/event-stream"
        assert (begun.phase, begun.output_tokens, begun.ttft_ms) == ("prompt", 0, None)
        assert len(rig.upstream.exchanges) == 2
        goes_on.set()
        (later,) = await told(rig, lambda it: it and it[0].output_tokens)
        assert later.bytes_out > begun.bytes_out
        assert (later.phase, later.output_tokens) == ("answer", 1)
        assert later.ttft_ms is not None
        assert (later.id, later.t) == (begun.id, begun.t)
        ends.set()
        assert await told(rig, lambda it: not it) == ()


async def test_sockets_that_do_not_count_are_not_told(open_rig: OpenRig) -> None:
    async def stay(talker: Talker) -> None:
        await talker.closed()

    async def say_it_runs() -> None:
        for count in (1, 2):
            peek = await rig.heard(Peek, count)
            rig.say(Peeked(ask=peek.ask, endpoint=rig.upstream.url))

    async def choose_it() -> None:
        rig.say(Selected(ask=(await rig.heard(Select)).ask, target="m"))

    models = (ModelRoute(model="m", ignore_websockets=True), ModelRoute(model="n"))
    spill = SelectorRoute(selector="spill", strategy="spillover", targets=("m", "n"))
    async with open_rig(models=models, selectors=(spill,)) as rig, serve_model(rig, stay):
        rig.say(InflightOrder(wanted=True))
        rig.nursery.start_soon(say_it_runs)
        rig.nursery.start_soon(choose_it)
        async with (
            opened(rig, "/v1/realtime?model=m"),
            opened(rig, "/v1/realtime?model=spill"),
            opened(rig, "/v1/realtime?model=n"),
        ):
            # it takes no place among the requests of its target, either
            assert (await rig.heard(Deselect)).ask == (await rig.heard(Select)).ask
            await told(rig, lambda it: [one.model for one in it] == ["n"])
