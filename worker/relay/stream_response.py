"""A stream of events on its way down, frame by frame, to its good or bad end."""

import math

import trio

from ..connections.connection import HeartbeatTimer
from ..errors import RelayError, UpstreamDied, UpstreamSilent, UpstreamTruncated, from_verdict
from ..http.chunked import chunk
from ..streams.aws_event_stream import MessageSplitter
from ..streams.sse_frames import FrameSplitter, first_boundary
from ..streams.stream_end import EndWatcher
from ..upstreams.heads import ResponseBody, ResponseHead
from ..upstreams.pool import UpstreamConnection
from ..upstreams.request import UpstreamRequest
from .exchange import Call, ResponseCut, Splitter
from .frame_pipeline import FramePipeline
from .upstream_request import next_bytes

# A stream of small pieces that follow each other faster than `_FAST_S` is read only now
# and then: as with the interrupts of a network card, few large reads cost a fraction of many
# small ones. No model writes two thousand tokens a second to one client; replays, caches and load
# tests do. Measured with 16 streams of 200 chunks at full speed: 0.85 of nginx's streams/s
# without, 1.15 with it. Larger pieces gain nothing from waiting.
_FAST_S = 0.0005
_SMALL_BYTES = 2048


async def relay_stream(
    call: Call,
    link: UpstreamConnection,
    outgoing: UpstreamRequest,
    head: ResponseHead,
    answer: ResponseBody,
    data: bytes,
) -> None:
    """Pass whole frames on, byte for byte; one read becomes one chunk becomes one write."""
    conn = call.conn
    http11 = call.head.http11
    pipeline = call.open_passage(usage=outgoing.asked_usage, progress=outgoing.asked_progress)
    splitter = call.splitter(pipeline, head)
    passes = isinstance(splitter, FrameSplitter)
    stream_end = call.api.stream_end
    watcher = EndWatcher(stream_end) if stream_end is not None else None
    ending = _Ending(call, splitter, watcher, pipeline)
    keeper = call.account.keeper
    out = b""
    if not call.begun:
        out = call.build_stream_head(head)
    beat = call.start_beat(pipeline, splitter)
    stall_s = call.config.upstream_stall_s
    now = trio.current_time()
    read_at = -math.inf
    while True:
        was_whole = splitter.at_boundary
        try:
            frames = splitter.push(answer.feed(data)) if data else b""
        except UpstreamDied:
            await call.end_stream(ending.tail(clean=False))
            return
        if frames:
            if passes and splitter.at_boundary:
                if was_whole:
                    frames = pipeline.take(frames, now)
                else:  # the end of a frame that was too long to be read
                    end = first_boundary(frames)
                    frames = frames[:end] + pipeline.take(frames[end:], now)
            if watcher is not None:
                watcher.look(frames)
            keeper.bytes_out += len(frames)
            if frames:
                out += chunk(frames) if http11 else frames
        if answer.complete:
            if isinstance(splitter, MessageSplitter) and (rest := splitter.give_up()):
                out += chunk(rest) if http11 else rest
                await conn.send(out)
                out = b""
            tail = ending.tail(clean=True)
            keeper.bytes_out += len(tail)
            if http11:
                out += (chunk(tail) if tail else b"") + call.last_chunk(answer.trailers)
            else:
                out += tail
        if out:
            await conn.send(out)
            if answer.complete:
                return
            out = b""
            if beat is not None:
                beat.wrote_at = now
        is_fast = len(data) < _SMALL_BYTES and now - read_at < _FAST_S
        read_at = now
        stalls_at = pipeline.data_at + stall_s
        if beat is not None:
            beat.may = True
        if call.prefill is not None and not call.account.has_token:
            data = await _next_with_prefill(call, link, stalls_at, beat)
        else:
            data = await next_bytes(call, link, batch=is_fast, until=stalls_at)
        now = trio.current_time()
        if beat is not None:
            beat.may = False
        if not data:
            if conn.cancelled:
                await call.end_stream(ending.cancelled())
                return
            clean = answer.until_close and not link.reset and not conn.was_cut
            if isinstance(splitter, MessageSplitter) and (rest := splitter.give_up()):
                await conn.send(chunk(rest) if http11 else rest)
            await call.end_stream(ending.tail(clean=clean))
            return


async def _next_with_prefill(
    call: Call, link: UpstreamConnection, until: float, beat: HeartbeatTimer | None
) -> bytes:
    """Wait for bytes; meanwhile the client hears how far its prompt is, as it has asked for."""
    prefill = call.prefill
    assert prefill is not None
    while True:
        with trio.move_on_at(prefill.next_deadline()):
            return await next_bytes(call, link, until=until)
        now = trio.current_time()
        words = prefill.on_time(now)
        if words:
            if beat is not None:
                beat.may = False  # a client that is slow may get these in two pieces
            await call.conn.send(chunk(words) if call.head.http11 else words)
            if beat is not None:
                beat.may = True
                beat.wrote_at = now


class _Ending:
    """How one stream ends."""

    def __init__(
        self,
        call: Call,
        splitter: Splitter,
        watcher: EndWatcher | None,
        pipeline: FramePipeline,
    ) -> None:
        """Build it.

        Args:
            call: Whose answer it is.
            splitter: May keep an incomplete frame.
            watcher: Has seen all frames that were sent; None when nobody knows how such a stream
                ends.
            pipeline: May have a last word.
        """
        self._call = call
        self._splitter = splitter
        self._watcher = watcher
        self._pipeline = pipeline

    def tail(self, *, clean: bool) -> bytes:
        """Return what is still to be sent of a stream that has ended.

        Args:
            clean: The upstream ended its answer in good order.

        Raises:
            ResponseCut: The stream is not whole, and no frame can say so.
        """
        call, splitter, watcher = self._call, self._splitter, self._watcher
        now = trio.current_time()
        call.account.keeper.last_byte(now)
        rest = splitter.rest
        if rest and isinstance(splitter, FrameSplitter) and splitter.at_boundary:
            call.account.take_frames(rest + b"\n\n", now)
        if watcher is None:
            if clean:
                return rest
            raise ResponseCut
        if clean and rest and watcher.may_be_cut:
            watcher.look(rest)
        if clean and isinstance(splitter, MessageSplitter) and splitter.damage is not None:
            return b""  # nobody knows how such a stream ends: it is the client's to judge
        if self._is_whole(watcher):
            if clean:
                return rest + call.finish_turn()
            # The model has said all, and was gone before the end marker that clients wait for.
            if call.turns is None and splitter.at_boundary and watcher.missing_marker:
                return watcher.missing_marker
            return call.finish_turn()
        if not splitter.at_boundary:
            raise ResponseCut
        word = self._pipeline.end(now)
        error: RelayError
        if call.conn.verdict is not None:
            error = from_verdict(call.conn.verdict)
        elif call.conn.expired:
            error = UpstreamSilent("the model's server said nothing for too long")
        elif clean:
            error = UpstreamTruncated("the model's server ended its answer before it was complete")
        else:
            error = UpstreamDied("the model's server went away in the middle of its answer")
        return word + call.failure(error, watcher.sent_so_far)

    def cancelled(self) -> bytes:
        """Return the end of a stream that somebody has cancelled: a good one only for its client.

        Raises:
            ResponseCut: A frame was begun, or nobody knows how such a stream ends.
        """
        call, watcher = self._call, self._watcher
        call.account.keeper.was_cancelled()
        if watcher is None or not self._splitter.at_boundary:
            raise ResponseCut
        if call.conn.cancelled_by_client or self._is_whole(watcher):
            return call.interrupted(watcher.sent_so_far)
        return call.failure(call.conn.cancellation(), watcher.sent_so_far)

    def _is_whole(self, watcher: EndWatcher) -> bool:
        # what a turn is told of its answer may look like the end of a chat
        turns = self._call.turns
        return watcher.seen if turns is None else turns.is_complete
