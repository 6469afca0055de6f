"""One model request, and the ways to answer its client. Doing; the bytes are made elsewhere."""

import os
import time
from dataclasses import dataclass

import msgspec
import trio

from arriero.protocol.routes import ModelRoute, WorkerConfig

from .errors import RelayError, anthropic_error, body_of
from .head import RequestHead
from .headers import EARLY_STREAM_FIELDS, OK_LINE
from .merging import MergingSplitter
from .modes import DELAY_S, Mode, choose_mode
from .naming import asks_for_thinking
from .paths import Form
from .sentry import Connection
from .sse import FrameSplitter, chunk
from .voice import Voice
from .voices import make_voice
from .waiting import View, WaitingStream

LAST_CHUNK = b"0\r\n\r\n"


def error_answer(
    error: RelayError, *, close: bool, extra: bytes = b"", form: Form = Form.PLAIN
) -> bytes:
    """Return a whole HTTP answer that tells of `error`, in the shape of the API."""
    body = msgspec.json.encode(anthropic_error(error)) if form.is_anthropic else body_of(error)
    fields = b"".join(b"%b: %b\r\n" % field for field in error.fields)
    return (
        b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b%b%b\r\n%b"
        % (
            error.status,
            _REASONS.get(error.status, b"Error"),
            len(body),
            fields,
            extra,
            b"Connection: close\r\n" if close else b"",
            body,
        )
    )


_REASONS = {
    400: b"Bad Request",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    413: b"Content Too Large",
    417: b"Expectation Failed",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
}


@dataclass(slots=True, eq=False)
class Call:
    """One model request.

    Attributes:
        conn: Where it came from.
        head: Its head.
        body: What goes upstream.
        form: Shape of its answers.
        route: The model that it names.
        model: The model's name as the client wrote it.
        stream: It wants a stream.
        close: Its connection ends with the answer.
        waiting: What it is told while it waits; None for one that never had to, or is no stream.
        mode: The mode of `waiting`.
        begun: Something of the answer was sent.
    """

    conn: Connection
    head: RequestHead
    body: bytes
    form: Form
    route: ModelRoute
    model: str
    stream: bool
    close: bool
    waiting: WaitingStream | None = None
    mode: Mode = "off"
    begun: bool = False
    _voice: Voice | None = None

    @property
    def committed(self) -> bool:
        """Whether a stream was begun before the upstream had said anything."""
        return self.waiting is not None and self.waiting.committed

    @property
    def is_told(self) -> bool:
        """Whether its API has words for a client that waits."""
        return self.stream and not self.form.is_plain

    @property
    def is_plain(self) -> bool:
        """Whether its answer goes out as it came: to a client that stays and never waited."""
        return not self.close and self.waiting is None

    @property
    def mode_field(self) -> bytes:
        """The header line that streamed requests get that had to wait."""
        if self.waiting is None:
            return b""
        return b"X-Swap-Progress: %b\r\n" % self.mode.encode("ascii")

    def start_waiting(self, config: WorkerConfig) -> None:
        """Note that it has to wait from now on."""
        if not self.is_told:
            return
        if self.waiting is not None:
            self.waiting.on_wait_again()
            return
        thinks = self.form is not Form.MESSAGES or asks_for_thinking(self.body)
        self.mode = choose_mode(self.head.mode, self.route, self.form, stream=True, thinks=thinks)
        delay_s = config.progress_delay_s
        self.waiting = WaitingStream(
            mode=self.mode,
            voice=self._speak(),
            model=self.model,
            now=trio.current_time(),
            delay_s=DELAY_S[self.mode] if delay_s is None else delay_s,
            heartbeat_s=config.heartbeat_s,
            marker=config.marker,
            details=config.details,
        )

    async def tell(self, view: View) -> None:
        """Send what is due to a stream that waits.

        Raises:
            ClientGone: The client has left.
        """
        if self.waiting is not None:
            was_committed = self.waiting.committed
            frames = b"".join(self.waiting.on_time(trio.current_time(), view))
            if frames:
                await self._send_frames(frames, with_head=not was_committed)

    async def tell_ready(self) -> None:
        """Say the last word of a stream that waited.

        Raises:
            ClientGone: The client has left.
        """
        if self.waiting is not None:
            frames = b"".join(self.waiting.on_ready(trio.current_time()))
            if frames:
                await self._send_frames(frames, with_head=False)

    async def fail(self, error: RelayError) -> None:
        """End the answer with `error`, in the way that is still possible.

        Raises:
            ClientGone: The client has left.
        """
        if not self.begun:
            self.begun = True
            await self.conn.send(
                error_answer(error, close=self.close, extra=self.mode_field, form=self.form)
            )
            return
        await self.end_stream(self.failure(error))

    def failure(self, error: RelayError, heard: bytes = b"") -> bytes:
        """Return the last frames of a stream that ends with `error`; see `Voice.failure`."""
        return self._speak().failure(error, heard)

    def splitter(self) -> FrameSplitter | MergingSplitter:
        """Return what passes the frames of the upstream on: as they are, or merged."""
        if self.committed and self._voice is not None and self._voice.merge is not None:
            return MergingSplitter(self._voice.merge)
        return FrameSplitter()

    def _speak(self) -> Voice:
        if self._voice is None:
            self._voice = make_voice(
                self.form,
                self.mode,
                model=self.model,
                ident=os.urandom(12).hex(),
                created=int(time.time()),
                body=self.body,
            )
        return self._voice

    async def end_stream(self, frames: bytes) -> None:
        """Send the last frames of a stream and its good end.

        Raises:
            ClientGone: The client has left.
        """
        if self.head.http11:
            frames = (chunk(frames) if frames else b"") + LAST_CHUNK
        if frames:
            await self.conn.send(frames)

    async def _send_frames(self, frames: bytes, *, with_head: bool) -> None:
        data = chunk(frames) if self.head.http11 else frames
        if with_head:
            self.begun = True
            data = b"%b%b%b%b%b\r\n%b" % (
                OK_LINE,
                EARLY_STREAM_FIELDS,
                self.mode_field,
                b"Transfer-Encoding: chunked\r\n" if self.head.http11 else b"",
                b"Connection: close\r\n" if self.close else b"",
                data,
            )
        await self.conn.send(data)
