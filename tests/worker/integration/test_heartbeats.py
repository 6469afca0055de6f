"""Streams that would be silent for too long, with real sockets and the official clients."""

import itertools
import json
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, NamedTuple

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from arriero.protocol.events import QueueChanged
from arriero.protocol.lease import Want
from arriero.protocol.values import QueueEntry
from arriero.protocol.worker_config import ModelRoute
from arriero.worker.connections import connection as monitor
from arriero.worker.streams.sse_frames import MAX_FRAME_BYTES
from tests.official import anthropic_at, openai_at
from tests.worker.apis.recorded import MESSAGE, RESPONSE
from tests.worker.rig import (
    JSON_RESPONSE,
    QUICK,
    Handler,
    OpenRig,
    Rig,
    UpstreamExchange,
    in_turn,
    post,
    read_to_end,
    rig_options,
    sends,
    unchunk,
)
from tests.worker.sse import (
    CHAT,
    COMPLETIONS,
    END,
    MESSAGES,
    PING,
    RESPONSES,
    SSE_HEAD,
    STREAM,
    chunk,
    prompt_chunk,
    streams,
)

Steps = Sequence[bytes | float]

EVERY_S = 0.2

# Something to say to those who wait for `m`.
BEHIND_ANOTHER = (QueueEntry(model="x", waiting=1), QueueEntry(model="m", waiting=1))
COMMENT = b": hb\n\n"

pytestmark = rig_options(
    models=(ModelRoute(model="m"),), heartbeat_s=EVERY_S, limits=replace(QUICK, tick_s=0.1)
)


def stream_of(user: str) -> bytes:
    return b'{"model":"m","stream":true,"user":"%b"}' % user.encode()


HELLO = chunk({"role": "assistant", "content": "Hello"})
YOU = chunk({"content": " you"})


def streams_by_user(**streamed: Steps) -> Handler:
    """Make an upstream that sends each user other pieces."""

    async def handler(exchange: UpstreamExchange) -> None:
        await streams(*streamed[json.loads(exchange.body)["user"]])(exchange)

    return handler


def repeated(times: int, *steps: bytes | float) -> list[bytes | float]:
    return [*steps] * times


class Piece(NamedTuple):
    """What was written at a time."""

    at: float
    data: bytes


async def listen(
    rig: Rig, request: bytes, look: Callable[[list[Piece]], None] = lambda _: None
) -> list[Piece]:
    """Send `request` and return the chunks of the answer's body; `look` sees them as they come."""
    pieces: list[Piece] = []
    buffer = b""
    async with await rig.connect() as stream:
        await stream.send_all(request)
        while b"\r\n\r\n" not in buffer:
            buffer += await stream.receive_some()
        assert buffer.startswith(b"HTTP/1.1 200"), buffer
        buffer = buffer.partition(b"\r\n\r\n")[2]
        while True:
            size, found, rest = buffer.partition(b"\r\n")
            length = int(size, 16) if found else 0
            if found and len(rest) >= length + 2:
                if not length:
                    return pieces
                pieces.append(Piece(trio.current_time(), rest[:length]))
                look(pieces)
                buffer = rest[length + 2 :]
                continue
            more = await stream.receive_some()
            assert more, (pieces, buffer)
            buffer += more


async def listen_to_all(rig: Rig, requests: dict[Any, bytes]) -> dict[Any, bytes]:
    """Send all requests at a time, and return the bodies of the answers."""
    bodies: dict[Any, bytes] = {}

    async def ask(name: Any, request: bytes) -> None:
        bodies[name] = joined(await listen(rig, request))

    async with trio.open_nursery() as nursery:
        for name, request in requests.items():
            nursery.start_soon(ask, name, request)
    return bodies


def joined(pieces: list[Piece]) -> bytes:
    return b"".join(piece.data for piece in pieces)


async def test_silence_has_one_comment_per_interval(
    own_time: MockClock,
    open_rig: OpenRig,
) -> None:
    usual = [trio.current_time()]  # what a clock of the same interval does on this machine

    async def tick() -> None:
        while True:
            await trio.sleep(EVERY_S)
            usual.append(trio.current_time())

    async with (
        open_rig(streams(HELLO, 1.7 * EVERY_S, YOU, 10 * EVERY_S, END)) as rig,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(tick)
        pieces = await listen(rig, post(STREAM))
        record = await rig.record()
        nursery.cancel_scope.cancel()

    second = next(number for number, piece in enumerate(pieces) if piece.data == YOU)
    silence = pieces[second:]
    assert 8 <= len(silence) - 2 <= 10
    assert all(piece.data == COMMENT for piece in silence[1:-1])
    gaps = [later.at - sooner.at for sooner, later in itertools.pairwise(silence[:-1])]
    assert min(gaps) >= 0.9 * EVERY_S
    ticks = [later - sooner for sooner, later in itertools.pairwise(usual)]
    assert median(gaps) <= 1.2 * median(ticks)
    assert joined(pieces).replace(COMMENT, b"") == HELLO + YOU + END
    assert record.heartbeats == len(pieces) - 3


async def test_lively_stream_has_no_heartbeat(own_time: MockClock, open_rig: OpenRig) -> None:
    frames = {"speaks": YOU, "lives": b":\n\n"}
    steps: dict[str, Steps] = {
        user: [*repeated(12, frame, 0.1), END] for user, frame in frames.items()
    }
    async with open_rig(streams_by_user(**steps), heartbeat_s=0.8) as rig:
        bodies = await listen_to_all(rig, {user: post(stream_of(user)) for user in frames})

    assert bodies == {user: frame * 12 + END for user, frame in frames.items()}


@pytest.mark.parametrize(
    ("mode", "first"),
    [("comment", b": m: "), ("heartbeat", b'"delta":{}'), ("reasoning", b"swap-progress:")],
)
async def test_waiting_stream_begins_with_life_sign(
    own_time: MockClock, open_rig: OpenRig, mode: str, first: bytes
) -> None:
    async with open_rig(streams(HELLO, END), progress_delay_s=0.4) as rig:
        rig.grants = False
        async with await rig.connect() as stream:
            began = trio.current_time()
            await stream.send_all(post(STREAM, b"X-Swap-Progress: %b" % mode.encode()))
            want = await rig.heard(Want)
            rig.publish(QueueChanged, queue=BEHIND_ANOTHER)
            got = await stream.receive_some()
            committed = trio.current_time() - began
            assert got.startswith(b"HTTP/1.1 200")
            assert first in got.partition(b"\r\n\r\n")[2]  # it came along with the head
            while got.count(first if mode != "reasoning" else b'"delta":{}') < 4:
                got += await stream.receive_some()
            waited = trio.current_time() - began
            rig.grant(want)
            got += await read_to_end(stream)

    assert 0.4 <= committed <= 5  # 0.6 s, unless the machine is busy
    assert waited >= 0.4 + 3 * 0.9 * EVERY_S
    assert unchunk(got).endswith(HELLO + END)


async def test_no_heartbeat_within_a_frame(own_time: MockClock, open_rig: OpenRig) -> None:
    begins, ends = YOU[:20], YOU[20:]
    async with open_rig(streams(HELLO, begins, 4 * EVERY_S, ends, END)) as rig:
        pieces = await listen(rig, post(STREAM))

    assert YOU in joined(pieces)
    beats = [number for number, piece in enumerate(pieces) if piece.data == COMMENT]
    assert len(beats) >= 2
    assert beats[-1] < [YOU in piece.data for piece in pieces].index(True)
    assert joined(pieces).replace(COMMENT, b"") == HELLO + YOU + END


async def test_no_heartbeat_within_a_raw_frame(open_rig: OpenRig) -> None:
    large = chunk({"content": "x" * MAX_FRAME_BYTES})
    heard = trio.Event()

    def look(pieces: list[Piece]) -> None:
        if pieces[-1].data == COMMENT and sum(len(piece.data) for piece in pieces) > len(large):
            heard.set()

    async def handler(exchange: UpstreamExchange) -> None:
        await sends(SSE_HEAD + large[:-20], 3 * EVERY_S, large[-20:], close=False)(exchange)
        await heard.wait()  # however long it takes to pass so much on
        await sends(END)(exchange)

    async with open_rig(handler) as rig:
        body = joined(await listen(rig, post(STREAM), look))

    before, whole, after = body.partition(large)
    assert whole == large
    assert before.replace(COMMENT, b"") == b""  # its first bytes are late on a busy machine
    assert after.replace(COMMENT, b"") == END
    assert after.count(COMMENT) >= 1


def ask_openai(port: int, **more: Any) -> tuple[str, int]:
    """Return the text, and how many chunks there were."""
    with openai_at(port) as client:
        chunks = list(client.chat.completions.create(model="m", messages=[], stream=True, **more))
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks), len(chunks)


async def test_heartbeat_after_id_has_no_blank(open_rig: OpenRig) -> None:
    """openai-python would take the blank line for an event, and fail at one without data."""
    upstream: Steps = [b"id: 1\n" + HELLO, 3 * EVERY_S, b"id: 2\n" + YOU, 3 * EVERY_S, END]
    async with open_rig(streams(*upstream)) as rig:
        body = joined(await listen(rig, post(STREAM)))
        text, chunks = await trio.to_thread.run_sync(ask_openai, rig.port)

    assert COMMENT not in body
    assert body.count(b": hb\n") >= 3
    assert body.replace(b": hb\n", b"") == b"".join(
        step for step in upstream if isinstance(step, bytes)
    )
    assert (text, chunks) == ("Hello you", 3)


async def test_without_interval_no_heartbeat(own_time: MockClock, open_rig: OpenRig) -> None:
    answers = {CHAT: HELLO + END, MESSAGES: MESSAGE, RESPONSES: RESPONSE}
    steps: dict[str, Steps] = {
        path.decode(): list(
            itertools.chain(*((f + b"\n\n", 0.1) for f in answer.split(b"\n\n")[:-1]))
        )
        for path, answer in answers.items()
    }
    modes = (b"off", b"comment", b"heartbeat", b"reasoning")
    requests = {
        (path, mode): post(stream_of(path.decode()), b"X-Swap-Progress: " + mode, path=path)
        for path in answers
        for mode in modes
    }
    bodies: dict[Any, bytes] = {}
    async with open_rig(streams_by_user(**steps), heartbeat_s=0.0, progress_delay_s=0.0) as rig:
        rig.grants = False

        async def ask() -> None:
            bodies.update(await listen_to_all(rig, requests))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await rig.heard(Want, len(requests))
            rig.publish(QueueChanged, queue=BEHIND_ANOTHER)
            await trio.sleep(0.3)  # enough for whoever is wrong
            for message in tuple(rig.received):
                if isinstance(message, Want):
                    rig.grant(message)
        records = [await rig.record(count + 1) for count in range(len(requests))]

    for (path, mode), body in bodies.items():
        if mode == b"reasoning":
            assert b"swap-progress: m: queued" in body  # lines are no heartbeats
            assert b"\n:" not in body
            assert b"ping" not in body
        else:
            assert body == answers[path]
    assert {record.heartbeats for record in records} == {0}


async def test_plain_response_has_no_heartbeat(own_time: MockClock, open_rig: OpenRig) -> None:
    async with open_rig(sends(0.5, JSON_RESPONSE), heartbeat_s=0.1, progress_delay_s=0.0) as rig:
        answer = await rig.ask(post(b'{"model":"m"}', b"X-Swap-Progress: reasoning"))

    assert answer.endswith(b'\r\n\r\n{"hello":"x"}')
    assert b"Content-Type: application/json\r\n" in answer


def ask_anthropic(port: int) -> str:
    with (
        anthropic_at(port) as client,
        client.messages.stream(model="m", max_tokens=8, messages=[]) as stream,
    ):
        return stream.get_final_text()


async def test_silent_message_has_pings(
    open_rig: OpenRig,
) -> None:
    frames = [frame + b"\n\n" for frame in MESSAGE.split(b"\n\n")[:-1]]
    steps: list[bytes | float] = [step for frame in frames for step in (frame, 0.0)]
    for place in (1, 5, 9):  # at its beginning, within a block, and near its end
        steps[place] = 2.5 * EVERY_S
    async with open_rig(streams(*steps)) as rig:
        pieces = await listen(rig, post(STREAM, path=MESSAGES))
        text = await trio.to_thread.run_sync(ask_anthropic, rig.port)

    assert joined(pieces).count(PING) >= 3
    assert joined(pieces).replace(PING, b"") == MESSAGE
    assert text == ' mule \u2713 "index":0'


async def test_off_says_nothing_comment_only_comments(
    own_time: MockClock,
    open_rig: OpenRig,
) -> None:
    paths = (CHAT, COMPLETIONS, MESSAGES, RESPONSES)
    requests = {
        (path, mode): post(STREAM, b"X-Swap-Progress: " + mode, path=path)
        for path in paths
        for mode in (b"off", b"comment")
    }
    upstream = b": up\n\n"  # ends in no language
    async with open_rig(streams(upstream, 3.5 * EVERY_S)) as rig:
        bodies = await listen_to_all(rig, requests)

    for path in paths:
        silent, spoken = bodies[path, b"off"], bodies[path, b"comment"]
        assert COMMENT not in silent
        assert spoken.count(COMMENT) >= 2
        for body in (silent, spoken):
            said = body.replace(COMMENT, b"")
            assert said.startswith(upstream)
            assert said.count(b"truncated") + said.count(b"before it was complete") >= 1
            assert b"ping" not in said


# --- what counts as silence of the upstream -------------------------------------------------------


LIMIT_S = 0.5


@pytest.mark.parametrize(
    ("path", "frames", "sign"),
    [
        (CHAT, HELLO, b":\n\n"),
        (CHAT, b"", b": ping\r\n\r\n"),
        (MESSAGES, MESSAGE.partition(b"\n\n")[0] + b"\n\n", PING),
    ],
)
async def test_only_life_signs_is_a_stall(
    own_time: MockClock, open_rig: OpenRig, path: bytes, frames: bytes, sign: bytes
) -> None:
    signs: list[bytes | float] = [step for _ in range(100) for step in (sign, 0.1)]
    async with open_rig(streams(frames or sign, *signs), upstream_stall_s=LIMIT_S) as rig:
        began = trio.current_time()
        pieces = await listen(rig, post(STREAM, path=path))
        took = trio.current_time() - began
        record = await rig.record()
        await rig.upstream.closed.wait()

    assert LIMIT_S - 0.1 <= took <= 5  # the signs last twice as long
    assert joined(pieces).count(b'"error":') == 1
    assert b"the model's server said nothing for too long" in joined(pieces)
    assert (record.outcome, record.error_code) == ("timeout", "upstream_timeout")


async def test_silent_upstream_is_given_up(own_time: MockClock, open_rig: OpenRig) -> None:
    async with open_rig(streams(HELLO, 60.0), upstream_idle_s=LIMIT_S) as rig:
        began = trio.current_time()
        pieces = await listen(rig, post(STREAM))
        took = trio.current_time() - began
        record = await rig.record()

    assert took <= 10  # it would be a minute
    assert b'"code":"upstream_timeout"' in joined(pieces)
    assert record.outcome == "timeout"


async def test_data_behind_a_life_sign_count(own_time: MockClock, open_rig: OpenRig) -> None:
    signs = {"comment": b":\n\n", "ping": PING, "crlf": b": a\r\n\r\n"}
    steps: dict[str, Steps] = {
        user: [*repeated(15, sign + YOU, 0.15), END] for user, sign in signs.items()
    }
    requests = {user: post(stream_of(user), b"X-Swap-Progress: off") for user in signs}
    async with open_rig(streams_by_user(**steps), upstream_stall_s=2.0) as rig:
        bodies = await listen_to_all(rig, requests)

    assert bodies == {user: (sign + YOU) * 15 + END for user, sign in signs.items()}


async def test_time_out_spares_the_next_request(
    own_time: MockClock,
    open_rig: OpenRig,
) -> None:
    handler = in_turn(streams(HELLO, 60.0), streams(HELLO, YOU))
    async with open_rig(handler, upstream_idle_s=LIMIT_S) as rig, await rig.connect() as stream:
        await stream.send_all(post(STREAM, close=False))
        got = b""
        while not got.endswith(b"0\r\n\r\n"):
            got += await stream.receive_some()
        await stream.send_all(post(STREAM))
        second = await read_to_end(stream)

    assert b'"code":"upstream_timeout"' in got
    assert b'"code":"upstream_truncated"' in second  # and not the same once more


# --- one writer at a time -------------------------------------------------------------------------


async def test_no_heartbeat_while_stream_writes(
    own_time: MockClock, open_rig: OpenRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    sends = 0
    send = monitor.Connection.send

    async def checked(conn: monitor.Connection, data: bytes) -> None:
        nonlocal sends
        assert not any(beat.may and not beat.over for *_, beat in conn.monitor._beats)
        sends += 1
        await send(conn, data)

    monkeypatch.setattr(monitor.Connection, "send", checked)
    parts = [prompt_chunk(number, 9, 0) for number in range(1, 10)]
    steps: list[bytes | float] = [step for part in parts for step in (part, 0.1)]
    async with open_rig(streams(*steps, HELLO, 0.7, YOU, END), progress_delay_s=0.0) as rig:
        pieces = await listen(rig, post(STREAM, b"X-Prefill-Progress: event"))

    assert joined(pieces).count(b"event: prefill_progress") >= 2
    assert COMMENT in joined(pieces)
    assert sends >= 4
