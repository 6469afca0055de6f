"""Models that several machines have: fall over before the first byte, progress, loops, waking."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from trio.testing import MockClock

from arriero.protocol.lease import (
    Deselect,
    PeerFailed,
    PeerLost,
    Probe,
    Report,
    Select,
    WakePeer,
    Want,
)
from arriero.protocol.values import ErrorInfo
from arriero.protocol.worker_config import ModelRoute, PeerModel, PeerRoute
from arriero.worker.limits import Limits
from tests.worker.rig import (
    BROKEN,
    LATER,
    Handler,
    OpenRig,
    Options,
    Rig,
    Upstream,
    UpstreamExchange,
    answer_json,
    hangs_after,
    post,
    read_to_end,
    read_until,
    sends,
)
from tests.worker.sse import CHAT, COMPLETIONS, DONE, MESSAGES, RESPONSES, SSE_HEAD, chunk

BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
STREAM = BODY[:-1] + b',"stream":true}'
ANSWER = SSE_HEAD + chunk({"content": "yes"}) + chunk({}, "stop") + DONE
INTERIM = b"HTTP/1.1 102 Processing\r\nX-Arriero-Progress: %b\r\n\r\n"


def status(code: int, body: bytes = b'{"error":{"message":"busy"}}') -> Handler:
    return sends(
        b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (code, len(body), body)
    )


def tells(stage: str, **more: object) -> bytes:
    return INTERIM % json.dumps({"stage": stage} | more).encode()


def in_order(*targets: str) -> Callable[[Select], str]:
    """Choose the first of `targets` that was not tried."""
    return lambda asked: next((it for it in targets if it not in asked.tried), "")


class Machines(dict[str, Upstream]):
    """Other machines, by the id of the peer."""

    def options(self, *, here: bool = False, wake_s: float = 0.0) -> Options:
        """Let all of them have the model `m`; and this one, if it is here as well."""
        places = (*("m" for _ in range(here)), *(f"{name}/m" for name in self))
        return {
            "models": (ModelRoute(model="m" if here else "n", progress="reasoning"),),
            "peers": {
                name: PeerRoute(peer=name, url=one.url, wake_s=wake_s) for name, one in self.items()
            },
            "peer_models": {f"{name}/m": PeerModel(peer=name, model="m") for name in self},
            "places": {"m": places},
        }


@asynccontextmanager
async def machines(**handlers: Handler | None) -> AsyncGenerator[Machines, None]:
    """Run other machines until the block ends; None: nobody listens there."""
    found = Machines()
    async with trio.open_nursery() as nursery:
        for name, handler in handlers.items():
            one = found[name] = Upstream(handler or answer_json)
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            one.port = listeners[0].socket.getsockname()[1]
            if handler is None:
                await listeners[0].aclose()
            else:
                nursery.start_soon(partial(trio.serve_listeners, one.serve, listeners))
        yield found
        nursery.cancel_scope.cancel()


async def ask(rig: Rig, body: bytes = BODY, *fields: bytes, path: bytes = CHAT) -> bytes:
    return await rig.ask(post(body, *fields, path=path))


# --- which one is asked --------------------------------------------------------------------------


async def test_one_place_asks_nobody(open_rig: OpenRig) -> None:
    async with machines(a=answer_json) as found:
        options = found.options(here=True)
        options["places"] = {}
        async with open_rig(**options) as rig:
            assert (await ask(rig)).startswith(b"HTTP/1.1 200 ")
            assert (await ask(rig, BODY.replace(b'"m"', b'"a/m"'))).startswith(b"HTTP/1.1 200 ")
            await rig.record(2)
            assert rig.count(Select) == rig.count(Deselect) == 0


async def test_the_choice_has_the_prefix_and_ends_with_the_request(open_rig: OpenRig) -> None:
    async with (
        machines(a=answer_json, b=answer_json) as found,
        open_rig(**found.options(here=True)) as rig,
    ):
        rig.chooses = in_order("b/m")
        bodies = {
            CHAT: BODY,
            COMPLETIONS: b'{"model":"m","prompt":"hi"}',
            MESSAGES: b'{"model":"m","messages":[{"role":"user","content":"x"}]}',
            RESPONSES: b'{"model":"m","input":"ho"}',
        }
        for path, body in bodies.items():
            assert (await ask(rig, body, path=path)).startswith(b"HTTP/1.1 200 ")
        await rig.heard(Deselect, 4)
        asked = [it for it in rig.received if isinstance(it, Select)]
        assert [(it.selector, it.is_model, it.tried) for it in asked] == [("m", True, ())] * 4
        assert len({it.prefix for it in asked}) == 4
        assert all(len(it.prefix) == 16 for it in asked)
        record = await rig.record(4)
        assert (record.asked, record.model) == ("m", "b/m")
        assert [len(one.exchanges) for one in found.values()] == [0, 4]
        assert rig.count(Want) == 0


async def test_without_a_supervisor_the_place_here_is_taken(open_rig: OpenRig) -> None:
    # nobody answers its question, but it is not given up as lost
    limits = Limits(report_s=0.4, query_s=0.3, lost_s=600.0)
    async with (
        machines(a=answer_json) as found,
        open_rig(limits=limits, **found.options(here=True)) as rig,
    ):
        got = await ask(rig)
        assert got.startswith(b"HTTP/1.1 200 ")
        assert (await rig.record()).model == "m"
        assert rig.count(Want) == 1


async def test_who_was_sent_here_is_not_sent_on(open_rig: OpenRig) -> None:
    async with machines(a=answer_json) as found, open_rig(**found.options(here=True)) as rig:
        await ask(rig, BODY, b"X-Arriero-Hops: other>us")
        assert (await rig.record()).model == "m"
        assert rig.count(Select) == 0


async def test_the_list_says_how_models_stand_elsewhere(open_rig: OpenRig) -> None:
    async with (
        machines(a=answer_json, b=answer_json) as found,
        open_rig(**found.options()) as rig,
    ):

        async def listed() -> dict[str, str]:
            got = await rig.ask(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            data = json.loads(got.partition(b"\r\n\r\n")[2])["data"]
            return {one["id"]: one["status"]["value"] for one in data}

        rig.there = {"b/m": "ready"}
        assert await listed() == {
            "a/m": "unloaded", "b/m": "loaded", "m": "loaded", "n": "unloaded"
        }  # fmt: skip
        rig.there = {"a/m": "starting"}
        assert (await listed())["m"] == "loading"
        rig.there = None  # nobody tells: there is a list all the same
        assert (await listed())["m"] == "unloaded"


# --- before the first byte -----------------------------------------------------------------------


FAILING: dict[str, Handler | None] = {
    "refused": None,
    "closed": sends(b""),
    "cut in its head": sends(b"HTTP/1.1 200 OK\r\nContent-Ty"),
    "no http": sends(b"220 mail.example.org\r\n\r\n"),
    "502": status(502),
    "503": status(503),
    "429": status(429),
    "loading, then gone": sends(tells("loading", fraction=0.1)),
}


async def test_a_failure_before_the_first_byte_goes_to_the_next(open_rig: OpenRig) -> None:
    for word, handler in FAILING.items():
        for body in (BODY, STREAM) if word in {"closed", "503"} else (STREAM,):
            async with (
                machines(a=handler, b=handler, c=sends(ANSWER)) as found,
                open_rig(**found.options()) as rig,
            ):
                rig.chooses = in_order("a/m", "b/m", "c/m")
                got = await ask(rig, body)
                assert got.startswith(b"HTTP/1.1 200 "), word
                assert b"yes" in got, word
                assert b"loading" not in got, word
                record = await rig.record()
                assert (record.model, record.outcome) == ("c/m", "ok"), word
                await rig.heard(Deselect, 3)
                asked = [it.tried for it in rig.received if isinstance(it, Select)]
                assert asked == [(), ("a/m",), ("a/m", "b/m")], word
                told = [it.peer for it in rig.received if isinstance(it, PeerFailed)]
                assert told == ([] if word == "429" else ["a", "b"]), word
                if handler is not None:
                    assert [len(one.exchanges) for one in found.values()] == [1, 1, 1], word


async def test_no_other_failure_goes_anywhere(open_rig: OpenRig) -> None:
    for code in (400, 404, 413, 500, 504, 508):
        async with (
            machines(a=status(code), b=answer_json) as found,
            open_rig(**found.options()) as rig,
        ):
            rig.chooses = in_order("a/m", "b/m")
            assert (await ask(rig)).startswith(b"HTTP/1.1 %d " % code)
            assert not found["b"].exchanges


BEGUN = {
    "a head": SSE_HEAD,
    "a frame": SSE_HEAD + chunk({"content": "x"}),
    "half a frame": SSE_HEAD + chunk({"content": "x"})[:20],
    "json": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
    "a late word": tells("loading") + SSE_HEAD + chunk({"content": "x"}),
}


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        (CHAT, b'"error":{"message"'),
        (COMPLETIONS, b'"error":{"message"'),
        (MESSAGES, b'"type":"error"'),
        (RESPONSES, b'"response.failed"'),
    ],
)
async def test_a_failure_after_the_first_byte_goes_nowhere(
    open_rig: OpenRig, path: bytes, shape: bytes
) -> None:
    for word, begun in BEGUN.items():
        async with (
            machines(a=sends(begun), b=sends(ANSWER)) as found,
            open_rig(**found.options()) as rig,
        ):
            rig.chooses = in_order("a/m", "b/m")
            got = await ask(rig, STREAM, path=path)
            assert not found["b"].exchanges, word
            assert (await rig.record()).outcome == "upstream_error", word
            if word == "a frame":
                assert shape in got, got


async def test_the_last_one_says_why_in_its_own_words(open_rig: OpenRig) -> None:
    async with (
        machines(a=None, b=status(503, b'{"error":{"message":"own words"}}')) as found,
        open_rig(**found.options() | Options(max_retry_wait_s=0.0)) as rig,
    ):
        rig.chooses = in_order("a/m", "b/m")
        got = await ask(rig)
        assert got.startswith(b"HTTP/1.1 503 ")
        assert b"own words" in got
    # nobody else can be reached: it is asked once more, and its answer passed on
    async with (
        machines(a=status(503, b'{"error":{"message":"own words"}}'), b=None) as found,
        open_rig(**found.options() | Options(max_retry_wait_s=0.0)) as rig,
    ):
        rig.chooses = in_order("a/m")
        got = await ask(rig)
        assert got.startswith(b"HTTP/1.1 503 ")
        assert b"own words" in got
        assert len(found["a"].exchanges) == 2


async def test_a_model_that_does_not_load_here_is_asked_for_elsewhere(open_rig: OpenRig) -> None:
    full = ErrorInfo(code="concurrency_limit", message="full")
    for error in (BROKEN, LATER, full):
        async with machines(a=sends(ANSWER)) as found, open_rig(**found.options(here=True)) as rig:
            rig.grants, rig.chooses = False, in_order("m", "a/m")
            async with await rig.connect() as stream:
                await stream.send_all(post(STREAM))
                rig.refuse(await rig.heard(Want), error)
                got = b""
                while more := await stream.receive_some():
                    got += more
            assert b"yes" in got
            assert (await rig.record()).model == "a/m"


async def test_a_machine_that_is_silent_for_too_long_is_left(open_rig: OpenRig) -> None:
    async with machines(a=sends(30.0), b=sends(ANSWER)) as found:
        options = found.options()
        slow = options["peers"]["a"]
        quick = PeerRoute(
            peer="a",
            url=slow.url,
            timeouts=type(slow.timeouts)(response_header_s=0.5),
        )
        options["peers"] = options["peers"] | {"a": quick}
        async with open_rig(**options) as rig:
            rig.chooses = in_order("a/m", "b/m")
            assert b"yes" in await ask(rig, STREAM)
            failed = await rig.heard(PeerFailed)
            assert (failed.peer, failed.failure) == ("a", "silent")


async def test_who_waits_for_a_machine_that_fell_silent_goes_to_the_next(open_rig: OpenRig) -> None:
    async with (
        machines(a=sends(600.0), b=sends(ANSWER)) as found,
        open_rig(**found.options()) as rig,
    ):
        rig.chooses = in_order("a/m", "b/m")
        async with await rig.connect() as stream:
            await stream.send_all(post(STREAM))
            await found["a"].asked.wait()
            rig.say(PeerLost(peer="a"))
            assert b"yes" in await read_to_end(stream)
        assert (await rig.record()).model == "b/m"
        assert [it.tried for it in rig.received if isinstance(it, Select)] == [(), ("a/m",)]
        assert rig.count(PeerFailed) == 0  # that is no news to the supervisor


async def test_who_has_nowhere_to_go_waits_on(open_rig: OpenRig) -> None:
    async with machines(a=sends(600.0), b=None) as found, open_rig(**found.options()) as rig:
        rig.chooses = in_order("a/m")  # the other one is not to be reached either
        async with await rig.connect() as stream:
            await stream.send_all(post(STREAM))
            await found["a"].asked.wait()
            found["a"].handler = sends(ANSWER)
            rig.say(PeerLost(peer="a"))
            assert b"yes" in await read_to_end(stream)
        assert (await rig.record()).model == "a/m"


async def test_who_hears_of_a_machine_stays_there(open_rig: OpenRig) -> None:
    for word, begun in (("a load", tells("loading")), ("an answer", ANSWER[:-20])):
        go_on = trio.Event()

        async def answers(
            exchange: UpstreamExchange, begun: bytes = begun, go_on: trio.Event = go_on
        ) -> None:
            await exchange.stream.send_all(begun)
            await go_on.wait()
            await exchange.stream.send_all(ANSWER if begun not in ANSWER else ANSWER[-20:])
            await exchange.stream.aclose()

        async with (
            machines(box2=answers, b=sends(ANSWER)) as found,
            open_rig(**found.options() | Options(progress_delay_s=0.0)) as rig,
        ):
            rig.chooses = in_order("box2/m", "b/m")
            async with await rig.connect() as stream:
                await stream.send_all(post(STREAM, b"X-Swap-Progress: reasoning"))
                got = await read_until(stream, b"loading on box2" if word == "a load" else b"yes")
                rig.say(PeerLost(peer="box2"))
                rig.say(Probe(probe=7))
                while not any(isinstance(it, Report) and it.probe == 7 for it in rig.received):
                    await rig.heard(Report, rig.count(Report) + 1)
                go_on.set()
                got += await read_to_end(stream)
            assert b"yes" in got, word
            assert (await rig.record()).model == "box2/m", word
            assert not found["b"].exchanges, word


async def test_a_client_that_leaves_takes_its_request_along(open_rig: OpenRig) -> None:
    async with (
        machines(a=hangs_after(tells("loading"))) as found,
        open_rig(**found.options()) as rig,
    ):
        rig.chooses = in_order("a/m")
        async with await rig.connect() as stream:
            await stream.send_all(post(STREAM))
            await found["a"].asked.wait()
        await rig.heard(Deselect)
        with trio.fail_after(20):
            while found["a"].open_connections:  # noqa: ASYNC110
                await trio.sleep(0.01)
        assert (await rig.record()).outcome == "client_gone"


# --- progress ------------------------------------------------------------------------------------


async def test_progress_of_another_machine_is_told_in_lines(open_rig: OpenRig) -> None:
    seen = [trio.Event() for _ in range(3)]
    more = INTERIM % b"nonsense" + b"HTTP/1.1 103 Hints\r\n\r\n"

    async def loads(exchange: UpstreamExchange) -> None:
        told = (
            tells("queued", ahead=1),
            tells("loading", fraction=0.42) + more,
            tells("loading", fraction=0.58),
        )
        for words, event in zip(told, seen, strict=True):
            await exchange.stream.send_all(words)
            await event.wait()
        await exchange.stream.send_all(ANSWER)
        await exchange.stream.aclose()

    async with machines(box2=loads) as found:
        options = found.options() | Options(progress_delay_s=0.05)
        async with open_rig(limits=Limits(line_pause_s=0.0), **options) as rig:
            async with await rig.connect() as stream:
                await stream.send_all(post(STREAM, b"X-Swap-Progress: reasoning"))
                words = (b"queued on box2 (1 ahead)", b"loading on box2 42% (", b"on box2 58% (")
                for mark, event in zip(words, seen, strict=True):
                    await read_until(stream, mark)
                    event.set()
                rest = await read_to_end(stream)
            assert b": ready after " in rest
            assert b"".join(ANSWER.partition(b"\r\n\r\n")[2:]).split(b"\n\n")[0] in rest
            head = found["box2"].exchanges[0].head
            assert b"Connection: X-Arriero-Progress\r\nX-Arriero-Progress: 1\r\n" in head
            assert b"X-Arriero-Hops: e>box2\r\n" in head
            record = await rig.record()
            assert record.queue_ms > 0
            assert record.load_ms > 0


async def test_nothing_is_told_to_who_wants_nothing(open_rig: OpenRig) -> None:
    for body, field in ((STREAM, b"X-Swap-Progress: off"), (BODY, b"X-Swap-Progress: reasoning")):
        async with (
            machines(a=sends(tells("loading"), 0.1, ANSWER)) as found,
            open_rig(**found.options() | Options(progress_delay_s=0.0)) as rig,
        ):
            got = await ask(rig, body, field)
            assert b"loading" not in got
            assert b"yes" in got


async def test_a_machine_that_loads_has_time(own_time: MockClock, open_rig: OpenRig) -> None:
    steps = [step for _ in range(6) for step in (tells("loading"), 0.3)]
    async with machines(a=sends(*steps, ANSWER)) as found:
        options = found.options()
        route = options["peers"]["a"]
        timeouts = type(route.timeouts)(response_header_s=1.2)
        options["peers"] = {"a": PeerRoute(peer="a", url=route.url, timeouts=timeouts)}
        async with open_rig(**options) as rig:
            assert b"yes" in await ask(rig, STREAM)


async def test_a_long_wait_on_another_machine_is_no_failure_of_it(
    own_time: MockClock, open_rig: OpenRig
) -> None:
    loads: list[bytes | float] = [it for _ in range(100) for it in (tells("loading"), 0.1)]
    async with machines(a=sends(*loads, ANSWER), b=answer_json) as found:
        options = found.options() | Options(nonstream_hold_s=0.8)
        async with open_rig(**options) as rig:
            rig.chooses = in_order("a/m", "b/m")
            got = await ask(rig)
            assert got.startswith(b"HTTP/1.1 503 ")
            assert b'"code":"model_loading"' in got
            assert b"Retry-After: " in got
            await rig.heard(Deselect)
            assert rig.count(Select) == 1
            assert rig.count(PeerFailed) == 0
            assert not found["b"].exchanges


async def test_only_the_wait_for_the_model_has_that_limit(
    own_time: MockClock, open_rig: OpenRig
) -> None:
    steps = (tells("loading"), 0.3, tells("ready"), 1.5)
    async with machines(a=sends(*steps, ANSWER)) as found:
        options = found.options() | Options(nonstream_hold_s=0.8)
        async with open_rig(**options) as rig:
            assert b"yes" in await ask(rig)


async def test_who_tells_another_program_of_a_wait_sets_it_no_limit(
    own_time: MockClock, open_rig: OpenRig
) -> None:
    asks = (b"Connection: X-Arriero-Progress, close", b"X-Arriero-Progress: 1")
    async with open_rig(models=(ModelRoute(model="m"),), nonstream_hold_s=0.3) as rig:
        rig.grants = False
        async with await rig.connect() as stream:
            await stream.send_all(post(BODY, *asks, close=False))
            want = await rig.heard(Want)
            await trio.sleep(1.0)
            rig.grant(want)
            got = await read_to_end(stream)
        assert b"HTTP/1.1 102 " in got
        assert b"HTTP/1.1 200 " in got


async def test_a_flood_of_interim_responses_ends_its_request(open_rig: OpenRig) -> None:
    flood = [tells("loading", fraction=0.5) * 100 for _ in range(120)]
    async with machines(a=sends(*flood, ANSWER)) as found, open_rig(**found.options()) as rig:
        got = await ask(rig, STREAM)
        assert b"yes" not in got
        assert (await rig.record()).outcome == "upstream_error"


@pytest.mark.parametrize("model", ["m", "a/m"], ids=["own", "peer"])
async def test_a_flood_of_hints_ends_its_request(open_rig: OpenRig, model: str) -> None:
    flood = [b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 100 for _ in range(120)]
    async with machines(a=sends(*flood, ANSWER)) as found:
        options = found.options() if model == "a/m" else {}
        async with open_rig(sends(*flood, ANSWER), **options) as rig:
            got = await ask(rig, STREAM.replace(b'"m"', b'"%b"' % model.encode()))
            assert b"yes" not in got
            assert (await rig.record()).outcome == "upstream_error"


async def test_another_program_is_told_in_interim_responses(open_rig: OpenRig) -> None:
    asks = (b"Connection: X-Arriero-Progress, close", b"X-Arriero-Progress: 1")
    async with open_rig(models=(ModelRoute(model="m", progress="reasoning"),)) as rig:
        rig.grants = False
        for body in (STREAM, BODY):
            async with await rig.connect() as stream:
                await stream.send_all(post(body, *asks, close=False))
                want = await rig.heard(Want, 1 + (body is BODY))
                got = b""
                while b"102 Processing" not in got:
                    got += await stream.receive_some()
                rig.refuse(want, LATER)
                while more := await stream.receive_some():
                    got += more
            first, _, rest = got.partition(b"\r\n\r\n")
            assert first.startswith(b"HTTP/1.1 102 Processing\r\nX-Arriero-Progress: {")
            assert b'"stage":"queued"' in first
            assert b"HTTP/1.1 503 " in rest  # a real status, after all that
            assert b"swap-progress" not in rest


async def test_nobody_in_between_asks_for_interim_responses(open_rig: OpenRig) -> None:
    # nginx passes the field on and has a Connection of its own
    async with open_rig(models=(ModelRoute(model="m", progress="reasoning"),)) as rig:
        rig.grants = False
        async with await rig.connect() as stream:
            await stream.send_all(post(STREAM, b"X-Arriero-Progress: 1"))
            want = await rig.heard(Want)
            await trio.sleep(0.3)
            rig.refuse(want, LATER)
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 503 ")


# --- loops ---------------------------------------------------------------------------------------


async def test_a_loop_is_refused_in_the_words_of_each_api(open_rig: OpenRig) -> None:
    shapes = {
        CHAT: b'"code":"loop_detected"',
        COMPLETIONS: b'"code":"loop_detected"',
        MESSAGES: b'"type":"error"',
        RESPONSES: b'"code":"loop_detected"',
        b"/v1/embeddings": b'"code":"loop_detected"',
        b"/api/chat": b'"error":"cannot pass',
        b"/upstream/a/m/v1/models": b"cannot pass this request on",
    }
    async with machines(a=answer_json, b=answer_json) as found, open_rig(**found.options()) as rig:
        for path, shape in shapes.items():
            got = await ask(rig, BODY, b"X-Arriero-Hops: x>box1, e>box2, y>box3", path=path)
            assert got.startswith(b"HTTP/1.1 508 "), path
            assert shape in got, got
            assert b"sent to 'box2', then to 'box3', which leads back here" in got
        upgrade = b"".join(
            (
                b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
                b"X-Arriero-Hops: e>box2\r\n\r\n",
            )
        )
        for path in (b"/v1/responses", b"/upstream/a/m/socket"):
            assert (await rig.ask(upgrade % path)).startswith(b"HTTP/1.1 508 "), path
        assert not any(one.exchanges for one in found.values())


# --- waking --------------------------------------------------------------------------------------


async def test_a_machine_that_sleeps_is_woken_and_waited_for(open_rig: OpenRig) -> None:
    async with machines(box2=None) as found:
        options = found.options(wake_s=60.0) | Options(progress_delay_s=0.05)
        async with open_rig(**options) as rig, trio.open_nursery() as nursery:
            async with await rig.connect() as stream:
                await stream.send_all(post(STREAM, b"X-Swap-Progress: reasoning"))
                assert (await rig.heard(WakePeer)).peer == "box2"
                got = await stream.receive_some()
                while b"waking box2 (" not in got:
                    got += await stream.receive_some()
                found["box2"].handler = sends(ANSWER)
                listener = trio.SocketListener(await bound_socket(found["box2"].port))
                nursery.start_soon(partial(trio.serve_listeners, found["box2"].serve, [listener]))
                while more := await stream.receive_some():
                    got += more
            nursery.cancel_scope.cancel()
            assert b"ready after" in got
            assert b"yes" in got


async def bound_socket(port: int) -> trio.socket.SocketType:
    sock = trio.socket.socket()
    sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_REUSEADDR, 1)
    await sock.bind(("127.0.0.1", port))
    sock.listen()
    return sock


async def test_a_machine_that_does_not_wake_is_given_up(open_rig: OpenRig) -> None:
    async with machines(box2=None) as found, open_rig(**found.options(wake_s=1.5)) as rig:
        got = await ask(rig)
        assert got.startswith(b"HTTP/1.1 503 ")
        assert b"its machine was woken, and does not answer after 1.5 s" in got
