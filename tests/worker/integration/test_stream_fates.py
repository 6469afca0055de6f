"""Streams of any timing, any cut and any death, through a real worker."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import trio
import trio.testing
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from arriero.protocol.worker_config import ModelRoute
from arriero.worker.streams.sse_frames import completed
from tests.worker.apis.recorded import MESSAGE, MESSAGE_WITH_TOOL, RESPONSE, RESPONSE_WITH_TOOL
from tests.worker.rig import QUICK, UpstreamExchange, open_rig_in, post, unchunk
from tests.worker.sse import CHAT, DONE, MESSAGES, PING, RESPONSES, chunk

SSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
COMMENT = b": hb\n\n"
LONG_S = 0.06  # longer than the silence that is broken
EVERY_S = 0.03
LIMITS = replace(QUICK, tick_s=0.02, beat_pause_s=0.005)


SAID = (
    chunk({"role": "assistant", "content": 'She said: "finish_reason":"stop" \u2713'})
    + b": a comment of its own\n\n"
    + chunk({"content": "\n\ndata: [DONE]\n\n"})
    + b'retry: 3000\nevent: note\ndata: {"of":\ndata: "nobody"}\n\n'
    + chunk({}, "stop")
    + DONE
)
WITH_IDS = SAID.replace(b'data: {"id', b'id: 7\ndata: {"id')
STREAMS = {
    CHAT: (SAID, WITH_IDS),
    MESSAGES: (MESSAGE, MESSAGE_WITH_TOOL),
    RESPONSES: (RESPONSE, RESPONSE_WITH_TOOL),
}


_ENDS = {
    CHAT: b'"finish_reason": "stop"',
    MESSAGES: b"event: message_stop\n",
    RESPONSES: b"event: response.completed\n",
}


# A response has a beginning, and a state besides its error.
_BEFORE_ERROR = {b"event: response." + it for it in (b"created", b"in_progress", b"failed")}


@dataclass(frozen=True)
class Fate:
    """What becomes of one stream.

    Attributes:
        path: Which API.
        which: Of the streams of that API.
        pieces: Where it is cut, and how long the upstream waits there.
        dies_at: How many bytes of it come.
        reset: It dies; else it ends in good order, early or not.
        mode: How the client is told that it lives.
    """

    path: bytes
    which: int
    pieces: tuple[tuple[int, float], ...]
    dies_at: int
    reset: bool
    mode: bytes

    @property
    def said(self) -> bytes:
        """The whole stream."""
        return STREAMS[self.path][self.which]

    async def play(self, stream: trio.SocketStream) -> None:
        await stream.send_all(SSE_HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        edges = sorted({(at, wait) for at, wait in self.pieces if at < self.dies_at})
        begin = 0
        for at, wait in [*edges, (self.dies_at, 0.0)]:
            if at > begin:
                piece = self.said[begin:at]
                await stream.send_all(b"%x\r\n%b\r\n" % (len(piece), piece))
            begin = at
            await trio.sleep(wait)
        if not self.reset:
            await stream.send_all(b"0\r\n\r\n")
        await stream.aclose()

    def check(self, body: bytes) -> None:
        """Compare what the client got with what was said."""
        for ours in (COMMENT, b": hb\n", PING):
            body = body.replace(ours, b"")
        whole_frames = self.said[: self.said.rfind(b"\n\n", 0, self.dies_at) + 2]
        if b"\n\n" not in self.said[: self.dies_at]:
            whole_frames = b""
        rest = self.said[len(whole_frames) : self.dies_at]
        if not self.reset and (last := completed(rest)):  # but for its blank line it is there
            whole_frames, rest = whole_frames + last, b""
        assert body.startswith(whole_frames)
        tail = body[len(whole_frames) :]
        # of a stream that was cut nobody knows what the rest was to become
        if self.is_complete(whole_frames if self.reset else whole_frames + rest):
            lacks_done = self.path == CHAT and not whole_frames.endswith(DONE)
            assert tail == (DONE if lacks_done and self.reset else b"") or tail == rest
        else:
            *frames, end = tail.split(b"\n\n")
            assert end == b""
            if self.path == CHAT:
                assert frames.pop() + b"\n\n" == DONE
            *others, error = frames
            assert error.startswith((b"event: error\n", b'data: {"error":{'))
            names = {frame.partition(b"\n")[0] for frame in others}
            assert names <= (_BEFORE_ERROR if self.path == RESPONSES else set())

    def is_complete(self, came: bytes) -> bool:
        """Whether the end of the answer has come."""
        if self.path == CHAT:
            end = b'"finish_reason": "stop"'
        else:
            end = (
                b'"message_stop"}\n\n' if self.path == MESSAGES else b"event: response.completed\n"
            )
        at = came.rfind(end)
        return at >= 0 and (self.path == CHAT or b"\n\n" in came[at:])


@st.composite
def fates(draw: st.DrawFn) -> Fate:
    path = draw(st.sampled_from(list(STREAMS)))
    which = draw(st.integers(0, 1))
    length = len(STREAMS[path][which])
    places = st.integers(0, length)
    waits = st.sampled_from([0.0, 0.0, 0.001, LONG_S])
    pieces = draw(st.lists(st.tuples(places, waits), max_size=8))
    return Fate(
        path=path,
        which=which,
        pieces=tuple(pieces),
        dies_at=draw(st.just(length) | places),
        reset=draw(st.booleans()),
        mode=draw(st.sampled_from([b"heartbeat", b"comment", b"off", b"reasoning"])),
    )


async def play_all(found: list[Fate]) -> int:
    """Play streams beside each other; return how many heartbeats there were."""

    async def handler(exchange: UpstreamExchange) -> None:
        await found[json.loads(exchange.body)["user"]].play(exchange.stream)

    bodies: dict[int, bytes] = {}

    with tempfile.TemporaryDirectory() as folder:
        models = (ModelRoute(model="m"),)
        async with open_rig_in(
            Path(folder),
            handler,
            limits=LIMITS,
            models=models,
            heartbeat_s=EVERY_S,
            progress_delay_s=30.0,  # on a slow machine as well, nobody waits so long for a model
        ) as rig:

            async def ask(number: int) -> None:
                fate = found[number]
                asked = b'{"model":"m","stream":true,"user":%d}' % number
                request = post(asked, b"X-Swap-Progress: " + fate.mode, path=fate.path)
                bodies[number] = await rig.ask(request)

            async with trio.open_nursery() as nursery:
                for number in range(len(found)):
                    nursery.start_soon(ask, number)
            beats = 0
            for number, fate in enumerate(found):
                assert bodies[number].startswith(b"HTTP/1.1 200 ")
                body = unchunk(bodies[number])
                beats += body.count(b": hb\n") + body.count(PING)
                fate.check(body)
            with trio.fail_after(30):  # one that was kept is closed in a second
                while rig.upstream.open_connections:
                    await trio.testing.wait_all_tasks_blocked()  # the sentry never rests long
    return beats


@settings(
    max_examples=8,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # what hangs on time does not shrink
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(found=st.lists(fates(), min_size=12, max_size=24))
def test_any_fate_gives_whole_frames(
    found: list[Fate],
) -> None:
    trio.run(play_all, found)


def test_heartbeats_come_between_frames() -> None:
    """The property above would hold without any: here each stream waits everywhere."""
    found = []
    for path, streams in STREAMS.items():
        for which, said in enumerate(streams):
            pieces = tuple((at, LONG_S) for at in range(0, len(said), max(1, len(said) // 7)))
            found += [Fate(path, which, pieces, len(said), False, b"heartbeat")]
    assert trio.run(play_all, found) >= len(found)
