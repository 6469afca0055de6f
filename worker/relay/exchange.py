"""`Exchange`: one request, and how its client is answered."""

import math
import os
import time

import msgspec
import trio

from ..accounting.account import Account
from ..apis.base.api import ChunkShape
from ..apis.turns.dialect import TurnDialect
from ..apis.turns.events import TurnEvents
from ..apis.turns.request import TurnFormat
from ..connections.connection import Connection
from ..http.header_rules import CompiledRules
from ..http.request_head import RequestHead, is_for_this_hop
from ..limits import Limits
from ..progress.hop_progress import FIELD, HopProgress
from ..progress.model_view import ModelView
from ..progress.prefill import PrefillProgress, Style
from .model_request import ModelRequest
from .progress_updates import ProgressUpdates, is_queued
from .response_writer import ResponseWriter


class Exchange(msgspec.Struct, eq=False):
    """One request, and how its client is answered.

    Attributes:
        request: What the client asks for.
        writer: What may still be said to the client.
        account: All that is known of the request.
        progress: What the client is told until its response begins; None if it neither waits for
            its model nor has asked to be told of its prompt.
        original: The same as it was read: no filters of its model and no rules have changed it.
        place: Number of the grant of a place on its model, if that takes a limited number of
            requests; 0 without one.
        elsewhere: What another machine has told last of its model; None if it loads nothing.
        may_fall: If it fails before its response begins, it goes to another machine.
        is_answered: Its response has begun to come.
        is_given_up: It is not waited for any longer where it was sent.
        heard_at: When another machine has told last of its model.
    """

    request: ModelRequest
    writer: ResponseWriter
    account: Account
    original: ModelRequest
    progress: ProgressUpdates | None = None
    place: int = 0
    elsewhere: ModelView | None = None
    may_fall: bool = False
    is_answered: bool = False
    is_given_up: bool = False
    heard_at: float = -math.inf

    def give_up(self) -> None:
        """Wait no longer for where it was sent, as if that had said nothing for too long."""
        conn = self.writer.conn
        if conn.upstream is not None:  # else it is about to be sent, or has failed already
            self.is_given_up = conn.expired = True
            conn.upstream.cut()

    async def hear(self, view: ModelView | None) -> None:
        """Pass on what another machine tells of its model; None: nothing comes of that.

        Raises:
            ClientGone: The client has left.
        """
        before, now = self.elsewhere, trio.current_time()
        self.heard_at = now
        if view is None or view.stage == "ready":
            self.elsewhere = None
            if before is not None:
                self.account.granted(now)
                if view is not None and self.progress is not None:
                    await self.progress.tell_ready()
            return
        progress = self.progress
        if before is None or progress is None:
            progress = self.wait_for_model()
        self.elsewhere = view
        if is_queued(view):
            self.account.queued(now)
        else:
            self.account.loading(now)
        await progress.tell(view)

    def wait_for_model(self) -> ProgressUpdates:
        """Begin to wait for the model; perhaps once more."""
        if self.progress is None:
            self.progress = ProgressUpdates(self.writer)
        self.progress.start_waiting()
        return self.progress


def open_exchange(
    conn: Connection,
    request: ModelRequest,
    account: Account,
    *,
    close: bool,
    rules: CompiledRules | None,
    original: ModelRequest | None = None,
) -> Exchange:
    """Return the exchange for a request to which nothing was said yet.

    Args:
        conn: The client's connection.
        request: What the client asks for.
        account: Of the request.
        close: The connection ends with the response.
        rules: What is changed in the head of the response; None for nothing.
        original: The request as it was read; None: nothing has changed it.
    """
    writer = ResponseWriter(conn=conn, request=request, account=account, close=close, rules=rules)
    exchange = Exchange(request, writer, account, original or request)
    if request.turns is not None:
        writer.translator = _turn_dialect(request, account, request.turns)
    elif request.translation is not None and request.stream:
        writer.translator = request.translation.dialect(writer.stream_context())
    if request.head.own and _asks_as_program(request.head):
        exchange.progress = ProgressUpdates(writer, hop=HopProgress(trio.current_time()))
    elif request.prefill is not None and (shape := request.api.chunk) is not None:
        exchange.progress = ProgressUpdates(
            writer, _prefill_progress(request, request.prefill, shape, conn.monitor.limits)
        )
    return exchange


def _asks_as_program(head: RequestHead) -> bool:
    """Whether the next program on the way to the client wants to tell it of the model."""
    return (
        head.http11 and any(name == FIELD for name, _ in head.own) and is_for_this_hop(head, FIELD)
    )


def _turn_dialect(request: ModelRequest, account: Account, turns: TurnFormat) -> TurnDialect:
    events = TurnEvents(
        request_id=account.request_id,
        conversation_id=request.conversation_id or account.request_id,
        model=request.asked,
        turn_format=turns,
    )
    return TurnDialect(events, marker=request.config.marker)


def _prefill_progress(
    request: ModelRequest, style: Style, shape: ChunkShape, limits: Limits
) -> PrefillProgress:
    return PrefillProgress(
        style=style,
        shape=shape,
        ident=shape.id_prefix + os.urandom(12).hex(),
        created=int(time.time()),
        model=request.asked,
        came=trio.current_time(),
        pause_s=limits.prompt_pause_s,
        every_s=limits.prompt_every_s,
    )
