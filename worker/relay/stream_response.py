"""Passes a stream of events on, frame by frame."""

import math
from typing import Final, TypeAlias

import trio

from ..accounting.response_reader import read_frames
from ..apis.chat.chunk_filter import ChunkFilter
from ..connections.connection import HeartbeatTimer, Wakeup
from ..connections.stream import SocketStream, StreamBroken
from ..errors import (
    ClientGone,
    RelayError,
    UpstreamDied,
    UpstreamSilent,
    UpstreamTruncated,
    from_verdict,
)
from ..http.chunked import chunk
from ..progress.prefill import PrefillProgress
from ..streams.aws_event_stream import MessageSplitter
from ..streams.merge import MergingSplitter
from ..streams.sse_frames import FrameSplitter, completed, first_boundary
from ..streams.stream_end import EndWatcher
from .exchange import Exchange
from .frame_pipeline import FramePipeline
from .response_writer import ResponseCut
from .send import UpstreamResponse

# Reads of a stream by its own task. What goes on longer is read by callbacks, which cost something
# to begin and to end.
_FIRST_READS: Final = 2

# Small pieces that follow each other faster than this would better be read together. No model
# writes two thousand tokens a second to one client; replays, caches and load tests do. Larger
# pieces gain nothing from waiting.
_FAST_S: Final = 0.0005
_SMALL_BYTES: Final = 2048

Splitter: TypeAlias = FrameSplitter | MergingSplitter | MessageSplitter


async def relay_stream(exchange: Exchange, response: UpstreamResponse) -> None:
    """Pass whole frames on; one read becomes one chunk and one write."""
    relay = _StreamRelay(exchange, response)
    try:
        await relay.run()
    finally:
        relay.close()


class _StreamRelay:
    """One stream on its way, from its first read to its last write.

    After the first reads its task sleeps: callbacks pass on what comes, as long as the client takes
    all of it.

    Args:
        exchange: Whose stream it is.
        response: What is passed on.
    """

    __slots__ = (
        "_account", "_beat", "_body", "_conn", "_end_s", "_exchange", "_failure", "_has_ended",
        "_http11", "_idle_at", "_is_broken", "_look_at", "_out", "_passes", "_pipeline", "_read_at",
        "_reads", "_response", "_splitter", "_stall_s", "_wakeup", "_watcher", "_writer",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, response: UpstreamResponse) -> None:
        request, writer = exchange.request, exchange.writer
        self._exchange = exchange
        self._response = response
        self._writer = writer
        self._account = exchange.account
        self._conn = writer.conn
        self._body = response.body
        self._http11 = request.head.http11
        self._stall_s = request.config.upstream_stall_s
        self._end_s = request.config.end_silence_s
        self._idle_at = self._look_at = math.inf
        self._pipeline = _open_pipeline(exchange, response)
        self._splitter = _open_splitter(exchange, response, self._pipeline)
        self._passes = isinstance(self._splitter, FrameSplitter)
        end = request.api.stream_end
        self._watcher = EndWatcher(end) if end is not None else None
        self._out = b"" if writer.begun else writer.stream_head(response.head)
        self._beat = _start_heartbeats(exchange, self._pipeline, self._splitter)
        self._reads = 0
        self._read_at = 0.0  # by a callback
        self._has_ended = response.body.complete
        self._is_broken = False  # what came makes no sense
        self._failure: Exception | None = None  # of a callback
        self._wakeup = Wakeup()  # from the callbacks

    def close(self) -> None:
        """End the heartbeats, and be asked for patience no more."""
        self._conn.patience = None
        if self._beat is not None:
            self._beat.end()

    async def run(self) -> None:
        """Pass the stream on to its end.

        Raises:
            ClientGone: The client has left.
            ResponseCut: The stream is not whole, and no frame can say so.
        """
        response, progress = self._response, self._exchange.progress
        prefill = progress.prefill if progress is not None else None
        self._conn.patience = self._more_patience
        if response.data:
            self._take(response.data, trio.current_time())
        while not self._has_ended:
            await self._send()
            self._may_beat(True)
            transport = response.link.transport
            if prefill is not None and not self._account.has_token:
                data = await self._next_with_prefill(prefill)
            elif self._reads < _FIRST_READS or not isinstance(transport, SocketStream):
                self._reads += 1
                data = await response.next_bytes(until=self._next_look())
            else:
                await self._pass_on(transport)
                continue
            self._may_beat(False)
            self._take(data, trio.current_time())
        await self._finish()

    def _next_look(self) -> float:
        """Return when the upstream may have been silent for too long; see `_more_patience`."""
        self._idle_at = self._conn.monitor.now + self._response.idle_s
        first_s = min(self._end_s, self._stall_s)
        self._look_at = min(self._idle_at, self._pipeline.data_at + first_s)
        return self._look_at

    def _more_patience(self) -> float:
        """Return for how much longer the upstream's silence is borne.

        Whether a response has said why it ends is looked for only now.
        """
        told, watcher = self._writer.translator, self._watcher
        is_over = watcher is not None and (watcher.seen if told is None else told.is_complete)
        silence_s = min(self._end_s, self._stall_s) if is_over else self._stall_s
        before, until = self._look_at, min(self._idle_at, self._pipeline.data_at + silence_s)
        self._look_at = max(before, until)
        return self._look_at - before

    def _may_beat(self, may: bool) -> None:
        if self._beat is not None:
            self._beat.may = may

    def _take(self, data: bytes, now: float) -> None:
        """Add what `data` brings to what is to be sent; none is the end."""
        if not data:
            self._has_ended = True
            return
        splitter = self._splitter
        was_whole = splitter.at_boundary
        try:
            frames = splitter.push(self._body.feed(data))
        except UpstreamDied:
            self._is_broken = self._has_ended = True
            return
        self._has_ended = self._body.complete
        if frames and self._passes and splitter.at_boundary:
            if was_whole:
                frames = self._pipeline.take(frames, now)
            else:  # the end of a frame that was too long to be read
                end = first_boundary(frames)
                frames = frames[:end] + self._pipeline.take(frames[end:], now)
        if frames:
            if self._watcher is not None:
                self._watcher.look(frames)
            self._account.bytes_out += len(frames)
            self._out += chunk(frames) if self._http11 else frames

    async def _send(self) -> None:
        if self._out:
            out, self._out = self._out, b""
            await self._conn.send(out)
            if self._beat is not None:
                self._beat.wrote_at = trio.current_time()

    # --- without the task ----------------------------------------------------------------------

    async def _pass_on(self, transport: SocketStream) -> None:
        """Sleep while callbacks pass on what comes, until there is more to do than that.

        Raises:
            ClientGone: The client has left.
        """
        conn = self._conn
        conn.deadline = self._next_look()
        transport.unwatch()
        conn.monitor.readers.add(transport.fd, lambda now: self._read(transport, now))
        try:
            await self._wakeup.wait()
        finally:
            conn.monitor.readers.remove(transport.fd)
        if self._failure is not None:
            raise self._failure

    def _read(self, transport: SocketStream, now: float) -> bool:
        """Pass on what has come; return whether it was little, soon after the last time."""
        before, self._read_at = self._read_at, now
        data = None
        try:
            data = transport.receive_now()
            if data is None or self._pass_now(data, now):
                return data is not None and len(data) < _SMALL_BYTES and now - before < _FAST_S
        except StreamBroken:
            self._response.link.reset = self._has_ended = True
        except Exception as exc:  # noqa: BLE001 it is raised where the request is looked after
            if isinstance(exc, MemoryError) and data is None:
                self._reads = 0  # nothing was read yet; the other way of reading makes do with less
            else:
                self._failure = exc
        self._may_beat(False)
        self._conn.monitor.readers.remove(transport.fd)
        self._wakeup.set()
        return False

    def _pass_now(self, data: bytes, now: float) -> bool:
        """Pass `data` on; return whether that was all there is to do."""
        conn = self._conn
        self._take(data, now)
        if self._has_ended:
            return False  # with the last frames goes what is said at the end
        if self._out:
            self._out = self._out[conn.send_now(self._out) :]
            if self._beat is not None:
                self._beat.wrote_at = now
        conn.deadline = self._next_look()
        return not self._out

    # --- while the prompt is read --------------------------------------------------------------

    async def _next_with_prefill(self, prefill: PrefillProgress) -> bytes:
        """Wait for bytes, and report progress of the prompt meanwhile."""
        while True:
            with trio.move_on_at(prefill.next_deadline()):
                return await self._response.next_bytes(until=self._next_look())
            words = prefill.on_time(trio.current_time())
            if words:
                self._may_beat(False)  # a client that is slow may get these in two pieces
                self._out = self._writer.framed(words)
                await self._send()
                self._may_beat(True)

    # --- the end -------------------------------------------------------------------------------

    async def _finish(self) -> None:
        """End the response in the way in which the upstream's has ended.

        Raises:
            ClientGone: The client has left.
            ResponseCut: The stream is not whole, and no frame can say so.
        """
        writer, body, conn = self._writer, self._body, self._conn
        ending = _Ending(self._exchange, self._splitter, self._watcher, self._pipeline)
        if self._is_broken:
            await self._send()
            await writer.end_stream(ending.tail(clean=False))
            return
        if not body.complete and conn.gone:
            raise ClientGone
        if not body.complete and conn.cancelled:
            await writer.end_stream(ending.cancelled())
            return
        if isinstance(self._splitter, MessageSplitter) and (rest := self._splitter.give_up()):
            self._out += writer.framed(rest)
            await self._send()
        if not body.complete:
            await writer.end_stream(ending.tail(clean=self._response.ended_well))
            return
        tail = ending.tail(clean=True)
        self._account.bytes_out += len(tail)
        if self._http11:
            self._out += (chunk(tail) if tail else b"") + writer.last_chunk(body.trailers)
        else:
            self._out += tail
        await self._send()


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
    if writer.translator is not None or (progress is not None and progress.is_continued):
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
        whole = b""  # the last frame, if nothing but its blank line is missing
        if rest and isinstance(splitter, FrameSplitter) and splitter.at_boundary:
            whole = completed(rest) if clean else b""
            if whole:
                rest = self._pipeline.take(whole, now)
            else:
                read_frames(account, rest + b"\n\n", now)
        if watcher is None:
            if clean:
                return rest
            raise ResponseCut
        if whole or (clean and rest and watcher.may_be_cut):
            watcher.look(whole or rest)
        if clean and isinstance(splitter, MessageSplitter) and splitter.damage is not None:
            return b""  # nobody knows how such a stream ends: it is the client's to judge
        if self._is_whole(watcher):
            if clean:
                return rest + writer.finish_translation()
            # The model has said all, and was gone before the end marker that clients wait for.
            if writer.translator is None and splitter.at_boundary and watcher.missing_marker:
                return watcher.missing_marker
            return writer.finish_translation()
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
        return (rest if whole else b"") + word + writer.failure(error, watcher.sent_so_far)

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
        # what is told of a response in other words may look like its end
        translator = self._exchange.writer.translator
        return watcher.seen if translator is None else translator.is_complete
