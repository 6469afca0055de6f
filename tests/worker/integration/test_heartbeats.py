"""Streams that would be silent for too long, with real sockets and the official clients."""

import itertools
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio

from arriero.protocol.lease import Want
from arriero.protocol.records import RequestRecord
from arriero.protocol.worker_config import ModelRoute
from arriero.worker.connections import connection as monitor
from arriero.worker.streams.sse_frames import MAX_FRAME_BYTES
from tests.official import anthropic, openai
from tests.worker.apis.recorded import MESSAGE, RESPONSE

Opener = Callable[..., AbstractAsyncContextManager[Any]]
Handler = Callable[[Any], Awaitable[None]]
Steps = Sequence[bytes | float]

SSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
STREAM = b'{"model":"m","stream":true}'
EVERY_S = 0.2
CHAT, COMPLETIONS = b"/v1/chat/completions", b"/v1/completions"
MESSAGES, RESPONSES = b"/v1/messages", b"/v1/responses"
COMMENT = b": hb\n\n"
PING = b'event: ping\ndata: {"type":"ping"}\n\n'


def chat(delta: dict[str, Any], finish: str | None = None, more: bytes = b"") -> bytes:
    value = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return more + b"data: %b\n\n" % json.dumps(value | {"choices": [choice]}).encode()


def stream_of(user: str) -> bytes:
    return b'{"model":"m","stream":true,"user":"%b"}' % user.encode()


HELLO = chat({"role": "assistant", "content": "Hello"})
YOU = chat({"content": " you"})
END = chat({}, "stop") + b"data: [DONE]\n\n"


def streams(*steps: bytes | float, **others: Steps) -> Handler:
    """Make an upstream that sends these pieces, with such pauses between them.

    Users who are named get others.
    """

    async def handler(exchange: Any) -> None:
        await exchange.stream.send_all(SSE_HEAD)
        for step in others.get(json.loads(exchange.body).get("user"), steps):
            if isinstance(step, bytes):
                await exchange.stream.send_all(step)
            else:
                await trio.sleep(step)
        await exchange.stream.aclose()

    return handler


def repeated(times: int, *steps: bytes | float) -> list[bytes | float]:
    return [*steps] * times


@pytest.fixture
def opened(tmp_path: Path, kit: Any, monkeypatch: pytest.MonkeyPatch) -> Opener:
    """Opens a rig whose worker looks around more often than others do."""
    monkeypatch.setattr(monitor, "TICK_S", 0.1)

    def open_it(handler: Handler, **options: Any) -> Any:
        settings = {"models": (ModelRoute(model="m"),), "heartbeat_s": EVERY_S} | options
        return kit.open_rig(tmp_path, handler, **settings)

    return open_it


class Piece(NamedTuple):
    """What was written at a time."""

    at: float
    data: bytes


async def listen(rig: Any, request: bytes) -> list[Piece]:
    """Send `request` and return the chunks of the answer's body, as they come."""
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
                buffer = rest[length + 2 :]
                continue
            more = await stream.receive_some()
            assert more, (pieces, buffer)
            buffer += more


async def listen_to_all(rig: Any, requests: dict[Any, bytes]) -> dict[Any, bytes]:
    """Send all requests at a time, and return the bodies of the answers."""
    bodies: dict[Any, bytes] = {}

    async def ask(name: Any, request: bytes) -> None:
        bodies[name] = joined(await listen(rig, request))

    async with trio.open_nursery() as nursery:
        for name, request in requests.items():
            nursery.start_soon(ask, name, request)
    return bodies


async def record_of(rig: Any, count: int = 1) -> RequestRecord:
    return await rig.record(count)  # type: ignore[no-any-return]


def joined(pieces: list[Piece]) -> bytes:
    return b"".join(piece.data for piece in pieces)


async def test_a_silent_upstream_is_covered_by_one_comment_in_each_interval(
    opened: Opener, kit: Any
) -> None:
    async with opened(streams(HELLO, 1.7 * EVERY_S, YOU, 10 * EVERY_S, END)) as rig:
        pieces = await listen(rig, kit.post(STREAM))
        record = await record_of(rig)

    second = next(number for number, piece in enumerate(pieces) if piece.data == YOU)
    silence = pieces[second:]
    assert 8 <= len(silence) - 2 <= 10
    assert all(piece.data == COMMENT for piece in silence[1:-1])
    gaps = [later.at - sooner.at for sooner, later in itertools.pairwise(silence[:-1])]
    assert min(gaps) >= 0.9 * EVERY_S
    assert sorted(gaps)[len(gaps) // 2] <= 1.2 * EVERY_S
    assert joined(pieces).replace(COMMENT, b"") == HELLO + YOU + END
    assert record.heartbeats == len(pieces) - 3


async def test_a_stream_that_is_not_silent_has_no_heartbeat(opened: Opener, kit: Any) -> None:
    frames = {"speaks": YOU, "lives": b":\n\n"}
    steps: dict[str, Steps] = {
        user: [*repeated(12, frame, 0.1), END] for user, frame in frames.items()
    }
    async with opened(streams(**steps), heartbeat_s=0.8) as rig:
        bodies = await listen_to_all(rig, {user: kit.post(stream_of(user)) for user in frames})

    assert bodies == {user: frame * 12 + END for user, frame in frames.items()}


@pytest.mark.parametrize(
    ("mode", "first"),
    [("comment", b": m: "), ("heartbeat", b'"delta":{}'), ("reasoning", b"swap-progress:")],
)
async def test_a_stream_that_waits_for_its_model_begins_with_a_sign_of_life(
    opened: Opener, kit: Any, mode: str, first: bytes
) -> None:
    async with opened(streams(HELLO, END), progress_delay_s=0.4) as rig:
        rig.grants = False
        async with await rig.connect() as stream:
            began = trio.current_time()
            await stream.send_all(kit.post(STREAM, b"X-Swap-Progress: %b" % mode.encode()))
            got = await stream.receive_some()
            committed = trio.current_time() - began
            assert got.startswith(b"HTTP/1.1 200")
            assert first in got.partition(b"\r\n\r\n")[2]  # it came along with the head
            want = await rig.heard(Want)
            while got.count(first if mode != "reasoning" else b'"delta":{}') < 4:
                got += await stream.receive_some()
            waited = trio.current_time() - began
            rig.grant(want)
            got += await kit.read_to_end(stream)

    assert 0.4 <= committed <= 0.6 + 0.4  # the last for a busy machine
    assert waited >= 0.4 + 3 * 0.9 * EVERY_S
    assert kit.unchunk(got).endswith(HELLO + END)


async def test_nothing_stands_in_the_middle_of_a_frame(opened: Opener, kit: Any) -> None:
    begins, ends = YOU[:20], YOU[20:]
    async with opened(streams(HELLO, begins, 4 * EVERY_S, ends, END)) as rig:
        pieces = await listen(rig, kit.post(STREAM))

    assert YOU in joined(pieces)
    beats = [number for number, piece in enumerate(pieces) if piece.data == COMMENT]
    assert len(beats) >= 2
    assert beats[-1] < [YOU in piece.data for piece in pieces].index(True)
    assert joined(pieces).replace(COMMENT, b"") == HELLO + YOU + END


async def test_a_frame_that_is_passed_raw_is_left_alone_until_its_end(
    opened: Opener, kit: Any
) -> None:
    large = chat({"content": "x" * MAX_FRAME_BYTES})
    begins, ends = large[:-20], large[-20:]
    async with opened(streams(begins, 3 * EVERY_S, ends, 3 * EVERY_S, END)) as rig:
        body = joined(await listen(rig, kit.post(STREAM)))

    assert body.startswith(large)
    assert body[len(large) :].replace(COMMENT, b"") == END
    assert body.count(COMMENT) >= 1


def ask_openai(port: int, **more: Any) -> tuple[str, int]:
    """Return the text, and how many chunks there were."""
    with openai.OpenAI(
        base_url=f"http://127.0.0.1:{port}/v1", api_key="k", max_retries=0
    ) as client:
        chunks = list(client.chat.completions.create(model="m", messages=[], stream=True, **more))
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks), len(chunks)


async def test_after_the_id_of_an_event_a_heartbeat_has_no_blank_line(
    opened: Opener, kit: Any
) -> None:
    """openai-python would take the blank line for an event, and fail at one without data."""
    upstream: Steps = [b"id: 1\n" + HELLO, 3 * EVERY_S, b"id: 2\n" + YOU, 3 * EVERY_S, END]
    async with opened(streams(*upstream)) as rig:
        body = joined(await listen(rig, kit.post(STREAM)))
        text, chunks = await trio.to_thread.run_sync(ask_openai, rig.port)

    assert COMMENT not in body
    assert body.count(b": hb\n") >= 3
    assert body.replace(b": hb\n", b"") == b"".join(
        step for step in upstream if isinstance(step, bytes)
    )
    assert (text, chunks) == ("Hello you", 3)


async def test_without_an_interval_there_is_no_heartbeat_ever(opened: Opener, kit: Any) -> None:
    answers = {CHAT: HELLO + END, MESSAGES: MESSAGE, RESPONSES: RESPONSE}
    steps: dict[str, Steps] = {
        path.decode(): list(
            itertools.chain(*((f + b"\n\n", 0.1) for f in answer.split(b"\n\n")[:-1]))
        )
        for path, answer in answers.items()
    }
    modes = (b"off", b"comment", b"heartbeat", b"reasoning")
    requests = {
        (path, mode): kit.post(stream_of(path.decode()), b"X-Swap-Progress: " + mode, path=path)
        for path in answers
        for mode in modes
    }
    bodies: dict[Any, bytes] = {}
    async with opened(streams(**steps), heartbeat_s=0.0, progress_delay_s=0.0) as rig:
        rig.grants = False

        async def ask() -> None:
            bodies.update(await listen_to_all(rig, requests))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await rig.heard(Want, len(requests))
            await trio.sleep(0.3)  # enough for whoever is wrong
            for message in tuple(rig.received):
                if isinstance(message, Want):
                    rig.grant(message)
        records = [await record_of(rig, count + 1) for count in range(len(requests))]

    for (path, mode), body in bodies.items():
        if mode == b"reasoning":
            assert b"swap-progress: m: queued" in body  # lines are no heartbeats
            assert b"\n:" not in body
            assert b"ping" not in body
        else:
            assert body == answers[path]
    assert {record.heartbeats for record in records} == {0}


async def test_an_answer_that_is_no_stream_is_json_and_nothing_else(
    opened: Opener, kit: Any
) -> None:
    async def slow(exchange: Any) -> None:
        await trio.sleep(0.5)
        await kit.answer_json(exchange)

    async with opened(slow, heartbeat_s=0.1, progress_delay_s=0.0) as rig:
        answer = await rig.ask(kit.post(b'{"model":"m"}', b"X-Swap-Progress: reasoning"))

    assert answer.endswith(b'\r\n\r\n{"hello":"x"}')
    assert b"Content-Type: application/json\r\n" in answer


def ask_anthropic(port: int) -> str:
    with (
        anthropic.Anthropic(
            base_url=f"http://127.0.0.1:{port}", api_key="k", max_retries=0
        ) as client,
        client.messages.stream(model="m", max_tokens=8, messages=[]) as stream,
    ):
        return stream.get_final_text()


async def test_a_silent_message_has_pings_and_its_official_client_does_not_mind(
    opened: Opener, kit: Any
) -> None:
    frames = [frame + b"\n\n" for frame in MESSAGE.split(b"\n\n")[:-1]]
    steps: list[bytes | float] = [step for frame in frames for step in (frame, 0.0)]
    for place in (1, 5, 9):  # at its beginning, within a block, and near its end
        steps[place] = 2.5 * EVERY_S
    async with opened(streams(*steps)) as rig:
        pieces = await listen(rig, kit.post(STREAM, path=MESSAGES))
        text = await trio.to_thread.run_sync(ask_anthropic, rig.port)

    assert joined(pieces).count(PING) >= 3
    assert joined(pieces).replace(PING, b"") == MESSAGE
    assert text == ' mule \u2713 "index":0'


async def test_in_the_mode_off_nothing_is_said_and_in_comment_only_comments(
    opened: Opener, kit: Any
) -> None:
    paths = (CHAT, COMPLETIONS, MESSAGES, RESPONSES)
    requests = {
        (path, mode): kit.post(STREAM, b"X-Swap-Progress: " + mode, path=path)
        for path in paths
        for mode in (b"off", b"comment")
    }
    upstream = b": up\n\n"  # ends in no language
    async with opened(streams(upstream, 3.5 * EVERY_S)) as rig:
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
async def test_an_upstream_that_only_says_that_it_lives_has_stalled(
    opened: Opener, kit: Any, path: bytes, frames: bytes, sign: bytes
) -> None:
    signs: list[bytes | float] = [step for _ in range(100) for step in (sign, 0.1)]
    async with opened(streams(frames or sign, *signs), upstream_stall_s=LIMIT_S) as rig:
        began = trio.current_time()
        pieces = await listen(rig, kit.post(STREAM, path=path))
        took = trio.current_time() - began
        record = await record_of(rig)
        await rig.upstream.closed.wait()

    assert LIMIT_S - 0.1 <= took <= LIMIT_S + 1.0
    assert joined(pieces).count(b'"error":') == 1
    assert b"the model's server said nothing for too long" in joined(pieces)
    assert (record.outcome, record.error_code) == ("timeout", "upstream_timeout")


async def test_an_upstream_that_says_nothing_at_all_is_given_up(opened: Opener, kit: Any) -> None:
    async with opened(streams(HELLO, 60.0), upstream_idle_s=LIMIT_S) as rig:
        began = trio.current_time()
        pieces = await listen(rig, kit.post(STREAM))
        took = trio.current_time() - began
        record = await record_of(rig)

    assert took <= LIMIT_S + 1.0
    assert b'"code":"upstream_timeout"' in joined(pieces)
    assert record.outcome == "timeout"


async def test_data_behind_a_sign_of_life_are_data(opened: Opener, kit: Any) -> None:
    signs = {"comment": b":\n\n", "ping": PING, "crlf": b": a\r\n\r\n"}
    steps: dict[str, Steps] = {
        user: [*repeated(8, sign + YOU, 0.15), END] for user, sign in signs.items()
    }
    requests = {user: kit.post(stream_of(user), b"X-Swap-Progress: off") for user in signs}
    async with opened(streams(**steps), upstream_stall_s=LIMIT_S) as rig:
        bodies = await listen_to_all(rig, requests)

    assert bodies == {user: (sign + YOU) * 8 + END for user, sign in signs.items()}


async def test_a_time_out_is_no_matter_to_the_next_request_of_the_connection(
    opened: Opener, kit: Any
) -> None:
    async def handler(exchange: Any) -> None:
        steps = (HELLO, YOU) if exchange.number else (HELLO, 60.0)
        await streams(*steps)(exchange)

    async with opened(handler, upstream_idle_s=LIMIT_S) as rig, await rig.connect() as stream:
        await stream.send_all(kit.post(STREAM, close=False))
        got = b""
        while not got.endswith(b"0\r\n\r\n"):
            got += await stream.receive_some()
        await stream.send_all(kit.post(STREAM))
        second = await kit.read_to_end(stream)

    assert b'"code":"upstream_timeout"' in got
    assert b'"code":"upstream_truncated"' in second  # and not the same once more


# --- one writer at a time -------------------------------------------------------------------------


async def test_no_heartbeat_may_go_while_the_stream_itself_is_writing(
    opened: Opener, kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sends = 0
    send = monitor.Connection.send

    async def checked(conn: monitor.Connection, data: bytes) -> None:
        nonlocal sends
        assert not any(beat.may and not beat.over for *_, beat in conn.monitor._beats)
        sends += 1
        await send(conn, data)

    monkeypatch.setattr(monitor.Connection, "send", checked)
    prompt = chat({"role": "assistant", "content": None})
    parts = [
        prompt.replace(
            b'"model"',
            b'"prompt_progress":{"total":9,"cache":0,"processed":%d,"time_ms":1},"model"' % n,
        )
        for n in range(1, 10)
    ]
    steps: list[bytes | float] = [step for part in parts for step in (part, 0.1)]
    async with opened(streams(*steps, HELLO, 0.7, YOU, END), progress_delay_s=0.0) as rig:
        pieces = await listen(rig, kit.post(STREAM, b"X-Prefill-Progress: event"))

    assert joined(pieces).count(b"event: prefill_progress") >= 2
    assert COMMENT in joined(pieces)
    assert sends >= 4
