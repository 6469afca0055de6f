"""One model request, and the ways to answer its client. The bytes are made elsewhere."""

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import trio

from arriero.protocol.worker_config import ModelRoute, PeerRoute, WorkerConfig

from ..accounting.account import Account
from ..accounting.usage_headers import may_have_trailers
from ..apis.base.api import Api
from ..apis.base.dialect import Dialect, Mode, StreamContext
from ..apis.error_response import error_answer
from ..apis.routes import Route
from ..apis.turns.dialect import TurnDialect
from ..connections.connection import Connection, HeartbeatTimer
from ..errors import RelayError
from ..http.chunked import chunk
from ..http.cors import answer_lines
from ..http.header_rules import CompiledRules
from ..http.request_head import RequestHead
from ..json.spans import Member
from ..progress.model_view import ModelView
from ..progress.modes import DELAY_S, choose_mode
from ..progress.prefill import Phase, PrefillProgress
from ..progress.status_stream import StatusStream
from ..streams.aws_event_stream import MessageSplitter
from ..streams.chunk_filter import ChunkFilter
from ..streams.merge import MergingSplitter
from ..streams.sse_frames import FrameSplitter
from ..upstreams.heads import EARLY_STREAM_FIELDS, NO_BUFFERING, OK_LINE, ResponseHead
from .frame_pipeline import FramePipeline
from .upload import Upload

# Seconds of silence before a client is told of its prompt, as it has asked for.
_PREFILL_DELAY_S = 1.0

# Between two blanks for a client that waits for JSON.
_BLANK_S = 10.0

_BLANKS_FIELDS: Final = b"Content-Type: application/json\r\nCache-Control: no-cache\r\n"


Splitter: TypeAlias = FrameSplitter | MergingSplitter | MessageSplitter


class ResponseCut(Exception):
    """The answer cannot be completed, and only a cut connection can say so."""


def own_lines(
    account: Account,
    config: WorkerConfig,
    head: RequestHead,
    names: frozenset[bytes] = frozenset(),
) -> bytes:
    """Return what all answers have: an id, and what browsers want to see.

    Args:
        account: Of the request.
        config: In force when it came.
        head: Of the request.
        names: Fields that the answer has already.
    """
    lines = account.request_id_line
    if config.cors is not False and head.origin is not None:
        lines += answer_lines(head.origin, config.cors, names)
    return lines


@dataclass(slots=True, eq=False, kw_only=True)
class Call:
    """One model request.

    Attributes:
        conn: Where it came from.
        head: Its head.
        body: What goes upstream, before it is edited; empty with an `upload`.
        outline: What is read of the body; see `LargeBody`.
        members: Where the members of a long body are.
        upload: A body that is passed on as it comes.
        target: Path and query that go upstream.
        way: What its path says.
        route: The model that it names.
        peer: Where that is, if it is not here.
        model: The model's name as the client wrote it.
        stream: It wants a stream.
        close: Its connection ends with the answer.
        config: The configuration when it came.
        rules: What is changed in the head of its answer; None for nothing.
        account: Its numbers.
        caller: Who asks, as a digest.
        prefill: Tells of its prompt; None if that was not asked for.
        turns: Tells it in the events of a turn; None if that was not asked for.
        waiting: What it is told while it waits; None for one that never had to, or is no stream.
        mode: How a stream is told that it lives.
        has_waited: It has waited for its model, perhaps with thousands of others.
        begun: Something of the answer was sent.
        committed: It was begun before the upstream had said anything.
    """

    conn: Connection
    head: RequestHead
    body: bytes
    target: bytes
    way: Route
    route: ModelRoute
    model: str
    stream: bool
    close: bool
    config: WorkerConfig
    account: Account
    outline: bytes = b""
    members: Sequence[Member] | None = None
    upload: Upload | None = None
    peer: PeerRoute | None = None
    rules: CompiledRules | None = None
    caller: str = ""
    prefill: PrefillProgress | None = None
    turns: TurnDialect | None = None
    waiting: StatusStream | None = None
    mode: Mode = "off"
    has_waited: bool = False
    begun: bool = False
    committed: bool = False
    _speaks_from: float = math.inf  # of the prompt
    _blank_at: float = math.inf
    _beat: HeartbeatTimer | None = None
    _beats: int = 0
    _dialect: Dialect | None = None

    def __post_init__(self) -> None:
        self.account.keeper.stream = self.stream
        if self.prefill is not None:
            delay_s = self.config.progress_delay_s
            self._speaks_from = trio.current_time() + (
                _PREFILL_DELAY_S if delay_s is None else delay_s
            )

    @property
    def api(self) -> Api:
        """The API that it speaks."""
        return self.way.api

    @property
    def is_replayable(self) -> bool:
        """Whether its body can be sent once more."""
        return self.upload is None or self.upload.replayable

    @property
    def is_told(self) -> bool:
        """Whether its API has words for a client that waits."""
        return self.stream and not self.api.is_silent

    @property
    def gets_blanks(self) -> bool:
        """Whether a client that waits for JSON hears that it is alive."""
        return (
            self.config.nonstream_blanks
            and not self.stream
            and not self.api.is_silent
            and self.upload is None
        )

    @property
    def speaks(self) -> bool:
        """Whether it may be told something at any time until the upstream's answer begins."""
        return self.committed or self.prefill is not None

    @property
    def has_trailers(self) -> bool:
        """Whether numbers follow after a stream."""
        return (
            self.config.trailers
            and self.stream
            and may_have_trailers(
                "1.1" if self.head.http11 else "1.0", chunked=self.head.http11, bodyless=False
            )
        )

    # --- heads ---------------------------------------------------------------------------------

    def extra_lines(self, head: ResponseHead | None = None, *, trailers: bool = False) -> bytes:
        """Return what the head of its answer has besides the upstream's fields."""
        names = head.names if head is not None and self.head.origin is not None else frozenset()
        lines = own_lines(self.account, self.config, self.head, names)
        if self.waiting is not None:
            lines += b"X-Swap-Progress: %b\r\n" % self.mode.encode("ascii")
        if trailers:
            lines += self.account.trailer_declaration()
        return lines

    def see_head(self, head: ResponseHead) -> None:
        """Take note of the head of the upstream's answer."""
        if not self.committed:
            self.account.keeper.status = head.status
        for name, value in head.counts:
            self.account.take_field(name, value)

    def build_head(
        self, head: ResponseHead, *, framing: bytes, extra: bytes, content_type: bytes | None = None
    ) -> bytes:
        """Return the head of the answer as the client gets it; see `ResponseHead.build`."""
        return head.build(
            framing=framing,
            extra=extra,
            close=self.close,
            rules=self.rules,
            content_type=content_type,
        )

    def build_stream_head(self, head: ResponseHead) -> bytes:
        """Return the same for a stream, of which nothing was sent before."""
        self.begun = True
        framing = b"Transfer-Encoding: chunked\r\n" if self.head.http11 else b""
        extra = self.extra_lines(head, trailers=self.has_trailers) + head.stream_lines
        content_type = self.turns.content_type if self.turns is not None else None
        return self.build_head(head, framing=framing, extra=extra, content_type=content_type)

    # --- waiting -------------------------------------------------------------------------------

    def start_waiting(self) -> None:
        """Note that it has to wait from now on."""
        now = trio.current_time()
        config = self.config
        if not self.is_told:
            if self.gets_blanks:
                self._blank_at = min(self._blank_at, now + _BLANK_S)
            return
        delay_s = config.progress_delay_s
        if self.waiting is not None:
            self.waiting.on_wait_again()
            return
        self._choose_mode()
        self.waiting = StatusStream(
            mode=self.mode,
            dialect=self._speak(),
            model=self.model,
            now=now,
            delay_s=DELAY_S[self.mode] if delay_s is None else delay_s,
            heartbeat_s=config.heartbeat_s or math.inf,
            marker=config.marker,
            details=config.details or self.turns is not None,
        )

    def _choose_mode(self) -> None:
        if self.turns is not None:
            self.mode = "reasoning"
            return
        self.mode = choose_mode(
            self.head.mode, self.route, self.api, stream=True, body=self.outline
        )

    def next_deadline(self) -> float:
        """Return when `tell` has something to do, if nothing changes before."""
        due = self._blank_at
        if self.waiting is not None:
            due = min(due, self.waiting.next_deadline())
        if self.prefill is not None:
            due = min(due, max(self.prefill.next_deadline(), self._speaks_from))
        return due

    @property
    def step(self) -> int:
        """After how many percent there may be something to tell; 0 for never."""
        return self.waiting.step if self.waiting is not None else 0

    async def tell(self, view: ModelView) -> None:
        """Send what is due to a client that waits.

        Raises:
            ClientGone: The client has left.
        """
        if words := self._words(view):
            await self.conn.send(self._as_answer(words))

    def tell_soon(self, view: ModelView) -> bool:
        """Send what is due to a client that waits, for a moment at which nobody else sends.

        Returns:
            Whether the client has all that it was told before. Otherwise it is told nothing more
            than it has to read already.
        """
        if not self.conn.catch_up():
            return False
        if words := self._words(view):
            self.conn.send_or_keep(self._as_answer(words))
        return True

    def _words(self, view: ModelView) -> bytes:
        now = trio.current_time()
        words = b""
        if self.waiting is not None:
            words = b"".join(self.waiting.on_time(now, view))
        if self.prefill is not None and now >= self._speaks_from:
            queued = view.stage in {"queued", "draining", "stopping"}
            phase: Phase = "prefill" if view.stage == "ready" else "loading"
            if queued:
                phase = "queued"
            words += self.prefill.on_phase(now, phase, view.ahead if queued else None)
            words += self.prefill.on_time(now)
        if now >= self._blank_at:
            self._blank_at = now + _BLANK_S
            words = b" "
        return words

    async def tell_ready(self) -> None:
        """Say the last word of a stream that waited.

        Raises:
            ClientGone: The client has left.
        """
        if self.waiting is not None:
            words = b"".join(self.waiting.on_ready(trio.current_time()))
            if words:
                await self.conn.send(self._as_answer(words))

    def _as_answer(self, words: bytes) -> bytes:
        """Return `words` as they are sent, with the head of the answer before the first."""
        data = chunk(words) if self.head.http11 else words
        self.account.keeper.bytes_out += len(words)
        if not self.committed:
            self.begun = self.committed = True
            self.account.keeper.status = 200
            fields = EARLY_STREAM_FIELDS if self.stream else _BLANKS_FIELDS
            if self.turns is not None:
                fields = b"Content-Type: %b\r\n%b" % (self.turns.content_type, NO_BUFFERING)
            data = b"%b%b%b%b%b\r\n%b" % (
                OK_LINE,
                fields,
                self.extra_lines(trailers=self.has_trailers),
                b"Transfer-Encoding: chunked\r\n" if self.head.http11 else b"",
                b"Connection: close\r\n" if self.close else b"",
                data,
            )
        return data

    # --- the upstream's stream -----------------------------------------------------------------

    def open_passage(self, *, usage: bool, progress: bool) -> FramePipeline:
        """Return what its frames go through.

        Args:
            usage: The upstream was asked for its usage in the client's name.
            progress: The same for the progress of the prompt.
        """
        lines = progress and self.prefill is None
        return FramePipeline(
            self.account,
            trio.current_time(),
            chunks=ChunkFilter(usage=usage, progress=progress) if usage or progress else None,
            prefill=self.prefill,
            waiting=self.waiting if lines else None,
        )

    def splitter(self, pipeline: FramePipeline, head: ResponseHead) -> Splitter:
        """Return what passes the stream of the upstream on: as it is, or merged with ours."""
        if head.is_event_stream:
            return MessageSplitter(
                look=lambda message: pipeline.look_at(message, trio.current_time())
            )
        dialect = self._speak() if self.turns is not None or self.waits_merged else None
        if dialect is not None and dialect.merge is not None:
            return MergingSplitter(
                dialect.merge, look=lambda frame: pipeline.look(frame, trio.current_time())
            )
        return FrameSplitter()

    @property
    def waits_merged(self) -> bool:
        """Whether the waiting has begun a stream that the upstream's goes on with."""
        return self.waiting is not None and self.waiting.committed and self.mode != "comment"

    def start_beat(self, pipeline: FramePipeline, splitter: Splitter) -> HeartbeatTimer | None:
        """Break the silence of the upstream's stream from now on; None if that is not wanted."""
        if not self.is_told or not self.config.heartbeat_s:
            return None
        if self.waiting is None:
            self._choose_mode()
        if self.mode == "off":
            return None

        def send() -> None:
            if splitter.at_boundary:
                frame = self._speak().midway_heartbeat(pipeline.has_ids)
                if self.mode == "comment" and frame[:1] != b":":
                    frame = b": hb\n\n"
                if frame and self.conn.send_soon(chunk(frame) if self.head.http11 else frame):
                    self._beats += 1

        self._beat = HeartbeatTimer(self.config.heartbeat_s, trio.current_time(), send)
        self.conn.monitor.add_beat(self._beat)
        return self._beat

    # --- the end -------------------------------------------------------------------------------

    async def fail(self, error: RelayError) -> None:
        """End the answer with `error`, in the way that is still possible.

        Raises:
            ClientGone: The client has left.
            ResponseCut: No way is left.
        """
        self.account.keeper.failed(error)
        if not self.begun:
            self.begun = True
            await self.conn.send(
                error_answer(error, close=self.close, extra=self.extra_lines(), api=self.api)
            )
        elif self.stream:
            await self.end_stream(self.failure(error))
        else:
            raise ResponseCut

    def failure(self, error: RelayError, heard: bytes = b"") -> bytes:
        """Return the last frames of a stream that ends with `error`; see `Dialect.failure`."""
        self.account.keeper.failed(error)
        return self._speak().failure(error, heard)

    def interrupted(self, heard: bytes) -> bytes:
        """Return the last frames of a stream that its client has cancelled."""
        asked = self.turns is None and self.api.wants_usage(self.outline)
        return self._speak().interrupted(heard, self.account.usage, asked_usage=asked)

    def stop_beating(self) -> None:
        """Note that the stream has ended; may be called again."""
        if self._beat is not None:
            self._beat.over = True

    def count_heartbeats(self) -> None:
        """Note the signs of life in the account."""
        told = self.waiting.heartbeats if self.waiting is not None else 0
        self.account.keeper.heartbeats = told + self._beats

    def finish_turn(self) -> bytes:
        """Return the last events of a turn; nothing for all other streams."""
        return self.turns.finish() if self.turns is not None else b""

    def last_chunk(self, trailers: tuple[bytes, ...] | list[bytes] = ()) -> bytes:
        """Return the end of a chunked body, with the upstream's trailers and ours."""
        lines = b"".join(trailers)
        if self.has_trailers:
            lines += self.account.trailer_lines()
        return b"0\r\n%b\r\n" % lines

    async def end_stream(self, frames: bytes) -> None:
        """Send the last frames of a stream and its good end.

        Raises:
            ClientGone: The client has left.
        """
        self.account.keeper.bytes_out += len(frames)
        if self.head.http11:
            frames = (chunk(frames) if frames else b"") + self.last_chunk()
        if frames:
            await self.conn.send(frames)

    def _speak(self) -> Dialect:
        if self._dialect is None:
            self._dialect = self.turns or self.api.dialect(
                StreamContext(
                    mode=self.mode,
                    model=self.model,
                    ident=os.urandom(12).hex(),
                    created=int(time.time()),
                    body=self.outline,
                )
            )
        return self._dialect
