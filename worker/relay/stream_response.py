"""Passes a stream of events on, frame by frame."""

import math
from typing import TypeAlias

import trio

from ..accounting.response_reader import read_frames
from ..apis.chat.chunk_filter import ChunkFilter
from ..connections.connection import HeartbeatTimer
from ..errors import RelayError, UpstreamDied, UpstreamSilent, UpstreamTruncated, from_verdict
from ..http.chunked import chunk
from ..progress.prefill import PrefillProgress
from ..streams.aws_event_stream import MessageSplitter
from ..streams.merge import MergingSplitter
from ..streams.sse_frames import FrameSplitter, first_boundary
from ..streams.stream_end import EndWatcher
from .exchange import Exchange
from .frame_pipeline import FramePipeline
from .response_writer import ResponseCut
from .send import UpstreamResponse

# A stream of small pieces that follow each other faster than `_FAST_S` is read only now
# and then: as with the interrupts of a network card, few large reads cost a fraction of many
# small ones. No model writes two thousand tokens a second to one client; replays, caches and load
# tests do. Measured with 16 streams of 200 chunks at full speed: 0.85 of nginx's streams/s
# without, 1.15 with it. Larger pieces gain nothing from waiting.
_FAST_S = 0.0005
_SMALL_BYTES = 2048

Splitter: TypeAlias = FrameSplitter | MergingSplitter | MessageSplitter


async def relay_stream(exchange: Exchange, response: UpstreamResponse) -> None:
    """Pass whole frames on; one read becomes one chunk and one write."""
    request, writer, account = exchange.request, exchange.writer, exchange.account
    conn, body, data = writer.conn, response.body, response.data
    http11 = request.head.http11
    pipeline = _open_pipeline(exchange, response)
    splitter = _open_splitter(exchange, response, pipeline)
    passes = isinstance(splitter, FrameSplitter)
    stream_end = request.api.stream_end
    watcher = EndWatcher(stream_end) if stream_end is not None else None
    ending = _Ending(exchange, splitter, watcher, pipeline)
    prefill = exchange.progress.prefill if exchange.progress is not None else None
    out = b"" if writer.begun else writer.stream_head(response.head)
    beat = _start_heartbeats(exchange, pipeline, splitter)
    stall_s = request.config.upstream_stall_s
    now = trio.current_time()
    read_at = -math.inf
    try:
        while True:
            was_whole = splitter.at_boundary
            try:
                frames = splitter.push(body.feed(data)) if data else b""
            except UpstreamDied:
                await writer.end_stream(ending.tail(clean=False))
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
                account.bytes_out += len(frames)
                if frames:
                    out += chunk(frames) if http11 else frames
            if body.complete:
                if isinstance(splitter, MessageSplitter) and (rest := splitter.give_up()):
                    await conn.send(out + writer.framed(rest))
                    out = b""
                tail = ending.tail(clean=True)
                account.bytes_out += len(tail)
                if http11:
                    out += (chunk(tail) if tail else b"") + writer.last_chunk(body.trailers)
                else:
                    out += tail
            if out:
                await conn.send(out)
                if body.complete:
                    return
                out = b""
                if beat is not None:
                    beat.wrote_at = now
            is_fast = len(data) < _SMALL_BYTES and now - read_at < _FAST_S
            read_at = now
            stalls_at = pipeline.data_at + stall_s
            if beat is not None:
                beat.may = True
            if prefill is not None and not account.has_token:
                data = await _next_with_prefill(exchange, response, prefill, stalls_at, beat)
            else:
                data = await response.next_bytes(batch=is_fast, until=stalls_at)
            now = trio.current_time()
            if beat is not None:
                beat.may = False
            if not data:
                if conn.cancelled:
                    await writer.end_stream(ending.cancelled())
                    return
                clean = response.ended_well
                if isinstance(splitter, MessageSplitter) and (rest := splitter.give_up()):
                    await conn.send(writer.framed(rest))
                await writer.end_stream(ending.tail(clean=clean))
                return
    finally:
        if beat is not None:
            beat.over = True


async def _next_with_prefill(
    exchange: Exchange,
    response: UpstreamResponse,
    prefill: PrefillProgress,
    until: float,
    beat: HeartbeatTimer | None,
) -> bytes:
    """Wait for bytes, and report progress of the prompt meanwhile."""
    while True:
        with trio.move_on_at(prefill.next_deadline()):
            return await response.next_bytes(until=until)
        now = trio.current_time()
        words = prefill.on_time(now)
        if words:
            if beat is not None:
                beat.may = False  # a client that is slow may get these in two pieces
            await exchange.writer.conn.send(exchange.writer.framed(words))
            if beat is not None:
                beat.may = True
                beat.wrote_at = now


# --- what a stream goes through ------------------------------------------------------------------


def _open_pipeline(exchange: Exchange, response: UpstreamResponse) -> FramePipeline:
    """Return the pipeline for the frames."""
    usage, asked_progress = response.asked_usage, response.asked_progress
    progress = exchange.progress
    prefill = progress.prefill if progress is not None else None
    tells_lines = progress is not None and asked_progress and prefill is None
    return FramePipeline(
        exchange.account,
        trio.current_time(),
        chunks=ChunkFilter(usage=usage, progress=asked_progress)
        if usage or asked_progress
        else None,
        prefill=prefill,
        status=progress.status if progress is not None and tells_lines else None,
    )


def _open_splitter(
    exchange: Exchange, response: UpstreamResponse, pipeline: FramePipeline
) -> Splitter:
    """Return the splitter, which may merge the stream with ours."""
    if response.head.is_event_stream:
        return MessageSplitter(look=lambda message: pipeline.look_at(message, trio.current_time()))
    writer, progress = exchange.writer, exchange.progress
    if writer.turns is not None or (progress is not None and progress.is_continued):
        merge = writer.dialect.merge
        if merge is not None:
            return MergingSplitter(
                merge, look=lambda frame: pipeline.look(frame, trio.current_time())
            )
    return FrameSplitter()


def _start_heartbeats(
    exchange: Exchange, pipeline: FramePipeline, splitter: Splitter
) -> HeartbeatTimer | None:
    """Start heartbeats for the stream; None if none are wanted."""
    request, writer = exchange.request, exchange.writer
    heartbeat_s = request.config.heartbeat_s
    if not heartbeat_s or not request.can_be_told:
        return None
    if exchange.progress is None or exchange.progress.status is None:
        writer.choose_mode()
    if writer.mode == "off":
        return None

    def send() -> None:
        if splitter.at_boundary:
            frame = writer.dialect.midway_heartbeat(pipeline.has_ids)
            if writer.mode == "comment" and frame[:1] != b":":
                frame = b": hb\n\n"
            if frame and writer.conn.send_soon(writer.framed(frame)):
                exchange.account.heartbeats += 1

    beat = HeartbeatTimer(heartbeat_s, trio.current_time(), send)
    writer.conn.monitor.add_beat(beat)
    return beat


# --- how it ends ---------------------------------------------------------------------------------


class _Ending:
    """How one stream ends.

    Args:
        exchange: Whose stream it is.
        splitter: May keep an incomplete frame.
        watcher: Has seen all frames that were sent; None when nobody knows how such a stream ends.
        pipeline: May have a last word.
    """

    def __init__(
        self,
        exchange: Exchange,
        splitter: Splitter,
        watcher: EndWatcher | None,
        pipeline: FramePipeline,
    ) -> None:
        self._exchange = exchange
        self._splitter = splitter
        self._watcher = watcher
        self._pipeline = pipeline

    def tail(self, *, clean: bool) -> bytes:
        """Return the last bytes of a stream whose upstream has ended.

        Args:
            clean: The upstream ended its response in good order.

        Raises:
            ResponseCut: The stream is not whole, and no frame can say so.
        """
        writer, splitter, watcher = self._exchange.writer, self._splitter, self._watcher
        now = trio.current_time()
        account = self._exchange.account
        account.last_byte_at = now
        rest = splitter.rest
        if rest and isinstance(splitter, FrameSplitter) and splitter.at_boundary:
            read_frames(account, rest + b"\n\n", now)
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
                return rest + writer.finish_turn()
            # The model has said all, and was gone before the end marker that clients wait for.
            if writer.turns is None and splitter.at_boundary and watcher.missing_marker:
                return watcher.missing_marker
            return writer.finish_turn()
        if not splitter.at_boundary:
            raise ResponseCut
        word = self._pipeline.end(now)
        error: RelayError
        if writer.conn.verdict is not None:
            error = from_verdict(writer.conn.verdict)
        elif writer.conn.expired:
            error = UpstreamSilent("the model's server said nothing for too long")
        elif clean:
            error = UpstreamTruncated("the model's server ended its answer before it was complete")
        else:
            error = UpstreamDied("the model's server went away in the middle of its answer")
        return word + writer.failure(error, watcher.sent_so_far)

    def cancelled(self) -> bytes:
        """Return the last bytes of a cancelled stream.

        Only a client that has cancelled it itself gets a good end.

        Raises:
            ResponseCut: A frame was begun, or nobody knows how such a stream ends.
        """
        writer, watcher = self._exchange.writer, self._watcher
        self._exchange.account.was_cancelled()
        if watcher is None or not self._splitter.at_boundary:
            raise ResponseCut
        if writer.conn.cancelled_by_client or self._is_whole(watcher):
            return writer.interrupted(watcher.sent_so_far)
        return writer.failure(writer.conn.cancellation(), watcher.sent_so_far)

    def _is_whole(self, watcher: EndWatcher) -> bool:
        # what a turn is told of its response may look like the end of a chat
        turns = self._exchange.writer.turns
        return watcher.seen if turns is None else turns.is_complete
