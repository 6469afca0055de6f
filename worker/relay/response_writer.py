"""`ResponseWriter`: what may still be said to the client of one request.

It knows what was said so far, so it knows the way that is left to tell of an error: a whole
response, the last frames of a stream, or only a cut connection.
"""

import os
import time
from collections.abc import Sequence
from typing import Final

import msgspec
import trio

from arriero.protocol.worker_config import WorkerConfig

from ..accounting.account import Account
from ..accounting.response_reader import usage_of
from ..accounting.usage_headers import declaration, request_id_field, trailer_lines
from ..apis.base.dialect import (
    Dialect,
    Mode,
    ResponseEnd,
    StreamContext,
    TranslatingDialect,
)
from ..apis.error_response import error_answer
from ..connections.connection import Connection
from ..errors import RelayError
from ..http.chunked import chunk
from ..http.cors import answer_lines
from ..http.header_rules import CompiledRules
from ..http.request_head import RequestHead
from ..progress.modes import choose_mode
from ..upstreams.heads import EARLY_STREAM_FIELDS, NO_BUFFERING, OK_LINE, ResponseHead
from .model_request import ModelRequest

_CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
_BLANKS_FIELDS: Final = b"Content-Type: application/json\r\nCache-Control: no-cache\r\n"


class ResponseCut(Exception):
    """The response is incomplete, and only a cut can tell."""


def own_lines(
    account: Account,
    config: WorkerConfig,
    head: RequestHead,
    names: frozenset[bytes] = frozenset(),
) -> bytes:
    """Return the header lines of every response: id and CORS.

    Args:
        account: Of the request.
        config: In force when it came.
        head: Of the request.
        names: Fields that the response has already.
    """
    lines = request_id_field(account.request_id)
    if config.cors is not False and head.origin is not None:
        lines += answer_lines(head.origin, config.cors, names)
    return lines


class ResponseWriter(msgspec.Struct, eq=False, kw_only=True):
    """Everything that may still be said to the client of a request.

    Attributes:
        conn: The client's connection.
        request: What it asked for.
        account: Counts what is sent.
        close: The connection ends with the response.
        rules: What is changed in the head of the response; None for nothing.
        translator: Tells the stream in other words: as the events of a turn, or in another API;
            None if it passes as it is.
        mode: How the client of a stream is told of progress.
        shows_mode: The head names the mode.
        begun: Something of the response was sent.
        committed: It was begun before the upstream had said anything.
    """

    conn: Connection
    request: ModelRequest
    account: Account
    close: bool
    rules: CompiledRules | None = None
    translator: TranslatingDialect | None = None
    mode: Mode = "off"
    shows_mode: bool = False
    begun: bool = False
    committed: bool = False
    _dialect: Dialect | None = None

    @property
    def dialect(self) -> Dialect:
        """The frames of its API; made when first used."""
        if self._dialect is None:
            self._dialect = self.translator or self.request.api.dialect(self.stream_context())
        return self._dialect

    def stream_context(self) -> StreamContext:
        """Return what a dialect is made for."""
        return StreamContext(
            mode=self.mode,
            model=self.request.asked,
            ident=os.urandom(12).hex(),
            created=int(time.time()),
            body=self.request.outline,
        )

    def choose_mode(self) -> None:
        """Set `mode` by request and configuration."""
        request = self.request
        if request.turns is not None:
            self.mode = "reasoning"
            return
        self.mode = choose_mode(
            request.head.mode, request.route, request.api, stream=True, body=request.outline
        )

    def framed(self, data: bytes) -> bytes:
        """Return `data`, which is not empty, framed for the client."""
        return chunk(data) if self.request.head.http11 else data

    # --- heads ---------------------------------------------------------------------------------

    @property
    def has_trailers(self) -> bool:
        """Whether trailers follow after a stream; only in chunks."""
        request = self.request
        return request.config.trailers and request.stream and request.head.http11

    def head(
        self,
        head: ResponseHead,
        *,
        framing: bytes,
        more: bytes = b"",
        trailers: bool = False,
        content_type: bytes | None = None,
    ) -> bytes:
        """Begin the response: return its head, made of the upstream's.

        Args:
            head: The upstream's.
            framing: The line that says how the body ends, or nothing.
            more: Further lines.
            trailers: Declare what follows after the body.
            content_type: In the place of the upstream's.
        """
        self.begun = True
        request = self.request
        names = head.names if request.head.origin is not None else frozenset()
        if trailers or self.shows_mode:
            lines = self._extra_lines(names, trailers=trailers)
        else:
            lines = own_lines(self.account, request.config, request.head, names)
        return head.build(
            framing=framing,
            extra=lines + more,
            close=self.close,
            rules=self.rules,
            content_type=content_type,
        )

    def stream_head(self, head: ResponseHead) -> bytes:
        """Return the same for a stream."""
        return self.head(
            head,
            framing=_CHUNKED if self.request.head.http11 else b"",
            more=head.stream_lines,
            trailers=self.has_trailers,
            content_type=None if self.translator is None else self.translator.content_type,
        )

    def early(self, data: bytes) -> bytes:
        """Return `data` for a waiting client, with the head before the first.

        From then on the response is committed.
        """
        self.account.bytes_out += len(data)
        sent = self.framed(data)
        if self.committed:
            return sent
        self.begun = self.committed = True
        self.account.status = 200
        fields = EARLY_STREAM_FIELDS if self.request.stream else _BLANKS_FIELDS
        if self.translator is not None:
            fields = b"Content-Type: %b\r\n%b" % (self.translator.content_type, NO_BUFFERING)
        return b"%b%b%b%b%b\r\n%b" % (
            OK_LINE,
            fields,
            self._extra_lines(trailers=self.has_trailers),
            _CHUNKED if self.request.head.http11 else b"",
            b"Connection: close\r\n" if self.close else b"",
            sent,
        )

    def _extra_lines(
        self, names: frozenset[bytes] = frozenset(), *, trailers: bool = False
    ) -> bytes:
        """Return our lines of the head; `names`: the fields of the upstream."""
        lines = own_lines(self.account, self.request.config, self.request.head, names)
        if self.shows_mode:
            lines += b"X-Swap-Progress: %b\r\n" % self.mode.encode("ascii")
        if trailers:
            lines += declaration(priced=self.account.prices is not None)
        return lines

    # --- the end -------------------------------------------------------------------------------

    def last_chunk(self, trailers: Sequence[bytes] = ()) -> bytes:
        """Return the last chunk, with the upstream's trailers and ours."""
        lines = b"".join(trailers)
        if self.has_trailers:
            lines += trailer_lines(self.account)
        return b"0\r\n%b\r\n" % lines

    async def end_stream(self, frames: bytes) -> None:
        """Send the last frames of a stream and its good end.

        Raises:
            ClientGone: The client has left.
        """
        self.account.bytes_out += len(frames)
        if self.request.head.http11:
            frames = (chunk(frames) if frames else b"") + self.last_chunk()
        if frames:
            await self.conn.send(frames)

    async def fail(self, error: RelayError) -> None:
        """End the response with `error`, in the way that is still possible.

        Raises:
            ClientGone: The client has left.
            ResponseCut: No way is left.
        """
        self.account.failed(error)
        if not self.begun:
            self.begun = True
            extra = self._extra_lines()
            api = self.request.api
            head = self.request.head
            await self.conn.send(
                error_answer(error, close=self.close, extra=extra, api=api, head=head)
            )
        elif self.request.stream:
            await self.end_stream(self.failure(error))
        else:
            raise ResponseCut

    def failure(self, error: RelayError, sent_so_far: bytes = b"") -> bytes:
        """Return the last frames of a stream that fails; see `Dialect.failure`."""
        self.account.failed(error)
        return self.dialect.failure(error, sent_so_far)

    def interrupted(self, sent_so_far: bytes) -> bytes:
        """Return the last frames of a stream that its client has cancelled."""
        asked = self.translator is None and self.request.api.wants_usage(self.request.outline)
        usage = usage_of(self.account)
        return self.dialect.interrupted(sent_so_far, usage, asked_usage=asked)

    def finish_translation(self) -> bytes:
        """Return the last frames of a stream told in other words; nothing for all others."""
        return b"" if self.translator is None else self.translator.finish(self.ending())

    def ending(self) -> ResponseEnd:
        """Return what is known of a response that has ended now."""
        account = self.account
        return ResponseEnd(
            usage=usage_of(account),
            unix_time=time.time(),
            elapsed_s=trio.current_time() - account.came_at,
            waited_s=account.queue_s + account.load_s,
        )
